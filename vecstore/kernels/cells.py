"""Rotated rows to the cells of one scalar quantizer, the same for all dimensions, and back.

A row is rotated, scaled to length sqrt(d) and cut dimension by dimension. Cells are symmetric about zero:
with h = 2**(b - 1), cell h + m holds the m-th interval above zero, cell h - 1 - m its mirror image. Cell j of
a row is bits b j to b j + b - 1 of the last bytes of its code, counted from the lowest bit of each. Rows lie
one to a lane (`hadamard.TILE`), so that sums over a row go dimension by dimension, in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.hadamard import TILE, load, make_tile, subtract, turn
from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
Turning = tuple[F32, F32]  # what is taken off a row before it is rotated, and the rotation's signs

HALF = 8  # levels above zero that `nearest` takes, at most
SHORTEST = 1e-30  # a row of at most this length counts as zero


def width(dim: int, bits: int) -> int:
    """Bytes of a row's cells."""
    return (dim * bits + 7) // 8


def nearest(rows: F32, turning: Turning, levels: F32, codes: U8, sums: F64) -> None:
    """Cell j is the one whose level is nearest to y_j sqrt(d) / |y|, y = rows[i] - mean rotated; into codes.

    rows (n, d); turning: mean (d,), or (0,) for zeros, and signs as in `hadamard.turn`; levels (h,), those
    above zero, ascending, h <= HALF; codes (n, at least width), of which the last bytes are written; sums
    (n, 3), written: |y|^2, <y, l> and |l|^2, where l are the levels of the row's cells.
    """
    half = len(levels)
    edges, padded = np.full(HALF, np.inf, np.float32), np.zeros(HALF, np.float32)
    edges[1:half] = (levels[:-1] + levels[1:]) / np.float32(2)
    padded[:half] = levels
    _nearest(rows, turning, (edges, padded, half), codes, sums)


@kernel
def _nearest(rows: F32, turning: Turning, book: tuple[F32, F32, int], codes: U8, sums: F64) -> None:
    """`nearest`, levels (HALF,) padded, edges[m] (HALF,) between levels m - 1 and m."""
    (mean, signs), (edges, levels, half) = turning, book
    d = rows.shape[1]
    tile, cells = make_tile(d), np.empty((d, TILE), np.uint8)
    squares, both, own = np.empty(TILE), np.empty(TILE), np.empty(TILE)
    inverse, level = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    for first in range(0, rows.shape[0], TILE):
        load(rows, first, tile)
        subtract(tile, mean)
        turn(tile, signs, True)
        lengths(tile, squares, inverse)
        both[:] = 0.0
        own[:] = 0.0
        if half == 1:
            _halves(tile, levels[0], both, own, cells)
        else:
            for j in range(d):
                if half == 2:
                    _place2(tile[j], inverse, edges, levels, level, cells[j])
                else:
                    _place(tile[j], inverse, edges, levels, level, cells[j])
                for r in range(TILE):
                    both[r] += np.float64(abs(tile[j, r])) * np.float64(level[r])
                    own[r] += np.float64(level[r]) * np.float64(level[r])
                    cells[j, r] = half - 1 - cells[j, r] if tile[j, r] < 0 else half + cells[j, r]
        store(cells, 2 * half, (squares, both, own), first, codes, sums)


@kernel
def lengths(tile: F32, squares: F64, inverse: F32) -> None:
    """squares[r] = |row r|^2; inverse[r] = sqrt(d) / |row r|, 0 for a row that counts as zero."""
    d, squares[:] = tile.shape[0], 0.0
    whole = d // 4 * 4
    for j in range(0, whole, 4):  # Four at a time, since the sums lie in memory.
        v0, v1, v2, v3 = tile[j], tile[j + 1], tile[j + 2], tile[j + 3]
        for r in range(TILE):
            total = squares[r] + np.float64(v0[r]) * np.float64(v0[r])
            total = total + np.float64(v1[r]) * np.float64(v1[r])
            total = total + np.float64(v2[r]) * np.float64(v2[r])
            squares[r] = total + np.float64(v3[r]) * np.float64(v3[r])
    for j in range(whole, d):
        for r in range(TILE):
            squares[r] += np.float64(tile[j, r]) * np.float64(tile[j, r])
    for r in range(TILE):
        length = np.sqrt(squares[r])
        inverse[r] = np.float32(np.sqrt(np.float64(tile.shape[0])) / length if length > SHORTEST else 0.0)


