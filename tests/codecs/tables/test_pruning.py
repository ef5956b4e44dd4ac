"""Tables that learn plain rows and keep what matters of them."""

import tracemalloc

import numpy as np
import pytest

import vecstore as vs

FIELDS = {"user": 60, "item": 40}


def drawn(method, budget="20%", **options):
    """A table whose rows are far from zero, and these rows."""
    table = vs.table(method, FIELDS, dim=6, budget=budget, optimizer="sgd", **options)
    values = table.stores[0].inner.values
    values[...] = np.random.default_rng(0).normal(0, 1, values.shape)
    return table, values


def everything(table):
    rows = table.lookup({"user": np.arange(60), "item": np.arange(40)})
    return np.concatenate([rows["user"], rows["item"]])


def largest(values, count):
    kept = np.zeros(values.size, bool)
    kept[np.argsort(-np.abs(values).ravel())[:count]] = True
    return kept.reshape(values.shape)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("budget", ["9%", "30%", "60%"])
def test_the_largest_values_are_kept(half, budget):
    table, values = drawn("prune", budget, half=half)
    kept = table.setup.knobs[0]
    expected = np.where(largest(values, kept), values, 0)
    expected = expected.astype(np.float16 if half else np.float32)
    table.finish()
    assert (expected != 0).sum() == kept
    assert np.array_equal(everything(table), expected)


@pytest.mark.parametrize("damping", [0.99, 0.5])
def test_pruning_follows_its_schedule(damping):
    table, values = drawn("prune", "20%", every=5, warm=10, damping=damping)
    wanted = 1 - table.setup.knobs[0] / values.size
    for step in range(1, 200):
        table.lookup({"user": [0]})
        table.update({"user": np.zeros((1, 6))}, lr=0.0)
        zeros = (values == 0).mean()
        last = step - step % 5
        share = wanted * (1 - damping ** ((last - 10) / 100)) if last >= 10 else 0
        assert abs(zeros - share) <= 1.5 / values.size, step


def test_pruning_cuts_what_sorting_would_without_a_copy_of_the_table():
    table = vs.table("prune", {"item": 100_000}, dim=16, budget="20%", optimizer="sgd")
    store, rng = table.stores[0], np.random.default_rng(0)
    values = store.inner.values
    values[:50_000] = rng.integers(-50, 50, (50_000, 16)) / 100  # many are equal, and some are zero
    ascending = np.sort(np.abs(values).ravel())
    for place in (1, 9_999, 800_000, values.size):
        assert store._size_at(place) == ascending[place - 1]
    expected = np.where(np.abs(values) <= ascending[799_999], 0, values)
    store.cut(0.5)  # compiled and warm
    tracemalloc.start()
    try:
        store.cut(0.5)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.array_equal(values, expected) and peak < values.nbytes / 2


def test_pep_reads_values_above_a_soft_threshold():
    table, values = drawn("pep", threshold=-1.0)
    cut = 1 / (1 + np.exp(1))
    expected = np.sign(values) * np.maximum(np.abs(values) - cut, 0)
    assert np.allclose(everything(table), expected, atol=1e-6)


def test_pep_thresholds_go_down_their_gradient():
    table, _values = drawn("pep", threshold=-1.0, threshold_rate=1.0, pull=0.0, every=1000)
    slopes = np.random.default_rng(1).standard_normal((60, 6)).astype(np.float32)
    thresholds = table.stores[0].thresholds

    def loss():
        return (slopes * table.lookup({"user": np.arange(60)})["user"]).sum(dtype=np.float64)

    found = []
    for j in range(6):
        ends = []
        for sign in (1, -1):
            thresholds[j] += np.float32(sign / 256)
            ends.append(loss())
            thresholds[j] -= np.float32(sign / 256)
        found.append((ends[0] - ends[1]) * 128)
    before = thresholds.copy()
    table.lookup({"user": np.arange(60)})
    table.update({"user": slopes}, lr=0.0)
    assert np.allclose(before - thresholds, found, rtol=0.02, atol=0.02)


def test_pep_begins_again_with_the_values_that_are_left():
    table, _values = drawn("pep", "30%", threshold=-6.0, threshold_rate=0.05, every=1)
    store = table.stores[0]
    for _ in range(300):
        table.lookup({"user": [0]})
        table.update({"user": np.zeros((1, 6))}, lr=0.0)
        if store.mask.any():
            break
    assert 0 < store.mask.sum() <= table.setup.knobs[0]
    fresh = vs.table("pep", FIELDS, dim=6, budget="30%", optimizer="sgd").stores[0].inner.values
    assert np.array_equal(everything(table), fresh * store.mask)


def test_autosrh_gates_go_down_their_gradient_and_are_folded_in():
    often = {"user": np.arange(60)[::-1], "item": np.arange(40)[::-1] + 1}
    table, values = drawn("autosrh", gate_rate=0.01, frequencies=often)
    store = table.stores[0]
    assert np.array_equal(store.groups[:60], np.arange(60) // 10)
    store.gates[...] = np.random.default_rng(2).random(store.gates.shape)
    assert np.allclose(everything(table), values * store.gates[store.groups], atol=1e-6)
    slopes = np.random.default_rng(1).standard_normal((60, 6)).astype(np.float32)
    before, rows = store.gates.copy(), values.copy()
    table.lookup({"user": np.arange(60)})
    table.update({"user": slopes}, lr=1.0)
    assert np.allclose(rows[:60] - values[:60], slopes * before[store.groups[:60]], atol=1e-5)
    gradient = (slopes * rows[:60]).reshape(6, 10, 6).sum(1)
    expected = before - 0.01 * (gradient / np.linalg.norm(gradient) + 1e-5)
    assert np.allclose(store.gates, np.clip(expected, 0, 1), atol=1e-5)
    folded = values * store.gates[store.groups]
    table.finish()
    kept = largest(folded, table.setup.knobs[0])
    assert np.allclose(everything(table), np.where(kept, folded, 0).astype(np.float16), atol=1e-3)


def test_optembed_keeps_rows_above_their_fields_threshold():
    table, values = drawn("optembed", "30%")
    store = table.stores[0]
    store.thresholds[:] = 4.0, 5.0
    sizes = np.abs(values).sum(1)
    above = sizes > np.repeat([4.0, 5.0], [60, 40])
    assert np.array_equal(everything(table), values * above[:, None])
    table.finish()
    assert (everything(table) != 0).any(1).sum() == min(above.sum(), table.setup.knobs[0])


@pytest.mark.parametrize(("value", "step"), [(0.05, 2 - 4 * 0.1), (0.12, 0.4), (0.25, 0.0)])
def test_optembed_thresholds_rise_and_feel_the_rows_near_them(value, step):
    table, values = drawn("optembed", "30%", threshold_rate=0.1, alpha=0.5)
    store = table.stores[0]
    values[0] = value
    store.thresholds[:] = 0.2
    slope = np.full((1, 6), 2.0, np.float32)
    table.lookup({"user": [0]})
    table.update({"user": slope}, lr=0.0)
    through = 6 * 2.0 * value * step
    expected = 0.2 - 0.1 * (np.array([-through, 0]) - 0.5 * np.exp(-0.2))
    assert np.allclose(store.thresholds, expected, atol=1e-5)
