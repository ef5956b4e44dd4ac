"""Tables that take more ids than they were made for."""

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.tables.presets import PRESETS

FIELDS = {"user": 300, "item": 170, "sex": 2}
MORE = {"user": 700, "sex": 3}
LATER = {"user": 700, "item": 171, "sex": 3}
# Options with which growing is another matter, beside those by default.
OPTIONS = [
    ("optembed", {"widths": "searched"}), ("dhe", {"norm": True, "hashes": 8, "layers": 1}),
    ("qr", {"digits": 3}), ("qr", {"combine": "concat"}), ("unified", {"rows": "int8"}),
    ("hash", {"rows": "lsq4"}), ("alpt", {"second": True}), ("plain", {"rows": "f16"}),
    ("dedup", {"block": 3}), ("dynamic", {"start": 8}), ("unified", {"rows": "int4", "probes": 2}),
    ("cafe", {"hot_rows": "int8"}), ("tt", {"rows": "int8"}),
]  # fmt: skip
CASES = [(name, {}) for name in PRESETS if name != "pep"] + OPTIONS


def made(method, budget="40%", **how):
    often = {field: np.arange(count) % 7 + 1 for field, count in FIELDS.items()}
    try:
        return vs.table(method, FIELDS, dim=8, budget=budget, frequencies=often, **how)
    except vs.BudgetError:
        return vs.table(method, FIELDS, dim=8, frequencies=often, **how)


def learn(table, fields, steps=3):
    rng = np.random.default_rng(7)
    for _ in range(steps):
        rows = table.lookup({field: rng.integers(0, count, 60) for field, count in fields.items()})
        table.update({field: np.sin(9 * value) for field, value in rows.items()}, lr=0.05)


def rows_of(table, fields):
    return table.lookup({field: np.arange(count) for field, count in fields.items()})


def live(table):
    return sum(array.nbytes for array in table.arrays().values())


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("budget", ["40%", None])
@pytest.mark.parametrize(("method", "how"), CASES)
def test_known_ids_keep_their_rows_and_new_ones_learn(method, how, budget, optimizer, tmp_path):
    table = made(method, budget, optimizer=optimizer, **how)
    learn(table, FIELDS)
    before = rows_of(table, FIELDS)
    ledger = table.grow(MORE)
    fields = {**FIELDS, **MORE}
    assert table.fields == fields and ledger == table.ledger() and live(table) == ledger.total
    after = rows_of(table, fields)
    for field, count in FIELDS.items():
        assert np.array_equal(after[field][:count], before[field])
        assert np.isfinite(after[field]).all()
    table.save(tmp_path / "grown")
    again = vs.table_open(tmp_path / "grown")
    for one in (table, again):
        learn(one, fields)
        assert one.grow({"item": 171}) == one.ledger()
        learn(one, LATER)
    assert {name: array.tobytes() for name, array in table.arrays().items()} == {
        name: array.tobytes() for name, array in again.arrays().items()
    }
    table.save(tmp_path / "twice")
    third = vs.table_open(tmp_path / "twice")
    for one in (table, third):
        one.finish()
        assert live(one) == one.ledger().total
    found, others = rows_of(table, LATER), rows_of(third, LATER)
    assert all(np.array_equal(found[field], others[field]) for field in LATER)


@pytest.mark.parametrize("optimizer", ["rowwise_adagrad", "adagrad", "adam"])
def test_new_rows_begin_as_the_mean_of_their_field_with_nothing_of_the_optimizer(optimizer):
    table = vs.table("plain", FIELDS, dim=8, optimizer=optimizer)
    learn(table, FIELDS)
    rows = rows_of(table, FIELDS)
    table.grow({"user": 305, "item": 180})
    for field, count in (("user", 305), ("item", 180)):
        new = table.lookup({field: np.arange(FIELDS[field], count)})[field]
        assert np.allclose(new, rows[field].mean(0, dtype=np.float64), atol=1e-7)
    for number, field in enumerate(("user", "item")):
        state = table.stores[number].state
        assert state[: FIELDS[field]].any() and not state[FIELDS[field] :].any()


def test_new_rows_may_be_drawn():
    table = vs.table("plain", FIELDS, dim=8)
    table.grow({"user": 400}, first="drawn")
    new = table.lookup({"user": np.arange(300, 400)})["user"]
    assert abs(new).max() <= 0.05 and new.std() > 0.02 and len(np.unique(new)) > 790


