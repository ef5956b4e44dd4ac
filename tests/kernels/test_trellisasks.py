"""Weights of queries along the axes, and whole searches, against the same in steps."""

import numpy as np
import pytest
from test_trellisheaps import ALL, NONE, ROWS, make

from vecstore.kernels import bytedots, lookup, top, trellisasks, trellisdots, trellisheaps, trellistails

pytestmark = pytest.mark.skipif(
    not trellisdots.usable(64), reason="this machine has no AVX-512 with VBMI and VNNI"
)


def axes_of(rng, groups, heads, numbers):
    dims = rng.permutation(8 * groups)
    units = rng.random(8 * groups).astype(np.float32)
    return dims, units, rng.random(8 * groups), 8 * heads, numbers


@pytest.mark.parametrize(("groups", "heads"), [(1, 1), (5, 2), (12, 11)])
@pytest.mark.parametrize("queries", [1, 4])
def test_weights_are_folded_and_packed(groups, heads, queries):
    rng = np.random.default_rng(groups)
    lanes = np.full(16, -1)
    lanes[: groups - heads] = rng.permutation(groups - heads)
    axes = axes_of(rng, groups, heads, lanes.reshape(2, 8)[: groups - heads])
    dims, units, scales, _, numbers = axes
    turned = rng.standard_normal((queries, 8 * groups)).astype(np.float32)
    bases = rng.standard_normal(queries)
    found, exact = trellisasks.weigh(turned, bases, axes)
    weights = turned[:, dims] * units
    both = []
    for part, base in ((slice(0, 8 * heads), bases), (slice(8 * heads, None), np.zeros(queries))):
        own = np.ascontiguousarray(weights[:, part])
        base = base - (128.0 * own.astype(np.float64).sum(axis=1) if part.start == 0 else 0)
        both.append(bytedots.fold(own, base, 1, 256, own.shape[1]))
    wanted = trellistails.pack(*both, units[8 * heads :].astype(np.float64), numbers)
    for a, b in zip(found.heads, wanted.heads, strict=True):
        assert np.allclose(a, b, rtol=1e-6)
    for a, b in zip(found[1:], wanted[1:], strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(exact.reshape(queries, -1), turned[:, dims] * scales)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("stages", [0, 1, 2])
@pytest.mark.parametrize("how", [top.AS_THEY_ARE, top.TIMES])
@pytest.mark.parametrize("queries", [1, 5])
def test_a_search_at_once_is_one_in_steps(queries, how, stages, scaled):
    case, rng, picked, k = make(64, [8, 3], queries, stages, scaled), np.random.default_rng(2), 20, 6
    held, heads = case.held, len(case.held.windows[0])
    rest, batches = held.tails.words, held.tails.batches
    groups = heads + 8
    numbers = np.full((len(batches), 8), -1)
    axes = axes_of(rng, groups, heads, numbers)
    tables = rng.standard_normal((3, 64))
    plan = rng.integers(0, 3, (groups, 2)), rng.integers(0, 2**62, groups).astype(np.uint64), tables
    turned = rng.standard_normal((queries, 8 * groups)).astype(np.float32)
    constants, terms = rng.standard_normal(queries), rng.random(ROWS).astype(np.float32)
    values = rng.standard_normal((queries, stages, 256)).astype(np.float32)
    terms = terms if how else NONE
    rows = held.blocks, rest, plan, held.factors, held.stages
    for wanted, lengths in ((ALL, np.empty(0)), (rng.random(ROWS) < 0.3, rng.random(queries))):
        weights, exact = trellisasks.weigh(turned, np.zeros(queries) if scaled or stages else constants, axes)
        heap, scores = top.empty_heap(queries, picked), np.empty((queries, picked))
        asked = weights, trellisasks.tables_of(values, constants)
        trellisheaps.push(held, asked, (0, ROWS, 0), (terms, how, wanted), heap)
        trellisasks.rescore(rows, heap[1], (exact, constants, values), scores)
        keys = (scores * (terms[heap[1]] if how else 1)).astype(np.float32)
        if lengths.size:
            keys = (keys * lengths[:, None]).astype(np.float32)
        best = np.lexsort((heap[1], -keys))[:, :k]
        found = np.empty((queries, k), np.float32), np.empty((queries, k), np.int64)
        query = turned, constants, values, axes
        trellisasks.nearest((held, rows), query, ((terms, how, wanted), lengths), picked, found)
        assert np.array_equal(found[0], np.take_along_axis(keys, best, axis=1))
        assert np.array_equal(found[1], np.take_along_axis(heap[1], best, axis=1))


@pytest.mark.parametrize("stages", [0, 1, 2])
@pytest.mark.parametrize("scaled", [False, True])
def test_rows_are_scored_again_by_cells_factors_and_centroids(stages, scaled):
    held, rng = make(64, [8, 3], 2, stages, scaled).held, np.random.default_rng(3)
    plan = rng.integers(0, 3, (4, 2)), rng.integers(0, 2**62, 4).astype(np.uint64), rng.random((3, 64))
    numbers, exact, constants = rng.integers(0, ROWS, (2, 9)), rng.random((2, 4, 8)), rng.random(2)
    values = rng.random((2, stages, 256)).astype(np.float32)
    wanted, found = np.empty((2, 9)), np.empty((2, 9))
    trellisdots.pick((held.blocks, held.tails.words), numbers, plan, exact, wanted)
    wanted = wanted * (held.factors[numbers] if scaled else 1) + constants[:, None]
    chosen = held.stages[numbers // 64, :, numbers % 64]
    wanted += np.array(
        [[values[j, range(stages), own].sum(dtype=np.float64) for own in chosen[j]] for j in (0, 1)]
    )
    rows = held.blocks, held.tails.words, plan, held.factors, held.stages
    trellisasks.rescore(rows, numbers, (exact, constants, values), found)
    assert np.allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_products_with_centroids_are_tables_in_one_section(stages):
    rng = np.random.default_rng(0)
    values, constants = rng.standard_normal((3, stages, 256)).astype(np.float32), rng.random(3)
    book, steps, offsets = trellisasks.tables_of(values, constants)
    wanted = lookup.make_tables(values, np.array([0, stages]))
    assert np.array_equal(book, wanted[0]) and np.array_equal(steps, wanted[1])
    assert np.array_equal(offsets, (constants + wanted[2]).astype(np.float32))
