"""A sketch of which ids matter most: buckets of four cells, the least of which gives way.

Zhang et al. 2024 (CAFE), arXiv:2312.03256, section 3.2. An id is its hash: the upper half says its bucket,
the lower half is kept in its cell, 0 for none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]

CELLS = 4
NO_SLOT = -1
_HALF = np.uint64(32)


@kernel
def _mark(key: np.uint64) -> np.uint32:
    """What a cell keeps of an id's hash."""
    return np.uint32(max(key & np.uint64(0xFFFFFFFF), np.uint64(1)))


@kernel
def find_slots(keys: U64, marks: U32, slots: I32, out: I64) -> None:
    """out[i] = the slot of an id with hash keys[i], or NO_SLOT. keys, out (n,); marks, slots (buckets, 4)."""
    for i in range(keys.size):
        bucket = np.int64(((keys[i] >> _HALF) * np.uint64(marks.shape[0])) >> _HALF)
        mark = _mark(keys[i])
        out[i] = NO_SLOT
        for cell in range(CELLS):
            if marks[bucket, cell] == mark:
                out[i] = slots[bucket, cell]
                break


@kernel
def observe(
    keys: U64, weights: F32, cells: tuple[U32, F32, I32], threshold: np.float32, free: I32, taken: I64
) -> int:
    """Adds weights (n,) to the scores of ids with hashes keys (n,); gives how many came to have a slot.

    cells: marks, scores, slots (buckets, 4), written. An id without a cell takes that of the least score, to
    which its weight is added, and its slot if it has one. Other ids whose score reaches the threshold get
    slots from the end of free (f,), while there are some. taken (n, 2), written: i and the slot.
    """
    marks, scores, slots = cells
    left, found = free.size, 0
    for i in range(keys.size):
        bucket = np.int64(((keys[i] >> _HALF) * np.uint64(marks.shape[0])) >> _HALF)
        mark = _mark(keys[i])
        place, least = -1, 0
        for cell in range(CELLS):
            if marks[bucket, cell] == mark:
                place = cell
                break
            if scores[bucket, cell] < scores[bucket, least]:
                least = cell
        if place < 0:
            place = least
            marks[bucket, place] = mark
            if slots[bucket, place] != NO_SLOT:
                taken[found, 0], taken[found, 1] = i, slots[bucket, place]
                found += 1
        scores[bucket, place] += weights[i]
        if slots[bucket, place] == NO_SLOT and scores[bucket, place] >= threshold and left:
            left -= 1
            slots[bucket, place] = free[left]
            taken[found, 0], taken[found, 1] = i, free[left]
            found += 1
    return found
