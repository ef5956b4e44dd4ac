"""Ids and bags of a lookup, as they come, checked: the key of each id and where bags begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from vecstore.errors import InputError, ShapeError
from vecstore.kernels.finite import largest
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

    def each(self, gradient: F32, field: str) -> F32:
        """The gradients of ids' vectors, (n, d), of those of bags; InputError for one beyond float32."""
        out = np.repeat(gradient, np.diff(self.offsets), axis=0) if len(self.offsets) else gradient
        if not len(self.weights):
            return out
        with np.errstate(over="ignore"):
            out = out * self.weights[:, None]
        if out.size and not np.isfinite(largest(out)):
            at = int(np.argwhere(~np.isfinite(out))[0, 0])
            raise InputError(
                f"the gradient of field {field!r} times weight {at}, {self.weights[at]}, is beyond float32; "
                "nothing was changed"
            )
        return out

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
        if hashed and ids.dtype.kind == "O" and len(ids) and isinstance(ids[0], int | np.integer):
            ids, hashed = _unboxed(field, ids), False
        return cls(
            _strings(field, ids) if hashed else _whole(f"field {field!r} has ids", ids),
            offsets,
            weights,
            hashed,
        )


def check_fields(what: str, given: Any) -> None:
    """ShapeError unless something is given by fields."""
    if not isinstance(given, Mapping):
        raise ShapeError(f"{what} is given a {type(given).__name__}; expected a mapping of fields")


def string_keys(ids: NDArray[Any]) -> I64:
    """The first 64 bits of `hash_strings` of each id's UTF-8 bytes, (n,); ValueError where one has none."""
    # Arrow takes the zeros that numpy fills bytes up with for a part of them.
    strings = pa.array(ids.astype(object) if ids.dtype.kind == "S" else ids, pa.large_string())
    if strings.null_count:
        raise ValueError("there are ids that are missing")
    buffers = strings.buffers()
    offsets = np.frombuffer(buffers[1], np.int64, len(strings) + 1)
    data = np.frombuffer(buffers[2], np.uint8) if buffers[2] is not None else np.empty(0, np.uint8)
    keys = np.empty((len(strings), 2), np.uint64)
    hash_strings(offsets.copy(), data.copy(), keys)
    return np.ascontiguousarray(keys[:, 0]).view(np.int64)


def _array(field: str, given: Any, what: str = "ids") -> NDArray[Any]:
    if isinstance(given, pa.Array | pa.ChunkedArray):
        given = given.to_numpy(zero_copy_only=False)
    try:
        found = np.asarray(given)
    except ValueError as error:
        raise ShapeError(f"field {field!r}: {what} are no array: {error}") from error
    return found.astype(np.int64) if found.size == 0 else found


def _strings(field: str, ids: NDArray[Any]) -> I64:
    """`string_keys`; InputError names the first id that is no text."""
    try:
        return string_keys(ids)
    except (ValueError, TypeError):  # of Arrow, which does not say where
        at, wrong = next((at, each) for at, each in enumerate(ids.tolist()) if not _is_text(each))
        raise InputError(
            f"field {field!r}: id {wrong!r} at position {at} is no text; expected all ids to be strings, or "
            "all integers"
        ) from None


def _is_text(given: Any) -> bool:
    try:
        (str.encode if isinstance(given, str) else bytes.decode)(given)
    except (TypeError, UnicodeError):
        return False
    return True


def _unboxed(field: str, ids: NDArray[Any]) -> NDArray[Any]:
    """Integers that came as objects, (n,)."""
    for at, each in enumerate(ids):
        if isinstance(each, bool) or not isinstance(each, int | np.integer):
            raise InputError(
                f"field {field!r}: id {each!r} at position {at} is no integer; expected all ids to be "
                "integers, or all strings"
            )
        if not -(1 << 63) <= each < 1 << 63:
            raise InputError(f"field {field!r}: id {each} at position {at} needs more than 64 bits")
    return ids.astype(np.int64)


def _whole(what: str, given: NDArray[Any], wanted: str = "integers or strings") -> I64:
    if given.dtype.kind not in "iu":
        raise ShapeError(f"{what} of {given.dtype}; expected {wanted}")
    return np.ascontiguousarray(given).astype(np.int64, copy=False)


def numbers(what: str, given: Any) -> F32:
    """Numbers of any kind as float32; ShapeError, which begins with `what`, for anything else."""
    try:
        found = np.asarray(given)
    except ValueError as error:
        raise ShapeError(f"{what} no array: {error}") from error
    if not np.can_cast(found.dtype, np.float32, "same_kind"):
        raise ShapeError(f"{what} {found.dtype}; expected floating point numbers")
    with np.errstate(over="ignore"):  # what is too large is infinite, and found as that
        return np.ascontiguousarray(found, np.float32)


def _offsets(field: str, given: Any, count: int) -> I64:
    found = np.asarray(_array(field, given, "offsets"))
    offsets = _whole(f"field {field!r} has offsets", found, "integers")
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
    weights = numbers(f"weights of field {field!r} are", given)
    if weights.shape != (count,):
        raise ShapeError(f"field {field!r} has weights {weights.shape}; expected ({count},), one for each id")
    bad = np.flatnonzero(~np.isfinite(weights))
    if len(bad):
        raise InputError(f"field {field!r}: weight {int(bad[0])} is {weights[bad[0]]}; expected a number")
    return weights
