"""Sums of entries of tables of 16, by the instructions of AVX-512 VBMI and VNNI.

They pick from four tables at once, and add what four bytes of a row picked to its sum. Codes lie in the
blocks of `bytedots`, four bytes of a row side by side.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels import top
from vecstore.kernels.bitsums import BLOCK
from vecstore.kernels.bytedots import emit_dot
from vecstore.kernels.isa import FEATURES
from vecstore.kernels.jit import kernel
from vecstore.kernels.lookup import Layout, Tables, emit_lookup, pick
from vecstore.kernels.simd import (
    ADDRESS,
    BYTES,
    FLOAT,
    INDEX,
    Builder,
    Instruction,
    Value,
    Vector,
    address,
    emit_fma,
    emit_load,
    emit_splat,
    emit_store,
    emit_tile,
    emit_vectors,
    instruction,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
By = tuple[F32, int, NDArray[np.bool_]]
USABLE = {"vbmi", "vnni"} <= FEATURES
QUERIES = 4  # that share the places of a block's entries
_SCORES = 1 << 15  # of a few rows: they stay in the nearest cache
_SUMS = Vector(INDEX, BLOCK // 4)


def layout(m: int) -> Layout:
    """m tables as `add` reads them, (ceil(m / 8), 2, 64): those of the lower nibbles of four bytes, then
    those of the upper ones. For `lookup.make_tables`."""
    t = np.arange(m)
    return 16 * (t // 8 * 8 + t % 2 * 4 + t % 8 // 2), (-(-m // 8), 2, 64)


def _tile(queries: int) -> tuple[Instruction, Instruction, Instruction]:
    """Instructions on the sums of BLOCK rows for some queries: (none, add four bytes, store)."""
    kind = types.UniTuple(_SUMS, 4 * queries)  # type: ignore[no-untyped-call]

    @instruction(kind)
    def start(builder: Builder) -> Value:
        return emit_tile(builder, [ir.Constant(_SUMS.llvm, [0] * _SUMS.llvm.count)] * (4 * queries))

    @instruction(kind, kind, ADDRESS, ADDRESS, types.int64)
    def add(builder: Builder, tile: Value, codes: Value, tables: Value, stride: Value) -> Value:
        sums = emit_vectors(builder, tile)
        books = []
        for _ in range(queries):
            books.append([emit_load(builder, tables, BYTES.llvm, 64 * half) for half in (0, 1)])
            tables = builder.add(tables, stride)
        low = ir.Constant(BYTES.llvm, [15] * 64)
        place = ir.Constant(BYTES.llvm, [16 * (at % 4) for at in range(64)])
        ones = ir.Constant(BYTES.llvm, [1] * 64)
        words = ir.VectorType(INDEX, 16)
        for part in range(4):
            held = emit_load(builder, codes, BYTES.llvm, 64 * part)
            shifted = builder.lshr(builder.bitcast(held, words), ir.Constant(words, [4] * 16))
            for half, value in enumerate((held, builder.bitcast(shifted, BYTES.llvm))):
                index = builder.or_(builder.and_(value, low), place)
                for j in range(queries):
                    found = emit_lookup(builder, [books[j][half]], index)
                    sums[4 * j + part] = emit_dot(builder, sums[4 * j + part], found, ones)
        return emit_tile(builder, sums)

    @instruction(types.void, kind, ADDRESS, ADDRESS, ADDRESS, types.int64)
    def save(builder: Builder, tile: Value, steps: Value, offsets: Value, at: Value, across: Value) -> None:
        wide = ir.VectorType(FLOAT, 16)
        sums = emit_vectors(builder, tile)
        for j in range(queries):
            factor, base = (
                emit_splat(builder, emit_load(builder, held, FLOAT, 4 * j), wide) for held in (steps, offsets)
            )
            for part, total in enumerate(sums[4 * j : 4 * j + 4]):
                found = emit_fma(builder, factor, builder.sitofp(total, wide), base)
                emit_store(builder, at, found, 64 * part)
            at = builder.add(at, across)

    return start, add, save


_start_one, _add_one, _save_one = _tile(1)
_start_more, _add_more, _save_more = _tile(QUERIES)


@kernel
def add(blocks: U8, first: int, tables: Tables, out: F32, found: F32) -> None:
    """`lookup.add_entries` of tables of 16, in one section.

    blocks (b, groups, BLOCK, 4) from `bytedots.lay_out`; tables of this `layout`; found (BLOCK,) is scratch.
    """
    book, steps, offsets = tables
    groups, count = blocks.shape[1], out.shape[1]
    stride = groups * 128
    for i in range(0, count, BLOCK):
        codes = address(blocks) + (first + i // BLOCK) * groups * BLOCK * 4
        whole, j = i + BLOCK <= count, 0
        while j < out.shape[0]:
            table, step, offset = address(book) + j * stride, address(steps) + j * 4, address(offsets) + j * 4
            target = address(out) + (j * count + i) * 4 if whole else address(found)
            if whole and j + QUERIES <= out.shape[0]:
                more = _start_more()
                for g in range(groups):
                    more = _add_more(more, codes + g * (BLOCK * 4), table + g * 128, stride)
                _save_more(more, step, offset, target, count * 4)
                j += QUERIES
                continue
            tile = _start_one()
            for g in range(groups):
                tile = _add_one(tile, codes + g * (BLOCK * 4), table + g * 128, stride)
            _save_one(tile, step, offset, target, count * 4)
            if not whole:
                for r in range(count - i):
                    out[j, i + r] = found[r]
            j += 1


@kernel
def push(blocks: U8, tables: Tables, rows: tuple[int, int, int], by: By, heap: top.Heap) -> None:
    """Puts the sums of the rows [start, stop) into the heaps as `top.push` does, and keeps none.

    rows: start, a multiple of BLOCK, stop, and the number that start has in the heaps; by: terms
    (stop - start,) or empty, how, and wanted (stop - start,) or empty; the rest as in `add`.
    """
    (start, stop, number), (terms, how, wanted), (book, steps, offsets) = rows, by, tables
    count = steps.shape[0]
    few = min(count, QUERIES)  # at a time; rows come from the cache for the next ones
    step = _SCORES // few // BLOCK * BLOCK
    scratch, found = np.empty(few * min(step, stop - start), np.float32), np.empty(BLOCK, np.float32)
    for at in range(start, stop, step):
        size = min(step, stop - at)
        low, high = at - start, at - start + size
        for first in range(0, count, few):
            last = min(first + few, count)
            out = scratch[: (last - first) * size].reshape(last - first, size)
            add(blocks, at // BLOCK, (book[first:last], steps[first:last], offsets[first:last]), out, found)
            own = heap[0][first:last], heap[1][first:last]
            top.push(out, terms[low:high], how, wanted[low:high], number + low, own)


@kernel
def nearest(
    blocks: U8, queries: tuple[Tables, F32], by: tuple[By, F64], sizes: tuple[int, int], best: top.Heap
) -> None:
    """The whole of a search: `push` into heaps, `lookup.pick` of what these hold, and the best of it.

    blocks (b, groups, BLOCK, 4), of all rows. queries: tables of bytes, and not rounded. by: as in `push`,
    and what multiplies all keys of a query in the end, (q,) or empty. sizes: rows, and how many of them are
    picked. best (q, k), written, the best first.
    """
    (tables, values), (rows, count) = queries, sizes
    shape = values.shape[0], count
    keys, numbers, found = np.empty(shape, np.float32), np.empty(shape, np.int64), np.empty(shape, np.float64)
    top.clear((keys, numbers))
    push(blocks, tables, (0, rows, 0), by[0], (keys, numbers))
    pick(blocks.transpose(0, 1, 3, 2), numbers, values, found)
    top.rank(found, by, (keys, numbers), best)
