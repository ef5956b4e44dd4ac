"""Rows of few bits with learned steps."""

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.tables.optimizers import Optimizer
from vecstore.codecs.tables.stepped import SteppedPlan


def read_plainly(values, steps, bits):
    """The nearest of the levels -(h - 1/2) s, .., (h - 1/2) s of each value, value by value."""
    half = 2 ** (bits - 1)
    out = np.empty_like(values)
    for (i, j), value in np.ndenumerate(values):
        level = min(max(np.floor(value / steps[j]), -half), half - 1)
        out[i, j] = np.float32(level + 0.5) * steps[j]
    return out


def drawn(bits, count=70, width=3, seed=0):
    store = SteppedPlan(count, width, 0.05, bits).new(Optimizer("sgd"), seed)
    rng = np.random.default_rng(seed)
    store.inner.values[...] = rng.normal(0, 0.1, (count, width))
    store.steps[:] = rng.uniform(0.02, 0.06, width)
    return store


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [0, 1, 70, 4099])
def test_rows_are_read_as_their_levels_before_and_after_the_end(bits, count):
    store = drawn(bits, count)
    expected = read_plainly(store.inner.values, store.steps, bits)
    every = np.arange(count)[:, None]
    assert np.array_equal(store.gather(every)[:, 0], expected)
    store.finish()
    assert np.array_equal(store.gather(every)[:, 0], expected)
    assert sum(array.nbytes for array in store.kept().values()) == store.plan.bytes
    assert store.plan.bytes == 8 * -(-count * 3 * bits // 64) + 12


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_gradients_pass_to_values_between_the_outermost_levels_alone(bits):
    store = drawn(bits)
    values, rows = store.inner.values.copy(), np.arange(0, 70, 2)
    sums = np.random.default_rng(1).standard_normal((len(rows), 3)).astype(np.float32)
    inside = np.abs(values[rows]) <= 2 ** (bits - 1) * store.steps
    assert np.array_equal(store.slopes(rows, sums), np.where(inside, sums, 0))


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_the_slope_of_a_step_is_that_of_levels_and_of_their_rounding(bits):
    """With k fixed the read value moves as k + 1/2; LSQ takes off v / s where the value moves along."""
    store = drawn(bits)
    rows = np.arange(5, 60)
    sums = np.random.default_rng(2).standard_normal((len(rows), 3)).astype(np.float32)
    store.slopes(rows, sums)
    half, values = 2 ** (bits - 1), store.inner.values[rows].astype(np.float64)
    for column, step in enumerate(store.steps.astype(np.float64)):
        slope = 0.0
        for value, gradient in zip(values[:, column], sums[:, column], strict=True):
            level = min(max(np.floor(value / step), -half), half - 1) + 0.5
            slope += gradient * (level - value / step if abs(value) <= half * step else level)
        expected = slope * step / np.sqrt(len(rows) * half)
        assert np.isclose(store._moved[column], expected, rtol=1e-4, atol=1e-6)


def test_steps_find_the_size_of_what_is_learned():
    """One bit stands for -s / 2 and s / 2, which are to be -3 and 3."""
    store = drawn(1, 8)
    store.inner.values[...] = np.where(store.inner.values < 0, -1, 1) * np.float32(0.001)
    every = np.arange(8)
    for count in range(1, 2500):
        read = store.gather(every[:, None])[:, 0]
        store.slopes(every, read - 3 * np.sign(read))
        store.stepped(every, count)
    assert np.allclose(store.steps, 6, atol=0.1)


def test_what_is_learned_is_what_is_served():
    wanted = np.random.default_rng(3).standard_normal((50, 2)) @ np.random.default_rng(4).random((2, 8))
    table = vs.table("lowbit", {"item": 50}, dim=8, optimizer="adam", seed=1)
    first = np.abs(table.lookup({"item": np.arange(50)})["item"] - wanted).mean()
    for _ in range(800):
        rows = table.lookup({"item": np.arange(50)})["item"]
        table.update({"item": rows - wanted}, lr=0.01)
    table.finish()
    served = table.lookup({"item": np.arange(50)})["item"]
    assert np.array_equal(served, rows) or np.abs(served - rows).mean() < 0.05
    assert np.abs(served - wanted).mean() < first / 4


@pytest.mark.parametrize("bits", [0, 9, -1])
def test_other_widths_are_refused(bits):
    with pytest.raises(vs.SpecError, match=f"bits={bits}; expected 1 to 8"):
        vs.table("lowbit", {"item": 50}, dim=8, budget="10%", bits=bits)


def test_a_table_holds_more_values_in_fewer_bits():
    ranks = [vs.table("lowbit", {"item": 9000}, budget="2%", bits=b).setup.knobs[0] for b in (8, 4, 2, 1)]
    assert ranks == sorted(ranks) and ranks[0] == 1 and ranks[-1] >= 6
