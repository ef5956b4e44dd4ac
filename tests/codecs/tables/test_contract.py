"""What every table keeps to: shapes, bytes, errors, determinism, files."""

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.tables.presets import PRESETS

FIELDS = {"user": 300, "item": 170, "sex": 2}
PLAIN_BYTES = 4 * 16 * sum(FIELDS.values())
BUDGETS = ("100%", "50%", "23%", "10%", "3%", "1%", "4001B", "2B/row")
OPEN = [
    name
    for name in PRESETS
    if name in ("hash", "multihash", "hashemb", "unified", "robe", "hashednet", "cafe", "dynamic")
]


def drawn(seed=0, n=200):
    rng = np.random.default_rng(seed)
    offsets = np.arange(0, n + 1, 4)
    return {
        "user": rng.integers(0, 300, n),
        "item": (rng.integers(0, 170, n), offsets),
        "sex": (rng.integers(0, 2, n), offsets, rng.random(n)),
    }


def trained(table, steps=3):
    for step in range(steps):
        rows = table.lookup(drawn(step))
        table.update({field: np.sin(7 * value) for field, value in rows.items()}, lr=0.05)
    return table


def made(method, budget=None, **how):
    """The table, or the one of the least feasible budget if this one is not."""
    try:
        return vs.table(method, FIELDS, budget=budget, **how)
    except vs.BudgetError as error:
        least = int(str(error).split("budget for it is ")[1].split(" B")[0].replace(",", ""))
        with pytest.raises(vs.BudgetError):
            vs.table(method, FIELDS, budget=f"{least - 1}B", **how)
        return vs.table(method, FIELDS, budget=f"{least}B", **how)


def live(table):
    found = {}
    for name, array in table.arrays().items():
        part = name.split(".")[0]
        if array.nbytes:
            found[part] = found.get(part, 0) + array.nbytes
    return found


@pytest.mark.parametrize("league", ["serve", "train"])
@pytest.mark.parametrize("method", PRESETS)
def test_no_table_has_more_bytes_than_its_budget_or_its_ledger_says(method, league):
    for optimizer in ("rowwise_adagrad", "adam") if league == "train" else ("sgd",):
        for budget in BUDGETS:
            try:
                table = vs.table(method, FIELDS, budget=budget, league=league, optimizer=optimizer)
            except vs.BudgetError:
                continue
            ledger = table.ledger()
            account = {part: count for part, count in ledger.as_dict().items() if count}
            assert account.pop("total") == ledger.total
            assert live(table) == account
            share = {"4001B": 4001, "2B/row": 2 * 472}.get(budget)
            bound = float(budget[:-1]) / 100 * PLAIN_BYTES if share is None else share
            assert ledger.bound(league) <= bound


@pytest.mark.parametrize("method", PRESETS)
def test_an_infeasible_budget_names_the_least_feasible_one(method):
    assert made(method, "1B").ledger().serve > 1


@pytest.mark.parametrize("method", ["hash", "multihash", "unified", "robe", "hashednet", "adapt", "hashemb"])
def test_a_budget_is_used_up_to_the_grain(method):
    for share in (50, 10, 5):
        table = vs.table(method, FIELDS, budget=f"{share}%")
        assert table.ledger().serve > share / 100 * PLAIN_BYTES - 64 * 2 - 8


@pytest.mark.parametrize("method", PRESETS)
def test_rows_come_out_and_gradients_go_in(method):
    table = made(method, "20%", optimizer="adagrad")
    rows = {field: value.copy() for field, value in table.lookup(drawn()).items()}
    assert {field: (value.shape, value.dtype.name) for field, value in rows.items()} == {
        "user": ((200, 16), "float32"), "item": ((50, 16), "float32"), "sex": ((50, 16), "float32"),
    }  # fmt: skip
    before = sum(float((value**2).sum()) for value in rows.values())
    for _ in range(30):
        table.update(table.lookup(drawn()), lr=0.003)
    assert sum(float((value**2).sum()) for value in table.lookup(drawn()).values()) < 0.8 * before


@pytest.mark.parametrize("method", PRESETS)
@pytest.mark.parametrize("optimizer", ["rowwise_adagrad", "adam"])
def test_a_resumed_table_goes_on_as_if_it_had_never_stopped(method, optimizer, tmp_path):
    often = {field: np.arange(count) % 7 + 1 for field, count in FIELDS.items()}
    table = trained(made(method, "20%", optimizer=optimizer, seed=3, frequencies=often))
    table.save(tmp_path / "it.table")
    with pytest.raises(vs.ConflictError):
        table.save(tmp_path / "it.table")
    again = vs.table_open(tmp_path / "it.table")
    for one in (table, again):
        trained(one)
    for name, array in table.arrays().items():
        assert array.tobytes() == again.arrays()[name].tobytes(), name
    assert again.ledger() == table.ledger()


