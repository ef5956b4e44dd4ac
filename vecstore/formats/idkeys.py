"""Ids as keys of one size, by which they are looked up and compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.kernels import idfile
from vecstore.kernels.ids import hash_strings

_TOGETHER = 1 << 23  # keys that are compared in one table
_WORD = (1 << 64) - 1
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def keys_of(ids: pa.Array) -> NDArray[np.uint64]:
    """Keys of ids (n,) without nulls: integers as they are, (n, 1); of strings 128 bits of hash, (n, 2)."""
    if pa.types.is_integer(ids.type):
        values: NDArray[Any] = ids.to_numpy(zero_copy_only=False)
        return values.astype(np.int64).view(np.uint64).reshape(-1, 1)
    ids = ids.cast(pa.large_string())
    keys = np.empty((len(ids), 2), np.uint64)
    if len(ids):
        _, offsets, data = ids.buffers()
        places = np.frombuffer(offsets, np.int64, len(ids) + 1, 8 * ids.offset)
        text = np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8)
        hash_strings(places, text, keys)
    return keys


def repeats(keys: NDArray[np.uint64]) -> int:
    """How many of the keys (n, w) have come before."""
    if len(keys) <= _TOGETHER:
        return _repeats(keys)
    # Alike ones fall into the same part, whose table is not so large.
    parts = -(-len(keys) // (_TOGETHER // 2))
    part_of = (keys[:, 0] * _SPREAD >> np.uint64(32)) % np.uint64(parts)
    return sum(_repeats(keys[part_of == part]) for part in range(parts))


def _repeats(keys: NDArray[np.uint64]) -> int:
    slots = idfile.free_slots(len(keys), keys.shape[1])
    return idfile.fill(slots, keys, np.arange(len(keys)), False)


def key_of(one: int | str) -> NDArray[np.uint64]:
    """The key of one id, (1, w), without a detour by Arrow; an int64, or text that is proper UTF-8."""
    keys: NDArray[np.uint64]
    if isinstance(one, int):
        keys = np.empty((1, 1), np.uint64)
        keys[0, 0] = one & _WORD
        return keys
    text = one.encode()
    keys = np.empty((1, 2), np.uint64)
    hash_strings(np.array([0, len(text)]), np.frombuffer(text, np.uint8), keys)
    return keys
