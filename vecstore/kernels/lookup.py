"""Sums of table lookups: a row is m codes, each of which picks an entry of a table of its own.

Inner products with rows that are sums or chains of centroids are such sums. Entries are rounded to bytes, in
sections that have a step each, and added in 16 bits. Codes lie in blocks of BLOCK rows as those of
`bitsums` do, whose kernel sums tables of 16; tables of 256 stay in four registers here, where the machine can
pick bytes from two at once (AVX-512 VBMI), and are read one entry at a time elsewhere.

Such a machine also picks from four tables of 16 by one instruction. For that, `add_nibbles` takes codes in
the blocks of `bytedots`, four bytes of a row side by side, and adds their entries by its instruction.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.bitsums import BLOCK
from vecstore.kernels.bytedots import emit_dot
from vecstore.kernels.isa import FEATURES
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    BYTES,
    FLOAT,
    INDEX,
    WORD,
    Builder,
    Instruction,
    Value,
    Vector,
    address,
    emit_call,
    emit_fma,
    emit_load,
    emit_prefetch,
    emit_shuffle,
    emit_splat,
    emit_store,
    emit_tile,
    emit_vectors,
    fma,
    instruction,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
Tables = tuple[U8, F32, F32]  # (q, m, k), steps (q, sections), offsets (q,)
LARGEST_SECTION = 256  # tables: as many entries of at most 255 stay within 16 bits
GROUP = 4  # blocks that share the loads of a table
VECTORS = "vbmi" in FEATURES
NIBBLES = {"vbmi", "vnni"} <= FEATURES  # whether `add_nibbles` is there
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


def add_entries(blocks: U8, first: int, starts: I64, tables: Tables, out: F32, onto: bool = False) -> None:
    """out[j, i] = offset + sum of step * (sum of table entries of row i's codes), section by section.

    blocks (b, m, BLOCK) from `bitsums.lay_out`, the rows those of blocks first, first + 1, ...; tables of
    256; out (q, n), written. onto: what out holds takes the offset's place. Sums are exact integers, so that
    all instruction sets give the same scores.
    """
    if VECTORS:
        _add_vectors(blocks, first, starts, tables, (out, np.empty(BLOCK, np.float32)), onto)
    else:
        _add_plain(blocks, first, starts, tables, out, onto)


@kernel
def _add_plain(blocks: U8, first: int, starts: I64, tables: Tables, out: F32, onto: bool) -> None:
    """`add_entries` by plain loops."""
    book, steps, offsets = tables
    for at in range(0, out.shape[1], BLOCK):
        block = blocks[first + at // BLOCK]
        for j in range(out.shape[0]):
            for i in range(at, min(at + BLOCK, out.shape[1])):
                total = out[j, i] if onto else offsets[j]
                for s in range(starts.size - 1):
                    levels = np.int64(0)
                    for t in range(starts[s], starts[s + 1]):
                        levels += np.int64(book[j, t, block[t, i - at]])
                    total = fma(steps[j, s], np.float32(levels), total)
                out[j, i] = total


def emit_lookup(builder: Builder, table: list[Value], index: Value) -> Value:
    """The entry of a table of 64, 128 or 256 bytes, 64 a register, that each byte of `index`
    picks; bits of an index beyond the table are ignored."""
    if len(table) == 1:
        return emit_call(builder, "llvm.x86.avx512.permvar.qi.512", index.type, [table[0], index])
    name = "llvm.x86.avx512.vpermi2var.qi.512"  # It looks at seven bits of each index.
    halves = [
        emit_call(builder, name, index.type, [table[at], index, table[at + 1]])
        for at in range(0, len(table), 2)
    ]
    if len(halves) == 1:
        return halves[0]
    upper = builder.icmp_signed("<", index, ir.Constant(index.type, [0] * BLOCK))
    return builder.select(upper, halves[1], halves[0])


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
            # Blocks are so many streams that the machine does not read ahead of all of them by itself.
            emit_prefetch(builder, builder.add(codes, builder.mul(stride, ir.Constant(WORD, GROUP))))
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
def _add_vectors(
    blocks: U8, first: int, starts: I64, tables: Tables, outs: tuple[F32, F32], onto: bool
) -> None:
    """`add_entries`, GROUP blocks at a time; outs: out, and (BLOCK,) as scratch for the last block."""
    book, steps, offsets = tables
    out, found = outs
    m, count = blocks.shape[1], out.shape[1]
    stride, i = m * BLOCK, 0
    while i < count:
        codes = address(blocks) + (first + i // BLOCK) * stride
        many = i + GROUP * BLOCK <= count
        for j in range(out.shape[0]):
            table = address(book) + j * m * 256
            target = address(out) + (j * count + i) * 4 if i + BLOCK <= count else address(found)
            if i + BLOCK > count:
                found[: count - i] = out[j, i:]
            for s in range(starts.size - 1):
                if many:
                    tile = _start_many()
                    for t in range(starts[s], starts[s + 1]):
                        tile = _add_many(tile, codes + t * BLOCK, stride, table + t * 256)
                    _save_many(tile, steps[j, s], offsets[j], target, onto or s > 0)
                else:
                    one = _start_one()
                    for t in range(starts[s], starts[s + 1]):
                        one = _add_one(one, codes + t * BLOCK, stride, table + t * 256)
                    _save_one(one, steps[j, s], offsets[j], target, onto or s > 0)
            if i + BLOCK > count:
                for r in range(count - i):
                    out[j, i + r] = found[r]
        i += GROUP * BLOCK if many else BLOCK


def lay_tables(book: U8) -> U8:
    """Tables (q, m, 16) as `add_nibbles` reads them, (q, ceil(m / 8), 2, 64): those of the lower nibbles of
    four bytes, then those of the upper ones."""
    laid = np.zeros((len(book), -(-book.shape[1] // 8), 2, 4, 16), np.uint8)
    _lay_tables(book, laid)
    return laid.reshape(len(book), -1, 2, 64)


@kernel
def _lay_tables(book: U8, laid: U8) -> None:
    """laid[j, t // 8, t % 2, t % 8 // 2] = book[j, t]."""
    for j in range(book.shape[0]):
        for t in range(book.shape[1]):
            for c in range(16):
                laid[j, t // 8, t % 2, t % 8 // 2, c] = book[j, t, c]


QUERIES = 4  # that share the places of a block's entries
_SUMS = Vector(INDEX, BLOCK // 4)


def _nibbles(queries: int) -> tuple[Instruction, Instruction, Instruction]:
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


_start_nibbles, _add_nibbles, _save_nibbles = _nibbles(1)
_start_more, _add_more, _save_more = _nibbles(QUERIES)


@kernel
def add_nibbles(blocks: U8, first: int, tables: Tables, out: F32, found: F32) -> None:
    """`add_entries` of tables of 16, in one section, by the instructions of VBMI and VNNI.

    blocks (b, groups, BLOCK, 4) from `bytedots.lay_out`; tables from `lay_tables`; found (BLOCK,) is scratch.
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
            tile = _start_nibbles()
            for g in range(groups):
                tile = _add_nibbles(tile, codes + g * (BLOCK * 4), table + g * 128, stride)
            _save_nibbles(tile, step, offset, target, count * 4)
            if not whole:
                for r in range(count - i):
                    out[j, i + r] = found[r]
            j += 1


@kernel
def pick(blocks: U8, numbers: I64, values: F32, out: F64) -> None:
    """out[j, i] = sum over tables t of values[j, t, code t of row numbers[j, i]], in float64.

    blocks (b, groups, bytes, BLOCK), byte after byte of BLOCK rows; numbers (q, n); values (q, m, k): where k
    is 16, two tables for each byte, the lower nibble first, m even, else one; out (q, n), written.
    """
    for j in range(numbers.shape[0]):
        for i in range(numbers.shape[1]):
            block, place = blocks[numbers[j, i] // BLOCK], numbers[j, i] % BLOCK
            if values.shape[2] == 16:
                out[j, i] = _sum_nibbles(block, place, values[j])
            else:
                out[j, i] = _sum_bytes(block, place, values[j])


@kernel
def _sum_nibbles(block: U8, place: int, values: F32) -> float:
    """`pick` of one row from tables of 16; bytes of four have sums of their own, not to wait for others."""
    total = 0.0
    for g in range(block.shape[0]):
        part = 0.0
        for b in range(block.shape[1]):
            t, code = 2 * (g * block.shape[1] + b), block[g, b, place]
            if t < values.shape[0]:
                lower, upper = np.uint64(code & np.uint8(15)), np.uint64(code >> np.uint8(4))
                part += np.float64(values[t, lower]) + np.float64(values[t + 1, upper])
        total += part
    return total


@kernel
def _sum_bytes(block: U8, place: int, values: F32) -> float:
    """`pick` of one row from tables of 256."""
    total, t = 0.0, 0
    for g in range(block.shape[0]):
        for b in range(block.shape[1]):
            if t < values.shape[0]:
                total += np.float64(values[t, np.uint64(block[g, b, place])])
            t += 1
    return total
