"""Bags of many features in one table, in the place of TorchRec's `EmbeddingBagCollection`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vecstore.codecs.tables.layout import Field
from vecstore.errors import ShapeError, SpecError
from vecstore.ledger import TableLedger
from vecstore.train.bags import wish_of
from vecstore.train.fused import joined
from vecstore.train.inputs import Asked, Door
from vecstore.train.lookups import Pooling
from vecstore.train.module import Learning, TableModule, uncompiled


@dataclass
class EmbeddingBagConfig:
    """A field of the table: its size, the features that look up in it, and pooling, sum or mean."""

    num_embeddings: int
    embedding_dim: int
    name: str
    feature_names: Sequence[str]
    pooling: Any = "sum"


class JaggedTensor:
    """Bags of one feature: values (n,), and where they end, as lengths (bags,) or offsets (bags + 1,)."""

    def __init__(
        self,
        values: Tensor,
        weights: Tensor | None = None,
        lengths: Tensor | None = None,
        offsets: Tensor | None = None,
    ) -> None:
        if (lengths is None) == (offsets is None):
            raise SpecError("a jagged tensor is given lengths or offsets, one of them")
        self._values, self._weights = values, weights
        self._offsets = _offsets(lengths) if offsets is None else offsets

    def values(self) -> Tensor:
        """(n,)"""
        return self._values

    def offsets(self) -> Tensor:
        """(bags + 1,)"""
        return self._offsets

    def lengths(self) -> Tensor:
        """(bags,)"""
        return self._offsets.diff()

    def weights_or_none(self) -> Tensor | None:
        """(n,), or None."""
        return self._weights


class KeyedTensor:
    """Vectors of features, (bags, dim) each, side by side."""

    def __init__(self, found: Mapping[str, Tensor]) -> None:
        self._found = dict(found)

    def keys(self) -> list[str]:
        """The features, in the order of `values`."""
        return list(self._found)

    def values(self) -> Tensor:
        """(bags, sum of dims)"""
        return torch.cat(list(self._found.values()), dim=1)

    def length_per_key(self) -> list[int]:
        """The dim of each."""
        return [rows.shape[1] for rows in self._found.values()]

    def offset_per_key(self) -> list[int]:
        """Where each begins in `values`, and the end."""
        return [0, *np.cumsum(self.length_per_key()).tolist()]

    def to_dict(self) -> dict[str, Tensor]:
        """{feature: (bags, dim)}"""
        return dict(self._found)

    def __getitem__(self, key: str) -> Tensor:
        return self._found[key]


class EmbeddingBagCollection(TableModule):
    """Bags of features from one table, whose budget and, with sharing methods, whose rows they have together.

    tables: configs as `EmbeddingBagConfig` (TorchRec's own will do). What follows is as of `EmbeddingBag`;
    frequencies= is {table name: counts}.
    """

    def __init__(
        self,
        tables: Sequence[Any],
        is_weighted: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        method: str = "plain",
        budget: str | None = None,
        optimizer: str | None = None,
        lr: float = 0.01,
        seed: int = 0,
        **options: Any,
    ) -> None:
        counts = {config.name: config.num_embeddings for config in tables}
        dims = {config.name: config.embedding_dim for config in tables}
        features = [name for config in tables for name in config.feature_names]
        for what, names in (("table", [config.name for config in tables]), ("feature", features)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise SpecError(f"{what} {twice[0]!r} is given twice")
        super().__init__(
            wish_of(counts, dims, method, budget, seed, options), Learning(optimizer, lr, device, dtype)
        )
        self._configs = list(tables)
        self._features = {config.name: tuple(config.feature_names) for config in tables}
        self._pooling = {config.name: Pooling(_mode(config)) for config in tables}
        self._is_weighted = is_weighted

    def embedding_bag_configs(self) -> list[Any]:
        """The configs that it was made of, in their order."""
        return self._configs

    def grow(self, fields: Mapping[str, int], *, first: str = "mean") -> TableLedger:
        """So many embeddings of tables {name: number} from now on, as `TableModule.grow`."""
        found = super().grow(fields, first=first)
        self._configs = [copy(config) for config in self._configs]
        for config in self._configs:
            config.num_embeddings = self.table.fields[config.name]
        return found

    def is_weighted(self) -> bool:
        """Whether ids come with weights."""
        return self._is_weighted

    @uncompiled
    def forward(self, features: Any) -> KeyedTensor:
        """The vectors of each feature.

        features: a KeyedJaggedTensor (keys, values, offsets, weights_or_none), or {feature: bags}, bags being
        ids (n,) for bags of one, ids (bags, k), a jagged tensor, or (ids, offsets), (ids, offsets, weights)
        with offsets (bags + 1,). InputError and ShapeError name feature and position.
        """
        given = bags_of(features)
        if isinstance(features, Mapping) and not self._is_weighted:
            for feature, bags in features.items():
                if isinstance(bags, tuple) and len(bags) > 2:
                    raise SpecError(f"feature {feature!r} has weights; is_weighted=True lets them count")
        asked = {name: self._asked(name, given) for name in self._features}
        looked = self.look({name: each for name, (each, _) in asked.items()}, self._pooling)
        found: dict[str, Tensor] = {}
        for name, (_, counts) in asked.items():
            parts = looked[name].split(counts)
            if len(parts) > 1:  # so that a gradient that is no number is named by its feature
                parts = tuple(map(self._guarded, self._features[name], parts))
            found |= dict(zip(self._features[name], parts, strict=True))
        sizes = {feature: len(rows) for feature, rows in found.items()}
        if len(set(sizes.values())) > 1:
            raise ShapeError(f"features have different numbers of bags: {sizes}")
        return KeyedTensor(found)

    def _asked(self, name: str, given: Mapping[str, Any]) -> tuple[Asked, list[int]]:
        """The bags of all features of a table, one behind the other, and how many each has."""
        field, each = self.table.branch(name).field, []
        for feature in self._features[name]:
            if feature not in given:
                raise SpecError(
                    f"feature {feature!r} of table {name!r} is not there; found {', '.join(given)}"
                )
            ids, offsets, weights = given[feature]
            door = Door(Field(feature, field.cardinality, field.dim), self.device)
            each.append(door.of(ids, offsets, weights if self._is_weighted else None))
        batch = joined([asked.batch for asked in each])
        weights = [asked.weights for asked in each]
        if self._is_weighted and None in weights:
            raise SpecError(f"table {name!r} is looked up without weights, and is_weighted=True")
        together = torch.cat(weights) if self._is_weighted else None
        return Asked(batch, together), [asked.batch.bags for asked in each]


def bags_of(features: Any) -> dict[str, tuple[Any, Any, Any]]:
    """{feature: (ids, offsets or None, weights or None)} of what `forward` takes."""
    if isinstance(features, Mapping):
        return {name: _bags(name, given) for name, given in features.items()}
    if not all(hasattr(features, name) for name in ("keys", "values", "offsets", "weights_or_none")):
        raise ShapeError(f"features are a {type(features).__name__}; expected a KeyedJaggedTensor or a dict")
    keys, offsets = list(features.keys()), features.offsets()
    if (len(offsets) - 1) % max(len(keys), 1):
        raise ShapeError(f"{len(keys)} features have {len(offsets) - 1} bags together; expected as many each")
    bags, values, weights = (
        (len(offsets) - 1) // max(len(keys), 1),
        features.values(),
        features.weights_or_none(),
    )
    found = {}
    for at, name in enumerate(keys):
        own = offsets[at * bags : (at + 1) * bags + 1]
        start, stop = int(own[0]), int(own[-1])
        if not 0 <= start <= stop <= len(values):
            raise ShapeError(f"feature {name!r} has values {start} to {stop} of {len(values)}")
        found[name] = (values[start:stop], own - start, None if weights is None else weights[start:stop])
    return found


def _bags(name: str, given: Any) -> tuple[Any, Any, Any]:
    if isinstance(given, Tensor):
        if given.dim() == 0:
            raise ShapeError(f"feature {name!r} has ids (); expected (n,), or (n, k) bags of k")
        if given.dim() != 2:
            return given, torch.arange(len(given) + 1, device=given.device), None
        bags, each = given.shape
        return given.reshape(-1), torch.arange(bags + 1, device=given.device) * each, None
    if isinstance(given, tuple):
        if len(given) not in (2, 3):
            raise ShapeError(
                f"feature {name!r} is given {len(given)} tensors; expected ids, offsets, weights"
            )
        ids, offsets, weights = (*given, None)[:3]
        if offsets is None:
            raise ShapeError(f"feature {name!r} has offsets that are None; expected (bags + 1,)")
        return ids, offsets, weights
    if not all(hasattr(given, part) for part in ("values", "offsets", "weights_or_none")):
        raise ShapeError(
            f"feature {name!r} is given a {type(given).__name__}; expected a tensor, a tuple of tensors, or "
            "a jagged tensor"
        )
    return given.values(), given.offsets(), given.weights_or_none()


def _offsets(lengths: Any) -> Tensor:
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def _mode(config: Any) -> str:
    mode = str(getattr(config.pooling, "value", config.pooling)).lower()
    if mode not in ("sum", "mean"):
        raise SpecError(f"table {config.name!r} has pooling {config.pooling!r}; expected sum or mean")
    return mode
