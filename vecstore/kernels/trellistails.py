"""Words of trellis codes that lie row by row: what they add to a score, and what they can add at most.

They are the tails of rows, of which `trellisheaps` reads the heads first. A register holds 8 words of a tail.
Eight groups of windows with one table, a batch, are looked up at once. What a tail can add is bounded by its
length and that of the query's weights there (Cauchy, Schwarz).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

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
    instruction,
    zeros_in_lines,
)
from vecstore.kernels.trellisdots import STATES, Windows

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
_LANES = 8  # words of a register, and windows of a group
_MORE = 1e-6  # of a bound, to be above it however the products of a tail are rounded
_MIDDLE = 128  # of a table's bytes: what they are less this is what they stand for
_INTS = Vector(INDEX, 16)
_WORDS = ir.VectorType(WORD, _LANES)


class Tails(NamedTuple):
    """The tails of rows, and how they are read."""

    words: U64  # (n, t), and a register beyond
    batches: I64  # (b, 3): first word of a register, table, entries of it that are read
    lanes: U64  # (b, 2, 8): which word of the register each group is in; first bits of its windows
    tables: U8  # (t, states)
    lengths: F32  # (n,): of what tails stand for, times the row's factor if there are any, rounded up


class Queries(NamedTuple):
    """Weights of queries, as bytes and steps."""

    heads: Weights
    ones: U64  # (q, groups of heads): the same, those of a group together
    tails: U64  # (q, b, 8): those of the groups of batches
    steps: F32  # (q,): what one product of a tail counts
    middles: I64  # (q,): what tails of nothing but middles add
    reaches: F32  # (q,): what a tail of length one can add at most


def lay_out(codes: U8, sizes: I64) -> U64:
    """Codes (n, bytes) of words of `sizes` bytes row by row, (n, words); shorter words are repeated."""
    count, starts = len(codes), np.cumsum([0, *sizes])
    held = zeros_in_lines((count * len(sizes) + _LANES,), np.uint64)
    words = held[: count * len(sizes)].reshape(count, len(sizes))
    places = words.view(np.uint8).reshape(count, len(sizes), 8)
    for w, size in enumerate(sizes):
        places[:, w] = codes[:, starts[w] + np.arange(8) % size]
    return words


def tails(words: U64, windows: Windows, units: F64, factors: F32) -> tuple[Tails, I64]:
    """How words from `lay_out` are read by a plan of `trellisdots`; and which group each lane of a batch
    takes, (b, 8), -1 for none. units (g, 8): what a step of a table is; factors of rows (n,), or empty."""
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
    lengths = np.ones(len(words), np.float32)
    lengths[: len(factors)] = factors
    _measure(words, windows, units, lengths)
    both = np.stack([lanes.astype(np.uint64), controls[numbers]], axis=1)
    return Tails(words, np.array(batches, np.int64).reshape(-1, 3), both, windows[3], lengths), numbers


@kernel
def _measure(words: U64, windows: Windows, units: F64, lengths: F32) -> None:
    """The lengths of `Tails`; lengths hold factors before."""
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
        lengths[i] = np.float32(np.sqrt(square) * lengths[i] * (1 + _MORE))


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
def sum_tail(words: int, plan: tuple[I64, int, int, int], weights: int) -> int:
    """The sum of products of a row's tail with weights (b, 8), both at addresses; plan: from `plan_of`."""
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
def plan_of(tails: Tails) -> tuple[I64, int, int, int]:
    """Batches, and where the rest of a plan is: arrays that are passed on are counted each time."""
    return tails.batches, address(tails.lanes), address(tails.tables), tails.tables.shape[1]


@kernel
def pack(heads: Weights, tails: Weights, units: F64, numbers: I64) -> Queries:
    """Weights from `bytedots.fold` of 8 dimensions for each group of heads and of tails, of which lower bytes
    are zero; what `fold` has in the offsets of tails is left out, as their middles are.

    units (8 g,): what a step of a dimension's table in a tail is; numbers (b, 8): from `tails`.
    """
    count, groups = heads[0].shape[0], heads[0].shape[1] // 2
    ones, own = np.empty((count, groups), np.uint64), np.zeros((count, *numbers.shape), np.uint64)
    steps, reaches = np.empty(count, np.float32), np.empty(count, np.float32)
    middles = np.empty(count, np.int64)
    _pack(heads, tails, (units, numbers), (ones, own), (steps, middles, reaches))
    return Queries(heads, ones, own, steps, middles, reaches)


@kernel
def _pack(
    heads: Weights,
    tails: Weights,
    plan: tuple[F64, I64],
    words: tuple[U64, U64],
    outs: tuple[F32, I64, F32],
) -> None:
    """Fills what `pack` made; words: weights of groups together."""
    (units, numbers), (ones, own), (steps, middles, reaches) = plan, words, outs
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
        reaches[j] = step * np.sqrt(square) * (1 + _MORE)
