"""Scores of heads, tails and centroids, and heaps of rows that bounds do not rule out, against plain sums."""

from typing import NamedTuple

import numpy as np
import pytest
from test_trellisdots import values_of
from test_trellistails import groups_of

from vecstore.kernels import bitsums, bytedots, lookup, top, trellisdots, trellisheaps, trellistails
from vecstore.kernels.trellisdots import BLOCK

pytestmark = pytest.mark.skipif(
    not trellisdots.usable(64), reason="this machine has no AVX-512 with VBMI and VNNI"
)
ROWS = 3 * BLOCK - 7
HEADS = [8, 5]
NONE = np.empty(0, np.float32)
ALL = np.empty(0, np.bool_)


class Case(NamedTuple):
    """What `dots` and `push` take, and scores (q, n) by plain sums."""

    held: trellisheaps.Held
    queries: tuple[trellistails.Queries, lookup.Tables]
    scores: np.ndarray

    def only(self, j):
        """The same with one query."""
        packed, tables = self.queries
        heads, rest = (part[j : j + 1] for part in packed.heads), (part[j : j + 1] for part in packed[1:])
        one = trellistails.Queries(tuple(heads), *rest)
        return Case(self.held, (one, tuple(part[j : j + 1] for part in tables)), self.scores[j : j + 1])


def make(states, sizes, queries, stages=0, scaled=False, even=False):
    """even: tails are as large as heads."""
    rng = np.random.default_rng(sum(sizes) + states)
    tables = rng.integers(0, 256, (3, states)).astype(np.uint8)
    factors = rng.random(ROWS if scaled else 0).astype(np.float32)
    made, sums = [], 0
    for number, own in enumerate((HEADS, sizes)):
        codes = rng.integers(0, 256, (ROWS, sum(own))).astype(np.uint8)
        codes[50:90] = codes[:40]
        places, groups, controls = groups_of(rng, own, 3 if number else 5)
        windows = trellisdots.plan(groups, controls, tables)
        weights = rng.standard_normal((queries, 8 * len(groups))).astype(np.float32)
        weights *= 1 if even or not number else np.float32(0.02)
        folded = bytedots.fold(weights, np.arange(queries) * 2.0 * (1 - number), 1, 256, weights.shape[1])
        values = np.array([values_of(row, own, tables, places, groups).reshape(-1) for row in codes])
        whole = folded[0][:, :, 0, 0].reshape(queries, -1).astype(np.int64) @ (values - 128 * number).T
        sums = sums + whole * (256.0 * folded[1][:, None]) + (0 if number else folded[2][:, None])
        made.append((codes, windows, folded))
    (codes, windows, heads), (rest, behind, ends) = made
    units = rng.random(8 * len(behind[0])) + 0.5
    words = trellistails.lay_out(rest, np.array(sizes))
    tails, numbers = trellistails.tails(words, behind, units.reshape(-1, 8), factors)
    chosen, book = rng.integers(0, 256, (ROWS, stages)), rng.integers(0, 256, (queries, stages, 256))
    chosen[50:90] = chosen[:40]
    tables = book.astype(np.uint8), np.full((queries, 1), 0.5, np.float32), rng.random(queries, np.float32)
    if scaled or stages:
        added = book[:, np.arange(stages), chosen].sum(axis=2) * 0.5 + tables[2][:, None]
        sums = sums * (factors if scaled else 1) + added
    held = trellisheaps.Held(
        trellisdots.lay_out(codes, np.array(HEADS)), windows, tails, factors,
        bitsums.lay_out(chosen.astype(np.uint8)),
    )  # fmt: skip
    return Case(held, (trellistails.pack(heads, ends, units, numbers), tables), sums)


def scores_of(case, start=0):
    out = np.empty((len(case.scores), ROWS - start), np.float32)
    trellisheaps.dots(case.held, start, case.queries, out)
    return out


