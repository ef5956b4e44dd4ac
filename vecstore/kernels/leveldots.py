"""Inner products of rows whose values are 16 levels, a nibble each, with rounded weights.

Blocks are those of `bytedots`: a register holds four bytes of several rows. A shuffle of bytes turns its
nibbles into levels, rounded to 8 bits, and one instruction multiplies them by the weights of a query, rounded
to 8 bits too, and adds them to each row's sum. That is enough for rows behind a random rotation, whose
values, and those of a query, are all of like size.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.bytedots import BLOCK, emit_dot, lay_out
from vecstore.kernels.isa import ISA
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    BYTE,
    BYTES,
    FLOAT,
    INDEX,
    REGISTER_BYTES,
    Builder,
    Value,
    Vector,
    address,
    emit_fma,
    emit_load,
    emit_shuffle,
    emit_shuffle_bytes,
    emit_splat,
    emit_store,
    emit_tile,
    emit_vectors,
    fma,
    instruction,
)

__all__ = ["BLOCK", "MOST_DIMS", "dots", "fold", "lay_out", "round_levels"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I8 = NDArray[np.int8]
Book = tuple[U8, float, float]  # (16,), least level, step
Weights = tuple[I8, F32, F32]  # (q, groups, 2, 4), scales (q,), offsets (q,)
MOST_DIMS = 65_000  # so that sums of 255 * 127 each fit 32 bits
_LANES = REGISTER_BYTES // 4  # rows of a register
_REGISTERS = 2 if ISA == "avx2" else 4  # of rows, summed at a time
_PART = _LANES * _REGISTERS
_INTS = Vector(INDEX, _LANES)
_TILE = types.UniTuple(_INTS, 2 * _REGISTERS)  # type: ignore[no-untyped-call]


def round_levels(levels: F32) -> Book:
    """levels (k,), k <= 16, ascending, as whole steps from the least to the largest, both exact."""
    wide = levels.astype(np.float64)
    step = float(wide[-1] - wide[0]) / 255 or 1.0
    book = np.zeros(16, np.uint8)
    book[: len(levels)] = np.rint((wide - wide[0]) / step)
    return book, float(wide[0]), step


def fold(queries: F32, book: Book) -> Weights:
    """queries (q, d) as `dots` reads them."""
    _, least, step = book
    count, dim = queries.shape
    largest = np.abs(queries).max(axis=1).astype(np.float64)
    units = largest / 127
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        whole = np.rint(queries / units[:, None])
    whole = np.where(np.isfinite(whole), whole, 0.0)  # of a query of zeros, or of denormal values
    made = np.zeros((count, -(-dim // 8) * 8), np.int8)
    made[:, :dim] = whole
    # Bytes of four, and of each the lower nibble first: dimension 8 g + 2 b + h is byte b, half h.
    made = np.ascontiguousarray(made.reshape(count, -1, 4, 2).transpose(0, 1, 3, 2))
    offsets = least * units * whole.sum(axis=1)
    return made, (units * step).astype(np.float32), offsets.astype(np.float32)


def dots(blocks: U8, first: int, book: U8, weights: Weights, out: F32) -> None:
    """out[j, i] = offset + scale * sum of weight * book[nibble] of row i, the rows those of blocks first, ...

    blocks from `lay_out`; book (16,); weights from `fold`; out (q, n), written. Sums are whole numbers, so
    that all instruction sets give equal scores.
    """
    if ISA == "scalar":
        _dots_plain(blocks, first, book, weights, out)
    else:
        _dots_vectors(blocks, first, book, weights, (out, np.empty(BLOCK, np.float32)))


@kernel
def _dots_plain(blocks: U8, first: int, book: U8, weights: Weights, out: F32) -> None:
    """`dots` by plain loops."""
    made, scales, offsets = weights
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            total = np.int64(0)
            for g in range(blocks.shape[1]):
                for b in range(4):
                    byte = blocks[first + i // BLOCK, g, i % BLOCK, b]
                    total += np.int64(book[byte & 15]) * np.int64(made[j, g, 0, b])
                    total += np.int64(book[byte >> 4]) * np.int64(made[j, g, 1, b])
            out[j, i] = fma(np.float32(total), scales[j], offsets[j])


@instruction(_TILE)
def _start(builder: Builder) -> Value:
    """Sums of zero, for the lower and the upper nibbles."""
    return emit_tile(builder, [ir.Constant(_INTS.llvm, [0] * _LANES)] * (2 * _REGISTERS))


@instruction(BYTES, ADDRESS)
def _load_book(builder: Builder, at: Value) -> Value:
    """Sixteen bytes in each 128 bits."""
    small = emit_load(builder, at, ir.VectorType(BYTE, 16))
    return emit_shuffle(builder, small, small, [lane % 16 for lane in range(REGISTER_BYTES)])


@instruction(_TILE, _TILE, BYTES, ADDRESS, ADDRESS)
def _add(builder: Builder, tile: Value, book: Value, codes: Value, weights: Value) -> Value:
    """Adds the products of four bytes of _PART rows."""
    sums = emit_vectors(builder, tile)
    low = ir.Constant(BYTES.llvm, [15] * REGISTER_BYTES)
    four = ir.Constant(ir.VectorType(ir.IntType(16), REGISTER_BYTES // 2), [4] * (REGISTER_BYTES // 2))
    factors = []
    for half in range(2):
        factor = emit_splat(builder, emit_load(builder, weights, INDEX, 4 * half), _INTS.llvm)
        factors.append(builder.bitcast(factor, BYTES.llvm))
    for part in range(_REGISTERS):
        held = emit_load(builder, codes, BYTES.llvm, part * REGISTER_BYTES)
        moved = builder.bitcast(builder.lshr(builder.bitcast(held, four.type), four), BYTES.llvm)
        for half, value in enumerate((held, moved)):
            level = emit_shuffle_bytes(builder, book, builder.and_(value, low))
            place = 2 * part + half
            sums[place] = emit_dot(builder, sums[place], level, factors[half])
    return emit_tile(builder, sums)


@instruction(types.void, _TILE, types.float32, types.float32, ADDRESS)
def _save(builder: Builder, tile: Value, scale: Value, offset: Value, at: Value) -> None:
    """out = offset + scale * sums, for _PART rows."""
    sums = emit_vectors(builder, tile)
    wide = ir.VectorType(FLOAT, _LANES)
    for part in range(_REGISTERS):
        total = builder.sitofp(builder.add(sums[2 * part], sums[2 * part + 1]), wide)
        found = emit_fma(builder, total, emit_splat(builder, scale, wide), emit_splat(builder, offset, wide))
        emit_store(builder, at, found, 4 * _LANES * part)


@kernel
def _dots_vectors(blocks: U8, first: int, book: U8, weights: Weights, outs: tuple[F32, F32]) -> None:
    """`dots`; outs: out, and (BLOCK,) as scratch for the last block."""
    made, scales, offsets = weights
    out, found = outs
    groups, count = blocks.shape[1], out.shape[1]
    levels = _load_book(address(book))
    for i in range(0, count, BLOCK):
        for j in range(out.shape[0]):
            factors = address(made) + j * groups * 8
            target = address(out) + (j * count + i) * 4 if i + BLOCK <= count else address(found)
            for part in range(0, BLOCK, _PART):
                codes = address(blocks) + ((first + i // BLOCK) * groups * BLOCK + part) * 4
                tile = _start()
                for g in range(groups):
                    tile = _add(tile, levels, codes + g * (BLOCK * 4), factors + g * 8)
                _save(tile, scales[j], offsets[j], target + part * 4)
            if i + BLOCK > count:
                for r in range(count - i):
                    out[j, i + r] = found[r]
