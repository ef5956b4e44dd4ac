"""Sums of table lookups: a row is m codes, each of which picks an entry of a table of its own.

Inner products with rows that are sums or chains of centroids are such sums. Entries are rounded to bytes, in
sections that have a step each, and added in 16 bits. Codes lie in blocks of BLOCK rows as those of
`bitsums` do, whose kernel sums tables of 16; tables of 256 stay in four registers here, where the machine can
pick bytes from two at once (AVX-512 VBMI), and are read one entry at a time elsewhere.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.bitsums import BLOCK
from vecstore.kernels.isa import FEATURES
from vecstore.kernels.jit import kernel
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
    emit_call,
    emit_fma,
    emit_load,
    emit_shuffle,
    emit_splat,
    emit_store,
    emit_tile,
    emit_vectors,
    fma,
    instruction,
)

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
Tables = tuple[U8, F32, F32]  # (q, m, k), steps (q, sections), offsets (q,)
LARGEST_SECTION = 256  # tables: as many entries of at most 255 stay within 16 bits
GROUP = 4  # blocks that share the loads of a table
VECTORS = "vbmi" in FEATURES
_SHORT = ir.IntType(16)
_SHORTS = Vector(_SHORT, BLOCK // 2)


def make_tables(values: F32, starts: I64) -> Tables:
    """values (q, m, k) as bytes: those of a section starts[s]:starts[s + 1] in one step, that of its widest
    table by 255, above the least of each table, which go into the offset."""
    count = len(values)
    book = np.empty(values.shape, np.uint8)
    steps, offsets = np.empty((count, len(starts) - 1), np.float32), np.empty(count, np.float32)
    _make_tables(values, starts, book, steps, offsets)
    return book, steps, offsets


@kernel
def _make_tables(values: F32, starts: I64, book: U8, steps: F32, offsets: F32) -> None:
    """`make_tables`."""
    least = np.empty(values.shape[1], np.float32)
    for j in range(values.shape[0]):
        offset = np.float64(0)
        for s in range(starts.size - 1):
            widest = np.float32(0)
            for t in range(starts[s], starts[s + 1]):
                low, high = values[j, t, 0], values[j, t, 0]
                for c in range(values.shape[2]):
                    low = min(low, values[j, t, c])
                    high = max(high, values[j, t, c])
                least[t] = low
                offset += low
                widest = max(widest, high - low)
            step = widest / np.float32(255)
            inverse = np.float32(1) / step if step > np.float32(0) else np.float32(0)
            if not np.isfinite(inverse):
                step, inverse = np.float32(0), np.float32(0)
            steps[j, s] = step
            for t in range(starts[s], starts[s + 1]):
                for c in range(values.shape[2]):
                    level = np.rint((values[j, t, c] - least[t]) * inverse)
                    level = min(max(level, np.float32(0)), np.float32(255))
                    book[j, t, c] = np.uint8(np.int32(level))
        offsets[j] = offset


@kernel
def centroid_products(queries: F32, columns: F32, starts: I64, values: F32) -> None:
    """values[j, s, c] = <query j, centroid c of subspace s>, summed dimension by dimension.

    queries (q, dim); columns (dim, k), the centroids turned over; starts (m + 1,); values (q, m, k), written.
    """
    for j in range(queries.shape[0]):
        for s in range(starts.size - 1):
            for c in range(columns.shape[1]):
                values[j, s, c] = np.float32(0)
            for t in range(starts[s], starts[s + 1]):
                value = queries[j, t]
                for c in range(columns.shape[1]):
                    values[j, s, c] += value * columns[t, c]


def add_entries(blocks: U8, first: int, starts: I64, tables: Tables, out: F32) -> None:
    """out[j, i] = offset + sum of step * (sum of table entries of row i's codes), section by section.

    blocks (b, m, BLOCK) from `bitsums.lay_out`, the rows those of blocks first, first + 1, ...; tables of
    256; out (q, n), written. Sums are exact integers, so that all instruction sets give the same scores.
    """
    if VECTORS:
        _add_vectors(blocks, first, starts, tables, out, np.empty(GROUP * BLOCK, np.float32))
    else:
        _add_plain(blocks, first, starts, tables, out)


@kernel
def _add_plain(blocks: U8, first: int, starts: I64, tables: Tables, out: F32) -> None:
    """`add_entries` by plain loops."""
    book, steps, offsets = tables
    for at in range(0, out.shape[1], BLOCK):
        block = blocks[first + at // BLOCK]
        for j in range(out.shape[0]):
            for i in range(at, min(at + BLOCK, out.shape[1])):
                total = offsets[j]
                for s in range(starts.size - 1):
                    levels = np.int64(0)
                    for t in range(starts[s], starts[s + 1]):
                        levels += np.int64(book[j, t, block[t, i - at]])
                    total = fma(steps[j, s], np.float32(levels), total)
                out[j, i] = total


def emit_lookup(builder: Builder, table: list[Value], index: Value) -> Value:
    """The entry of a table of 256 bytes, in four registers, that each byte of `index` picks."""
    name = "llvm.x86.avx512.vpermi2var.qi.512"
    low, high = (
        emit_call(builder, name, index.type, [table[at], index, table[at + 1]]) for at in (0, 2)
    )  # It looks at seven bits of each index.
    return builder.select(builder.icmp_signed("<", index, ir.Constant(index.type, [0] * BLOCK)), high, low)


def _tile(group: int) -> tuple[Instruction, Instruction, Instruction]:
    """Instructions on the sums of `group` blocks: (none, add one table's entries, store)."""
    kind = types.UniTuple(_SHORTS, 2 * group)  # type: ignore[no-untyped-call]

    @instruction(kind)
    def start(builder: Builder) -> Value:
        return emit_tile(builder, [ir.Constant(_SHORTS.llvm, [0] * (BLOCK // 2))] * (2 * group))

    @instruction(kind, kind, ADDRESS, types.int64, ADDRESS)
    def add(builder: Builder, tile: Value, codes: Value, stride: Value, table: Value) -> Value:
        sums = emit_vectors(builder, tile)
        eight = ir.Constant(_SHORTS.llvm, [8] * (BLOCK // 2))
        parts = [emit_load(builder, table, BYTES.llvm, BLOCK * part) for part in range(4)]
        for block in range(group):
            index = emit_load(builder, codes, BYTES.llvm)
            found = builder.bitcast(emit_lookup(builder, parts, index), _SHORTS.llvm)
            # The first sum takes both bytes of a pair as they are, the other the upper one alone.
            sums[2 * block] = builder.add(sums[2 * block], found)
            sums[2 * block + 1] = builder.add(sums[2 * block + 1], builder.lshr(found, eight))
            codes = builder.add(codes, stride)
        return emit_tile(builder, sums)

    @instruction(types.void, kind, types.float32, types.float32, ADDRESS, types.boolean)
    def save(builder: Builder, tile: Value, step: Value, offset: Value, at: Value, more: Value) -> None:
        sums = emit_vectors(builder, tile)
        wide = ir.VectorType(FLOAT, BLOCK)
        for block in range(group):
            both, upper = sums[2 * block], sums[2 * block + 1]
            lower = builder.sub(both, builder.shl(upper, ir.Constant(both.type, [8] * (BLOCK // 2))))
            order = [lane // 2 + (lane % 2) * (BLOCK // 2) for lane in range(BLOCK)]
            whole = builder.zext(emit_shuffle(builder, lower, upper, order), ir.VectorType(INDEX, BLOCK))
            before = emit_load(builder, at, wide, 4 * BLOCK * block)
            before = builder.select(more, before, emit_splat(builder, offset, wide))
            found = emit_fma(builder, emit_splat(builder, step, wide), builder.sitofp(whole, wide), before)
            emit_store(builder, at, found, 4 * BLOCK * block)

    return start, add, save


_start_many, _add_many, _save_many = _tile(GROUP if VECTORS else 1)
_start_one, _add_one, _save_one = _tile(1)


@kernel
def _add_vectors(blocks: U8, first: int, starts: I64, tables: Tables, out: F32, found: F32) -> None:
    """`add_entries`, GROUP blocks at a time; found (GROUP * BLOCK,) is scratch for the last block."""
    book, steps, offsets = tables
    m, count = blocks.shape[1], out.shape[1]
    stride, i = m * BLOCK, 0
    while i < count:
        codes = address(blocks) + (first + i // BLOCK) * stride
        many = i + GROUP * BLOCK <= count
        for j in range(out.shape[0]):
            table = address(book) + j * m * 256
            target = address(out) + (j * count + i) * 4 if i + BLOCK <= count else address(found)
            for s in range(starts.size - 1):
                if many:
                    tile = _start_many()
                    for t in range(starts[s], starts[s + 1]):
                        tile = _add_many(tile, codes + t * BLOCK, stride, table + t * 256)
                    _save_many(tile, steps[j, s], offsets[j], target, s > 0)
                else:
                    one = _start_one()
                    for t in range(starts[s], starts[s + 1]):
                        one = _add_one(one, codes + t * BLOCK, stride, table + t * 256)
                    _save_one(one, steps[j, s], offsets[j], target, s > 0)
            if i + BLOCK > count:
                for r in range(count - i):
                    out[j, i + r] = found[r]
        i += GROUP * BLOCK if many else BLOCK