@pytest.mark.parametrize("states", trellisdots.STATES)
@pytest.mark.parametrize("sizes", [[1], [8, 5], [2, 3, 7], [8] * 9 + [6]])
@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize(("stages", "scaled"), [(0, False), (0, True), (1, False), (2, True)])
def test_scores_are_those_of_windows_tables_and_centroids(states, sizes, queries, stages, scaled):
    case = make(states, sizes, queries, stages, scaled)
    out = scores_of(case)
    assert np.allclose(out, case.scores, rtol=1e-6, atol=1e-5 * np.abs(case.scores).max())
    assert np.array_equal(scores_of(case, BLOCK), out[:, BLOCK:])
    assert np.array_equal(scores_of(case.only(0)), out[:1])


def heap_of(scores, k, number, wanted):
    heap = top.empty_heap(len(scores), k)
    top.push(scores.copy(), NONE, top.AS_THEY_ARE, wanted, number, heap)
    top.sort(heap)
    return heap


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("k", [1, 10, 300])
@pytest.mark.parametrize("stages", [0, 1, 2])
@pytest.mark.parametrize("scaled", [False, True])
def test_heaps_are_those_of_all_scores(even, queries, k, stages, scaled):
    case = make(64, [8, 3], queries, stages, scaled, even)
    rng = np.random.default_rng(1)
    terms, wanted = rng.random(ROWS).astype(np.float32), rng.random(ROWS) < 0.7
    terms[50:90] = terms[:40]
    scores = scores_of(case)
    for how, some in ((0, ALL), (1, ALL), (2, wanted), (0, wanted)):
        heap = top.empty_heap(queries, k)
        for start in (0, BLOCK):
            stop = BLOCK if start == 0 else ROWS
            by = (terms[start:stop] if how else NONE), how, some[start:stop]
            trellisheaps.push(case.held, case.queries, (start, stop, 1000 + start), by, heap)
        top.sort(heap)
        keys = scores * terms if how == 1 else scores + terms if how == 2 else scores
        found = heap_of(keys, k, 1000, some)
        assert np.array_equal(heap[0], found[0]) and np.array_equal(heap[1], found[1])


@pytest.mark.parametrize("k", [1, 4, 100])
def test_of_equal_rows_the_first_are_found_though_bounds_say_nothing(k):
    """All rows are alike but for their centroids, of which there are two; the tails are zero."""
    case = make(64, [8], 2, stages=1)
    case.held.blocks[:] = case.held.blocks[:1, :, :1]
    case.held.tails.words[:] = case.held.tails.words[0]
    case.held.tails.lengths[:] = 0
    case.held.stages[:] = np.random.default_rng(0).integers(0, 2, case.held.stages.shape)
    case.queries[0].tails[:] = 0
    case.queries[0].middles[:] = 0
    heap, scores = top.empty_heap(2, k), scores_of(case)
    assert all(len(set(own)) == 2 for own in scores)
    trellisheaps.push(case.held, case.queries, (0, ROWS, 0), (NONE, 0, ALL), heap)
    top.sort(heap)
    assert np.array_equal(heap[1], np.argsort(-scores, axis=1, kind="stable")[:, :k])


@pytest.mark.parametrize("stages", [0, 2])
def test_only_few_tails_are_read(stages):
    """Rows that their heads and centroids rule out do not count: their tails may be anything."""
    case = make(64, [8], 1, stages)
    scores, tails = scores_of(case), case.held.tails
    # A head is at least the score less what the tail can add.
    bounds = scores[0] + 2 * case.queries[0].reaches[0] * tails.lengths
    out = bounds < np.sort(scores[0])[-3]
    assert out.any()
    tails.words[out] = np.uint64(2**64 - 1)
    heap = top.empty_heap(1, 3)
    trellisheaps.push(case.held, case.queries, (0, ROWS, 0), (NONE, top.AS_THEY_ARE, ALL), heap)
    assert set(heap[1][0]) == set(np.argsort(-scores[0])[:3])
