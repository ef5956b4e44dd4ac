"""Rows of few bits with learned steps."""

import dataclasses

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.tables.layout import Field
from vecstore.codecs.tables.optimizers import Optimizer
from vecstore.codecs.tables.presets import PRESETS
from vecstore.codecs.tables.shapes import Shape
from vecstore.codecs.tables.stepped import SteppedPlan, SteppedStore
from vecstore.codecs.tables.table import Table


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
    with pytest.raises(vs.SpecError, match=f"bits={bits}; expected a whole number from 1 to 8"):
        vs.table("lowbit", {"item": 50}, dim=8, budget="10%", bits=bits)


def test_a_table_holds_more_values_in_fewer_bits():
    ranks = [vs.table("lowbit", {"item": 9000}, budget="2%", bits=b).setup.knobs[0] for b in (8, 4, 2, 1)]
    assert ranks == sorted(ranks) and ranks[0] == 1 and ranks[-1] >= 6


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("plain", {}), ("unified", {"chunks": 4, "probes": 2}), ("robe", {"block": 4}), ("hash", {}),
        ("adapt", {}), ("qr", {}), ("hashemb", {}), ("memcom", {}), ("tt", {}), ("lowrank", {}),
    ],
)  # fmt: skip
def test_any_method_whose_rows_stay_has_them(method, how):
    """The same rows as of a float32 table whose rows are what the levels stand for."""
    fields, often = {"user": 90, "item": 70}, {"item": np.arange(70) + 1}
    table = vs.table(
        method, fields, dim=8, budget="60%", rows="lsq3", optimizer="sgd", frequencies=often, **how
    )
    knobs = table.setup.knobs
    rng = np.random.default_rng(0)
    for store in table.stores:
        if isinstance(store, SteppedStore):
            store.inner.values[...] = rng.normal(0, 0.05, store.inner.values.shape)
    preset = PRESETS[method]
    shape = Shape([Field(n, c, 8, often.get(n)) for n, c in fields.items()], 0, {**preset.options, **how})
    floats = Table(dataclasses.replace(table.setup, options=shape.options), preset.layout(shape, knobs))
    for store, other in zip(floats.stores, table.stores, strict=True):
        values = other.all_shaped() if isinstance(other, SteppedStore) else other.values
        store.values[...] = values
    ids, offsets = rng.integers(0, 70, 40), np.array([0, 3, 20, 40])
    bags = {"user": ids, "item": (ids, offsets, rng.random(40).astype(np.float32))}
    expected = floats.lookup(bags)
    for _ in range(2):
        found = table.lookup(bags)
        for field, rows in found.items():
            assert np.allclose(rows, expected[field], rtol=1e-4, atol=1e-7)
        assert sum(a.nbytes for a in table.arrays().values()) == table.ledger().total
        table.finish()


def test_gradients_of_shared_rows_are_summed_with_their_signs():
    """At first all values are between the outermost levels, so gradients pass as they are."""
    plain = vs.table("robe", {"item": 60}, dim=8, budget="392B", optimizer="sgd")
    few = vs.table("robe", {"item": 60}, dim=8, budget="60B", rows="lsq4", optimizer="sgd")
    assert few.setup.knobs == plain.setup.knobs
    few.stores[0].inner.values[...] = plain.stores[0].values
    ids = np.array([3, 5, 3, 59])
    slope = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)
    for table in (plain, few):
        table.lookup({"item": ids})
        table.update({"item": slope}, lr=0.001)
    assert np.allclose(few.stores[0].inner.values, plain.stores[0].values, atol=1e-7)


def test_methods_that_move_rows_refuse_them():
    for method in ("cafe", "adaembed", "cce", "dynamic"):
        with pytest.raises(vs.SpecError, match="this method moves rows"):
            vs.table(method, {"item": 500}, dim=8, budget="50%", rows="lsq4")
    with pytest.raises(vs.SpecError, match="rows have bits=9; expected 1 to 8"):
        vs.table("plain", {"item": 500}, dim=8, rows="lsq9")


def test_a_table_of_few_bits_goes_on_from_its_file(tmp_path):
    table = vs.table("unified", {"item": 300}, dim=8, budget="5%", rows="lsq2", chunks=4)
    for at in range(6):
        if at == 3:
            table.save(tmp_path / "it.table")
        rows = table.lookup({"item": np.arange(at, 300, 2)})["item"]
        table.update({"item": np.sin(9 * rows)}, lr=0.05)
    again = vs.table_open(tmp_path / "it.table")
    for at in range(3, 6):
        rows = again.lookup({"item": np.arange(at, 300, 2)})["item"]
        again.update({"item": np.sin(9 * rows)}, lr=0.05)
    for name, array in table.arrays().items():
        assert array.tobytes() == again.arrays()[name].tobytes(), name


def test_decay_adds_to_the_gradient_of_rows_that_are_touched():
    table = vs.table("plain", {"item": 9}, dim=4, rows="lsq8", decay=0.5, optimizer="sgd")
    before = table.stores[0].inner.values.copy()
    slope = np.full((2, 4), 0.01, np.float32)
    table.lookup({"item": [3, 7]})
    table.update({"item": slope}, lr=0.1)
    expected = before.copy()
    expected[[3, 7]] -= 0.1 * (0.01 + 0.5 * before[[3, 7]])
    assert np.allclose(table.stores[0].inner.values, expected, atol=1e-7)
    with pytest.raises(vs.SpecError, match=r"decay=0\.1 is for rows of lsq1 to lsq8; these are f32"):
        vs.table("plain", {"item": 9}, decay=0.1)
    with pytest.raises(vs.SpecError, match=r"decay=-1\.0; expected a number from 0"):
        vs.table("plain", {"item": 9}, rows="lsq2", decay=-1.0)


def test_a_budget_decides_the_bits_of_fields_small_ones_first():
    fields = {"item": 4000, "user": 900, "sex": 2}
    bits = {b: vs.table("fewbits", fields, budget=b).setup.knobs for b in ("3.3%", "10%", "12%", None)}
    assert bits["3.3%"] == (1, 1, 8)
    assert bits["10%"] == (3, 3, 8)
    assert bits["12%"] == (3, 7, 8)
    assert bits[None] == (8, 8, 8)
    table = vs.table("fewbits", {"item": 40}, dim=3, budget="15%", seed=2)
    store = table.stores[0]
    expected = read_plainly(store.inner.values, store.steps, table.setup.knobs[0])
    assert np.array_equal(table.lookup({"item": np.arange(40)})["item"], expected)
