"""What torch modules are given, checked: tensors of ids, offsets and weights as batches of the core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vecstore.codecs.tables.ids import NO_OFFSETS, NO_WEIGHTS, Batch
from vecstore.codecs.tables.layout import Field, check_ids
from vecstore.errors import InputError, ShapeError


@dataclass(frozen=True)
class Asked:
    """The lookups of one field: as the core has them, and the weights of ids as autograd has them."""

    batch: Batch
    weights: Tensor | None = None  # (n,)

    @property
    def each(self) -> Batch:
        """Every id for itself."""
        return Batch(self.batch.keys, NO_OFFSETS, NO_WEIGHTS, self.batch.hashed)

    @property
    def counts(self) -> NDArray[np.float32]:
        """(bags, 1), the ids of each bag, 1 for none."""
        return np.maximum(np.diff(self.batch.offsets), 1).astype(np.float32)[:, None]


@dataclass(frozen=True)
class Door:
    """Lets ids of a field in: from 0 to cardinality - 1, on the rows' device, without those that pad."""

    field: Field
    device: torch.device
    padding: int | None = None

    def of(self, ids: Any, offsets: Any, weights: Any) -> Asked:
        """ids (n,), offsets (bags + 1,) or None for bags of one, weights (n,) or None.

        InputError and ShapeError name field and position.
        """
        name = self.field.name
        parts = [self._host(ids, "ids", whole=True)]
        if offsets is not None:
            parts.append(self._host(offsets, "offsets", whole=True))
        if weights is not None:
            if offsets is None:
                raise ShapeError(f"field {name!r} has weights, but no offsets of bags")
            parts.append(self._host(weights, "weights", whole=False))
        batch = Batch.of(name, tuple(parts), empty=True)
        check_ids(self.field, batch)
        return self._unpadded(Asked(batch, weights))

    def _host(self, given: Any, what: str, *, whole: bool) -> NDArray[Any]:
        name = self.field.name
        if not isinstance(given, Tensor):
            raise ShapeError(f"field {name!r}: {what} are a {type(given).__name__}; expected a tensor")
        if given.device != self.device:
            raise InputError(
                f"field {name!r}: {what} are on {given.device}, the rows on {self.device}; "
                f"bring them there with .to('{self.device}')"
            )
        if whole == given.is_floating_point() or given.dtype == torch.bool:
            wanted = "integers" if whole else "floating point numbers"
            raise ShapeError(f"field {name!r}: {what} are {given.dtype}; expected {wanted}")
        if given.layout != torch.strided:
            raise ShapeError(f"field {name!r}: {what} are {given.layout}; expected a dense tensor")
        there = given.detach().cpu()
        return there.numpy() if whole else there.float().numpy()

    def _unpadded(self, asked: Asked) -> Asked:
        if self.padding is None:
            return asked
        batch = asked.batch
        keep = batch.keys != self.padding
        if keep.all():
            return asked
        before = np.concatenate([[0], np.cumsum(keep)])
        offsets = before[batch.offsets] if len(batch.offsets) else NO_OFFSETS
        weights = batch.weights[keep] if len(batch.weights) else NO_WEIGHTS
        kept = None
        if asked.weights is not None:
            kept = asked.weights[torch.from_numpy(keep).to(self.device)]
        return Asked(Batch(batch.keys[keep], offsets, weights, batch.hashed), kept)


def ends(field: str, offsets: Any, count: int) -> Any:
    """Offsets (bags,), where bags begin, and the end of the last, `count`; InputError if one is beyond."""
    if not isinstance(offsets, Tensor) or offsets.dim() != 1:
        raise ShapeError(f"field {field!r}: offsets has to be a 1-D tensor, of where bags begin")
    if len(offsets) == 0 and count:
        raise InputError(f"field {field!r} has {count} ids and no bag; offsets begin with 0")
    if len(offsets) and offsets.device.type != "meta" and int(offsets[-1]) > count:
        raise InputError(
            f"field {field!r}: offset {len(offsets) - 1} is {int(offsets[-1])}, beyond the {count} ids"
        )
    return torch.cat([offsets, offsets.new_full((1,), count)])
