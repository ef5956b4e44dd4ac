"""Scans of trellis codes that read the words that tell most, and the others of few rows.

Words are split in two. Those with the largest axes, the heads, lie in blocks as `trellisdots` reads them; the
others are the tails of `trellistails`, which bounds what they can add. A row whose head, centroids and bound
together do not get into the heap is done with. Heaps come out as if all words of all rows had been read.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import top
from vecstore.kernels.jit import kernel
from vecstore.kernels.lookup import Tables, add_in_registers
from vecstore.kernels.simd import address, fma
from vecstore.kernels.sixteen import prefetch
from vecstore.kernels.trellisdots import BLOCK, Windows, scan_many, scan_one
from vecstore.kernels.trellistails import Queries, Tails, plan_of, sum_tail

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
By = tuple[F32, int, NDArray[np.bool_]]
# Of heads, before tails are read: rows at least, and with fewer queries scores.
_ROWS, _SCORES = 8192, 1 << 15
_AHEAD = 8  # rows whose tails are asked for


class Held(NamedTuple):
    """Rows whose scores are (head + tail) * factor + base; those without factors and stages have no base."""

    blocks: U64  # (b, words, BLOCK), from `trellisdots.lay_out`
    windows: Windows  # of heads, from `trellisdots.plan`
    tails: Tails
    factors: F32  # (n,), at least zero, or empty
    stages: U8  # (b, s, BLOCK): centroids, from `bitsums.lay_out`


@kernel
def settle(stages: U8, first: int, factors: F32, tables: Tables, out: F32) -> None:
    """out[j, i] = out[j, i] * factors[i] + offset j + what the centroids of row i add.

    stages: as in `Held`, the rows those of stages[first], ...; factors (n,) of these rows, or empty for ones;
    tables (q, s, 256) as `lookup.make_tables` has them; out (q, n).
    """
    book, steps, offsets = tables
    starts = np.array([0, stages.shape[1]])
    bases, found = np.empty((1, out.shape[1]), np.float32), np.empty(BLOCK, np.float32)
    for j in range(out.shape[0]):
        if stages.shape[1]:
            own = book[j : j + 1], steps[j : j + 1], offsets[j : j + 1]
            add_in_registers(stages, first, starts, own, (bases, found))
        else:
            bases[:] = offsets[j]
        _settle(out[j], factors, bases[0])


@kernel
def _settle(scores: F32, factors: F32, bases: F32) -> None:
    """scores = scores * factors + bases."""
    if factors.size:
        for i in range(scores.size):
            scores[i] = scores[i] * factors[i] + bases[i]
    else:
        for i in range(scores.size):
            scores[i] += bases[i]


@kernel
def _heads(held: Held, start: int, queries: tuple[Queries, Tables], outs: tuple[F32, U8, F32]) -> None:
    """Scores of rows without their tails. outs: out (q, n); scratch, for values of a block and for scores of
    one."""
    (out, values, found), packed = outs, queries[0]
    if out.shape[0] == 1:
        weights = packed.ones[0], packed.heads[1], packed.heads[2]
        scan_one(held.blocks, start // BLOCK, held.windows, weights, (out[0], found))
    else:
        scan_many(held.blocks, start // BLOCK, held.windows, packed.heads, (out, values, found))
    if held.factors.size or held.stages.shape[1]:
        factors = held.factors[start : start + out.shape[1]]
        settle(held.stages, start // BLOCK, factors, queries[1], out)


@kernel
def _scratch(held: Held) -> tuple[U8, F32]:
    """For `_heads`."""
    return np.empty((2 * held.windows[0].shape[0], BLOCK, 4), np.uint8), np.empty(BLOCK, np.float32)


@kernel
def dots(held: Held, start: int, queries: tuple[Queries, Tables], out: F32) -> None:
    """The scores of the rows start, ..., a multiple of BLOCK; queries: from `pack`, and tables of `settle`;
    out (q, n), written."""
    values, found = _scratch(held)
    _heads(held, start, queries, (out, values, found))
    (tails, packed), rows = (held.tails, queries[0]), out.shape[1]
    plan, width, factors = plan_of(tails), tails.words.shape[1] * 8, held.factors[start : start + rows]
    at, own = address(tails.words) + start * width, packed.tails.shape[1] * 64
    for j in range(out.shape[0]):
        for i in range(rows):
            whole = sum_tail(at + i * width, plan, address(packed.tails) + j * own) - packed.middles[j]
            step = packed.steps[j] * factors[i] if factors.size else packed.steps[j]
            out[j, i] = fma(np.float32(whole), step, out[j, i])


@kernel
def _bounds(heads: F32, lengths: F32, reach: np.float32, out: F32) -> None:
    """What the scores of rows are at most, before terms; reach: of a tail of length one."""
    for i in range(heads.size):
        out[i] = heads[i] + reach * lengths[i]


@kernel
def push(
    held: Held, queries: tuple[Queries, Tables], rows: tuple[int, int, int], by: By, heap: top.Heap
) -> None:
    """Puts the scores of the rows [start, stop), as `dots` has them, into the heaps as `top.push` does.

    rows: start, a multiple of BLOCK, stop, and the number that start has in the heaps. by: terms
    (stop - start,), at least zero where scores are multiplied by them, or empty; how; wanted (stop - start,)
    or empty.
    """
    (start, stop, number), (terms, how, wanted), packed = rows, by, queries[0]
    count = heap[0].shape[0]
    most = min(max(_ROWS, _SCORES // count // BLOCK * BLOCK), stop - start)
    scratch, bounds = np.empty(count * most, np.float32), np.empty(most, np.float32)
    values, found = _scratch(held)
    likely = np.empty(most, np.float32), np.empty(most, np.int64)
    for at in range(start, stop, most):
        size, low = min(most, stop - at), at - start
        heads = scratch[: count * size].reshape(count, size)
        _heads(held, at, queries, (heads, values, found))
        own = terms[low : low + size], how, wanted[low : low + size]
        for j in range(count):
            _bounds(heads[j], held.tails.lengths[at : at + size], packed.reaches[j], bounds[:size])
            top.turn(bounds[:size], own[0], how)
            mine, query = (heap[0][j], heap[1][j]), (packed, j)
            chosen = _first(bounds[:size], mine[0], own[2], likely)
            _offer((held, heads[j]), query, own, (at, number + low, chosen), likely, mine)
            if mine[0][0] > -np.inf:
                # With an equal key a row gets in if its number is smaller.
                least = np.nextafter(mine[0][0], np.float32(-np.inf))
                chosen = top.above_one(bounds[:size], least, own[2], 0, likely)
                _offer((held, heads[j]), query, own, (at, number + low, chosen), likely, mine)


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
    held: tuple[Held, F32],
    query: tuple[Queries, int],
    by: By,
    places: tuple[int, int, int],
    likely: top.Heap,
    heap: top.Heap,
) -> None:
    """Scores rows and puts them into the heap of one query.

    held: with scores of heads. places: the number of the first row of a part among all and in the heap, and
    how many are likely.
    """
    ((_, _, tails, factors, _), heads), (packed, j), (first, number, count) = held, query, places
    (terms, how, _), (keys, numbers), (bounds, rows) = by, heap, likely
    plan, width = plan_of(tails), tails.words.shape[1] * 8
    words = address(tails.words) + first * width
    weights = address(packed.tails) + j * packed.tails.shape[1] * 64
    for c in range(-_AHEAD, count):
        if c + _AHEAD < count:
            for line in range(0, width + 63, 64):
                prefetch(words + rows[c + _AHEAD] * width + line)
        if c < 0 or (keys[0] > -np.inf and not bounds[c] >= keys[0]):
            continue
        i = rows[c]
        step = packed.steps[j] * factors[first + i] if factors.size else packed.steps[j]
        whole = sum_tail(words + i * width, plan, weights) - packed.middles[j]
        key = fma(np.float32(whole), step, heads[i])
        if how == top.TIMES:
            key *= terms[i]
        elif how == top.PLUS:
            key += terms[i]
        if not key >= -np.inf:
            key = np.float32(-np.inf)
        if key > keys[0] or (key == keys[0] and numbers[0] > number + i):
            top.replace(keys, numbers, keys.size, key, number + i)
