"""The best k against a full sort."""

import numpy as np
import pytest

from vecstore.kernels import top


def plain_top(scores, k):
    """Rows by falling score, NaN as -inf, then by row."""
    keys = np.where(np.isnan(scores), -np.inf, scores).astype(np.float32)
    return [np.lexsort((np.arange(len(row)), -row))[:k] for row in keys]


def pushed(scores, k, block, terms=None, how=0, wanted=None):
    heap = top.empty_heap(len(scores), k)
    none, every = np.empty(0, np.float32), np.empty(0, np.bool_)
    for start in range(0, scores.shape[1], block):
        part = slice(start, start + block)
        top.push(
            scores[:, part].copy(), none if terms is None else terms[part], how,
            every if wanted is None else wanted[part], start, heap,
        )  # fmt: skip
    return heap


@pytest.mark.parametrize("block", [1, 7, 64, 100, 1000])
@pytest.mark.parametrize("k", [1, 3, 10, 400])
def test_the_best_are_kept_and_of_equal_ones_the_first(k, block):
    rng = np.random.default_rng(k)
    scores = rng.integers(-20, 20, (3, 400)).astype(np.float32)
    scores[1, 30:50] = np.nan
    scores[2, :] = -np.inf
    scores[2, 7] = np.inf
    heap = pushed(scores, k, block)
    top.sort(heap)
    for row, found in zip(plain_top(scores, k), heap[1], strict=True):
        assert np.array_equal(row, found)
    assert (heap[0][:, 1:] <= heap[0][:, :-1]).all()


KINDS = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "equal": lambda rng, shape: np.full(shape, 0.5),
    "ties": lambda rng, shape: rng.integers(-2, 3, shape),
    "outliers": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.integers(-30, 30, shape),
    "ascending": lambda rng, shape: np.sort(rng.standard_normal(shape), axis=1),
    "all below zero": lambda rng, shape: -rng.random(shape),
    "few numbers": lambda rng, shape: np.where(rng.random(shape) < 0.003, rng.random(shape), np.nan),
    "most infinite": lambda rng, shape: np.where(rng.random(shape) < 0.01, rng.random(shape), -np.inf),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 5, 36, 130])
def test_many_rows_at_once_are_as_row_by_row(k, kind):
    rng = np.random.default_rng(k)
    scores = KINDS[kind](rng, (3, 3001)).astype(np.float32)
    wanted = rng.random(3001) < 0.1
    for block, mask in ((3001, None), (1024, None), (40, None), (3001, wanted), (1024, wanted)):
        keys = scores if mask is None else np.where(mask, scores, -np.inf)
        heap = pushed(scores, k, block, wanted=mask)
        top.sort(heap)
        for j, row in enumerate(plain_top(keys, k)):
            some = keys[j, row] > -np.inf  # Which of the others come last is of no account with a mask.
            assert np.array_equal(row[some], heap[1][j, : some.sum()])
            assert np.array_equal(keys[j, row[some]], heap[0][j, : some.sum()])
            assert mask is not None or np.array_equal(row, heap[1][j])


def test_a_heap_with_a_few_rows_takes_many_more():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((4, 2000)).astype(np.float32)
    none, every = np.empty(0, np.float32), np.empty(0, np.bool_)
    for few in (1, 8, 9, 10):
        heap = top.empty_heap(4, 9)
        top.push(scores[:, :few].copy(), none, 0, every, 0, heap)
        top.push(scores[:, few:].copy(), none, 0, every, few, heap)
        top.sort(heap)
        assert np.array_equal(heap[1], plain_top(scores, 9))


def test_terms_multiply_or_are_added():
    rng = np.random.default_rng(0)
    scores, terms = rng.standard_normal((2, 300)).astype(np.float32), rng.random(300).astype(np.float32)
    for how, keys in ((1, scores * terms), (2, scores + terms)):
        heap = pushed(scores, 9, 50, terms, how)
        top.sort(heap)
        assert np.array_equal(heap[1], plain_top(keys, 9))
        assert np.array_equal(heap[0], np.take_along_axis(keys, heap[1], 1))


def test_only_wanted_rows_get_in():
    scores = np.random.default_rng(0).standard_normal((2, 300)).astype(np.float32)
    wanted = np.random.default_rng(1).random(300) < 0.2
    heap = pushed(scores, 5, 64, wanted=wanted)
    top.sort(heap)
    assert wanted[heap[1]].all()
    assert np.array_equal(heap[1], plain_top(np.where(wanted, scores, -np.inf), 5))


def test_no_query_is_no_work():
    assert pushed(np.empty((0, 1000), np.float32), 3, 500)[0].shape == (0, 3)


def test_places_that_are_not_filled_come_last():
    heap = pushed(np.array([[1.0, np.nan]], np.float32), 4, 64)
    top.sort(heap)
    assert heap[1].tolist() == [[0, 1, top.NONE, top.NONE]]


@pytest.mark.parametrize("cuts", [[100], [64, 128], [1, 2, 250]])
def test_merged_heaps_are_the_heap_of_all(cuts):
    scores = np.random.default_rng(0).integers(0, 30, (4, 300)).astype(np.float32)
    merged = top.empty_heap(4, 12)
    none, every = np.empty(0, np.float32), np.empty(0, np.bool_)
    for start, stop in zip([0, *cuts], [*cuts, 300], strict=True):
        own = top.empty_heap(4, 12)
        top.push(scores[:, start:stop].copy(), none, 0, every, start, own)
        top.merge(own, merged)
    top.sort(merged)
    assert np.array_equal(merged[1], plain_top(scores, 12))


@pytest.mark.parametrize("k", [1, 7, 40])
def test_the_best_of_some_are_put_in_order(k):
    rng = np.random.default_rng(k)
    keys, rows = rng.integers(0, 9, (3, 40)).astype(np.float32), rng.permuted(np.arange(120)).reshape(3, 40)
    found = np.empty((3, k), np.float32), np.empty((3, k), np.int64)
    top.best((keys, rows), found)
    order = np.lexsort((rows, -keys))[:, :k]
    assert np.array_equal(found[0], np.take_along_axis(keys, order, 1))
    assert np.array_equal(found[1], np.take_along_axis(rows, order, 1))


@pytest.mark.parametrize("n", [5, 64, 200])
def test_rows_above_the_least_are_told(n):
    rng = np.random.default_rng(n)
    keys, least = rng.random((3, n)).astype(np.float32), np.array([0.5, 2, 0.9], np.float32)
    for wanted in (np.empty(0, np.bool_), rng.random(n) < 0.5):
        found = np.empty((3, n), np.float32), np.empty((3, n), np.int64)
        count = top.above(keys, least, wanted, 7, found)
        allowed = wanted if wanted.size else np.ones(n, bool)
        rows = [np.flatnonzero((line > low) & allowed) for line, low in zip(keys, least, strict=True)]
        assert count == max(map(len, rows))
        for j, own in enumerate(rows):
            assert np.array_equal(found[1][j, :count], [*(own + 7), *[-1] * (count - len(own))])
            assert np.array_equal(found[0][j, :count], [*keys[j, own], *[-np.inf] * (count - len(own))])
