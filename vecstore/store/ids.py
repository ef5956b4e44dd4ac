"""Where each id's row lies: a map in memory, made from segments and kept up to date with commits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import idmap
from vecstore.kernels.gather import ROW_BITS

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
NONE = idmap.FREE

_LEAST_SLOTS = 1 << 10


def place_of(segment: int, rows: I64) -> I64:
    """Places of rows of the segment with this number."""
    return (np.int64(segment) << ROW_BITS) | rows


def segment_of(places: I64) -> tuple[I64, I64]:
    """The segment's number, and the row in it, of each place."""
    return places >> ROW_BITS, places & ((1 << ROW_BITS) - 1)


class IdMap:
    """Places by the keys of ids. A string counts as 128 bits of hash: among a billion of them two meet with a
    chance below 2**-67."""

    def __init__(self) -> None:
        self._used = 0
        self._slots = np.empty((0, 0), np.uint64)
        self._values = np.empty(0, np.int64)

    def __len__(self) -> int:
        """How many ids there may be: those that were removed count until there is no room for more."""
        return self._used

    def find(self, keys: U64) -> I64:
        """The place of the id with each key (n, w), NONE where there is none."""
        out = np.full(len(keys), NONE, np.int64)
        if len(self._values) and len(keys):
            idmap.find(self._slots, self._values, keys, out)
        return out

    def put(self, keys: U64, places: I64) -> I64:
        """Gives the ids with keys (n, w) their places; gives those that they had, NONE for none."""
        self._grow(len(keys), keys.shape[1])
        before = np.empty(len(keys), np.int64)
        self._used += idmap.put(self._slots, self._values, keys, places, before)
        return before

    def remove(self, keys: U64) -> I64:
        """Forgets the ids with keys (n, w); gives the places that they had."""
        before = np.full(len(keys), NONE, np.int64)
        if len(self._values) and len(keys):
            idmap.remove(self._slots, self._values, keys, before)
        return before

    def _grow(self, more: int, width: int) -> None:
        """Room for more keys, at most half of the slots taken."""
        needed = 2 * (self._used + more) + 2
        if needed <= len(self._values):
            return
        live = self._values >= 0
        keys, places = self._slots[live], self._values[live]
        size = max(_LEAST_SLOTS, 1 << int(2 * (len(keys) + more) + 1).bit_length())
        self._slots = np.empty((size, width), np.uint64)
        self._values = np.full(size, NONE, np.int64)
        self._used = len(keys)
        if len(keys):
            idmap.put(self._slots, self._values, keys, places, np.empty(len(keys), np.int64))
