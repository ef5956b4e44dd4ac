"""Scans of trellis codes that read the words that tell most, and the others of few rows.

Words are split in two. Those with the largest axes, the heads, lie in blocks as `trellisdots` reads them; the
others, the tails, row by row. What a tail can add is bounded by its length and that of the query's weights
there (Cauchy, Schwarz), so that a row whose head and bound together do not get into the heap is done with.
Heaps come out as if all words of all rows had been read.

A register holds 8 words of a tail. Eight groups of windows with one table, a batch, are looked up at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels import top
from vecstore.kernels.bytedots import Weights, emit_dot
from vecstore.kernels.jit import kernel
from vecstore.kernels.lookup import emit_lookup
from vecstore.kernels.simd import (
    ADDRESS,
    BYTES,
    INDEX,
    WORD,
    Builder,
    Instruction,
    Value,
    Vector,
    address,
    emit_call,
    emit_load,
    fma,
    instruction,
    zeros_in_lines,
)
from vecstore.kernels.sixteen import prefetch
from vecstore.kernels.trellisdots import BLOCK, STATES, Windows, _scan_many, _scan_one

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
By = tuple[F32, int, NDArray[np.bool_]]
_LANES = 8  # words of a register, and windows of a group
_ROWS, _SCORES = (
    4096,
    1 << 15,
)  # of heads, before tails are read: rows at least, and with fewer queries scores
_AHEAD = 8  # rows whose tails are asked for
_MIDDLE = 128  # of a table's bytes: what they are less this is what they stand for
_LARGEST = 127 * 255  # a product of a weight and a byte
_SLACK = 2.0**-21  # of what heads add at most: more than what bounds are rounded by
_INTS = Vector(INDEX, 16)
_WORDS = ir.VectorType(WORD, _LANES)


class Tails(NamedTuple):
    """The tails of rows, and how they are read."""

    words: U64  # (n, t), and a register beyond
    batches: I64  # (b, 3): first word of a register, table, entries of it that are read
    lanes: U64  # (b, 2, 8): which word of the register each group is in; first bits of its windows
    tables: U8  # (t, states)
    lengths: F32  # (n,): of what tails stand for, rounded up


class Queries(NamedTuple):
    """Weights of queries, as bytes and steps."""

    heads: Weights
    ones: U64  # (q, groups of heads): the same, those of a group together
    tails: U64  # (q, b, 8): those of the groups of batches
    steps: F32  # (q,): what one product of a tail counts
    middles: I64  # (q,): what tails of nothing but middles add
    reaches: F32  # (q,): what a tail of length one can add at most
    slacks: F32  # (q,): what bounds may be off by


def lay_out(codes: U8, sizes: I64) -> U64:
    """Codes (n, bytes) of words of `sizes` bytes row by row, (n, words); shorter words are repeated."""
    count, starts = len(codes), np.cumsum([0, *sizes])
    held = zeros_in_lines((count * len(sizes) + _LANES,), np.uint64)
    words = held[: count * len(sizes)].reshape(count, len(sizes))
    places = words.view(np.uint8).reshape(count, len(sizes), 8)
    for w, size in enumerate(sizes):
        places[:, w] = codes[:, starts[w] + np.arange(8) % size]
    return words


def tails(words: U64, windows: Windows, units: F64) -> tuple[Tails, I64]:
    """How words from `lay_out` are read by a plan of `trellisdots`; and which group each lane of a batch
    takes, (b, 8), -1 for none. units (g, 8): what a step of a table is."""
    groups, controls = windows[0], windows[1]
    kinds: dict[tuple[int, int, int], list[int]] = {}
    for g, (word, table, _, entries) in enumerate(groups.tolist()):
        kinds.setdefault((word // _LANES, table, entries), []).append(g)
    batches, chosen = [], []
    for (register, table, entries), own in kinds.items():
        for at in range(0, len(own), _LANES):
            batches.append((register * _LANES, table, entries))
            chosen.append((own[at : at + _LANES] + [-1] * _LANES)[:_LANES])
    numbers = np.array(chosen, np.int64).reshape(-1, _LANES)
    lanes = np.where(numbers < 0, 0, groups[numbers, 0] % _LANES)
    lengths = np.empty(len(words), np.float32)
    _measure(words, windows, units, lengths)
    both = np.stack([lanes.astype(np.uint64), controls[numbers]], axis=1)
    return Tails(words, np.array(batches, np.int64).reshape(-1, 3), both, windows[3], lengths), numbers


@kernel
def _measure(words: U64, windows: Windows, units: F64, lengths: F32) -> None:
    """The lengths of `Tails`."""
    groups, controls, _, tables = windows
    mask = np.uint64(tables.shape[1] - 1)
    for i in range(words.shape[0]):
        square = 0.0
        for g in range(groups.shape[0]):
            word, own = words[i, groups[g, 0]], tables[groups[g, 1]]
            for b in range(8):
                first = (controls[g] >> np.uint64(8 * b)) & np.uint64(63)
                back = (np.uint64(64) - first) & np.uint64(63)
                value = np.float64(own[((word >> first) | (word << back)) & mask]) - _MIDDLE
                square += (value * units[g, b]) ** 2
        lengths[i] = np.float32(np.sqrt(square) * (1 + 1e-6))


def _adder(entries: int) -> Instruction:
    """An instruction (sums, words, lanes, table, weights) -> sums with a batch added."""

    @instruction(_INTS, _INTS, ADDRESS, ADDRESS, ADDRESS, ADDRESS)
    def add(builder: Builder, sums: Value, words: Value, lanes: Value, table: Value, weights: Value) -> Value:
        index, held = (emit_load(builder, at, _WORDS) for at in (lanes, words))
        held = emit_call(builder, "llvm.x86.avx512.permvar.di.512", _WORDS, [held, index])
        found = emit_call(
            builder,
            "llvm.x86.avx512.pmultishift.qb.512",
            BYTES.llvm,
            [emit_load(builder, lanes, BYTES.llvm, 64), builder.bitcast(held, BYTES.llvm)],
        )
        parts = [emit_load(builder, table, BYTES.llvm, 64 * part) for part in range(entries // 64)]
        factors = emit_load(builder, weights, BYTES.llvm)
        return emit_dot(builder, sums, emit_lookup(builder, parts, found), factors)

    return add


_add64, _add128, _add256 = (_adder(entries) for entries in STATES)


@instruction(_INTS)
def _zeros(_builder: Builder) -> Value:
    """No products yet."""
    return ir.Constant(_INTS.llvm, [0] * 16)


@instruction(types.int64, _INTS)
def _total(builder: Builder, sums: Value) -> Value:
    """All sums together."""
    return builder.sext(emit_call(builder, "llvm.vector.reduce.add.v16i32", INDEX, [sums]), WORD)


@kernel
def _sum_tail(words: int, plan: tuple[I64, int, int, int], weights: int) -> int:
    """The sum of products of a row's tail with weights (b, 8), both at addresses; plan: from `_at`."""
    batches, lanes, tables, states = plan
    sums = _zeros()
    for b in range(batches.shape[0]):
        at, table, entries = words + batches[b, 0] * 8, tables + batches[b, 1] * states, batches[b, 2]
        if entries == 64:
            sums = _add64(sums, at, lanes + b * 128, table, weights + b * 64)
        elif entries == 128:
            sums = _add128(sums, at, lanes + b * 128, table, weights + b * 64)
        else:
            sums = _add256(sums, at, lanes + b * 128, table, weights + b * 64)
    found: int = _total(sums)
    return found


