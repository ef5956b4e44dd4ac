"""Random rotations in place: sign flips and Walsh-Hadamard transforms, O(d log d) per row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]

TILE = 16  # rows turned at once, one to a lane, so that every step is a loop over adjacent values


@kernel
def hadamard(tile: F32, start: int, width: int) -> None:
    """tile[start : start + width] = H tile[same] / sqrt(width), H the Walsh-Hadamard matrix.

    tile (d, TILE), in place, a row of vectors in each column; width a power of two.
    """
    # Partners lie `reach` values apart, and runs of `reach` of them are adjacent: one long loop each.
    reach = TILE
    while reach < width * TILE:
        for block in range(start * TILE, (start + width) * TILE, 2 * reach):
            low, high = (
                tile.reshape(-1)[block : block + reach],
                tile.reshape(-1)[block + reach : block + 2 * reach],
            )
            for t in range(reach):
                a, b = low[t], high[t]
                low[t] = a + b
                high[t] = a - b
        reach *= 2
    scale = np.float32(1.0 / np.sqrt(np.float64(width)))
    for j in range(start, start + width):
        for r in range(TILE):
            tile[j, r] *= scale


@kernel
def _flip(tile: F32, signs: F32) -> None:
    """tile[j] *= signs[j]; tile (d, TILE), signs (d,)."""
    for j in range(tile.shape[0]):
        for r in range(TILE):
            tile[j, r] *= signs[j]


@kernel
def rotate(rows: F32, signs: F32, forward: bool) -> None:
    """Per pass: every dimension times its sign, then hadamard on the first (even pass) or last dimensions.

    rows (n, d), in place; signs (passes, d) of +1 and -1. Not forward: the inverse.
    """
    d = rows.shape[1]
    width = 1
    while 2 * width <= d:
        width *= 2
    tile = np.zeros((d, TILE), np.float32)
    for first in range(0, rows.shape[0], TILE):
        count = min(TILE, rows.shape[0] - first)
        for r in range(count):
            for j in range(d):
                tile[j, r] = rows[first + r, j]
        for step in range(signs.shape[0]):
            p = step if forward else signs.shape[0] - 1 - step
            start = 0 if p % 2 == 0 else d - width
            if forward:
                _flip(tile, signs[p])
                hadamard(tile, start, width)
            else:
                hadamard(tile, start, width)
                _flip(tile, signs[p])
        for r in range(count):
            for j in range(d):
                rows[first + r, j] = tile[j, r]
