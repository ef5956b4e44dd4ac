"""Rows that ids share which have come to be alike, and widths that fields find."""

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.tables.widths import candidates


def test_cce_points_to_centroids_and_keeps_what_they_leave_over():
    table = vs.table(
        "cce", {"a": 60, "b": 30}, dim=6, budget="40%", chunks=2, every=1, turns=1, optimizer="sgd"
    )
    learner, (pointed, hashed) = table.layout.learners[0], table.stores
    rows = table.setup.knobs[0]
    rng = np.random.default_rng(0)
    # Two kinds of ids: pointers are hashes at first, so that both kinds are in each row.
    kinds = rng.normal(0, 1, (2, 6)).astype(np.float32)
    pointed.values[...] = 0
    every = np.arange(90)
    for chunk in range(2):
        place = chunk * rows + learner.pointers(every)[:, chunk]
        pointed.values[place] = kinds[every % 2, chunk * 3 : chunk * 3 + 3]
    hashed.values[...] = 0
    before = np.concatenate(list(table.lookup({"a": np.arange(60), "b": np.arange(30)}).values()))
    table.update({"a": np.zeros((60, 6))}, lr=0.0)
    after = np.concatenate(list(table.lookup({"a": np.arange(60), "b": np.arange(30)}).values()))
    assert np.allclose(after, before, atol=1e-6)
    assert table.arrays()["seeds.learner0"][0] == 1
    found = learner.pointers(every)
    for chunk in range(2):
        vectors = before[:, chunk * 3 : chunk * 3 + 3]
        centroids = pointed.values[chunk * rows : (chunk + 1) * rows]
        distances = ((vectors[:, None] - centroids) ** 2).sum(2)
        assert np.allclose(distances[every, found[:, chunk]], distances.min(1), atol=1e-6)


def test_cce_clusters_when_it_is_due_and_no_more():
    table = vs.table("cce", {"a": 60}, dim=6, budget="50%", every=3, turns=2)
    seen = []
    for _ in range(12):
        table.update(table.lookup({"a": np.arange(60)}), lr=0.01)
        seen.append(int(table.arrays()["seeds.learner0"][0]))
    assert seen == [0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2]


def test_autodim_weighs_widths_by_gates_that_go_down_their_gradient():
    table = vs.table("autodim", {"a": 20, "b": 10}, dim=10, budget="50%", optimizer="sgd", gate_rate=0.5)
    store = table.stores[0]
    rng = np.random.default_rng(0)
    store.inner.values[...] = rng.normal(0, 1, (30, 10))
    store.gates[...] = rng.normal(0, 1, store.gates.shape)
    slopes = rng.standard_normal((10, 10)).astype(np.float32)
    tried = candidates(10)
    assert tried == [2, 4, 8, 10]

    def expected(gates):
        share = np.exp(gates) / np.exp(gates).sum()
        weight = np.array([share[np.array(tried) > j].sum() for j in range(10)])
        return store.inner.values[20:] * weight

    assert np.allclose(table.lookup({"b": np.arange(10)})["b"], expected(store.gates[1]), atol=1e-6)
    gates, found = store.gates[1].astype(np.float64), []
    for k in range(4):
        ends = []
        for sign in (1, -1):
            moved = gates.copy()
            moved[k] += sign * 1e-3
            ends.append((slopes * expected(moved)).sum())
        found.append((ends[0] - ends[1]) / 2e-3)
    table.lookup({"b": np.arange(10)})
    table.update({"b": slopes}, lr=0.0)
    assert np.allclose(gates - store.gates[1], 0.5 * np.array(found), atol=1e-3)


@pytest.mark.parametrize("share", ["40%", "70%"])
def test_autodim_gives_width_to_fields_whose_gates_ask_for_it(share):
    table = vs.table("autodim", {"a": 30, "b": 30}, dim=8, budget=share)
    store = table.stores[0]
    store.inner.values[...] = np.random.default_rng(0).normal(0, 1, (60, 8))
    store.gates[...] = [[5, 0, 0], [0, 0, 5]]
    before = table.lookup({"a": np.arange(30), "b": np.arange(30)})
    table.finish()
    narrow, wide = store.widths
    assert narrow < wide and 30 * (narrow + wide) <= table.setup.knobs[0]
    after = table.lookup({"a": np.arange(30), "b": np.arange(30)})
    for field, width in (("a", narrow), ("b", wide)):
        assert np.array_equal(after[field][:, :width], before[field][:, :width])
        assert not after[field][:, width:].any()


def test_autodim_gives_width_to_fields_with_few_rows_first():
    table = vs.table("autodim", {"a": 60, "b": 10}, dim=8, budget="528B")
    store = table.stores[0]
    assert table.setup.knobs == (130,)
    store.gates[...] = [[0, 0, 5], [0, 0, 5]]
    table.finish()
    assert store.widths.tolist() == [0, 8]
