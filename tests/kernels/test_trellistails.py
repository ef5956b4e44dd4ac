"""Scores of heads and tails, and heaps of rows that are ruled out by their heads, against plain sums."""

import numpy as np
import pytest
from test_trellisdots import values_of

from vecstore.kernels import bytedots, top, trellisdots, trellistails
from vecstore.kernels.trellisdots import BLOCK

pytestmark = pytest.mark.skipif(
    not trellisdots.usable(64), reason="this machine has no AVX-512 with VBMI and VNNI"
)
ROWS = 3 * BLOCK - 7
HEADS = [8, 5]
NONE = np.empty(0, np.float32)
ALL = np.empty(0, np.bool_)


def groups_of(rng, sizes, each):
    """Groups (g, 2) with the first bits of their windows, and controls."""
    places = [(w, rng.integers(0, 8 * size, 8)) for w, size in enumerate(sizes) for _ in range(each)]
    groups = np.array([(w, rng.integers(3)) for w, _ in places], np.int64)
    return (
        places,
        groups,
        np.array([int.from_bytes(bytes(at.tolist()), "little") for _, at in places], np.uint64),
    )


def make(states, sizes, queries, even=False):
    """What `push` and `dots` take, and scores (q, n) by plain sums; even: tails are as large as heads."""
    rng = np.random.default_rng(sum(sizes) + states)
    tables = rng.integers(0, 256, (3, states)).astype(np.uint8)
    made, sums = [], 0
    for number, own in enumerate((HEADS, sizes)):
        codes = rng.integers(0, 256, (ROWS, sum(own))).astype(np.uint8)
        places, groups, controls = groups_of(rng, own, 3 if number else 5)
        windows = trellisdots.plan(groups, controls, tables)
        weights = rng.standard_normal((queries, 8 * len(groups))).astype(np.float32)
        weights *= 1 if even or not number else np.float32(0.02)
        folded = bytedots.fold(weights, np.arange(queries) * 2.0 * (1 - number), 1, 256, weights.shape[1])
        values = np.array([values_of(row, own, tables, places, groups).reshape(-1) for row in codes])
        whole = folded[0][:, :, 0, 0].reshape(queries, -1).astype(np.int64) @ (values - 128 * number).T
        step = np.float32(256) * folded[1][:, None]
        exact = whole.astype(np.float32).astype(np.float64) * step
        sums = (sums + exact + (folded[2][:, None] if not number else 0)).astype(np.float32)
        made.append((codes, windows, folded))
    (codes, windows, heads), (rest, behind, ends) = made
    units = rng.random(8 * len(behind[0])) + 0.5
    tails, numbers = trellistails.tails(
        trellistails.lay_out(rest, np.array(sizes)), behind, units.reshape(-1, 8)
    )
    blocks = trellisdots.lay_out(codes, np.array(HEADS))
    return blocks, windows, tails, trellistails.pack(heads, ends, units, numbers), sums


def pushed(scores, k, number=0, wanted=ALL):
    heap = top.empty_heap(len(scores), k)
    top.push(scores.copy(), NONE, top.AS_THEY_ARE, wanted, number, heap)
    top.sort(heap)
    return heap


@pytest.mark.parametrize("states", trellisdots.STATES)
@pytest.mark.parametrize("sizes", [[1], [8, 5], [2, 3, 7], [8] * 9 + [6]])
@pytest.mark.parametrize("queries", [1, 3])
def test_scores_are_those_of_windows_and_tables(states, sizes, queries):
    blocks, windows, tails, packed, sums = make(states, sizes, queries)
    out = np.empty((queries, ROWS - BLOCK), np.float32)
    trellistails.dots(blocks, 1, windows, tails, packed, out)
    assert np.allclose(out, sums[:, BLOCK:], rtol=1e-6)
    assert np.array_equal(out[:1], one_by_one(blocks, windows, tails, packed))


def one_by_one(blocks, windows, tails, packed):
    """Scores of the first query alone."""
    heads = tuple(part[:1] for part in packed.heads)
    out = np.empty((1, ROWS - BLOCK), np.float32)
    only = trellistails.Queries(heads, *(part[:1] for part in packed[1:]))
    trellistails.dots(blocks, 1, windows, tails, only, out)
    return out


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("k", [1, 10, 300])
def test_heaps_are_those_of_all_scores(even, queries, k):
    blocks, windows, tails, packed, sums = make(64, [8, 3], queries, even)
    rng = np.random.default_rng(1)
    factors, commons = rng.random(ROWS).astype(np.float32), rng.random(queries).astype(np.float32)
    terms, wanted = rng.random(ROWS).astype(np.float32), rng.random(ROWS) < 0.7
    scores = np.empty((queries, ROWS), np.float32)
    trellistails.dots(blocks, 0, windows, tails, packed, scores)
    assert np.allclose(scores, sums, rtol=1e-6)
    for scaled, how, some in ((False, 0, ALL), (True, 1, ALL), (False, 2, wanted), (True, 0, wanted)):
        own = factors if scaled else NONE
        heap = top.empty_heap(queries, k)
        for start in (0, BLOCK):
            stop = BLOCK if start == 0 else ROWS
            by = (terms[start:stop] if how else NONE), how, some[start:stop]
            held = blocks, windows, tails, own
            trellistails.push(held, (packed, commons), (start, stop, 1000 + start), by, heap)
        top.sort(heap)
        keys = scores * factors + commons[:, None] if scaled else scores
        keys = keys * terms if how == 1 else keys + terms if how == 2 else keys
        found = pushed(keys, k, 1000, some)
        assert np.array_equal(heap[0], found[0]) and np.array_equal(heap[1], found[1])


@pytest.mark.parametrize("sizes", [[1], [8, 5], [8] * 9])
def test_tails_add_no_more_than_they_can(sizes):
    blocks, windows, tails, packed, _ = make(256, sizes, 4)
    scores, heads = np.empty((4, ROWS), np.float32), np.empty((4, ROWS), np.float32)
    trellistails.dots(blocks, 0, windows, tails, packed, scores)
    trellisdots.dots(blocks, 0, windows, packed.heads, heads)
    most = packed.reaches[:, None] * tails.lengths + packed.slacks[:, None]
    assert (np.abs(scores - heads) <= most).all()


def test_only_few_tails_are_read():
    """Rows that their heads rule out do not count: their tails may be anything."""
    blocks, windows, tails, packed, sums = make(64, [8], 1)
    heads = np.empty((1, ROWS), np.float32)
    trellisdots.dots(blocks, 0, windows, packed.heads, heads)
    bounds = heads[0] + packed.reaches[0] * tails.lengths + packed.slacks[0]
    out = bounds < np.sort(sums[0])[-3]
    assert out.any()
    tails.words[out] = np.uint64(2**64 - 1)
    heap = top.empty_heap(1, 3)
    by = NONE, top.AS_THEY_ARE, ALL
    held = blocks, windows, tails, NONE
    trellistails.push(held, (packed, np.zeros(1, np.float32)), (0, ROWS, 0), by, heap)
    assert set(heap[1][0]) == set(np.argsort(-sums[0])[:3])
