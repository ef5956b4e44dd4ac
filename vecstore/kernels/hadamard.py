"""Random rotations in place: sign flips and Walsh-Hadamard transforms, O(d log d) per row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]


@kernel
def hadamard(row: F32) -> None:
    """row = H row / sqrt(d), H the Walsh-Hadamard matrix; row (d,), d a power of two, in place."""
    d = row.size
    half = 1
    while half < d:
        for start in range(0, d, 2 * half):
            for j in range(start, start + half):
                a, b = row[j], row[j + half]
                row[j] = a + b
                row[j + half] = a - b
        half *= 2
    scale = np.float32(1.0 / np.sqrt(np.float64(d)))
    for j in range(d):
        row[j] *= scale


@kernel
def _width(d: int) -> int:
    """The largest power of two that is at most d."""
    width = 1
    while 2 * width <= d:
        width *= 2
    return width


@kernel
def rotate(rows: F32, signs: F32) -> None:
    """Per pass: all dimensions times their sign, then hadamard on the first (even pass) or last ones.

    rows (n, d), in place; signs (passes, d) of +1 and -1.
    """
    d = rows.shape[1]
    width = _width(d)
    for i in range(rows.shape[0]):
        for p in range(signs.shape[0]):
            for j in range(d):
                rows[i, j] *= signs[p, j]
            start = 0 if p % 2 == 0 else d - width
            hadamard(rows[i, start : start + width])


@kernel
def rotate_back(rows: F32, signs: F32) -> None:
    """The inverse of `rotate`: rows (n, d), in place; signs (passes, d)."""
    d = rows.shape[1]
    width = _width(d)
    for i in range(rows.shape[0]):
        for p in range(signs.shape[0] - 1, -1, -1):
            start = 0 if p % 2 == 0 else d - width
            hadamard(rows[i, start : start + width])
            for j in range(d):
                rows[i, j] *= signs[p, j]
