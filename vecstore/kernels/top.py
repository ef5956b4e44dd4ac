"""The best k of scores as they come, block by block.

A heap holds the best so far, its root the worst of them, so that one comparison tells whether a score gets
in. Scores are compared with it in runs, a register of them by one instruction; almost all runs hold nothing
that is better. A place that is not filled has the key -inf and the row NONE.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.isa import ISA
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    FLOAT,
    INDEX,
    WORD,
    Builder,
    Value,
    address,
    emit_call,
    emit_load,
    emit_splat,
    emit_store,
    instruction,
    lowest_bit,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Heap = tuple[F32, I64]  # keys and rows, (q, k) each
NONE = np.iinfo(np.int64).max
RUN = 64
_VECTORS = ISA != "scalar"
_FLOATS = ir.VectorType(FLOAT, RUN)
_PARTS = 3  # times k: of so many maxima the k-th largest is a key that few but the k best reach
_INFINITE, _SIGNLESS = 0x7F800000, 0x7FFFFFFF  # bits of float32
AS_THEY_ARE, TIMES, PLUS = 0, 1, 2  # how a score becomes a key by its row's term


@kernel
def clear(heap: Heap) -> None:
    """Takes everything out."""
    heap[0][:] = -np.inf
    heap[1][:] = NONE


def empty_heap(queries: int, k: int) -> Heap:
    """A heap for each query with nothing in it."""
    heap = np.empty((queries, k), np.float32), np.empty((queries, k), np.int64)
    clear(heap)  # np.full takes longer than a search of a thousand rows
    return heap


@instruction(types.int64, ADDRESS, types.float32)
def _above(builder: Builder, at: Value, least: Value) -> Value:
    """A bit for each of RUN float32 that is larger than `least`."""
    found = builder.fcmp_ordered(">", emit_load(builder, at, _FLOATS), emit_splat(builder, least, _FLOATS))
    return builder.bitcast(found, WORD)


@instruction(types.void, ADDRESS, ADDRESS)
def _multiply(builder: Builder, at: Value, terms: Value) -> None:
    """RUN float32 times their terms, in place."""
    found = builder.fmul(emit_load(builder, at, _FLOATS), emit_load(builder, terms, _FLOATS))
    emit_store(builder, at, found)


@instruction(types.void, ADDRESS, ADDRESS)
def _add(builder: Builder, at: Value, terms: Value) -> None:
    """RUN float32 and their terms, in place."""
    found = builder.fadd(emit_load(builder, at, _FLOATS), emit_load(builder, terms, _FLOATS))
    emit_store(builder, at, found)


@instruction(types.void, ADDRESS, ADDRESS)
def _raise(builder: Builder, maxima: Value, at: Value) -> None:
    """Of RUN float32 at `maxima` and as many at `at` the larger ones, to the former; a NaN is not larger."""
    held, keys = emit_load(builder, maxima, _FLOATS), emit_load(builder, at, _FLOATS)
    emit_store(builder, maxima, builder.select(builder.fcmp_ordered(">", keys, held), keys, held))


@instruction(types.float32, types.int64)
def _float_of(builder: Builder, rank: Value) -> Value:
    """The float32 that comes at this place, counted from zero, of all in their order."""
    negative = builder.icmp_signed("<", rank, ir.Constant(WORD, 0))
    bits = builder.select(negative, builder.xor(rank, ir.Constant(WORD, _SIGNLESS)), rank)
    return builder.bitcast(builder.trunc(bits, INDEX), FLOAT)


@instruction(types.int64, types.int64)
def _ones(builder: Builder, bits: Value) -> Value:
    """How many bits are set."""
    return emit_call(builder, "llvm.ctpop.i64", WORD, [bits])


@kernel
def _above_all(keys: F32, least: np.float32) -> int:
    """How many of the keys, whole runs, are above `least`."""
    count = 0
    for at in range(0, keys.size, RUN):
        count += _ones(_above(address(keys) + at * 4, least))
    return count


@kernel
def _floor(keys: F32, maxima: F32, k: int) -> np.float32:
    """A key such that k or more of `keys` are above it, and few more are; -inf if there is none.

    It is just below the k-th largest of the maxima of as many parts of `keys` as `maxima` (c,) is long, or
    below one after that. c is a multiple of RUN, k or more; maxima are overwritten.
    """
    parts = maxima.size
    maxima[:] = -np.inf
    for at in range(0, keys.size // parts * parts, parts):
        for i in range(0, parts, RUN):
            _raise(address(maxima) + i * 4, address(keys) + (at + i) * 4)
    low, high, key = ~_INFINITE, _INFINITE, np.float32(-np.inf)
    count = _above_all(maxima, key)
    # Whole numbers that are ordered as float32 are: halving finds keys of any size in as many steps.
    while high - low > 1 and count > k + k // 8:
        middle = (low + high) >> 1
        likely = _float_of(middle)
        above = _above_all(maxima, likely)
        if above >= k:
            low, key, count = middle, likely, above
        else:
            high = middle
    return key if count >= k else np.float32(-np.inf)


@kernel
def _begin(scores: F32, wanted: NDArray[np.bool_], first: int, scratch: tuple[F32, Heap], heap: Heap) -> bool:
    """Puts the keys (n,) of many rows into the heap of one query at once; False, and nothing done, where too
    few of them are numbers. scratch: maxima for `_floor`, found (n,) each."""
    (keys, rows), (maxima, found) = heap, scratch
    for i in range(wanted.size):
        scores[i] = scores[i] if wanted[i] else np.float32(-np.inf)
    bar, k, start = _floor(scores, maxima, keys.size), keys.size, 0
    if not bar > -np.inf:
        return False
    count = above_one(scores, bar, wanted, first, found)
    if not keys.max() > -np.inf:
        keys[:], rows[:] = found[0][:k], found[1][:k]
        for at in range(k // 2 - 1, -1, -1):
            _sink(keys, rows, at, k, keys[at], rows[at])
        start = k
    for c in range(start, count):
        if found[0][c] > keys[0]:
            replace(keys, rows, k, found[0][c], found[1][c])
    return True


@kernel
def _push_vectors(
    scores: F32, terms: F32, how: int, wanted: NDArray[np.bool_], first: int, heap: Heap
) -> None:
    """`_push_plain`, a run at a time once the heap is full; many rows at once until then."""
    keys, rows = heap
    n, k = scores.shape[1], keys.shape[1]
    whole, parts = n // RUN * RUN, -(-k * _PARTS // RUN) * RUN
    many = 0
    for j in range(scores.shape[0]):
        if 2 * parts <= n and not keys[j, 0] > -np.inf:
            many = n
    scratch = np.empty(min(many, parts), np.float32), (np.empty(many, np.float32), np.empty(many, np.int64))
    for j in range(scores.shape[0]):
        line, still = address(scores) + j * n * 4, how
        if many and not keys[j, 0] > -np.inf:
            turn(scores[j], terms, how)
            still = AS_THEY_ARE
            if _begin(scores[j], wanted, first, scratch, (keys[j], rows[j])):
                continue
        for at in range(0, whole, RUN):
            if still == TIMES:
                _multiply(line + at * 4, address(terms) + at * 4)
            elif still == PLUS:
                _add(line + at * 4, address(terms) + at * 4)
            if not keys[j, 0] > -np.inf:
                _push_run(scores[j, at : at + RUN], wanted[at : at + RUN], first + at, keys[j], rows[j])
                continue
            bits = _above(line + at * 4, keys[j, 0])
            while bits:
                i = at + lowest_bit(bits)
                bits &= bits - 1
                if scores[j, i] > keys[j, 0] and (wanted.size == 0 or wanted[i]):
                    replace(keys[j], rows[j], k, scores[j, i], first + i)
        turn(scores[j, whole:], terms[whole:], still)
        _push_run(scores[j, whole:], wanted[whole:], first + whole, keys[j], rows[j])


@kernel
def _push_plain(scores: F32, terms: F32, how: int, wanted: NDArray[np.bool_], first: int, heap: Heap) -> None:
    """Puts the scores of rows first, first + 1, ... into the heaps: larger keys win, then smaller rows.

    scores (q, n), become keys: scores (how = 0), scores * terms (1) or scores + terms (2), NaN as -inf;
    terms (n,) or empty; wanted (n,), or empty for all. Rows must come in ascending order.
    """
    for j in range(scores.shape[0]):
        turn(scores[j], terms, how)
        _push_run(scores[j], wanted, first, heap[0][j], heap[1][j])


push = _push_vectors if _VECTORS else _push_plain


@kernel
def _push_run(scores: F32, wanted: NDArray[np.bool_], first: int, keys: F32, rows: I64) -> None:
    """Puts the keys of a run of rows, one by one, into the heap of one query."""
    for i in range(scores.size):
        key = scores[i]
        if not key >= -np.inf:
            key = np.float32(-np.inf)
        # Of equal keys the first stays; in a place that is not filled, -inf is equal and gets in.
        if key > keys[0] or (key == keys[0] and rows[0] > first + i):
            if wanted.size == 0 or wanted[i]:
                replace(keys, rows, keys.size, key, first + i)


@kernel
def above_one(keys: F32, least: np.float32, wanted: NDArray[np.bool_], first: int, found: Heap) -> int:
    """`above` of one query: keys (n,), found (n,) each; gives how many there are."""
    count, whole = 0, keys.size // RUN * RUN if _VECTORS else 0
    for at in range(0, whole, RUN):
        bits = _above(address(keys) + at * 4, least)
        while bits:
            i = at + lowest_bit(bits)
            bits &= bits - 1
            if wanted.size == 0 or wanted[i]:
                found[0][count], found[1][count] = keys[i], first + i
                count += 1
    for i in range(whole, keys.size):
        if keys[i] > least and (wanted.size == 0 or wanted[i]):
            found[0][count], found[1][count] = keys[i], first + i
            count += 1
    return count


@kernel
def above(keys: F32, least: F32, wanted: NDArray[np.bool_], first: int, found: Heap) -> int:
    """Writes keys and numbers of the rows first, first + 1, ... whose key is above their query's least.

    keys (q, n); least (q,); wanted (n,), or empty for all; found (q, n) each. Gives how many each query has,
    the most of them; those of a query with fewer are followed by -inf and the row -1.
    """
    most = 0
    ends = np.zeros(keys.shape[0], np.int64)
    for j in range(keys.shape[0]):
        ends[j] = above_one(keys[j], least[j], wanted, first, (found[0][j], found[1][j]))
        most = max(most, ends[j])
    for j in range(keys.shape[0]):
        found[0][j, ends[j] : most] = -np.inf
        found[1][j, ends[j] : most] = -1
    return most


@kernel
def merge(source: Heap, target: Heap) -> None:
    """Puts what source holds into target."""
    for j in range(source[0].shape[0]):
        for i in range(source[0].shape[1]):
            key, row = source[0][j, i], source[1][j, i]
            least, worst = target[0][j, 0], target[1][j, 0]
            if key > least or (key == least and row < worst):
                replace(target[0][j], target[1][j], target[0].shape[1], key, row)


@kernel
def best(source: Heap, target: Heap) -> None:
    """Fills target with the best of what source holds, the best first; it has no more places than source."""
    clear(target)
    merge(source, target)
    sort(target)


@kernel
def turn(scores: F32, terms: F32, how: int) -> None:
    """Scores (n,) become keys by terms, in place."""
    if how == TIMES:
        for i in range(scores.size):
            scores[i] *= terms[i]
    elif how == PLUS:
        for i in range(scores.size):
            scores[i] += terms[i]


@kernel
def rank(scores: F64, by: tuple[tuple[F32, int, NDArray[np.bool_]], F64], heap: Heap, target: Heap) -> None:
    """Fills target with the best of what heap holds by these scores (q, n), the best first.

    by: terms, how (no PLUS) and wanted, of all rows; and what multiplies all keys of a query in the end, (q,)
    or empty. The heap's keys (q, n) are overwritten.
    """
    (terms, how, _), lengths = by
    keys, rows = heap
    for j in range(keys.shape[0]):
        for i in range(keys.shape[1]):
            key = scores[j, i]
            if how == TIMES:
                key *= terms[rows[j, i]]
            keys[j, i] = np.float32(key)
            if lengths.size:
                keys[j, i] = np.float32(keys[j, i] * lengths[j])
    best(heap, target)


@kernel
def sort(heap: Heap) -> None:
    """The best first."""
    keys, rows = heap
    for j in range(keys.shape[0]):
        for size in range(keys.shape[1] - 1, 0, -1):
            key, row = keys[j, size], rows[j, size]
            keys[j, size], rows[j, size] = keys[j, 0], rows[j, 0]
            replace(keys[j], rows[j], size, key, row)


@kernel
def replace(keys: F32, rows: I64, size: int, key: np.float32, row: int) -> None:
    """Puts (key, row) in place of the root of a heap of `size` and restores the order."""
    _sink(keys, rows, 0, size, key, row)


@kernel
def _sink(keys: F32, rows: I64, at: int, size: int, key: np.float32, row: int) -> None:
    """Puts (key, row) where `at` is or below it: what lies there is worse than all that is below it."""
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            keys[right] < keys[child] or (keys[right] == keys[child] and rows[right] > rows[child])
        ):
            child = right
        if not (keys[child] < key or (keys[child] == key and rows[child] > row)):
            break
        keys[at], rows[at] = keys[child], rows[child]
        at = child
    keys[at], rows[at] = key, row