@kernel
def _at(tails: Tails) -> tuple[I64, int, int, int]:
    """Batches, and where the rest of a plan is: arrays that are passed on are counted each time."""
    return tails.batches, address(tails.lanes), address(tails.tables), tails.tables.shape[1]


def pack(heads: Weights, tails: Weights, units: F64, numbers: I64) -> Queries:
    """Weights from `bytedots.fold` of 8 dimensions for each group of heads and of tails, of which lower bytes
    are zero; what `fold` has in the offsets of tails is left out, as their middles are.

    units (8 g,): what a step of a dimension's table in a tail is; numbers (b, 8): from `tails`.
    """
    count, groups = len(heads[0]), heads[0].shape[1] // 2
    ones, own = np.empty((count, groups), np.uint64), np.zeros((count, *numbers.shape), np.uint64)
    steps, reaches, slacks = (np.empty(count, np.float32) for _ in range(3))
    middles = np.empty(count, np.int64)
    _pack(heads, tails, (units, numbers), (ones, own), (steps, middles, reaches, slacks))
    return Queries(heads, ones, own, steps, middles, reaches, slacks)


@kernel
def _pack(
    heads: Weights,
    tails: Weights,
    plan: tuple[F64, I64],
    words: tuple[U64, U64],
    outs: tuple[F32, I64, F32, F32],
) -> None:
    """Fills what `pack` made; words: weights of groups together."""
    (units, numbers), (ones, own), (steps, middles, reaches, slacks) = plan, words, outs
    upper, lower = heads[0], tails[0]
    firsts, lasts = ones.view(np.int8), own.view(np.int8)
    for j in range(ones.shape[0]):
        for g in range(upper.shape[1]):
            for b in range(4):
                firsts[j, 4 * g + b] = upper[j, g, 0, 0, b]
        whole, square = np.int64(0), 0.0
        for g in range(lower.shape[1]):
            for b in range(4):
                weight = np.int64(lower[j, g, 0, 0, b])
                if weight != 0:
                    whole += weight
                    square += (np.float64(weight) / units[4 * g + b]) ** 2
        for batch in range(numbers.shape[0]):
            for lane in range(_LANES):
                g = 2 * numbers[batch, lane]
                for b in range(0 if g < 0 else 8):
                    lasts[j, batch, 8 * lane + b] = lower[j, g + b // 4, 0, 0, b % 4]
        step = 256 * np.float64(tails[1][j])
        steps[j], middles[j] = step, _MIDDLE * whole
        reaches[j] = step * np.sqrt(square) * (1 + 1e-6)
        most = 256 * np.float64(heads[1][j]) * _LARGEST * 4 * upper.shape[1]
        slacks[j] = _SLACK * (most + abs(heads[2][j]))


@kernel
def _head(blocks: U64, first: int, windows: Windows, queries: Queries, outs: tuple[F32, U8, F32]) -> None:
    """What heads add. outs: out (q, n); scratch, for values of a block and for scores of one."""
    out, values, found = outs
    if out.shape[0] == 1:
        weights = queries.ones[0], queries.heads[1], queries.heads[2]
        _scan_one(blocks, first, windows, weights, (out[0], found))
    else:
        _scan_many(blocks, first, windows, queries.heads, (out, values, found))


@kernel
def dots(blocks: U64, first: int, windows: Windows, tails: Tails, queries: Queries, out: F32) -> None:
    """out[j, i] = offset + step * products of the head + step * products of the tail of row i.

    blocks (b, words, BLOCK) from `trellisdots.lay_out`, windows from its `plan`, both of heads; out (q, n),
    written: rows of blocks[first], ...
    """
    values, found = np.empty((2 * windows[0].shape[0], BLOCK, 4), np.uint8), np.empty(BLOCK, np.float32)
    _head(blocks, first, windows, queries, (out, values, found))
    plan, width = _at(tails), tails.words.shape[1] * 8
    at, step = address(tails.words) + first * BLOCK * width, queries.tails.shape[1] * 64
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            whole = _sum_tail(at + i * width, plan, address(queries.tails) + j * step) - queries.middles[j]
            out[j, i] = fma(np.float32(whole), queries.steps[j], out[j, i])


@kernel
def _turn(scores: F32, terms: F32, how: int) -> None:
    """Scores become keys by terms, in place."""
    if how == top.TIMES:
        for i in range(scores.size):
            scores[i] *= terms[i]
    elif how == top.PLUS:
        for i in range(scores.size):
            scores[i] += terms[i]


@kernel
def _bounds(
    heads: F32, lengths: F32, reach: tuple[np.float32, np.float32], scaled: tuple[F32, np.float32], out: F32
) -> None:
    """What the scores of rows are at most, before terms; reach: of a tail of length one, and slack."""
    (most, slack), (factors, common) = reach, scaled
    if factors.size:
        for i in range(heads.size):
            out[i] = (heads[i] + (most * lengths[i] + slack)) * factors[i] + common
    else:
        for i in range(heads.size):
            out[i] = heads[i] + (most * lengths[i] + slack)


@kernel
def push(
    held: tuple[U64, Windows, Tails, F32],
    queries: tuple[Queries, F32],
    rows: tuple[int, int, int],
    by: By,
    heap: top.Heap,
) -> None:
    """Puts the scores of the rows [start, stop) into the heaps as `top.push` does.

    held: blocks and windows of heads, tails, and factors (n,) of scores, at least zero, or empty. queries:
    from `pack`, and what is added to scores that have a factor, (q,). rows: start, a multiple of BLOCK, stop,
    and the number that start has in the heaps. by: terms (stop - start,), at least zero where scores are
    multiplied by them, or empty; how; wanted (stop - start,) or empty.
    """
    (blocks, windows, tails, factors), (packed, commons) = held, queries
    (start, stop, number), (terms, how, wanted) = rows, by
    count = heap[0].shape[0]
    most = min(max(_ROWS, _SCORES // count // BLOCK * BLOCK), stop - start)
    scratch, bounds = np.empty(count * most, np.float32), np.empty(most, np.float32)
    values, found = np.empty((2 * windows[0].shape[0], BLOCK, 4), np.uint8), np.empty(BLOCK, np.float32)
    likely = np.empty(most, np.float32), np.empty(most, np.int64)
    for at in range(start, stop, most):
        size, low = min(most, stop - at), at - start
        heads = scratch[: count * size].reshape(count, size)
        _head(blocks, at // BLOCK, windows, packed, (heads, values, found))
        own = terms[low : low + size], how, wanted[low : low + size]
        for j in range(count):
            scaled = factors[at : at + size], commons[j]
            reach = packed.reaches[j], packed.slacks[j]
            _bounds(heads[j], tails.lengths[at : at + size], reach, scaled, bounds[:size])
            _turn(bounds[:size], own[0], how)
            mine, them = (heap[0][j], heap[1][j]), ((heads[j], tails), (packed, j), (scaled, own))
            chosen = _first(bounds[:size], mine[0], own[2], likely)
            _offer(*them, (at, number + low, chosen), likely, mine)
            if mine[0][0] > -np.inf:
                chosen = top.above_one(bounds[:size], mine[0][0], own[2], 0, likely)
                _offer(*them, (at, number + low, chosen), likely, mine)


@kernel
def _first(bounds: F32, keys: F32, wanted: NDArray[np.bool_], likely: top.Heap) -> int:
    """Writes bounds and places of the rows with the best bounds, which tell what else may get into a heap
    with these keys, and takes them out of `bounds`; of all rows, if they are few. Gives how many."""
    if keys[0] > -np.inf:
        return 0
    k, count = keys.size, 0
    found = np.empty((1, k), np.float32), np.empty((1, k), np.int64)
    top.clear(found)
    top.push(bounds.reshape(1, bounds.size), bounds[:0], top.AS_THEY_ARE, wanted, 0, found)
    enough = found[0][0, 0] > -np.inf
    for place in range(k if enough else bounds.size):
        i = found[1][0, place] if enough else place
        if wanted.size == 0 or wanted[i]:
            likely[0][count], likely[1][count] = bounds[i], i
            bounds[i] = -np.inf
            count += 1
    return count


@kernel
def _offer(
    held: tuple[F32, Tails],
    query: tuple[Queries, int],
    by: tuple[tuple[F32, np.float32], By],
    places: tuple[int, int, int],
    likely: top.Heap,
    heap: top.Heap,
) -> None:
    """Scores rows and puts them into the heap of one query.

    places: the number of the first row of a part among all and in the heap, and how many are likely.
    """
    (heads, tails), (packed, j), (first, number, count) = held, query, places
    ((factors, common), (terms, how, _)), (keys, numbers), (bounds, rows) = by, heap, likely
    plan, width = _at(tails), tails.words.shape[1] * 8
    words, weights = (
        address(tails.words) + first * width,
        address(packed.tails) + j * packed.tails.shape[1] * 64,
    )
    middle, step = packed.middles[j], packed.steps[j]
    for c in range(-_AHEAD, count):
        if c + _AHEAD < count:
            for line in range(0, width + 63, 64):
                prefetch(words + rows[c + _AHEAD] * width + line)
        if c < 0 or (keys[0] > -np.inf and not bounds[c] > keys[0]):
            continue
        i = rows[c]
        key = fma(np.float32(_sum_tail(words + i * width, plan, weights) - middle), step, heads[i])
        if factors.size:
            key = key * factors[i] + common
        if how == top.TIMES:
            key *= terms[i]
        elif how == top.PLUS:
            key += terms[i]
        if not key >= -np.inf:
            key = np.float32(-np.inf)
        if key > keys[0] or (key == keys[0] and numbers[0] > number + i):
            top.replace(keys, numbers, keys.size, key, number + i)