@pytest.mark.parametrize("method", ["hash", "unified", "robe", "hashednet", "multihash", "hashemb", "cafe"])
def test_ids_that_share_rows_take_no_more_bytes(method):
    table = vs.table(method, FIELDS, dim=8, budget="20%")
    assert table.grow({"item": 5000}) == vs.table(method, FIELDS, dim=8, budget="20%").ledger()
    fresh = vs.table(method, FIELDS, dim=8, budget="20%")
    for name, array in table.arrays().items():
        assert np.array_equal(array, fresh.arrays()[name])


def test_a_new_id_of_qr_has_a_known_remainder_and_a_mean_quotient():
    table = vs.table("qr", {"item": 100}, dim=4, budget="40%", optimizer="sgd")
    (rows,) = [store.values.copy() for store in table.stores]
    top = table.setup.knobs[0]
    low = -(-100 // top)
    table.grow({"item": 300})
    mean = rows[low : low + top].mean(0, dtype=np.float64)
    assert np.allclose(table.lookup({"item": [250]})["item"][0], rows[250 % low] * mean, atol=1e-7)


def test_gradients_of_a_lookup_before_reach_the_same_ids():
    tables = [vs.table("prune", FIELDS, dim=8, budget="50%", optimizer="sgd") for _ in range(2)]
    ids = {"user": np.arange(5), "item": np.arange(7)}
    slopes = {"user": np.ones((5, 8)), "item": np.ones((7, 8))}
    for table, early in zip(tables, (True, False), strict=True):
        if not early:
            table.grow({"user": 400})
        seen = table.trace(ids)
        if early:
            table.grow({"user": 400})
        table.apply(seen, slopes, lr=0.1)
    found, wanted = (rows_of(table, {**FIELDS, "user": 400}) for table in tables)
    assert all(np.array_equal(found[field], wanted[field]) for field in FIELDS)


@pytest.mark.parametrize(
    ("fields", "how", "kind", "message"),
    [
        ({"user": 299}, {}, vs.SpecError, "'user' has 300 ids; it cannot have 299"),
        ({"user": 400, "usr": 9}, {}, vs.SpecError, "'usr'"),
        ({"user": 400, "item": 171.5}, {}, vs.SpecError, "'item'.*171.5"),
        ({"user": 400, "item": 1 << 63}, {}, vs.SpecError, "'item'"),
        ({"user": 400, "item": 1 << 33}, {}, vs.BudgetError, "rows are more than a store addresses"),
        ({"user": 400}, {"first": "best"}, vs.SpecError, "mean, drawn"),
        (400, {}, vs.SpecError, "name: number of ids"),
    ],
)
def test_what_cannot_be_leaves_the_table_as_it_was(fields, how, kind, message):
    table = vs.table("plain", FIELDS, dim=8)
    before = table.state().identity
    with pytest.raises(kind, match=message):
        table.grow(fields, **how)
    assert table.fields == FIELDS and table.state().identity == before


def test_pep_says_why_it_takes_no_more_ids():
    table = vs.table("pep", FIELDS, dim=8, budget="50%")
    before = table.state().identity
    with pytest.raises(vs.SpecError, match=r"'pep' tables take no more ids.*make a new table"):
        table.grow({"user": 400})
    assert table.state().identity == before
    learn(table, FIELDS)


def test_a_finished_table_takes_no_more_ids():
    table = vs.table("plain", FIELDS, dim=8)
    table.finish()
    with pytest.raises(vs.InputError, match="finished; it takes no more ids"):
        table.grow({"user": 400})


def test_after_growing_the_whole_table_is_saved(tmp_path):
    table = vs.table("plain", FIELDS, dim=8)
    table.save(tmp_path / "one")
    assert table.state().config()["version"] == 1  # as older versions read it
    table.grow({"user": 400})
    assert table.state().config()["version"] == 2
    with pytest.raises(vs.InputError, match="has grown since; save the whole table"):
        table.save(tmp_path / "two", since=tmp_path / "one")
    table.save(tmp_path / "two")
    learn(table, FIELDS)
    table.save(tmp_path / "three", since=tmp_path / "two")
    again = vs.table_open(tmp_path / "two", tmp_path / "three")
    assert again.state().identity == table.state().identity
    with pytest.raises(vs.FormatError, match="begun"):
        vs.table("plain", {**FIELDS, "user": 400}, dim=8).restore(table.state())
