"""The nearest of up to 256 centroids, one row per lane.

Centroids are laid out in blocks of BLOCK: the first dimension of BLOCK centroids, then the second, and
so on. One vector holds a dimension of LANES rows, a block's distances fill BLOCK registers, and of each
block only the smallest distance goes on. Which centroid of the winning block it was is found once per
row at the end, by the same sums again with the centroids in the lanes. Four other shapes (2, 3 or 4
vectors of rows, fewer centroids to a block; ||c||^2 - 2<x, c> instead of differences) were no faster.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.isa import ISA, LANES
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    FLOAT,
    FLOATS,
    INDEX,
    WORD,
    Builder,
    Value,
    Vector,
    add_lanes,
    address,
    emit_call,
    emit_fma,
    emit_load,
    emit_splat,
    emit_tile,
    emit_vectors,
    fma,
    instruction,
    splat,
    store,
    tile_of,
    transpose_quads,
    where_less,
)

BLOCK = 8 if ISA == "avx2" else 16  # as many sums as fit the registers
ROWS_BYTES = 1 << 18  # rows handled at a time: they and one sub-codebook stay in the level 2 cache
F32 = NDArray[np.float32]
_TILE = tile_of(BLOCK)
_CENTROIDS = Vector(FLOAT, BLOCK)


@instruction(_TILE)
def _no_distances(builder: Builder) -> Value:
    """BLOCK vectors of zeros."""
    return emit_tile(builder, [ir.Constant(FLOATS.llvm, [0.0] * LANES)] * BLOCK)


@instruction(_TILE, _TILE, ADDRESS, ADDRESS)
def _add_dimension(builder: Builder, tile: Value, rows: Value, centroids: Value) -> Value:
    """tile[c] += (rows - centroids[c])^2 for one dimension of LANES rows and of BLOCK centroids."""
    points = emit_load(builder, rows, FLOATS.llvm)
    sums = emit_vectors(builder, tile)
    for c in range(BLOCK):
        value = emit_load(builder, centroids, FLOAT, 4 * c)
        gap = builder.fsub(points, emit_splat(builder, value, FLOATS.llvm))
        sums[c] = emit_fma(builder, gap, gap, sums[c])
    return emit_tile(builder, sums)


@instruction(FLOATS, _TILE)
def _lowest(builder: Builder, tile: Value) -> Value:
    """The smallest of BLOCK distances, in each lane."""
    left = emit_vectors(builder, tile)
    while len(left) > 1:
        pairs = zip(left[::2], left[1::2], strict=True)
        left = [builder.select(builder.fcmp_ordered("<", b, a), b, a) for a, b in pairs]
    return left[0]


@instruction(tile_of(2), _TILE)
def _lowest_and_place(builder: Builder, tile: Value) -> Value:
    """The smallest of BLOCK distances and the first centroid of the block that has it, in each lane."""
    left = emit_vectors(builder, tile)
    places = [ir.Constant(FLOATS.llvm, [float(c)] * LANES) for c in range(BLOCK)]
    while len(left) > 1:
        later = [builder.fcmp_ordered("<", left[i + 1], left[i]) for i in range(0, len(left), 2)]
        left = [builder.select(less, left[2 * i + 1], left[2 * i]) for i, less in enumerate(later)]
        places = [builder.select(less, places[2 * i + 1], places[2 * i]) for i, less in enumerate(later)]
    return emit_tile(builder, [left[0], places[0]])


@instruction(_CENTROIDS)
def _no_distance(builder: Builder) -> Value:
    """BLOCK zeros."""
    return ir.Constant(_CENTROIDS.llvm, [0.0] * BLOCK)


@instruction(_CENTROIDS, _CENTROIDS, ADDRESS, ADDRESS)
def _add_gap(builder: Builder, sums: Value, row: Value, centroids: Value) -> Value:
    """sums[c] += (row - centroids[c])^2 for one dimension of one row and of BLOCK centroids."""
    value = emit_splat(builder, emit_load(builder, row, FLOAT), _CENTROIDS.llvm)
    gap = builder.fsub(value, emit_load(builder, centroids, _CENTROIDS.llvm))
    return emit_fma(builder, gap, gap, sums)


@instruction(types.int64, _CENTROIDS, types.float32)
def _first_equal(builder: Builder, sums: Value, lowest: Value) -> Value:
    """The first of BLOCK distances that is `lowest`."""
    equal = builder.fcmp_ordered("==", sums, emit_splat(builder, lowest, _CENTROIDS.llvm))
    bits = builder.zext(builder.bitcast(equal, ir.IntType(BLOCK)), INDEX)
    # That none is equal cannot be, but an index beyond the block must not be either.
    bits = builder.or_(bits, ir.Constant(INDEX, 1 << (BLOCK - 1)))
    zeros = emit_call(builder, "llvm.cttz.i32", INDEX, [bits, ir.Constant(ir.IntType(1), 1)])
    return builder.zext(zeros, WORD)


@kernel
def _place_in_block(row: int, block: int, width: int, lowest: np.float32) -> int:
    """The first centroid of a block at distance `lowest` from one row, whose values lie LANES apart."""
    sums = _no_distance()
    for t in range(width):
        sums = _add_gap(sums, row + t * (LANES * 4), block + t * (BLOCK * 4))
    place: int = _first_equal(sums, lowest)
    return place


@kernel
def _transpose(rows: F32, first: int, begin: int, width: int, out: F32) -> None:
    """out[t, r] = rows[first + r, begin + t] for LANES rows r, fewer at the end; out[:width * LANES]."""
    count = min(LANES, rows.shape[0] - first)
    if count < LANES or width < 4:
        for r in range(count):
            for t in range(width):
                out[t * LANES + r] = rows[first + r, begin + t]
        return
    stride = rows.shape[1] * 4
    at = address(rows) + first * stride + begin * 4
    for t in range(0, width - 3, 4):
        transpose_quads(at + t * 4, stride, address(out) + t * LANES * 4)
    if width % 4:  # the last quad overlaps the one before it
        t = width - 4
        transpose_quads(at + t * 4, stride, address(out) + t * LANES * 4)


@kernel
def _nearest(points: F32, book: int, width: int, blocks: int, found: F32) -> None:
    """found[0] = least distance to any centroid, found[1] = the first block that has it, per lane.

    points (width, LANES); book: address of a sub-codebook in blocks; found (2 * LANES,).
    """
    best = splat(np.float32(np.inf))
    place = splat(np.float32(0))
    rows = address(points)
    at = book
    for block in range(blocks):
        tile = _no_distances()
        for t in range(width):
            tile = _add_dimension(tile, rows + t * (LANES * 4), at)
            at += BLOCK * 4
        lowest = _lowest(tile)
        place = where_less(lowest, best, splat(np.float32(block)), place)
        best = where_less(lowest, best, lowest, best)
    store(address(found), best)
    store(address(found) + LANES * 4, place)


@kernel
def _nearest_of_few(points: F32, book: int, width: int, blocks: int, found: F32) -> None:
    """As `_nearest`, but found[1] is the centroid: cheaper where there are one or two blocks."""
    best = splat(np.float32(np.inf))
    place = splat(np.float32(0))
    rows = address(points)
    at = book
    for block in range(blocks):
        tile = _no_distances()
        for t in range(width):
            tile = _add_dimension(tile, rows + t * (LANES * 4), at)
            at += BLOCK * 4
        lowest, inside = _lowest_and_place(tile)
        inside = add_lanes(inside, splat(np.float32(block * BLOCK)))
        place = where_less(lowest, best, inside, place)
        best = where_less(lowest, best, lowest, best)
    store(address(found), best)
    store(address(found) + LANES * 4, place)


@kernel
def assign_vectors(
    rows: F32, book: F32, starts: NDArray[np.int64], codes: NDArray[np.uint8], points: F32, found: F32
) -> None:
    """codes[i, j] = the first c that minimises ||rows[i, starts[j]:starts[j+1]] - centroids[c, same]||^2.

    rows (n, dim); book as `lay_out` makes it; starts (m + 1,); codes (n, m), written; points (widest
    subspace * LANES,) and found (2 * LANES,) are scratch.
    """
    n, dim = rows.shape
    blocks = book.size // dim // BLOCK
    step = max(1, ROWS_BYTES // (4 * dim * LANES)) * LANES
    for low in range(0, n, step):
        for j in range(starts.size - 1):
            width = starts[j + 1] - starts[j]
            part = address(book) + starts[j] * blocks * BLOCK * 4
            for i in range(low, min(n, low + step), LANES):
                _transpose(rows, i, starts[j], width, points)
                if blocks <= 2:
                    _nearest_of_few(points, part, width, blocks, found)
                    for r in range(min(LANES, n - i)):
                        codes[i + r, j] = np.uint8(found[LANES + r])
                    continue
                _nearest(points, part, width, blocks, found)
                for r in range(min(LANES, n - i)):
                    block = np.int64(found[LANES + r])
                    at = part + block * width * (BLOCK * 4)
                    place = _place_in_block(address(points) + 4 * r, at, width, found[r])
                    codes[i + r, j] = block * BLOCK + place


@kernel
def assign_plain(rows: F32, book: F32, starts: NDArray[np.int64], codes: NDArray[np.uint8]) -> None:
    """codes[i, j] as `assign_vectors` writes them, by plain loops."""
    n, dim = rows.shape
    padded = book.size // dim
    for i in range(n):
        for j in range(starts.size - 1):
            begin, width = starts[j], starts[j + 1] - starts[j]
            best, winner = np.float32(np.inf), 0
            for c in range(padded):
                at = begin * padded + c // BLOCK * width * BLOCK + c % BLOCK
                distance = np.float32(0)
                for t in range(width):
                    gap = rows[i, begin + t] - book[at + t * BLOCK]
                    distance = fma(gap, gap, distance)
                if distance < best:
                    best, winner = distance, c
            codes[i, j] = winner
