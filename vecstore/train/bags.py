"""Tables in the place of `torch.nn.EmbeddingBag` and `torch.nn.Embedding`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from vecstore.codecs.tables.addresses import Own
from vecstore.codecs.tables.making import Wish
from vecstore.errors import ShapeError, SpecError
from vecstore.ledger import TableLedger
from vecstore.train.inputs import Door, ends
from vecstore.train.lookups import Pooling
from vecstore.train.module import Learning, TableModule, uncompiled
from vecstore.train.weights import plain_rows

_MODES = ("sum", "mean", "max")


class _OneField(TableModule):
    """A table of one field, with the attributes that torch's modules have."""

    def __init__(self, wish: Wish, learning: Learning, pooling: Pooling, weight: Tensor | None) -> None:
        (self.name, self.num_embeddings), *_ = wish.fields.items()
        self.embedding_dim = cast(int, wish.dim)
        super().__init__(wish, learning)
        self.max_norm, self.norm_type = pooling.max_norm, pooling.norm_type
        self.scale_grad_by_freq, self.sparse = pooling.scale_grad_by_freq, pooling.sparse
        branch = self.table.branch(self.name)
        self._own = branch.combiner is None and [type(term.address) for term in branch.terms] == [Own]
        for option in ("max_norm", "scale_grad_by_freq"):
            if getattr(pooling, option) and (self.fused or not self._own):
                raise SpecError(
                    f"{option} is for rows of single ids that torch.optim trains: leave it out, or take "
                    "method='plain' with optimizer=None"
                )
        if self.fused and pooling.sparse:
            raise SpecError("sparse is for torch.optim; steps in the backward pass never see dense gradients")
        padding = pooling.padding_idx
        if padding is not None:
            if not isinstance(padding, int) or not -self.num_embeddings <= padding < self.num_embeddings:
                raise SpecError(f"padding_idx={padding!r}; expected an id, below {self.num_embeddings}")
            padding %= self.num_embeddings
        self.padding_idx = padding
        self.pooling = dataclasses.replace(pooling, padding_idx=padding if self._native else None)
        if weight is not None:
            self.fill(weight)
        elif padding is not None and self._own:
            self._write(np.array([padding]), torch.zeros(1, wish.dim))  # type: ignore[arg-type]

    @property
    def _native(self) -> bool:
        """Whether torch's own operation can be told which id pads."""
        return self._own and not self.fused

    def fill(self, weight: Tensor) -> None:
        """Takes rows (num_embeddings, embedding_dim) from elsewhere; SpecError where ids share rows."""
        if not self._own:
            raise SpecError(
                f"ids share rows in this {self.table.setup.method!r} table, so it cannot take rows of each; "
                "method='plain' can, also in rows='f16', 'int8' or 'int4'"
            )
        wanted = (self.num_embeddings, self.embedding_dim)
        if not isinstance(weight, Tensor):
            raise ShapeError(f"the rows are a {type(weight).__name__}; expected a tensor {wanted}")
        if tuple(weight.shape) != wanted:
            raise ShapeError(f"the rows are {tuple(weight.shape)}; expected {wanted}")
        self._write(np.arange(self.num_embeddings), weight)

    def grow(self, fields: int | Mapping[str, int], *, first: str = "mean") -> TableLedger:
        """So many embeddings from now on, as `TableModule.grow`."""
        found = super().grow(fields if isinstance(fields, Mapping) else {self.name: fields}, first=first)
        self.num_embeddings = self.table.fields[self.name]
        return found

    def _write(self, ids: Any, values: Tensor) -> None:
        if self.fused:
            there = values.detach().to("cpu", torch.float32).numpy()
            rows = plain_rows(self.settled().stores[0])
            assert rows is not None
            rows.write(ids, there, self.table.setup.seed)
        else:
            with torch.no_grad():
                self.weight[torch.from_numpy(ids)] = values.to(self.weight)  # type: ignore

    def _door(self, padding: int | None) -> Door:
        return Door(self.table.branch(self.name).field, self.device, padding)

    def extra_repr(self) -> str:
        """What distinguishes it, in a line."""
        setup = self.table.setup
        steps = f", optimizer={setup.optimizer!r}, lr={self.lr}" if self.fused else ""
        return (
            f"{self.num_embeddings}, {self.embedding_dim}, method={setup.method!r}{steps}, "
            f"{self.table.ledger().total:,} bytes"
        )


