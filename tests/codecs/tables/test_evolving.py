"""Widths of fields that are searched for: the right ones are found, and kept within the budget."""

import numpy as np
import pytest

import vecstore as vs

FIELDS = {"narrow": 60, "wide": 40, "flat": 30}
DIM, NEEDED = 8, {"narrow": 2, "wide": 8, "flat": 1}
VALUES = sum(FIELDS[name] * width for name, width in NEEDED.items())
EVERY = {name: np.arange(count) for name, count in FIELDS.items()}


def wanted():
    """Rows of each field, of which the first values alone are others than zero."""
    rng = np.random.default_rng(0)
    return {
        name: (1 + rng.random((count, DIM))).astype(np.float32) * (np.arange(DIM) < NEEDED[name])
        for name, count in FIELDS.items()
    }


def made(**how):
    """A table with room for the values that are needed, and for hardly a row more."""
    plain = vs.table("optembed", FIELDS, dim=DIM, widths="searched", alpha=0.0, **how)
    maps = plain.ledger().serve - 2 * DIM * sum(FIELDS.values())
    return vs.table(
        "optembed", FIELDS, dim=DIM, widths="searched", alpha=0.0, budget=f"{maps + 2 * VALUES}B", **how
    )


def learned():
    """A table that has learned the rows that are wanted."""
    table, goal = made(optimizer="sgd", threshold_rate=0.0), wanted()
    for _ in range(300):
        rows = table.lookup(EVERY)
        table.update({name: rows[name] - goal[name] * (rows[name] != 0) for name in rows}, lr=0.5)
    return table


def loss(table):
    rows, goal = table.lookup(EVERY), wanted()
    return sum(float(((rows[name] - goal[name]) ** 2).sum()) for name in rows)


def test_evolution_finds_the_width_that_each_field_needs():
    table = learned()
    best = table.evolve(lambda: -loss(table), seed=1)
    assert dict(zip(FIELDS, table.arrays()["maps.0"].tolist(), strict=True)) == NEEDED
    assert loss(table) <= -best < 1e-6
    serve = table.ledger().serve
    before = table.lookup(EVERY)
    table.finish()
    assert table.ledger().total == serve and loss(table) < 0.01
    for name, rows in table.lookup(EVERY).items():
        assert np.allclose(rows, before[name], atol=2e-3)
        assert not rows[:, NEEDED[name] :].any()
    full = learned()
    full.finish()
    assert loss(full) > 50  # whole rows alone: of most there is no room


@pytest.mark.parametrize("widths", [(8, 8, 8), (3, 5, 1), (1, 1, 1)])
def test_rows_are_kept_as_they_were_tried(widths):
    table = learned()
    tried = []

    def score():
        found = tuple(int(each) for each in table.arrays()["training.0.drawn"])
        tried.append({name: rows.copy() for name, rows in table.lookup(EVERY).items()})
        return float(found == widths)

    store = table.stores[0]
    store.try_widths(widths)
    score()
    store.settle(widths)
    table.finish()
    for name, rows in table.lookup(EVERY).items():
        assert np.allclose(rows, tried[0][name].astype(np.float16), atol=1e-6)
        assert (np.count_nonzero(rows, axis=1) <= widths[list(FIELDS).index(name)]).all()
    kept = sum(np.count_nonzero(rows.any(1)) * width for rows, width in zip(
        table.lookup(EVERY).values(), widths, strict=True))  # fmt: skip
    assert kept <= table.setup.knobs[0] == VALUES


def test_each_update_trains_other_widths_and_only_these():
    table = made(optimizer="sgd", threshold_rate=0.0)
    seen = set()
    for _ in range(40):
        rows, before = table.lookup(EVERY), table.stores[0].inner.values.copy()
        drawn = table.arrays()["training.0.drawn"].copy()
        seen |= {int(width) for width in drawn}
        for name, width in zip(FIELDS, drawn, strict=True):
            assert not rows[name][:, width:].any() and rows[name][:, :width].any()
        table.update({name: np.ones_like(each) for name, each in rows.items()}, lr=0.001)
        moved = table.stores[0].inner.values != before
        fields = np.repeat(np.arange(3), list(FIELDS.values()))
        outside = np.arange(DIM) >= drawn[fields][:, None]
        # Through the threshold each value has a gradient, as it is a part of the sum that is held against it.
        step = np.abs(table.stores[0].inner.values - before)
        assert moved[~outside].any() and (step[outside] <= 0.001 * 8 * 2 * 0.05 * 2).all()
    assert seen == set(range(1, DIM + 1))


@pytest.mark.parametrize("evolved", [False, True])
def test_it_goes_on_from_its_file_and_its_deltas(evolved, tmp_path):
    table = made(optimizer="adam", seed=4)
    table.save(tmp_path / "base")
    for step in range(3):
        rows = table.lookup({name: ids[step:] for name, ids in EVERY.items()})
        table.update({name: np.sin(7 * each) for name, each in rows.items()}, lr=0.01)
    if evolved:
        table.evolve(lambda: float(table.lookup(EVERY)["wide"].sum()), generations=2)
    table.save(tmp_path / "delta", since=tmp_path / "base")
    again = vs.table_open(tmp_path / "base", tmp_path / "delta")
    for each in (table, again):
        rows = each.lookup(EVERY)
        each.update({name: np.cos(value) for name, value in rows.items()}, lr=0.01)
    for name, array in table.arrays().items():
        assert array.tobytes() == again.arrays()[name].tobytes(), name
    assert table.arrays()["maps.0"].any() == evolved
    live = sum(array.nbytes for array in table.arrays().values())
    assert live == table.ledger().total
    table.finish()
    table.save(tmp_path / "whole")
    found = vs.table_open(tmp_path / "whole").lookup(EVERY)
    assert all(np.array_equal(found[name], rows) for name, rows in table.lookup(EVERY).items())
    with pytest.raises(vs.InputError, match="finished"):
        table.evolve(lambda: 0.0)


def test_a_search_that_fails_leaves_the_table_as_it_was():
    table = learned()
    before = {name: array.copy() for name, array in table.arrays().items()}
    with pytest.raises(vs.InputError, match=r"score of widths .* is nan"):
        table.evolve(lambda: float("nan"))
    with pytest.raises(ZeroDivisionError):
        table.evolve(lambda: 1 / 0)
    for generations in (0, 1.5, "x"):
        with pytest.raises(vs.SpecError, match="generations"):
            table.evolve(lambda: 0.0, generations=generations)
    assert all(np.array_equal(array, before[name]) for name, array in table.arrays().items())
    with pytest.raises(vs.SpecError, match="widths='searched'"):
        vs.table("optembed", FIELDS).evolve(lambda: 0.0)
    with pytest.raises(vs.SpecError, match="full, searched"):
        vs.table("optembed", FIELDS, widths="some")