@kernel
def _halves(tile: F32, level: np.float32, both: F64, own: F64, cells: U8) -> None:
    """The cells of two, one to a side, and what `_nearest` sums up of a tile."""
    d, size = tile.shape[0], np.float64(level)
    whole = d // 4 * 4
    for j in range(0, whole, 4):
        v0, v1, v2, v3 = tile[j], tile[j + 1], tile[j + 2], tile[j + 3]
        for r in range(TILE):
            total = both[r] + np.float64(abs(v0[r])) * size
            total = total + np.float64(abs(v1[r])) * size
            total = total + np.float64(abs(v2[r])) * size
            both[r] = total + np.float64(abs(v3[r])) * size
    for j in range(whole, d):
        for r in range(TILE):
            both[r] += np.float64(abs(tile[j, r])) * size
    squared = 0.0
    for j in range(d):
        squared += size * size
        for r in range(TILE):
            cells[j, r] = np.uint8(0) if tile[j, r] < 0 else np.uint8(1)
    own[:] = squared


@kernel
def _place2(values: F32, inverse: F32, edges: F32, levels: F32, level: F32, cells: U8) -> None:
    """`_place` of two levels."""
    edge, low, high = edges[1], levels[0], levels[1]
    for r in range(TILE):
        above = abs(values[r] * inverse[r]) > edge
        level[r] = high if above else low
        cells[r] = np.uint8(1) if above else np.uint8(0)


@kernel
def _place(values: F32, inverse: F32, edges: F32, levels: F32, level: F32, cells: U8) -> None:
    """cells[r] = how many edges |values[r] * inverse[r]| is above; level[r] = that one's level."""
    # Written out for HALF levels: as a loop it does not become vector instructions.
    e1, e2, e3, e4 = edges[1], edges[2], edges[3], edges[4]
    e5, e6, e7 = edges[5], edges[6], edges[7]
    l0, l1, l2, l3 = levels[0], levels[1], levels[2], levels[3]
    l4, l5, l6, l7 = levels[4], levels[5], levels[6], levels[7]
    for r in range(TILE):
        size = abs(values[r] * inverse[r])
        found = l1 if size > e1 else l0
        found = l2 if size > e2 else found
        found = l3 if size > e3 else found
        found = l4 if size > e4 else found
        found = l5 if size > e5 else found
        found = l6 if size > e6 else found
        level[r] = l7 if size > e7 else found
        place = np.int32(size > e1) + np.int32(size > e2) + np.int32(size > e3) + np.int32(size > e4)
        cells[r] = np.uint8(place + np.int32(size > e5) + np.int32(size > e6) + np.int32(size > e7))