@pytest.mark.parametrize("method", PRESETS)
def test_a_finished_table_serves_from_the_bytes_that_its_ledger_said(method, tmp_path):
    table = trained(made(method, "20%"))
    serve = table.ledger().serve
    table.finish()
    ledger = table.ledger()
    assert ledger.total == ledger.serve == serve
    assert live(table) == {
        part: count for part, count in ledger.as_dict().items() if count and part != "total"
    }
    rows = table.lookup(drawn())
    assert all(np.isfinite(value).all() for value in rows.values())
    with pytest.raises(vs.InputError, match="finished"):
        table.update(rows, lr=0.1)
    table.save(tmp_path / "it.table")
    again = vs.table_open(tmp_path / "it.table").lookup(drawn())
    assert all(np.array_equal(again[field], rows[field]) for field in rows)


@pytest.mark.parametrize("method", PRESETS)
def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads(method):
    found = set()
    threads = vs.get_threads()
    rng = np.random.default_rng(0)
    batch = {"user": rng.integers(0, 300, 5000), "item": rng.integers(0, 170, 5000)}
    try:
        for count in (1, 2, 3):
            vs.set_threads(count)
            table = made(method, "20%", seed=5)
            for _ in range(2):
                table.update({field: np.cos(rows) for field, rows in table.lookup(batch).items()}, lr=0.1)
            found.add(b"".join(array.tobytes() for array in table.arrays().values()))
    finally:
        vs.set_threads(threads)
    assert len(found) == 1


@pytest.mark.parametrize("method", OPEN)
def test_methods_that_hash_take_any_id_and_strings(method):
    table = made(method, "20%")
    rows = table.lookup({"user": np.array([-1, 1 << 62, 5]), "item": ["a", "ü", ""]})
    assert np.isfinite(rows["user"]).all() and rows["item"].shape == (3, 16)
    if method != "dynamic":  # where ids that were never trained share few rows
        assert not np.array_equal(rows["item"][0], rows["item"][1])


@pytest.mark.parametrize("method", [name for name in PRESETS if name not in OPEN])
def test_a_closed_vocabulary_says_which_id_is_outside(method):
    table = made(method, "20%")
    if not table.branch("item").closed:
        return
    for ids in ([0, 170], [3, -1]):
        with pytest.raises(vs.InputError, match=r"'item'.*position 1"):
            table.lookup({"item": ids})
    with pytest.raises(vs.InputError, match="strings"):
        table.lookup({"item": ["a"]})


def test_bags_are_sums_of_their_rows():
    table = vs.table("unified", FIELDS, budget="20%")
    ids, weights = np.arange(10), np.arange(10) / 4
    rows = table.lookup({"user": ids})["user"]
    bags = table.lookup({"user": (ids, [0, 3, 10])})["user"]
    assert np.allclose(bags, [rows[:3].sum(0), rows[3:].sum(0)], atol=1e-6)
    assert np.array_equal(
        table.lookup({"user": ids.reshape(2, 5)})["user"][1], rows[5:].sum(0, dtype=np.float32)
    )
    weighted = table.lookup({"user": (ids, [0, 3, 10], weights)})["user"]
    assert np.allclose(weighted[1], (rows * weights[:, None])[3:].sum(0), atol=1e-6)


@pytest.mark.parametrize("method", ["unified", "lowrank", "qr"])
def test_gradients_of_bags_reach_each_id_times_its_weight(method):
    ids, weights = np.arange(10), np.arange(10, dtype=np.float32) / 4
    slopes = np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32)
    found = []
    for bagged in (True, False):
        table = made(method, "30%", optimizer="sgd")
        if bagged:
            table.lookup({"user": (ids, [0, 3, 10], weights)})
            table.update({"user": slopes}, lr=0.1)
        else:
            table.lookup({"user": ids})
            table.update({"user": np.repeat(slopes, [3, 7], axis=0) * weights[:, None]}, lr=0.1)
        found.append(table.lookup({"user": np.arange(300)})["user"])
    assert np.allclose(*found, atol=1e-7)


