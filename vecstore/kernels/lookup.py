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
from vecstore.kernels.isa import FEATURES, ISA
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    BYTE,
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
from vecstore.kernels.sixteen import SIXTEEN, all_of, load_all, plus, store_all, times, zeros

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
Tables = tuple[U8, F32, F32]  # (q, m, k), steps (q, sections), offsets (q,)
Layout = tuple[I64, tuple[int, ...]]
LARGEST_SECTION = 256  # tables: as many entries of at most 255 stay within 16 bits
GROUP = 4  # blocks that share the loads of a table
VECTORS = "vbmi" in FEATURES
_SHORT = ir.IntType(16)
_SHORTS = Vector(_SHORT, BLOCK // 2)


def one_by_one(m: int, k: int) -> Layout:
    """m tables of k, one behind the other."""
    return np.arange(0, m * k, k), (m, k)


def make_tables(values: F32, starts: I64, layout: Layout | None = None) -> Tables:
    """values (q, m, k), k = 16 or 256, as bytes: those of a section starts[s]:starts[s + 1] in one step, that
    of its widest table by 255, above the least of each table, which go into the offset.

    layout: where in the bytes of a query its tables begin, (m,), and what shape these have; what is between
    tables is zeros. `one_by_one` if there is none.
    """
    count = len(values)
    places, shape = layout or one_by_one(*values.shape[1:])
    book = np.zeros((count, *shape), np.uint8)
    steps, offsets = np.empty((count, len(starts) - 1), np.float32), np.empty(count, np.float32)
    fill_tables(values, (starts, places), book, steps, offsets)
    return book, steps, offsets


@kernel
def _range_plain(values: F32, table: int) -> tuple[np.float32, np.float32]:
    """The least and the largest entry of a table, counted through all queries."""
    entries, k = values.reshape(-1), values.shape[2]
    low = high = entries[table * k]
    for c in range(table * k, (table + 1) * k):
        low, high = min(low, entries[c]), max(high, entries[c])
    return low, high


@kernel
def _round_plain(values: F32, table: int, by: tuple[np.float32, np.float32], book: U8, at: int) -> None:
    """book[at], ... = (a table's entries - least) * inverse, rounded, at most 255; by: least, inverse."""
    entries, levels, k = values.reshape(-1), book.reshape(-1), values.shape[2]
    for c in range(k):
        level = np.rint((entries[table * k + c] - by[0]) * by[1])
        levels[at + c] = np.uint8(np.int32(min(max(level, np.float32(0)), np.float32(255))))


@instruction(SIXTEEN, SIXTEEN, ADDRESS)
def _lower(builder: Builder, before: Value, at: Value) -> Value:
    """The lesser of each lane and of sixteen float32 at an address."""
    found = emit_load(builder, at, SIXTEEN.llvm)
    return builder.select(builder.fcmp_ordered("<", found, before), found, before)


@instruction(SIXTEEN, SIXTEEN, ADDRESS)
def _higher(builder: Builder, before: Value, at: Value) -> Value:
    """The greater of each lane and of sixteen float32 at an address."""
    found = emit_load(builder, at, SIXTEEN.llvm)
    return builder.select(builder.fcmp_ordered(">", found, before), found, before)


def _extreme(order: str) -> Instruction:
    """An instruction that finds the first lane in an order."""

    @instruction(types.float32, SIXTEEN)
    def extreme(builder: Builder, values: Value) -> Value:
        lanes = 16
        while lanes > 1:
            lanes //= 2
            low, high = (emit_shuffle(builder, values, values, range(at, at + lanes)) for at in (0, lanes))
            values = builder.select(builder.fcmp_ordered(order, high, low), high, low)
        return builder.extract_element(values, ir.Constant(INDEX, 0))

    return extreme


_lowest, _highest = _extreme("<"), _extreme(">")


@instruction(types.void, ADDRESS, types.float32, types.float32, ADDRESS)
def _round16(builder: Builder, at: Value, least: Value, inverse: Value, to: Value) -> None:
    """`_round_plain` of sixteen."""
    kind = SIXTEEN.llvm
    level = builder.fsub(emit_load(builder, at, kind), emit_splat(builder, least, kind))
    level = builder.fmul(level, emit_splat(builder, inverse, kind))
    level = emit_call(builder, "llvm.rint.v16f32", kind, [level])
    for order, end in (("<", 0.0), (">", 255.0)):
        bound = ir.Constant(kind, [end] * 16)
        level = builder.select(builder.fcmp_ordered(order, level, bound), bound, level)
    found = builder.trunc(builder.fptosi(level, ir.VectorType(INDEX, 16)), ir.VectorType(BYTE, 16))
    builder.store(found, builder.inttoptr(to, found.type.as_pointer()), align=1)


@kernel
def _range_vectors(values: F32, table: int) -> tuple[np.float32, np.float32]:
    """`_range_plain`, sixteen at a time."""
    at = address(values) + table * values.shape[2] * 4
    low = high = load_all(at)
    for c in range(64, values.shape[2] * 4, 64):
        low, high = _lower(low, at + c), _higher(high, at + c)
    return _lowest(low), _highest(high)


@kernel
def _round_vectors(values: F32, table: int, by: tuple[np.float32, np.float32], book: U8, at: int) -> None:
    """`_round_plain`, sixteen at a time."""
    first = address(values) + table * values.shape[2] * 4
    for c in range(0, values.shape[2], 16):
        _round16(first + 4 * c, by[0], by[1], address(book) + at + c)


_range, _round = (_range_plain, _round_plain) if ISA == "scalar" else (_range_vectors, _round_vectors)


@kernel
def fill_tables(values: F32, plan: tuple[I64, I64], book: U8, steps: F32, offsets: F32) -> None:
    """`make_tables`; plan: starts, and where in the bytes of a query tables begin."""
    starts, places = plan
    least = np.empty(values.shape[1], np.float32)
    for j in range(values.shape[0]):
        first, own = j * values.shape[1], j * (book.size // book.shape[0])
        offset = np.float64(0)
        for s in range(starts.size - 1):
            widest = np.float32(0)
            for t in range(starts[s], starts[s + 1]):
                low, high = _range(values, first + t)
                least[t] = low
                offset += low
                widest = max(widest, high - low)
            step = widest / np.float32(255)
            inverse = np.float32(1) / step if step > np.float32(0) else np.float32(0)
            if not np.isfinite(inverse):
                step, inverse = np.float32(0), np.float32(0)
            steps[j, s] = step
            for t in range(starts[s], starts[s + 1]):
                _round(values, first + t, (least[t], inverse), book, own + places[t])
        offsets[j] = offset


def centroid_products(queries: F32, columns: F32, starts: I64, values: F32) -> None:
    """values[j, s, c] = <query j, centroid c of subspace s>, summed dimension by dimension.

    queries (q, dim); columns (dim, k), the centroids turned over; starts (m + 1,); values (q, m, k), written.
    """
    vectors = ISA != "scalar" and columns.shape[1] % 16 == 0
    (_products_vectors if vectors else _products_plain)(queries, columns, starts, values)


@kernel
def _products_vectors(queries: F32, columns: F32, starts: I64, values: F32) -> None:
    """`centroid_products`, sixteen centroids at a time."""
    k = columns.shape[1]
    for j in range(queries.shape[0]):
        for s in range(starts.size - 1):
            for c in range(0, k, 16):
                total = zeros()
                for t in range(starts[s], starts[s + 1]):
                    own = load_all(address(columns) + (t * k + c) * 4)
                    total = plus(total, times(all_of(queries[j, t]), own))
                store_all(address(values) + ((j * values.shape[1] + s) * k + c) * 4, total)


@kernel
def _products_plain(queries: F32, columns: F32, starts: I64, values: F32) -> None:
    """`centroid_products` by plain loops."""
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
        add_in_registers(blocks, first, starts, tables, (out, np.empty(BLOCK, np.float32)))
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
def add_in_registers(blocks: U8, first: int, starts: I64, tables: Tables, outs: tuple[F32, F32]) -> None:
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