@kernel
def store(cells: U8, count: int, found: tuple[F64, F64, F64], first: int, codes: U8, sums: F64) -> None:
    """Packs the cells (d, TILE), of which there are `count` kinds, and writes what was found of each row."""
    bits = _log2(count)
    d = cells.shape[0]
    packed = np.zeros((d * bits // 8 + 2, TILE), np.uint8)
    _pack(cells.view(np.uint64), bits, packed.view(np.uint64))
    size = (d * bits + 7) // 8
    start = codes.shape[1] - size
    for r in range(min(TILE, codes.shape[0] - first)):
        for t in range(size):
            codes[first + r, start + t] = packed[t, r]
        sums[first + r, 0] = found[0][r]
        sums[first + r, 1] = found[1][r]
        sums[first + r, 2] = found[2][r]


@kernel
def _pack(cells: U64, bits: int, packed: U64) -> None:
    """Cells (d, n), of which a word holds eight in a byte each, one after the other into packed, zeros."""
    ones = np.uint64(0x0101010101010101)
    for j in range(cells.shape[0]):
        at, shift = j * bits // 8, np.uint64(j * bits % 8)
        rest = np.uint64(8) - shift
        for t in range(cells.shape[1]):
            if rest >= np.uint64(bits):
                packed[at, t] |= cells[j, t] << shift
            else:
                low, high = (np.uint64(1) << rest) - np.uint64(1), np.uint64(0xFF) >> rest
                packed[at, t] |= (cells[j, t] & ones * low) << shift
                packed[at + 1, t] |= cells[j, t] >> rest & ones * high


@kernel
def decode(codes: U8, levels: F32, scales: F32, signs: F32, rows: F32) -> None:
    """rows[i] = levels[cells of codes[i]] * scales[i], rotated back.

    codes (n, at least width), of which the last bytes are read; levels (2**b,); scales (n,); rows (n, d),
    written.
    """
    bits = _log2(levels.size)
    d = rows.shape[1]
    start = codes.shape[1] - (d * bits + 7) // 8
    tile = make_tile(d)
    for first in range(0, rows.shape[0], TILE):
        count = min(TILE, rows.shape[0] - first)
        for r in range(count):
            _levels(codes[first + r, start:], levels, scales[first + r], bits, tile[:, r])
        turn(tile, signs, False)
        for r in range(count):
            for j in range(d):
                rows[first + r, j] = tile[j, r]


@kernel
def _levels(code: U8, levels: F32, scale: np.float32, bits: int, out: F32) -> None:
    """out[j] = levels[cell j of a code] * scale."""
    d, whole = out.size, 0
    if bits == 1:  # Bytes of whole cells go faster than cell by cell.
        whole = d // 8 * 8
        low, high = levels[0] * scale, levels[1] * scale
        for j in range(0, whole, 8):
            byte = code[j // 8]
            for t in range(8):
                out[j + t] = high if byte >> t & 1 else low
    elif bits == 2:
        whole = d // 4 * 4
        for j in range(0, whole, 4):
            byte = code[j // 4]
            out[j] = levels[byte & 3] * scale
            out[j + 1] = levels[byte >> 2 & 3] * scale
            out[j + 2] = levels[byte >> 4 & 3] * scale
            out[j + 3] = levels[byte >> 6] * scale
    elif bits == 4:
        whole = d // 2 * 2
        for j in range(0, whole, 2):
            byte = code[j // 2]
            out[j] = levels[byte & 15] * scale
            out[j + 1] = levels[byte >> 4] * scale
    mask = np.uint16(levels.size - 1)
    for j in range(whole, d):
        at, shift = j * bits // 8, np.uint16(j * bits % 8)
        held = np.uint16(code[at]) >> shift
        if shift + bits > 8:
            held |= np.uint16(code[at + 1]) << (np.uint16(8) - shift)
        out[j] = levels[held & mask] * scale


@kernel
def unpack(codes: U8, bits: int, cells: U8) -> None:
    """cells[i, j] = cell j of row i; codes as in `decode`, cells (n, d), written."""
    d = cells.shape[1]
    mask = np.uint16((1 << bits) - 1)
    start = codes.shape[1] - (d * bits + 7) // 8
    for i in range(cells.shape[0]):
        for j in range(d):
            at, shift = start + j * bits // 8, np.uint16(j * bits % 8)
            held = np.uint16(codes[i, at]) >> shift
            if shift + bits > 8:
                held |= np.uint16(codes[i, at + 1]) << (np.uint16(8) - shift)
            cells[i, j] = np.uint8(held & mask)


@kernel
def outline(codes: U8, levels: F32, dim: int, above: U8, sums: F64) -> None:
    """above[i] = a bit for each cell, whether it is in the upper half; sums[i] = what the sizes of its levels
    and their squares add up to.

    codes as in `decode`; levels (2**b,); above (n, ceil(dim / 8)), zeros, written; sums (n, 2), written.
    """
    bits = _log2(levels.size)
    mask, half = np.uint16(levels.size - 1), levels.size // 2
    start = codes.shape[1] - (dim * bits + 7) // 8
    for i in range(codes.shape[0]):
        sums[i, 0], sums[i, 1] = 0.0, 0.0
        for j in range(dim):
            at, shift = start + j * bits // 8, np.uint16(j * bits % 8)
            held = np.uint16(codes[i, at]) >> shift
            if shift + bits > 8:
                held |= np.uint16(codes[i, at + 1]) << (np.uint16(8) - shift)
            held &= mask
            size = abs(np.float64(levels[held]))
            sums[i, 0] += size
            sums[i, 1] += size * size
            above[i, j // 8] |= np.uint8(held >= half) << np.uint8(j % 8)


@kernel
def _log2(count: int) -> int:
    """The bits of a power of two."""
    bits = 0
    while 1 << bits < count:
        bits += 1
    return bits