BAD = {
    "an unknown field": ({"usr": [1]}, vs.SpecError, "'usr'"),
    "ids that are no whole numbers": ({"user": [0.5]}, vs.ShapeError, "'user'"),
    "ids of three dimensions": ({"user": np.zeros((2, 2, 2), int)}, vs.ShapeError, "'user'"),
    "an empty bag": ({"user": ([1, 2], [0, 2, 2])}, vs.InputError, "'user': bag 1"),
    "offsets that fall": ({"user": ([1, 2, 3], [0, 2, 1, 3])}, vs.InputError, "'user': offset 2"),
    "offsets that end early": ({"user": ([1, 2, 3], [0, 2])}, vs.InputError, "'user': the last offset, 1"),
    "offsets that begin late": ({"user": ([1, 2, 3], [1, 3])}, vs.InputError, "'user': offset 0"),
    "too few weights": ({"user": ([1, 2], [0, 1, 2], [1.0])}, vs.ShapeError, "'user'"),
    "weights that are no numbers": ({"user": ([1, 2], [0, 1, 2], [1, np.nan])}, vs.InputError, "weight 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_lookups_name_field_and_position(case):
    batch, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        vs.table("unified", FIELDS, budget="20%").lookup(batch)


def test_bad_gradients_name_field_and_position_and_change_nothing():
    table = vs.table("unified", FIELDS, budget="20%")
    before = {name: array.copy() for name, array in table.arrays().items()}
    with pytest.raises(vs.InputError, match="no lookup"):
        table.update({"user": np.zeros((3, 16))}, lr=0.1)
    table.lookup({"user": [1, 2, 3], "item": [1]})
    bad = np.zeros((3, 16), np.float32)
    bad[2, 5] = np.nan
    good = np.ones((1, 16), np.float32)
    for gradients, kind, message in (
        ({"item": good, "user": bad}, vs.InputError, "'user'.*row 2, value 5"),
        ({"item": good, "user": bad[:2]}, vs.ShapeError, "'user'"),
        ({"item": good, "sex": good}, vs.InputError, "'sex', which was not looked up"),
    ):
        with pytest.raises(kind, match=message):
            table.update(gradients, lr=0.1)
    with pytest.raises(vs.InputError, match="lr"):
        table.update({"item": good}, lr=float("nan"))
    for name, array in table.arrays().items():
        assert np.array_equal(array, before[name])
    table.update({"item": good}, lr=0.1)
    with pytest.raises(vs.InputError, match="no lookup"):
        table.update({"item": good}, lr=0.1)


def test_empty_bags_are_zeros_where_they_are_allowed():
    table = vs.table("unified", FIELDS, budget="20%", empty_bags="zeros")
    rows = table.lookup({"user": ([1, 2], [0, 0, 2])})["user"]
    assert not rows[0].any() and rows[1].any()
    assert table.lookup({"user": []})["user"].shape == (0, 16)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"method": "unifed"}, "did you mean unified"),
        ({"chunk": 2}, "no option 'chunk'"),
        ({"chunks": 3}, "equal chunks"),
        ({"optimizer": "adma"}, "rowwise_adagrad"),
        ({"league": "test"}, "serve, train"),
        ({"rows": "int9"}, "int8"),
        ({"dim": 0}, "dim 0"),
        ({"fields": {"a": 0}}, "'a' has 0 ids"),
        ({"fields": {}}, "needs a field"),
        ({"budget": "0B"}, "positive"),
        ({"empty_bags": "skip"}, "zeros"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_made_says_why(how, message):
    how = {"method": "unified", "fields": FIELDS, **how}
    with pytest.raises((vs.SpecError, vs.BudgetError), match=message):
        vs.table(how.pop("method"), how.pop("fields"), **how)


def test_fields_may_have_several_widths():
    table = vs.table("unified", {"a": 50, "b": 9}, dim={"a": 24, "b": 8}, budget="50%", chunks=1)
    rows = table.lookup({"a": [1, 2], "b": [0]})
    assert rows["a"].shape == (2, 24) and rows["b"].shape == (1, 8)
    assert table.setup.knobs[0] == (2 * (50 * 24 + 9 * 8) - 8) // 32


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "it.table"
    vs.table("unified", FIELDS, budget="5%").save(path)
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(vs.CorruptError, match=r"it\.table"):
        vs.table_open(path)
    path.write_bytes(vs.dumps(vs.fit("sq", np.eye(20, dtype=np.float32))))
    with pytest.raises(vs.CorruptError):
        vs.table_open(path)
    with pytest.raises(vs.NotFoundError):
        vs.table_open(tmp_path / "none")


def test_the_state_of_another_table_is_refused():
    table = vs.table("unified", FIELDS, budget="5%")
    for other in (
        vs.table("hash", FIELDS, budget="5%"),
        vs.table("unified", FIELDS, budget="6%"),
        vs.table("unified", FIELDS, budget="5%", optimizer="adam"),
        vs.table("unified", FIELDS, budget="5%", seed=1),
        vs.table("unified", FIELDS, budget="5%", rows="f16", chunks=1),
    ):
        with pytest.raises(vs.FormatError):
            table.restore(other.state())
