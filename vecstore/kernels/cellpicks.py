"""Inner products of a few rows of cells, wherever they lie, with queries that are not rounded.

A row is bytes of cells of 1, 2 or 4 bits. Of a register of bytes, the first cells are looked up at once and
multiplied by the values that the query has there, then the second ones, and so on.
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
    BYTE,
    FLOATS,
    INDEX,
    Builder,
    Instruction,
    Value,
    address,
    emit_call,
    emit_fma,
    emit_load,
    emit_tile,
    emit_vectors,
    instruction,
    tile_of,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
SLACK = 16  # bytes that may be read behind a row
_VECTORS = ISA in ("avx2", "avx512")  # Others have no instruction that looks floats up.


def lay_out(codes: U8) -> U8:
    """Codes (n, width) one behind the other, (n * width + SLACK,)."""
    held = np.zeros(codes.size + SLACK, np.uint8)
    held[: codes.size].reshape(codes.shape)[:] = codes
    return held


def pack(queries: F32, bits: int, width: int) -> F32:
    """queries (q, dim) as `pick` reads them, (q, 8 / bits, width in whole registers): cell p of all bytes."""
    per, wide = 8 // bits, -(-width // SLACK) * SLACK
    packed = np.zeros((len(queries), wide * per), np.float32)
    packed[:, : queries.shape[1]] = queries
    return np.ascontiguousarray(packed.reshape(len(queries), wide, per).transpose(0, 2, 1))


def tabulate(levels: F32) -> F32:
    """levels (2, 4, 8 or 16,) again and again, (16,): so that bits beyond those of a cell change nothing."""
    return np.tile(levels, 16 // len(levels))


@kernel
def sizes(queries: F32, out: F64) -> None:
    """out[j] = the sum of the values of query j, its length, and the largest size of a value."""
    for j in range(queries.shape[0]):
        total, square, largest = 0.0, 0.0, np.float32(0)
        for t in range(queries.shape[1]):
            value = np.float64(queries[j, t])
            total += value
            square += value * value
            largest = max(largest, abs(queries[j, t]))
        out[j, 0], out[j, 1], out[j, 2] = total, np.sqrt(square), largest


@kernel
def _pick_plain(codes: U8, width: int, numbers: I64, table: F32, queries: F32, out: F64) -> None:
    """out[j, i] = sum over cells of level[cell of row numbers[j, i]] * query j's value there.

    codes (n, width) from `lay_out`; numbers (q, n), of which those below zero are no rows; table from
    `tabulate`; queries from `pack`; out (q, n), written.
    """
    per = queries.shape[1]
    for j in range(numbers.shape[0]):
        for i in range(numbers.shape[1]):
            total = 0.0
            for t in range(width if numbers[j, i] >= 0 else 0):
                byte = codes[numbers[j, i] * width + t]
                for p in range(per):
                    total += np.float64(table[byte >> (p * (8 // per)) & 15]) * np.float64(queries[j, p, t])
            out[j, i] = total


def _emit_lookup(builder: Builder, table: Value, index: Value) -> Value:
    """The float32 of a table of 16 at `table` that the lowest four bits of each lane of `index` pick."""
    parts = [emit_load(builder, table, FLOATS.llvm, 4 * at) for at in range(0, 16, LANES)]
    if ISA == "avx512":
        return emit_call(builder, "llvm.x86.avx512.permvar.sf.512", FLOATS.llvm, [parts[0], index])
    halves = [emit_call(builder, "llvm.x86.avx2.permps", FLOATS.llvm, [part, index]) for part in parts]
    upper = builder.shl(index, ir.Constant(index.type, [28] * LANES))
    return builder.select(
        builder.icmp_signed("<", upper, ir.Constant(index.type, [0] * LANES)), halves[1], halves[0]
    )


def _tile(per: int) -> tuple[Instruction, Instruction, Instruction]:
    """Instructions on sums for the cells of a byte: (none, add those of LANES bytes, add all up)."""
    kind = tile_of(per)

    @instruction(kind)
    def start(builder: Builder) -> Value:
        return emit_tile(builder, [ir.Constant(FLOATS.llvm, [0.0] * LANES)] * per)

    @instruction(kind, kind, ADDRESS, ADDRESS, types.int64, ADDRESS)
    def add(builder: Builder, tile: Value, codes: Value, query: Value, stride: Value, table: Value) -> Value:
        sums = emit_vectors(builder, tile)
        index = ir.VectorType(INDEX, LANES)
        held = builder.zext(emit_load(builder, codes, ir.VectorType(BYTE, LANES)), index)
        for p in range(per):
            found = _emit_lookup(builder, table, held)
            sums[p] = emit_fma(builder, found, emit_load(builder, query, FLOATS.llvm), sums[p])
            held = builder.lshr(held, ir.Constant(index, [8 // per] * LANES))
            query = builder.add(query, stride)
        return emit_tile(builder, sums)

    @instruction(types.float32, kind)
    def total(builder: Builder, tile: Value) -> Value:
        first, *rest = emit_vectors(builder, tile)
        for sums in rest:
            first = builder.fadd(first, sums)
        lanes = [builder.extract_element(first, ir.Constant(INDEX, lane)) for lane in range(LANES)]
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [builder.fadd(lanes[at], lanes[at + half]) for at in range(half)]
        return lanes[0]

    return start, add, total


if _VECTORS:
    _start1, _add1, _total1 = _tile(8)
    _start2, _add2, _total2 = _tile(4)
    _start4, _add4, _total4 = _tile(2)


@kernel
def _pick_vectors(codes: U8, width: int, numbers: I64, table: F32, queries: F32, out: F64) -> None:
    """`_pick_plain` in float32, LANES bytes at a time."""
    per, wide = queries.shape[1], queries.shape[2]
    levels = address(table)
    for j in range(numbers.shape[0]):
        query = address(queries) + j * per * wide * 4
        for i in range(numbers.shape[1]):
            row = address(codes) + numbers[j, i] * width
            if numbers[j, i] < 0:
                out[j, i] = 0.0
            elif per == 8:
                ones = _start1()
                for t in range(0, width, LANES):
                    ones = _add1(ones, row + t, query + t * 4, wide * 4, levels)
                out[j, i] = _total1(ones)
            elif per == 4:
                twos = _start2()
                for t in range(0, width, LANES):
                    twos = _add2(twos, row + t, query + t * 4, wide * 4, levels)
                out[j, i] = _total2(twos)
            else:
                fours = _start4()
                for t in range(0, width, LANES):
                    fours = _add4(fours, row + t, query + t * 4, wide * 4, levels)
                out[j, i] = _total4(fours)


pick = _pick_vectors if _VECTORS else _pick_plain
