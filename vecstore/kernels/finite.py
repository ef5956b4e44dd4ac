"""How large the values of rows are, NaN and infinity included, found at memory speed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]


@kernel
def largest_bits(bits: NDArray[np.uint32]) -> np.uint32:
    """The largest magnitude among `bits` (n,) of float32, as bits: infinity is above all numbers, NaN above
    it."""
    worst = np.uint32(0)
    for i in range(bits.size):
        worst = max(worst, bits[i] & np.uint32(0x7FFFFFFF))
    return worst


def largest(rows: F32) -> float:
    """The largest |value| of contiguous rows (n, d): 0 of no rows, infinity or NaN if there are such."""
    return float(np.uint32(largest_bits(rows.reshape(-1).view(np.uint32))).view(np.float32))


@kernel
def within(rows: F32, most: float) -> bool:
    """Whether no |value| of rows (n, d) is above `most` or NaN; sooner than `largest` says so of a few."""
    sound = True
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            sound &= abs(rows[i, j]) <= most
    return sound
