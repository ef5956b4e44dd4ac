"""Weights of queries along the axes, and whole searches, against the same in steps."""

import numpy as np
import pytest
from test_trellisheaps import ALL, NONE, ROWS, make

from vecstore.kernels import bytedots, top, trellisasks, trellisdots, trellisheaps, trellistails

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
@pytest.mark.parametrize("how", [top.AS_THEY_ARE, top.TIMES])
@pytest.mark.parametrize("queries", [1, 5])
def test_a_search_at_once_is_one_in_steps(queries, how, scaled):
    case, rng, picked, k = make(64, [8, 3], queries, 0, scaled), np.random.default_rng(2), 20, 6
    held, heads = case.held, len(case.held.windows[0])
    rest, batches = held.tails.words, held.tails.batches
    groups = heads + 8
    numbers = np.full((len(batches), 8), -1)
    axes = axes_of(rng, groups, heads, numbers)
    tables = rng.standard_normal((3, 64))
    plan = rng.integers(0, 3, (groups, 2)), rng.integers(0, 2**62, groups).astype(np.uint64), tables
    turned = rng.standard_normal((queries, 8 * groups)).astype(np.float32)
    constants, terms = rng.standard_normal(queries), rng.random(ROWS).astype(np.float32)
    terms = terms if how else NONE
    for wanted, lengths in ((ALL, np.empty(0)), (rng.random(ROWS) < 0.3, rng.random(queries))):
        weights, exact = trellisasks.weigh(turned, np.zeros(queries) if scaled else constants, axes)
        bases = np.empty((queries, 0, 256), np.uint8), np.empty((queries, 0), np.float32)
        heap, scores = top.empty_heap(queries, picked), np.empty((queries, picked))
        asked = weights, (*bases, constants.astype(np.float32))
        trellisheaps.push(held, asked, (0, ROWS, 0), (terms, how, wanted), heap)
        trellisdots.pick((held.blocks, rest), heap[1], plan, exact, scores)
        scores = scores * (held.factors[heap[1]] if scaled else 1) + constants[:, None]
        keys = (scores * (terms[heap[1]] if how else 1)).astype(np.float32)
        if lengths.size:
            keys = (keys * lengths[:, None]).astype(np.float32)
        best = np.lexsort((heap[1], -keys))[:, :k]
        found = np.empty((queries, k), np.float32), np.empty((queries, k), np.int64)
        trellisasks.nearest(
            (held, rest, plan), (turned, constants, axes), ((terms, how, wanted), lengths), picked, found
        )
        assert np.array_equal(found[0], np.take_along_axis(keys, best, axis=1))
        assert np.array_equal(found[1], np.take_along_axis(heap[1], best, axis=1))
