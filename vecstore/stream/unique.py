"""Ids that come twice, found as they stream by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.errors import ShapeError
from vecstore.kernels.ids import hash_strings, insert


class UniqueIds:
    """A set of ids, int64 or string, of up to 36 (int64) to 68 (string) bytes each."""

    def __init__(self, id_type: pa.DataType) -> None:
        self._width = 1 if pa.types.is_integer(id_type) else 2
        self._count = 0
        self._slots = np.zeros((1024, self._width), np.uint64)
        self._used = np.zeros(1024, np.uint8)

    def add(self, ids: pa.Array) -> NDArray[np.bool_]:
        """Adds ids (n,); true where an id was there already, in this call or before it."""
        if pa.types.is_integer(ids.type) != (self._width == 1):
            raise ShapeError(f"ids are {ids.type}; those before were of another kind")
        keys = _keys(ids)
        repeats = np.zeros(len(keys), np.uint8)
        if 2 * (self._count + len(keys)) > len(self._used):
            self._grow(self._count + len(keys))
        self._count += insert(self._slots, self._used, keys, repeats)
        return repeats.astype(bool)

    def _grow(self, count: int) -> None:
        old = self._slots[self._used == 1]
        size = 1 << (2 * count).bit_length()
        self._slots = np.zeros((size, self._width), np.uint64)
        self._used = np.zeros(size, np.uint8)
        insert(self._slots, self._used, old, np.zeros(len(old), np.uint8))


def _keys(ids: pa.Array) -> NDArray[np.uint64]:
    if pa.types.is_integer(ids.type):
        values: NDArray[Any] = ids.to_numpy(zero_copy_only=False)
        return values.astype(np.int64, copy=False).view(np.uint64).reshape(-1, 1)
    ids = ids.cast(pa.large_string())
    offsets = np.frombuffer(ids.buffers()[1], np.int64)[ids.offset : ids.offset + len(ids) + 1]
    data = ids.buffers()[2]
    text = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
    keys = np.empty((len(ids), 2), np.uint64)
    if len(ids):
        hash_strings(offsets, text, keys)
    return keys
