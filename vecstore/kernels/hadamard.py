"""Random rotations in place: sign flips and Walsh-Hadamard transforms, O(d log d) per row."""

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
    Builder,
    Instruction,
    Value,
    address,
    emit_load,
    emit_shuffle,
    emit_splat,
    emit_store,
    instruction,
    transpose_quads,
)
from vecstore.kernels.sixteen import (
    SIXTEEN,
    all_of,
    load_all,
    load_floats,
    minus,
    plus,
    store_all,
    store_floats,
    times,
)

F32 = NDArray[np.float32]

TILE = 16  # rows turned at once, one to a lane, so that every step is a loop over adjacent values
VECTOR = max(LANES, 4)
_FEW = 4  # rows
STAGES = 4 if ISA == "avx512" else 3  # 16 or 8 vectors, and what their sums take, fit the registers


@kernel
def _hadamard_plain(tile: F32, start: int, width: int) -> None:
    """tile[start : start + width] = H tile[same] / sqrt(width), H the Walsh-Hadamard matrix.

    tile (d, TILE), in place, a row of vectors in each column; width a power of two. Partners lie 1, 2, 4, ...
    apart in turn, so that every instruction set rounds alike.
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


def _stages(count: int) -> Instruction:
    """An instruction (address, step, scale): `count` stages on 2**count vectors, `step` bytes apart."""
    size = 1 << count
    kind = ir.VectorType(FLOAT, VECTOR)

    def stages(builder: Builder, at: Value, step: Value, scale: Value) -> None:
        for part in range(0, 4 * TILE, 4 * VECTOR):
            places, place = [], at
            for _ in range(size):
                places.append(place)
                place = builder.add(place, step)
            values = [emit_load(builder, place, kind, part) for place in places]
            for stage in range(count):
                reach = 1 << stage
                for low in range(size):
                    if not low & reach:
                        a, b = values[low], values[low + reach]
                        values[low], values[low + reach] = builder.fadd(a, b), builder.fsub(a, b)
            factor = emit_splat(builder, scale, kind)
            for place, value in zip(places, values, strict=True):
                emit_store(builder, place, builder.fmul(value, factor), part)

    return instruction(types.void, ADDRESS, types.int64, types.float32)(stages)


_stage1, _stages2, _stages3, _stages4 = _stages(1), _stages(2), _stages(3), _stages(4)


@kernel
def _hadamard_vectors(tile: F32, start: int, width: int) -> None:
    """The same, several stages while the values are in registers."""
    scale = np.float32(1.0 / np.sqrt(np.float64(width)))
    at, row = address(tile) + start * TILE * 4, TILE * 4
    if width == 1:
        return
    reach = 1
    while reach < width:
        left = width // reach
        size = 16 if STAGES == 4 and left >= 16 else min(left, 8)
        factor = scale if reach * size == width else np.float32(1)
        for block in range(0, width, reach * size):
            for t in range(reach):
                place = at + (block + t) * row
                if size == 16:
                    _stages4(place, reach * row, factor)
                elif size == 8:
                    _stages3(place, reach * row, factor)
                elif size == 4:
                    _stages2(place, reach * row, factor)
                else:
                    _stage1(place, reach * row, factor)
        reach *= size


hadamard = _hadamard_plain if ISA == "scalar" else _hadamard_vectors


@kernel
def _flip_plain(tile: F32, signs: F32) -> None:
    """tile[j] *= signs[j]; tile (d, TILE), signs (d,)."""
    for j in range(tile.shape[0]):
        for r in range(TILE):
            tile[j, r] *= signs[j]


def _in_place(name: str) -> Instruction:
    """An instruction (address, number): TILE float32 become what `name` of llvmlite makes of each and it."""

    def change(builder: Builder, at: Value, number: Value) -> None:
        kind = ir.VectorType(FLOAT, TILE)
        values, numbers = emit_load(builder, at, kind), emit_splat(builder, number, kind)
        emit_store(builder, at, getattr(builder, name)(values, numbers))

    return instruction(types.void, ADDRESS, types.float32)(change)


_multiply, _lower = _in_place("fmul"), _in_place("fsub")


@kernel
def _flip_vectors(tile: F32, signs: F32) -> None:
    """The same; LLVM makes no vectors of the plain loop."""
    at = address(tile)
    for j in range(tile.shape[0]):
        _multiply(at + j * TILE * 4, signs[j])


_flip = _flip_plain if ISA == "scalar" else _flip_vectors


@kernel
def _plain_tile(d: int) -> F32:
    """A tile of zeros, (d, TILE)."""
    return np.zeros((d, TILE), np.float32)


@kernel
def _aligned_tile(d: int) -> F32:
    """A tile of zeros, (d, TILE), that begins on a cache line: no vector then lies across two."""
    held = np.zeros((d + 1) * TILE, np.float32)
    skip = -address(held) % 64 // 4
    return held[skip : skip + d * TILE].reshape((d, TILE))


make_tile = _plain_tile if ISA == "scalar" else _aligned_tile


@kernel
def _load_plain(rows: F32, first: int, tile: F32) -> None:
    """tile[j, r] = rows[first + r, j] for the rows that there are; other lanes stay."""
    for r in range(min(TILE, rows.shape[0] - first)):
        for j in range(rows.shape[1]):
            tile[j, r] = rows[first + r, j]


@kernel
def _load_vectors(rows: F32, first: int, tile: F32) -> None:
    """The same, four dimensions of all rows at once."""
    d = rows.shape[1]
    if first + TILE > rows.shape[0] or d < 4:
        _load_plain(rows, first, tile)
        return
    stride = d * 4
    source, target = address(rows) + first * stride, address(tile)
    for j in range(0, d - 3, 4):
        transpose_quads(source + j * 4, stride, target + j * TILE * 4)
    if d % 4:  # the last four begin among those before
        transpose_quads(source + (d - 4) * 4, stride, target + (d - 4) * TILE * 4)


load = _load_vectors if LANES == TILE else _load_plain


@kernel
def _subtract_plain(tile: F32, row: F32) -> None:
    """tile[j] -= row[j]; tile (d, TILE), row (d,), or (0,) for zeros."""
    for j in range(row.shape[0]):
        for r in range(TILE):
            tile[j, r] -= row[j]


@kernel
def _subtract_vectors(tile: F32, row: F32) -> None:
    """The same."""
    at = address(tile)
    for j in range(row.shape[0]):
        _lower(at + j * TILE * 4, row[j])


subtract = _subtract_plain if ISA == "scalar" else _subtract_vectors


@kernel
def turn(tile: F32, signs: F32, forward: bool) -> None:
    """Per pass: every dimension times its sign, then hadamard on the first (even pass) or last dimensions.

    tile (d, TILE), in place; signs (passes, d) of +1 and -1. Not forward: the inverse.
    """
    d = tile.shape[0]
    width = 1
    while 2 * width <= d:
        width *= 2
    for step in range(signs.shape[0]):
        p = step if forward else signs.shape[0] - 1 - step
        start = 0 if p % 2 == 0 else d - width
        if forward:
            _flip(tile, signs[p])
            hadamard(tile, start, width)
        else:
            hadamard(tile, start, width)
            _flip(tile, signs[p])


@instruction(types.void, ADDRESS)
def _inside(builder: Builder, at: Value) -> None:
    """The stages of partners 1, 2, 4 and 8 apart, of sixteen values in place."""
    values = emit_load(builder, at, SIXTEEN.llvm)
    for stage in range(4):
        partners = emit_shuffle(builder, values, values, [lane ^ 1 << stage for lane in range(16)])
        signs = [-1.0 if lane >> stage & 1 else 1.0 for lane in range(16)]
        values = builder.fadd(partners, builder.fmul(values, ir.Constant(SIXTEEN.llvm, signs)))
    emit_store(builder, at, values)


@kernel
def _turn_row(row: int, d: int, signs: F32, forward: bool) -> None:
    """`turn` of one row at an address, at least sixteen wide."""
    width = 16
    while 2 * width <= d:
        width *= 2
    scale = all_of(np.float32(1.0 / np.sqrt(np.float64(width))))
    for step in range(signs.shape[0]):
        p = step if forward else signs.shape[0] - 1 - step
        first = row if p % 2 == 0 else row + 4 * (d - width)
        if forward:
            _flip_row(row, address(signs) + 4 * p * d, d)
        for at in range(first, first + 4 * width, 64):
            _inside(at)
        reach = 64
        while reach < 4 * width:
            for block in range(first, first + 4 * width, 2 * reach):
                for at in range(block, block + reach, 64):
                    a, b = load_all(at), load_all(at + reach)
                    store_all(at, plus(a, b))
                    store_all(at + reach, minus(a, b))
            reach *= 2
        for at in range(first, first + 4 * width, 64):
            store_all(at, times(load_all(at), scale))
        if not forward:
            _flip_row(row, address(signs) + 4 * p * d, d)


@kernel
def _flip_row(row: int, signs: int, d: int) -> None:
    """d float32 at an address times signs at another."""
    whole = d // 16 * 16
    for t in range(0, 4 * whole, 64):
        store_all(row + t, times(load_all(row + t), load_all(signs + t)))
    if whole < d:
        row, signs, left = row + 4 * whole, signs + 4 * whole, d - whole
        store_floats(row, times(load_floats(row, left), load_floats(signs, left)), left)


@kernel
def _rotate_few(rows: F32, signs: F32, forward: bool) -> None:
    """`rotate`, one row after the other: a tile takes as long for one row as for all that it has room for."""
    for i in range(rows.shape[0]):
        _turn_row(address(rows) + 4 * i * rows.shape[1], rows.shape[1], signs, forward)


def rotate(rows: F32, signs: F32, forward: bool) -> None:
    """`turn` of rows (n, d), in place."""
    few = ISA != "scalar" and len(rows) <= _FEW and rows.shape[1] >= 16
    (_rotate_few if few else _rotate_tiles)(rows, signs, forward)


@kernel
def _rotate_tiles(rows: F32, signs: F32, forward: bool) -> None:
    """`rotate`, TILE rows at a time."""
    tile = make_tile(rows.shape[1])
    for first in range(0, rows.shape[0], TILE):
        load(rows, first, tile)
        turn(tile, signs, forward)
        for r in range(min(TILE, rows.shape[0] - first)):
            for j in range(rows.shape[1]):
                rows[first + r, j] = tile[j, r]
