"""Rotated rows to the codewords of an even grid that point their way most closely.

The grid's levels are m + 1/2 for m = 0, 1, ..., top, and their negatives. What counts is the cosine of a row
and its codeword alone, since each row has a scale. The best codeword is the row times some factor, rounded;
an exact search goes through all factors at which a value changes its cell (Gao et al. 2024, arXiv:2409.09913,
section 3.2). Here some factors are tried, and then cell after cell is moved while that brings the
codeword closer (as in CAQ, Li et al. 2025, arXiv:2509.12086), for many rows at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.cells import Turning, lengths, store
from vecstore.kernels.hadamard import TILE, load, make_tile, subtract, turn
from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
How = tuple[np.float32, float, float, int]

# Of a normal variable: the steps of the even quantizers of 1, 2, ... bits with the least error (Max 1960,
# doi:10.1109/TIT.1960.1057548, table II). They only tell where to look.
_STEPS = (0.0, 1.596, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308)
_FEW = 64  # with fewer dimensions the cosine is a ragged function of the factor, and tries are cheap
_ROUNDS = 3  # of moving cells
_OUTSIDE = 0.2  # how far beyond the usual factors to look


def closest(rows: F32, turning: Turning, bits: int, codes: U8, sums: F64) -> None:
    """Cells of the codeword with nearly the largest cosine with y = rows[i] - mean rotated; into codes.

    rows (n, d); turning as in `cells.nearest`; bits from 2 to 8; codes and sums as in `cells.nearest`. The
    mean cosine is within 1e-5 of the largest. On average 1 - cosine**2 is within 0.1 % of the least at 2 to 4
    bits, and within 4 % at 8.
    """
    tries, least = (12 if bits <= 4 else 24), 0.8
    if rows.shape[1] < _FEW:
        tries, least = 8 * tries, 0.1
    _closest(rows, turning, (np.float32(2 ** (bits - 1) - 1), _STEPS[bits], least, tries), codes, sums)


@kernel
def _closest(rows: F32, turning: Turning, how: How, codes: U8, sums: F64) -> None:
    """`closest`; how: top, the usual step, the least factor that is tried, how many at first."""
    (mean, signs), top = turning, how[0]
    tile, places = make_tile(rows.shape[1]), make_tile(rows.shape[1])
    cells = np.empty(tile.shape, np.uint8)
    squares, both, own = np.empty(TILE), np.empty(TILE), np.empty(TILE)
    inverse, factor = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    for first in range(0, rows.shape[0], TILE):
        load(rows, first, tile)
        subtract(tile, mean)
        turn(tile, signs, True)
        lengths(tile, squares, inverse)
        _search(tile, inverse, how, factor)
        for j in range(tile.shape[0]):
            for r in range(TILE):
                places[j, r] = min(np.floor(abs(tile[j, r]) * factor[r]), top)
        _closeness(tile, factor, top, both, own)
        for _ in range(_ROUNDS):
            _improve(tile, places, top, both, own)
        half = np.int32(top) + 1
        for j in range(tile.shape[0]):
            for r in range(TILE):
                place = np.int32(places[j, r])
                cells[j, r] = np.uint8(half - 1 - place if tile[j, r] < 0 else half + place)
        store(cells, 2 * int(half), (squares, both, own), first, codes, sums)


@kernel
def _search(tile: F32, inverse: F32, how: How, factor: F32) -> None:
    """factor[r] = the closest of those that are tried: over the whole range, then about the best."""
    top, step, least, tries = how
    low, width = np.empty(TILE), np.empty(TILE)
    best, chosen, found, own = np.zeros(TILE), np.zeros(TILE), np.empty(TILE), np.empty(TILE)
    largest = np.zeros(TILE, np.float32)
    for j in range(tile.shape[0]):
        for r in range(TILE):
            largest[r] = max(largest[r], abs(tile[j, r]))
    for r in range(TILE):
        # In this unit the largest value is just cut off at 1; usual is the factor of the usual step.
        usual = np.float64(largest[r]) * np.float64(inverse[r]) / (step * (np.float64(top) + 1.0))
        unit = (np.float64(top) + 1.0) / np.float64(largest[r]) if inverse[r] > 0 else 0.0
        low[r] = unit * min((1.0 - _OUTSIDE) * usual, least)
        width[r] = unit * max((1.0 + _OUTSIDE) * usual, 1.05) - low[r]
    for at in range(tries + tries // 2):
        for r in range(TILE):
            if at == tries:
                low[r] = chosen[r] - width[r] / (tries - 1)
                width[r] *= 2.0 / (tries - 1)
            share = at / (tries - 1) if at < tries else (at - tries + 1) / (tries // 2 + 1)
            factor[r] = np.float32(low[r] + width[r] * share)
        _closeness(tile, factor, top, found, own)
        for r in range(TILE):
            closeness = found[r] * found[r] / own[r]
            chosen[r] = np.float64(factor[r]) if closeness > best[r] else chosen[r]
            best[r] = max(best[r], closeness)
    for r in range(TILE):
        factor[r] = np.float32(chosen[r])


@kernel
def _closeness(tile: F32, factor: F32, top: np.float32, both: F64, own: F64) -> None:
    """both[r] = <y, l> and own[r] = |l|^2, l the levels of |row r| * factor[r]."""
    half = np.float32(0.5)
    both[:] = 0.0
    own[:] = 0.0
    for j in range(tile.shape[0]):
        for r in range(TILE):
            size = abs(tile[j, r])
            level = min(np.floor(size * factor[r]), top) + half
            both[r] += np.float64(size) * np.float64(level)
            own[r] += np.float64(level * level)


@kernel
def _improve(tile: F32, cells: F32, top: np.float32, both: F64, own: F64) -> None:
    """Moves each cell to its neighbour if that brings the levels closer to the row."""
    for j in range(tile.shape[0]):
        for r in range(TILE):
            size, place = np.float64(abs(tile[j, r])), np.float64(cells[j, r])
            up, down = both[r] + size, both[r] - size
            wide, narrow = own[r] + (2 * place + 2), own[r] - 2 * place
            grow = (place < top) & (up * up * own[r] > both[r] * both[r] * wide)
            shrink = (place > 0) & (down * down * own[r] > both[r] * both[r] * narrow) & ~grow
            both[r] = up if grow else (down if shrink else both[r])
            own[r] = wide if grow else (narrow if shrink else own[r])
            step = np.float32(1) if grow else (np.float32(-1) if shrink else np.float32(0))
            cells[j, r] += step
