"""Inner products of a few rows of cells, wherever they lie, with queries that are not rounded.

A row is bytes of cells of 1, 2 or 4 bits. Of a register of bytes, the first cells are looked up at once and
multiplied by the values that the query has there, then the second ones, and so on.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels import lookup, nibbles, top
from vecstore.kernels.bitsums import BLOCK, sums_of_four
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
from vecstore.kernels.sixteen import prefetch

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
Cells = tuple[U8, int, F32, F32]  # rows from `lay_out`, their width, a table from `tabulate`, factors (n,)
Queries = tuple[lookup.Tables, F32, F64]
By = tuple[F32, int, NDArray[np.bool_]]
_ROWS = 1 << 13  # so many that the best of the first of them tell which others may get in
_LIKELY = 2  # times k: rows with the best bounds, of which the products tell what else may get in
_AHEAD = 8  # rows
SLACK = 16  # bytes that may be read behind a row
_SIGNS = np.where(np.arange(16) >> np.arange(4)[:, None] & 1, 1, -1).astype(np.float32)
_VECTORS = ISA in ("avx2", "avx512")  # Others have no instruction that looks floats up.


def lay_out(codes: U8) -> U8:
    """Codes (n, width) one behind the other, (n * width + SLACK,)."""
    held = np.zeros(codes.size + SLACK, np.uint8)
    held[: codes.size].reshape(codes.shape)[:] = codes
    return held


@kernel
def pack(queries: F32, bits: int, width: int) -> F32:
    """queries (q, dim) as `pick` reads them, (q, 8 / bits, width in whole registers): cell p of all bytes."""
    cells = 8 // bits
    packed = np.zeros((queries.shape[0], cells, -(-width // SLACK) * SLACK), np.float32)
    for j in range(queries.shape[0]):
        for t in range(queries.shape[1]):
            packed[j, t % cells, t // cells] = queries[j, t]
    return packed


def tabulate(levels: F32) -> F32:
    """levels (2, 4, 8 or 16,) again and again, (16,): so that bits beyond those of a cell change nothing."""
    return np.tile(levels, 16 // len(levels))


@kernel
def tables_of_signs(queries: F32, spread: float, rounded: float, values: F32) -> None:
    """values[j, t, b] = what the signs of dimensions 4 t to 4 t + 3 add for query j, - where b has no bit.

    To the first table goes how far above their sum a bound is: spread times the query's length, and rounded
    times the largest size of its values. queries (q, dim); values (q, at least dim / 4, 16), written.
    """
    for j in range(queries.shape[0]):
        square, largest = 0.0, np.float32(0)
        for t in range(queries.shape[1]):
            square += np.float64(queries[j, t]) * np.float64(queries[j, t])
            largest = max(largest, abs(queries[j, t]))
        above = np.float32(spread * np.sqrt(square) + rounded * np.float64(largest))
        sums_of_four(queries, j, above, _SIGNS, values)


@kernel
def _product_plain(codes: U8, width: int, number: int, table: F32, query: F32) -> float:
    """The sum over the cells of row `number` of the level of each times the query's value there.

    codes (n, width) from `lay_out`; table from `tabulate`; query, a row of `pack`.
    """
    per, total = query.shape[0], 0.0
    for t in range(width):
        byte = codes[number * width + t]
        for p in range(per):
            total += np.float64(table[byte >> (p * (8 // per)) & 15]) * np.float64(query[p, t])
    return total


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
def _product_vectors(codes: U8, width: int, number: int, table: F32, query: F32) -> float:
    """`_product_plain` in float32, LANES bytes at a time."""
    per, stride = query.shape[0], query.shape[1] * 4
    row, at, levels = address(codes) + number * width, address(query), address(table)
    if per == 8:
        ones = _start1()
        for t in range(0, width, LANES):
            ones = _add1(ones, row + t, at + t * 4, stride, levels)
        return np.float64(_total1(ones))
    if per == 4:
        twos = _start2()
        for t in range(0, width, LANES):
            twos = _add2(twos, row + t, at + t * 4, stride, levels)
        return np.float64(_total2(twos))
    fours = _start4()
    for t in range(0, width, LANES):
        fours = _add4(fours, row + t, at + t * 4, stride, levels)
    return np.float64(_total4(fours))


_product = _product_vectors if _VECTORS else _product_plain


@kernel
def pick(cells: Cells, numbers: I64, queries: F32, constants: F64, out: F64) -> None:
    """out[j, i] = the product of query j with row numbers[j, i], times its factor, and the query's constant.

    numbers (q, n), of which those below zero are no rows, with a product of zero; queries from `pack`;
    constants (q,); out (q, n), written.
    """
    codes, width, table, factors = cells
    for j in range(numbers.shape[0]):
        for i in range(numbers.shape[1]):
            number, out[j, i] = numbers[j, i], constants[j]
            if number >= 0:
                product = _product(codes, width, number, table, queries[j])
                out[j, i] += product * np.float64(factors[number])


@kernel
def push(
    bits: tuple[U8, F32], cells: Cells, queries: Queries, rows: tuple[int, int, int], by: By, heap: top.Heap
) -> None:
    """Puts rows into the heaps, those that their bounds let in, by the lesser of bound and product.

    A bound is what the tables give for the bits, times the row's stretch, and the query's constant, a product
    that of `pick` and the constant; both become keys by terms as in `top.push`.
    bits: blocks of `bytedots` and the stretches (n,). queries: tables for `nibbles.add`, packed ones,
    and constants (q,). rows: start, a multiple of BLOCK, stop, and the number that start has in the heaps.
    by: terms (stop - start,) or empty, how, and wanted (stop - start,) or empty.
    """
    (blocks, stretches), (tables, packed, constants) = bits, queries
    (start, stop, number), (terms, how, wanted) = rows, by
    count, step = packed.shape[0], min(_ROWS, stop - start)
    scratch, found = np.empty(nibbles.QUERIES * step, np.float32), np.empty(BLOCK, np.float32)
    for at in range(start, stop, step):
        size = min(step, stop - at)
        low, high = at - start, at - start + size
        own = terms[low:high], how, wanted[low:high]
        # As many queries at a time as `add` serves best: rows come from the cache for the next ones.
        for first in range(0, count, nibbles.QUERIES):
            last = min(first + nibbles.QUERIES, count)
            out = scratch[: (last - first) * size].reshape(last - first, size)
            book, steps, offsets = tables
            part = book[first:last], steps[first:last], offsets[first:last]
            nibbles.add(blocks, at // BLOCK, part, out, found)
            for j in range(first, last):
                bounds = out[j - first]
                _bound(bounds, stretches[at : at + size], np.float32(constants[j]))
                top.turn(bounds, own[0], how)
                places = at, number + low
                _sift(bounds, cells, (packed[j], constants[j]), places, own, (heap[0][j], heap[1][j]))


@kernel
def nearest(
    bits: tuple[U8, F32],
    cells: Cells,
    queries: tuple[F32, F64, tuple[float, float], I64],
    by: tuple[By, F64],
    sizes: tuple[int, int],
    best: top.Heap,
) -> None:
    """The whole of a search: `push` into heaps, `pick` of what these hold, and the best of it.

    queries: (q, dim), what is added to their scores (q,), what `tables_of_signs` adds, and where its tables
    begin, (m,), from `nibbles.layout`. by: as in `push`, of all rows, and what multiplies all keys of a query
    in the end, (q,) or empty. sizes: bits of a cell, and how many rows are picked. best (q, k), written,
    the best first.
    """
    turned, constants, (spread, rounded), places = queries
    count, tables = turned.shape[0], places.size
    values = np.empty((count, tables, 16), np.float32)
    tables_of_signs(turned, spread, rounded, values)
    book = np.zeros((count, bits[0].shape[1], 2, 64), np.uint8)
    steps, offsets = np.empty((count, 1), np.float32), np.empty(count, np.float32)
    lookup.fill_tables(values, (np.array([0, tables]), places), book, steps, offsets)
    packed = pack(turned, sizes[0], cells[1])
    shape = count, sizes[1]
    keys, numbers, found = np.empty(shape, np.float32), np.empty(shape, np.int64), np.empty(shape, np.float64)
    top.clear((keys, numbers))
    rows = 0, bits[1].size, 0
    push(bits, cells, ((book, steps, offsets), packed, constants), rows, by[0], (keys, numbers))
    pick(cells, numbers, packed, constants, found)
    top.rank(found, by, (keys, numbers), best)


@kernel
def _sift(
    bounds: F32, cells: Cells, query: tuple[F32, float], places: tuple[int, int], by: By, heap: top.Heap
) -> None:
    """Puts rows with these bounds (n,) into the heap (k,) of one query; places: of the first of them, among
    all rows and in the heap."""
    wanted, keys = by[2], heap[0]
    if not keys[0] > -np.inf:  # Nothing tells yet what may get in; the rows with the best bounds do.
        size = min(_LIKELY * keys.size, bounds.size)
        likely = np.empty((1, size), np.float32), np.empty((1, size), np.int64)
        top.clear(likely)
        top.push(bounds.reshape(1, bounds.size), bounds[:0], top.AS_THEY_ARE, wanted, 0, likely)
        top.sort(likely)
        chosen = int(np.count_nonzero(likely[0][0] > -np.inf))
        _offer(cells, query, places, by, (likely[0][0, :chosen], likely[1][0, :chosen]), heap)
        for i in likely[1][0, :chosen]:
            bounds[i] = -np.inf
    held = np.empty(bounds.size, np.float32), np.empty(bounds.size, np.int64)
    # With an equal key a row gets in if its number is smaller.
    least = np.nextafter(keys[0], np.float32(-np.inf))
    chosen = top.above_one(bounds, least, wanted, 0, held)
    _offer(cells, query, places, by, (held[0][:chosen], held[1][:chosen]), heap)


@kernel
def _offer(
    cells: Cells, query: tuple[F32, float], places: tuple[int, int], by: By, likely: top.Heap, heap: top.Heap
) -> None:
    """Puts rows, bounds and places among those of `places` (c,) each, into the heap of one query."""
    (codes, width, table, factors), (packed, constant), (first, number) = cells, query, places
    (bounds, rows), (keys, numbers) = likely, heap
    one = np.empty(1, np.float32)
    for c in range(-_AHEAD, bounds.size):
        if c + _AHEAD < bounds.size:  # Rows lie far from each other: those to come are asked for.
            at = address(codes) + (first + rows[c + _AHEAD]) * width
            for line in range(0, width, 64):
                prefetch(at + line)
        if c < 0 or bounds[c] < keys[0]:
            continue
        row = rows[c]
        product = _product(codes, width, first + row, table, packed)
        one[0] = product * np.float64(factors[first + row]) + constant
        top.turn(one, by[0][row : row + 1], by[1])
        key = min(bounds[c], one[0])
        if key > keys[0] or (key == keys[0] and number + row < numbers[0]):
            top.replace(keys, numbers, keys.size, key, number + row)


@kernel
def _bound(scores: F32, stretches: F32, constant: np.float32) -> None:
    """scores * stretches + constant, in place."""
    for i in range(scores.size):
        scores[i] = scores[i] * stretches[i] + constant
