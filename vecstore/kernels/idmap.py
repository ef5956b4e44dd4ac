"""A map from ids to places: open addressing over the keys of `kernels/ids.py`, with removal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.ids import mix
from vecstore.kernels.jit import kernel

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

FREE, GONE = -1, -2  # values of slots that never held a key, and that hold one which was removed


@kernel
def _slot(slots: U64, values: I64, key: U64) -> np.int64:
    """The slot that holds the key, or the free one where its search ends, as -1 - slot."""
    mask = np.uint64(slots.shape[0] - 1)
    at = mix(key[0]) & mask
    while values[at] != FREE:
        same = slots[at, 0] == key[0]
        if slots.shape[1] == 2:
            same = same and slots[at, 1] == key[1]
        if same:
            return np.int64(at)
        at = (at + np.uint64(1)) & mask
    return np.int64(-1) - np.int64(at)


@kernel
def find(slots: U64, values: I64, keys: U64, out: I64) -> None:
    """out[i] = the place of key i, FREE if it has none.

    slots (s, w), s a power of two with a free slot; values (s,); keys (n, w), w 1 or 2; out (n,), written.
    """
    for i in range(keys.shape[0]):
        at = _slot(slots, values, keys[i])
        out[i] = FREE if at < 0 or values[at] == GONE else values[at]


@kernel
def put(slots: U64, values: I64, keys: U64, places: I64, before: I64) -> int:
    """Gives each key its place (n,), none negative; before[i] = the one that it had, or FREE; gives the
    number of slots that were free. Arrays as in `find`, with more than n free slots."""
    taken = 0
    for i in range(keys.shape[0]):
        at = _slot(slots, values, keys[i])
        if at < 0:
            at = np.int64(-1) - at
            slots[at] = keys[i]
            taken += 1
            before[i] = FREE
        else:
            before[i] = FREE if values[at] == GONE else values[at]
        values[at] = places[i]
    return taken


@kernel
def remove(slots: U64, values: I64, keys: U64, before: I64) -> None:
    """Takes keys out; before[i] = the place that key i had, or FREE. Arrays as in `find`."""
    for i in range(keys.shape[0]):
        at = _slot(slots, values, keys[i])
        if at < 0 or values[at] == GONE:
            before[i] = FREE
        else:
            before[i] = values[at]
            values[at] = GONE