class EmbeddingBag(_OneField, nn.EmbeddingBag):
    """As `torch.nn.EmbeddingBag`, of the rows of a table (docs/tables.md) inside a budget.

    Arguments before `method` are torch's. budget, seed and options, among them league= and frequencies= (of
    each id), are those of `vs.table`. optimizer: None, for parameters that torch.optim trains; or the name
    of one of `vs.table`, for rows that take their step in the backward pass, with `lr`. name: of the field,
    in messages; for hashes it is a part of the seed. Rows begin between -init and init, .05, not normally
    distributed as torch's do.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
        *,
        method: str = "plain",
        budget: str | None = None,
        optimizer: str | None = None,
        lr: float = 0.01,
        seed: int = 0,
        name: str = "ids",
        **options: Any,
    ) -> None:
        if mode not in _MODES:
            raise SpecError(f"mode={mode!r}; expected one of {', '.join(_MODES)}")
        if mode == "max" and (sparse or scale_grad_by_freq):
            raise SpecError("mode='max' has neither sparse gradients nor scale_grad_by_freq")
        wish = wish_of({name: num_embeddings}, embedding_dim, method, budget, seed, options)
        pooling = Pooling(mode, sparse, max_norm, norm_type, scale_grad_by_freq, padding_idx)
        super().__init__(wish, Learning(optimizer, lr, device, dtype), pooling, _weight)
        self.mode, self.include_last_offset = mode, include_last_offset

    @uncompiled
    def forward(
        self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:
        """(bags, embedding_dim). input (bags, k), or (n,) with offsets; weights in the shape of input.

        InputError and ShapeError name position and value; nothing has changed then.
        """
        if per_sample_weights is not None:
            if self.mode != "sum":
                raise SpecError(f"per_sample_weights are for mode='sum', not {self.mode!r}")
            if not isinstance(per_sample_weights, Tensor):
                raise ShapeError(
                    f"per_sample_weights are a {type(per_sample_weights).__name__}; expected a tensor"
                )
            if per_sample_weights.shape != input.shape:
                raise ShapeError(
                    f"per_sample_weights are {tuple(per_sample_weights.shape)}; expected the shape of the "
                    f"input, {tuple(input.shape)}"
                )
            per_sample_weights = per_sample_weights.reshape(-1)
        flat, ends_at = self._bags(input, offsets)
        asked = self._door(self.padding_idx).of(flat, ends_at, per_sample_weights)
        return self.look({self.name: asked}, {self.name: self.pooling})[self.name]

    def _bags(self, input: Tensor, offsets: Tensor | None) -> tuple[Tensor, Tensor]:
        """Ids (n,), and offsets (bags + 1,)."""
        if not isinstance(input, Tensor) or input.dim() not in (1, 2):
            shape = tuple(input.shape) if isinstance(input, Tensor) else type(input).__name__
            raise ShapeError(f"input has to be a 1-D or 2-D tensor of ids; it is {shape}")
        if input.dim() == 2:
            if offsets is not None:
                raise ShapeError("if input is 2-D, its rows are the bags, and offsets have to be None")
            bags, each = input.shape
            return input.reshape(-1), torch.arange(bags + 1, device=input.device) * each
        if offsets is None:
            raise ShapeError("offsets has to be a 1-D tensor, of where the bags of a 1-D input begin")
        return input, offsets if self.include_last_offset else ends(self.name, offsets, len(input))

    def extra_repr(self) -> str:
        """What distinguishes it, in a line."""
        return f"{super().extra_repr()}, mode={self.mode!r}"

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        **how: Any,
    ) -> Self:
        """A table of the rows (n, dim) given; freeze: they do not learn. how: method, optimizer, ..."""
        return _pretrained(
            cls, embeddings, freeze, max_norm=max_norm, norm_type=norm_type, mode=mode, sparse=sparse,
            scale_grad_by_freq=scale_grad_by_freq, include_last_offset=include_last_offset,
            padding_idx=padding_idx, **how,
        )  # fmt: skip


class Embedding(_OneField, nn.Embedding):
    """As `torch.nn.Embedding`, of the rows of a table; what follows its arguments is as of `EmbeddingBag`."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        method: str = "plain",
        budget: str | None = None,
        optimizer: str | None = None,
        lr: float = 0.01,
        seed: int = 0,
        name: str = "ids",
        **options: Any,
    ) -> None:
        wish = wish_of({name: num_embeddings}, embedding_dim, method, budget, seed, options)
        pooling = Pooling("sum", sparse, max_norm, norm_type, scale_grad_by_freq, padding_idx)
        super().__init__(wish, Learning(optimizer, lr, device, dtype), pooling, _weight)
        self.requires_grad_(not _freeze)

    @uncompiled
    def forward(self, input: Tensor) -> Tensor:
        """(..., embedding_dim), of ids of any shape; ids that pad have zeros."""
        if not isinstance(input, Tensor):
            raise ShapeError(f"input has to be a tensor of ids; it is a {type(input).__name__}")
        flat = input.reshape(-1)
        asked = self._door(None if self._native else self.padding_idx).of(flat, None, None)
        rows = self.look({self.name: asked}, {self.name: self.pooling})[self.name]
        if len(rows) < len(flat):
            kept = torch.nonzero(flat.ne(self.padding_idx or 0), as_tuple=True)
            rows = rows.new_zeros(len(flat), rows.shape[1]).index_put(kept, rows)
        return rows.reshape(*input.shape, rows.shape[1])

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        **how: Any,
    ) -> Self:
        """A table of the rows (n, dim) given; freeze: they do not learn. how: method, optimizer, ..."""
        return _pretrained(
            cls, embeddings, freeze, padding_idx=padding_idx, max_norm=max_norm, norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq, sparse=sparse, **how,
        )  # fmt: skip


def _pretrained(cls: Any, embeddings: Tensor, freeze: bool, **how: Any) -> Any:
    if embeddings.dim() != 2:
        raise ShapeError(f"embeddings are {tuple(embeddings.shape)}; expected (n, dim)")
    made = cls(*embeddings.shape, _weight=embeddings, **how)
    made.requires_grad_(not freeze)
    return made


def wish_of(
    fields: dict[str, int], dim: Any, method: str, budget: str | None, seed: int, options: dict[str, Any]
) -> Wish:
    """What `vs.table` would be asked; options hold league and frequencies, and those of the method."""
    rest = dict(options)
    league, frequencies = rest.pop("league", "serve"), rest.pop("frequencies", None)
    if frequencies is not None and not isinstance(frequencies, dict):
        (name,) = fields
        frequencies = {name: np.asarray(frequencies)}
    return Wish(method, fields, dim, budget, league, "sgd", seed, frequencies, "zeros", rest)
