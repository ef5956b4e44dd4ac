"""Trellis encoding: the path through a tail-biting bitshift trellis that is nearest to a row.

A word is a circle of 16 to 64 bits. A cell takes k of them and stands for one or two dimensions: its value is
that of table[state], where the state is the last `bits` bits up to and with its own. So any circle of bits is
a legal word, and decoding is a look at a window (`trellis.py`). The best circle is sought by dynamic
programming over the states (Viterbi 1967), one row per lane. Which state the circle should begin with is told
by a first round, which comes from half the circle or more before its beginning, where all states were alike,
and goes on as far behind it; the second round begins and ends there.
Trellis: Tseng et al. 2024, "QTIP", section 3.1; circles of bits: Cox, Sundberg 1994,
doi:10.1109/25.312791.

Costs stay where they are in memory: the states that follow 2**k others take their places, so that a state s
lies at s rotated by the bits taken so far.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.isa import LANES
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    BYTE,
    FLOATS,
    Builder,
    Value,
    address,
    empty_floats,
    fma_lanes,
    instruction,
    load,
    splat,
    store,
    where_less,
)

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
K, TABLE, DIM, WIDTH, PLACE = range(5)  # columns of `cells`
_FAR = np.float32(1e30)
# Eighths of the circle that the first round takes before its beginning and behind it. With fewer the error is
# up to 3 % above that of the best circle for 256 states, and half of it so; short circles need more.
_FEW_STATES, _MANY_STATES, _SHORT_WORDS = (4, 4), (5, 4), (8, 6)
_SHORT_BYTES = 4


def encode(rows: F32, scales: F32, tables: F32, cells: I64, words: I64, codes: U8) -> None:
    """The words nearest to rows (n, d), little-endian, one behind the other: codes (n, bytes), written.

    scales (d,): a cell of dimension j stands for scales[j] * table[state]. tables (t, 2, states). cells
    (c, 5) in the order of the circles: bits taken, table, first dimension, dimensions (1 or 2), place of the
    lowest of the bits in the word. words (w, 3): first cell, cell behind the last, bytes. The squared error
    is summed by fma in float32, cell by cell; of equal paths the one with the smaller states is taken.
    """
    states = tables.shape[2]
    longest = int((words[:, 1] - words[:, 0]).max(initial=1))
    costs = empty_floats(states * LANES)
    points = empty_floats(2 * longest * LANES)
    back = np.empty(longest * (states // 2) * LANES, np.uint8)
    negative = np.negative(scales)
    _encode(rows, codes, (negative, tables, _slots(states)), cells, words, (costs, points, back))


@lru_cache(maxsize=8)
def _slots(states: int) -> I64:
    """slots[r, s]: offset in bytes of state s where r bits (modulo log2 states) have been taken."""
    bits = states.bit_length() - 1
    s = np.arange(states)
    turned = [(s >> r) | ((s << (bits - r)) & (states - 1)) for r in range(bits)]
    return np.ascontiguousarray(np.array(turned, np.int64) * (LANES * 4))


@instruction(types.void, ADDRESS, FLOATS)
def _store_as_bytes(builder: Builder, at: Value, vector: Value) -> None:
    """Small whole numbers as LANES bytes to an address."""
    kind = ir.VectorType(BYTE, LANES)
    small = builder.fptoui(vector, ir.VectorType(ir.IntType(32), LANES))
    emit_store_bytes(builder, at, builder.trunc(small, kind))


def emit_store_bytes(builder: Builder, at: Value, value: Value) -> None:
    """A vector of bytes to an address, of any alignment."""
    builder.store(value, builder.inttoptr(at, value.type.as_pointer()), align=1)


def _step(k: int, traced: bool) -> Callable[..., None]:
    """The step of a cell that takes k bits; 0: any number, given with the cell. traced: fills `back`.

    k is a constant, so that the loops over what it branches into are unrolled; of many branches that would
    only take longer to compile.
    """

    def step(costs, back, point, cell, tables, slots):  # type: ignore[no-untyped-def]
        """costs: of the states before, then of those behind. cell: (bits, width, scale and its second)."""
        bits, width, scale, second = cell
        branches = 1 << (k if k > 0 else bits)
        first_table, second_table = tables
        x = load(point)
        y = load(point + LANES * 4)
        a, b = splat(scale), splat(second)
        for at in range(0, slots.shape[0], branches):
            best = load(costs + slots[at])
            index = splat(np.float32(0))
            for h in range(1, branches):
                other = load(costs + slots[at + h])
                if traced:
                    index = where_less(other, best, splat(np.float32(h)), index)
                best = where_less(other, best, other, best)
            if traced:
                _store_as_bytes(back, index)
                back += LANES
            for h in range(branches):
                error = fma_lanes(a, splat(first_table[at + h]), x)
                cost = fma_lanes(error, error, best)
                if width == 2:
                    error = fma_lanes(b, splat(second_table[at + h]), y)
                    cost = fma_lanes(error, error, cost)
                store(costs + slots[at + h], cost)

    return step


def _taker(traced: bool) -> Callable[..., None]:
    """The step of a cell of any size."""
    step1, step2, step3, step4, step_any = (kernel(_step(k, traced)) for k in (1, 2, 3, 4, 0))

    def take(costs, back, point, cell, tables, slots):  # type: ignore[no-untyped-def]
        k = cell[0]
        if k == 1:
            step1(costs, back, point, cell, tables, slots)
        elif k == 2:
            step2(costs, back, point, cell, tables, slots)
        elif k == 3:
            step3(costs, back, point, cell, tables, slots)
        elif k == 4:
            step4(costs, back, point, cell, tables, slots)
        else:
            step_any(costs, back, point, cell, tables, slots)

    return kernel(take)


_take, _pass = _taker(True), _taker(False)


@kernel
def _least(costs, slots, out):  # type: ignore[no-untyped-def]
    """The first state of least cost in each lane, as float32 to the address `out`."""
    best, index = load(costs + slots[0]), splat(np.float32(0))
    for s in range(1, slots.shape[0]):
        other = load(costs + slots[s])
        index = where_less(other, best, splat(np.float32(s)), index)
        best = where_less(other, best, other, best)
    store(out, index)


@kernel
def _walk(span, turn, cells, model, scratch, traced):  # type: ignore[no-untyped-def]
    """Takes the cells [span[0], span[1]), numbered from `span[2]` in `scratch`; the turn after them."""
    negative, tables, slots = model
    costs, points, back = scratch
    states = tables.shape[2]
    bits = slots.shape[0]
    for c in range(span[0], span[1]):
        k, place = cells[c, 0], c - span[2]
        turn = (turn + k) % bits
        dim, width = cells[c, 2], cells[c, 3]
        second = negative[dim + 1] if width == 2 else np.float32(0)
        cell = (k, width, negative[dim], second)
        pair = (tables[cells[c, 1], 0], tables[cells[c, 1], 1])
        at = address(back) + place * (states // 2) * LANES
        point = address(points) + place * 2 * LANES * 4
        if traced:
            _take(address(costs), at, point, cell, pair, slots[turn])
        else:
            _pass(address(costs), at, point, cell, pair, slots[turn])
    return turn


@kernel
def _retrace(span, cells, model, scratch, state, word):  # type: ignore[no-untyped-def]
    """Goes back over the cells [span[0], span[1]) from state (LANES,), adding their bits to word (LANES,)."""
    slots = model[2]
    back = scratch[2]
    bits, states = slots.shape
    for c in range(span[1] - 1, span[0] - 1, -1):
        k, place = cells[c, 0], cells[c, 4]
        at = (c - span[2]) * (states // 2) * LANES
        for lane in range(LANES):
            s = state[lane]
            g = s >> k
            word[lane] |= np.uint64(s & ((1 << k) - 1)) << np.uint64(place)
            state[lane] = g | (np.int64(back[at + g * LANES + lane]) << (bits - k))


@kernel
def _encode(rows, codes, model, cells, words, scratch):  # type: ignore[no-untyped-def]
    costs, points, _ = scratch
    slots = model[2]
    state, word = np.empty(LANES, np.int64), np.empty(LANES, np.uint64)
    n = rows.shape[0]
    for base in range(0, n, LANES):
        byte = 0
        for w in range(words.shape[0]):
            first, last, size = words[w, 0], words[w, 1], words[w, 2]
            for c in range(first, last):
                for j in range(2):
                    at = ((c - first) * 2 + j) * LANES
                    for lane in range(LANES):
                        row = min(base + lane, n - 1)
                        points[at + lane] = rows[row, cells[c, 2] + min(j, cells[c, 3] - 1)]
            eighth = (last - first) // 8
            before, behind = _FEW_STATES if slots.shape[1] < 256 else _MANY_STATES
            if size <= _SHORT_BYTES:
                before, behind = _SHORT_WORDS
            costs[:] = np.float32(0)
            turn = _walk((last - before * eighth, last, first), 0, cells, model, scratch, False)
            turn = _walk((first, first + behind * eighth, first), turn, cells, model, scratch, True)
            _least(address(costs), slots[turn], address(costs))
            for lane in range(LANES):
                state[lane] = np.int64(costs[lane])
            _retrace((first, first + behind * eighth, first), cells, model, scratch, state, word)
            costs[:] = _FAR
            for lane in range(LANES):
                costs[state[lane] * LANES + lane] = np.float32(0)
                word[lane] = 0
            _walk((first, last, first), 0, cells, model, scratch, True)
            _retrace((first, last, first), cells, model, scratch, state, word)
            for lane in range(min(LANES, n - base)):
                for b in range(size):
                    codes[base + lane, byte + b] = np.uint8(word[lane] >> np.uint64(8 * b))
            byte += size
