"""Tables of which only codes are kept."""

import numpy as np
import pytest

import vecstore as vs

OFTEN = {"item": np.arange(400)[::-1] + 1.0}


def plain_codes(values, centroids, few=None, rare=None):
    """The nearest centroid of each part."""
    parts = len(centroids)
    split = values.reshape(len(values), parts, 1, -1)
    distances = ((split - centroids[None]) ** 2).sum(3)
    if rare is not None:
        distances[rare, :, few:] = np.inf
    return distances.argmin(2)


def drawn(method, **options):
    table = vs.table(
        method, {"item": 400}, dim=6, budget="30%", optimizer="sgd", frequencies=OFTEN, **options
    )
    store = table.stores[0]
    rng = np.random.default_rng(0)
    store.inner.values[...] = rng.normal(0, 1, (400, 6))
    store.centroids[...] = rng.normal(0, 1, store.centroids.shape)
    return table, store


@pytest.mark.parametrize("method", ["dpq", "mgqe"])
def test_rows_are_read_as_their_nearest_centroids_before_and_after_the_end(method):
    table, store = drawn(method, parts=3)
    values, choices = store.inner.values.copy(), table.setup.knobs[0]
    rare = np.arange(400) >= 40 if method == "mgqe" else None
    codes = plain_codes(values, store.centroids, choices // 4, rare)
    expected = store.centroids[np.arange(3), codes].reshape(400, 6)
    assert np.array_equal(table.lookup({"item": np.arange(400)})["item"], expected)
    table.finish()
    assert np.array_equal(table.lookup({"item": np.arange(400)})["item"], expected)
    if method == "mgqe":
        assert (codes[40:] < choices // 4).all() and (codes[:40] >= choices // 4).any()


def test_gradients_pass_through_to_rows_and_centroids_follow_their_parts():
    table, store = drawn("dpq", parts=3, pull=0.25)
    values, centroids = store.inner.values.copy(), store.centroids.copy()
    codes = plain_codes(values, centroids)
    slopes = np.random.default_rng(1).standard_normal((400, 6)).astype(np.float32)
    table.lookup({"item": np.arange(400)})
    table.update({"item": slopes}, lr=0.5)
    assert np.allclose(store.inner.values, values - 0.5 * slopes, atol=1e-6)
    for part in range(3):
        for choice in np.unique(codes[:, part]):
            mean = values.reshape(400, 3, 2)[codes[:, part] == choice, part].mean(0)
            expected = 0.75 * centroids[part, choice] + 0.25 * mean
            assert np.allclose(store.centroids[part, choice], expected, atol=1e-5)


@pytest.mark.parametrize("block", [1, 3])
def test_rows_that_are_alike_become_one(block):
    table = vs.table("dedup", {"item": 90}, dim=6, budget="15%", optimizer="sgd", block=block)
    kept = table.setup.knobs[0]
    store = table.stores[0]
    rng = np.random.default_rng(0)
    kinds = rng.normal(0, 1, (kept, block, 6)).astype(np.float32)
    which = rng.integers(0, kept, 90 // block)
    values = (kinds[which] + rng.uniform(-0.004, 0.004, (90 // block, block, 6))).reshape(90, 6)
    store.inner.values[...] = values
    table.finish()
    assert np.allclose(table.lookup({"item": np.arange(90)})["item"], values, atol=0.01)


def test_rows_that_are_not_alike_become_as_few_as_must_be():
    table = vs.table("dedup", {"item": 90}, dim=6, budget="25%", optimizer="sgd")
    table.stores[0].inner.values[...] = np.random.default_rng(0).normal(0, 1, (90, 6))
    table.finish()
    rows = table.lookup({"item": np.arange(90)})["item"]
    assert len(np.unique(rows, axis=0)) == table.setup.knobs[0]


def merged(*blocks, kept):
    """Rows of a table of these rows (6,), once as many are kept."""
    table = vs.table("dedup", {"item": len(blocks)}, dim=6, near=0.01, budget=f"{24 * kept + 8}B")
    assert table.setup.knobs == (kept,)
    table.stores[0].inner.values[...] = blocks
    table.finish()
    return table.lookup({"item": np.arange(len(blocks))})["item"]


def test_rows_join_those_that_are_no_further_than_near_first():
    zero, further, one, nearer = (np.full(6, v, np.float32) for v in (0, 0.015, 1, 1.009))
    assert np.array_equal(merged(zero, further, one, nearer, kept=3), [zero, further, one, one])


def test_rows_are_taken_by_the_third_quartile_of_their_values():
    flat, split = np.full(6, 0.004, np.float32), np.repeat(np.float32([0, 0.008]), 3)
    far = np.full(6, 1, np.float32)
    assert np.array_equal(merged(split, flat, far, kept=2), [flat, flat, far])
