"""Ids and bags of a lookup, as they come, checked: the key of each id and where bags begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from vecstore.errors import InputError, ShapeError
from vecstore.kernels.ids import hash_strings

I64 = NDArray[np.int64]
F32 = NDArray[np.float32]

# Ids (n,) are bags of one, ids (n, k) bags of k; else ids, offsets (bags + 1,), and weights of ids.
Bags: TypeAlias = "ArrayLike | tuple[ArrayLike, ...]"

NO_OFFSETS: I64 = np.empty(0, np.int64)
NO_WEIGHTS: F32 = np.empty(0, np.float32)


@dataclass(frozen=True)
class Batch:
    """The lookups of one field."""

    keys: I64  # (n,); of a string its 64-bit hash
    offsets: I64  # (bags + 1,), or (0,) for bags of one
    weights: F32  # (n,), or (0,) for ones
    hashed: bool  # whether ids were strings

    @property
    def bags(self) -> int:
        """How many rows come out."""
        return len(self.offsets) - 1 if len(self.offsets) else len(self.keys)

    @classmethod
    def of(cls, field: str, given: Bags, *, empty: bool = False) -> Batch:
        """Checks what was given for a field.

        empty: whether bags may be empty, zeros then. InputError and ShapeError name field and position.
        """
        parts: Sequence[Any] = given if isinstance(given, tuple) else (given,)
        if not 1 <= len(parts) <= 3:
            raise ShapeError(f"field {field!r} is given {len(parts)} arrays; expected ids, offsets, weights")
        ids = parts[0] if isinstance(parts[0], np.ndarray) else _array(field, parts[0])
        offsets = NO_OFFSETS
        if ids.ndim == 2 and len(parts) == 1:
            offsets = np.arange(len(ids) + 1, dtype=np.int64) * ids.shape[1]
            ids = ids.reshape(-1)
        if ids.ndim != 1:
            raise ShapeError(f"field {field!r} has ids {ids.shape}; expected (n,), or (n, k) bags of k")
        if len(parts) > 1:
            offsets = _offsets(field, parts[1], len(ids))
        if not empty and len(offsets):
            sizes = np.diff(offsets)
            if not sizes.all():
                raise InputError(
                    f"field {field!r}: bag {int(sizes.argmin())} is empty; give it an id, or allow "
                    "empty bags with empty_bags='zeros'"
                )
        weights = _weights(field, parts[2], len(ids)) if len(parts) == 3 else NO_WEIGHTS
        hashed = ids.dtype.kind in "USO"
        return cls(string_keys(ids) if hashed else _whole(field, ids), offsets, weights, hashed)


def string_keys(ids: NDArray[Any]) -> I64:
    """The first 64 bits of `hash_strings` of each id's UTF-8 bytes, (n,)."""
    strings = pa.array(ids, pa.large_string())
    buffers = strings.buffers()
    offsets = np.frombuffer(buffers[1], np.int64, len(strings) + 1)
    data = np.frombuffer(buffers[2], np.uint8) if buffers[2] is not None else np.empty(0, np.uint8)
    keys = np.empty((len(strings), 2), np.uint64)
    hash_strings(offsets.copy(), data.copy(), keys)
    return np.ascontiguousarray(keys[:, 0]).view(np.int64)


def _array(field: str, ids: Any) -> NDArray[Any]:
    if isinstance(ids, pa.Array | pa.ChunkedArray):
        ids = ids.to_numpy(zero_copy_only=False)
    try:
        found = np.asarray(ids)
    except ValueError as error:
        raise ShapeError(f"field {field!r}: ids are no array: {error}") from error
    return found.astype(np.int64) if found.size == 0 else found


def _whole(field: str, ids: NDArray[Any]) -> I64:
    if ids.dtype.kind not in "iu":
        raise ShapeError(f"field {field!r} has ids of {ids.dtype}; expected integers or strings")
    return np.ascontiguousarray(ids).astype(np.int64, copy=False)


def _offsets(field: str, given: Any, count: int) -> I64:
    offsets = _whole(field, np.asarray(given))
    if offsets.ndim != 1 or len(offsets) == 0:
        raise ShapeError(f"field {field!r} has offsets {offsets.shape}; expected (bags + 1,)")
    if offsets[0] != 0:
        raise InputError(f"field {field!r}: offset 0 is {offsets[0]}; expected 0")
    falls = np.flatnonzero(np.diff(offsets) < 0)
    if len(falls):
        at = int(falls[0])
        raise InputError(
            f"field {field!r}: offset {at + 1} is {offsets[at + 1]}, below the one before, {offsets[at]}"
        )
    if offsets[-1] != count:
        raise InputError(
            f"field {field!r}: the last offset, {len(offsets) - 1}, is {offsets[-1]}; expected the number of "
            f"ids, {count}"
        )
    return offsets


def _weights(field: str, given: Any, count: int) -> F32:
    weights = np.ascontiguousarray(given, np.float32)
    if weights.shape != (count,):
        raise ShapeError(f"field {field!r} has weights {weights.shape}; expected ({count},), one for each id")
    bad = np.flatnonzero(~np.isfinite(weights))
    if len(bad):
        raise InputError(f"field {field!r}: weight {int(bad[0])} is {weights[bad[0]]}; expected a number")
    return weights
