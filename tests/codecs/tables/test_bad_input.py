"""What tables refuse: each error names field and position, and the table is as it was, bit for bit."""

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.tables.presets import LIMITS, PRESETS

FIELDS = {"user": 300, "item": 170}
IDS = np.array([1, 2, 3])
INPUT, SHAPE, SPEC = vs.InputError, vs.ShapeError, vs.SpecError


def objects(*given):
    found = np.empty(len(given), object)
    found[:] = given
    return found


def made(method, **how):
    try:
        return vs.table(method, FIELDS, budget="30%", dim=8, **how)
    except vs.BudgetError:
        return vs.table(method, FIELDS, dim=8, **how)


def learn(table, steps=3):
    for step in range(steps):
        rows = table.lookup({"user": IDS + step, "item": IDS})
        table.update({field: np.sin(7 * value) for field, value in rows.items()}, lr=0.05)
    return table


def bits(table):
    """All that a table is: arrays, counters, and what learners keep besides."""
    hidden = [
        (learner.moves, b"".join(ids.tobytes() for ids in getattr(learner, "gone", [])))
        for learner in table.layout.learners
    ]
    arrays = {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in table.arrays().items()}
    return arrays, table.updates, table.finished, hidden


OUTSIDE = {
    "too large": ([0, 170], "id 170 at position 1"),
    "negative": ([3, -1], "id -1 at position 1"),
    "the least of all": ([np.iinfo(np.int64).min], "position 0"),
    "beyond 63 bits": (np.array([1, 2**63 + 5], np.uint64), "position 1"),
    "texts": (["a"], "strings"),
}
LOOKUPS = {
    "floats": ([1.0], SHAPE, "ids of float64"),
    "no numbers": ([np.nan], SHAPE, "ids of float64"),
    "bools": ([True], SHAPE, "ids of bool"),
    "complex": ([1j], SHAPE, "ids of complex128"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), SHAPE, "ids of datetime64"),
    "nothing": (None, SHAPE, r"ids \(\)"),
    "one id alone": (3, SHAPE, r"ids \(\)"),
    "three dimensions": (np.zeros((2, 2, 2), int), SHAPE, r"ids \(2, 2, 2\)"),
    "ragged": ([[1], [2, 3]], SHAPE, "ids are no array"),
    "more than 64 bits": ([2**70], INPUT, "id 1180591620717411303424 at position 0"),
    "objects, one missing": (objects("a", None), INPUT, "id None at position 1"),
    "objects, one no number": (objects("a", float("nan")), INPUT, "id nan at position 1"),
    "objects of two kinds": (objects("a", 3), INPUT, "id 3 at position 1"),
    "objects of two kinds, again": (objects(3, "a"), INPUT, "id 'a' at position 1"),
    "objects that are lists": (objects([1], [2]), INPUT, r"id \[1\] at position 0"),
    "bytes that are no text": (np.array([b"a", b"\xff"]), INPUT, "position 1 is no text"),
    "half a character": (["a", "\ud800"], INPUT, "position 1 is no text"),
    "four arrays": (([1], [0, 1], [1.0], [1]), SHAPE, "given 4 arrays"),
    "no array": ((), SHAPE, "given 0 arrays"),
    "an empty bag": (([1, 2], [0, 2, 2]), INPUT, "bag 1 is empty"),
    "bags of none": (np.zeros((2, 0), int), INPUT, "bag 0 is empty"),
    "offsets that decrease": (([1, 2, 3], [0, 2, 1, 3]), INPUT, "offset 2 is 1"),
    "offsets that end early": (([1, 2, 3], [0, 2]), INPUT, "the last offset, 1, is 2"),
    "offsets that end late": (([1, 2, 3], [0, 4]), INPUT, "the last offset, 1, is 4"),
    "offsets that begin late": (([1, 2, 3], [1, 3]), INPUT, "offset 0 is 1"),
    "offsets that are negative": (([1, 2, 3], [-1, 3]), INPUT, "offset 0 is -1"),
    "offsets beyond 63 bits": (([1], np.array([0, 2**63 + 2, 1], np.uint64)), INPUT, "offset 1"),
    "float offsets": (([1, 2], [0.0, 2.0]), SHAPE, "offsets of float64; expected integers"),
    "bool offsets": (([1], [False, True]), SHAPE, "offsets of bool"),
    "offsets of nothing": (([1], None), SHAPE, "offsets"),
    "no offsets": (([1, 2], []), SHAPE, r"offsets \(0,\)"),
    "offsets of two dimensions": (([1, 2], [[0, 2]]), SHAPE, r"offsets \(1, 2\)"),
    "ragged offsets": (([1], [[0], [1, 2]]), SHAPE, "offsets are no array"),
    "offsets of square ids": (([[1, 2]], [0, 2]), SHAPE, r"ids \(1, 2\)"),
    "too few weights": (([1, 2], [0, 2], [1.0]), SHAPE, r"weights \(1,\)"),
    "too many weights": (([1, 2], [0, 2], [1.0, 2, 3]), SHAPE, r"weights \(3,\)"),
    "square weights": (([1, 2], [0, 2], [[1.0, 2]]), SHAPE, r"weights \(1, 2\)"),
    "weights that are no numbers": (([1, 2], [0, 2], [1.0, np.nan]), INPUT, "weight 1 is nan"),
    "infinite weights": (([1, 2], [0, 2], [-np.inf, 1]), INPUT, "weight 0 is -inf"),
    "weights beyond float32": (([1, 2], [0, 2], [1.0, 1e300]), INPUT, "weight 1 is inf"),
    "weights that are texts": (([1, 2], [0, 2], ["a", "b"]), SHAPE, "weights"),
    "complex weights": (([1, 2], [0, 2], [1j, 2]), SHAPE, "weights"),
    "no weights": (([1, 2], [0, 2], None), SHAPE, "weights"),
}
GOOD = np.ones((3, 8), np.float32)


def spoilt(value, row=2, column=5):
    found = GOOD.copy()
    found[row, column] = value
    return found


GRADIENTS = {
    "no number": ({"user": spoilt(np.nan)}, INPUT, "'user' is nan at row 2, value 5"),
    "infinite": ({"item": GOOD, "user": spoilt(np.inf)}, INPUT, "'user' is inf at row 2, value 5"),
    "minus infinite": (
        {"user": GOOD, "item": spoilt(-np.inf, 0, 0)},
        INPUT,
        "'item' is -inf at row 0, value 0",
    ),
    "beyond float32": ({"user": np.float64(spoilt(0)) * 1e300}, INPUT, "'user' is inf at row 0, value 0"),
    "too few rows": ({"item": GOOD, "user": GOOD[:2]}, SHAPE, r"'user' is \(2, 8\)"),
    "too wide": ({"user": np.ones((3, 9))}, SHAPE, r"'user' is \(3, 9\)"),
    "flat": ({"user": GOOD.ravel()}, SHAPE, r"'user' is \(24,\)"),
    "texts": ({"user": np.full((3, 8), "a")}, SHAPE, "'user'"),
    "complex": ({"user": GOOD * 1j}, SHAPE, "'user' is complex64"),
    "nothing": ({"user": None}, SHAPE, "'user'"),
    "ragged": ({"user": [[1], [1, 2]]}, SHAPE, "'user' is no array"),
    "not looked up": ({"user": GOOD, "sex": GOOD}, INPUT, "'sex', which was not looked up"),
    "of no field": ([GOOD], SHAPE, "mapping"),
}


@pytest.mark.parametrize("method", PRESETS)
def test_bad_lookups_name_field_and_position_and_change_nothing(method):
    table = learn(made(method))
    before = bits(table)
    cases = dict(LOOKUPS)
    if table.branch("item").closed:
        cases |= {name: (ids, INPUT, message) for name, (ids, message) in OUTSIDE.items()}
    for name, (given, kind, message) in cases.items():
        with pytest.raises(kind, match=message) as caught:
            table.lookup({"user": IDS, "item": given})
        assert "'item'" in str(caught.value), name
        assert bits(table) == before, name
    for given, kind in (({"sex": [1]}, SPEC), ([1, 2], SHAPE), (None, SHAPE)):
        with pytest.raises(kind):
            table.lookup(given)
    assert bits(table) == before


@pytest.mark.parametrize("method", PRESETS)
def test_bad_gradients_name_field_and_position_and_change_nothing(method):
    table = learn(made(method, optimizer="adam"))
    before = bits(table)
    with pytest.raises(INPUT, match="no lookup since"):
        table.update({"user": GOOD}, lr=0.1)
    table.lookup({"user": IDS, "item": IDS})
    for name, (given, kind, message) in GRADIENTS.items():
        with pytest.raises(kind, match=message):
            table.update(given, lr=0.1)
        assert bits(table) == before, name
    for lr in (np.nan, np.inf, -1, 1e300, "a", None, 1j, [1, 2]):
        with pytest.raises(INPUT, match="lr is"):
            table.update({"user": GOOD}, lr=lr)
    assert bits(table) == before
    table.update({"user": GOOD}, lr=0.1)  # the lookup counts still, and once
    with pytest.raises(INPUT, match="no lookup since"):
        table.update({"user": GOOD}, lr=0.1)


@pytest.mark.parametrize("method", ["plain", "unified", "lowrank", "prune"])
def test_a_gradient_times_a_weight_is_a_number_or_changes_nothing(method):
    table = learn(made(method))
    table.lookup({"item": ([1, 2, 3], [0, 1, 3], [1.0, 1.0, 3e38])})
    before = bits(table)
    with pytest.raises(INPUT, match=r"'item' times weight 2, 3\.\d+e\+38, is beyond float32"):
        table.update({"item": np.full((2, 8), 1e30, np.float32)}, lr=0.1)
    assert bits(table) == before


@pytest.mark.parametrize("method", PRESETS)
def test_gradients_of_other_lookups_are_refused(method):
    table, other = learn(made(method)), learn(made(method), 1)
    before = bits(table)
    seen = other.trace({"user": IDS})
    with pytest.raises(INPUT, match="'user' of a lookup in another table"):
        table.apply(seen, {"user": GOOD}, 0.1)
    assert bits(table) == before
    seen = table.trace({"user": IDS})
    table.finish()
    before = bits(table)
    with pytest.raises(INPUT, match="finished"):
        table.apply(seen, {"user": GOOD}, 0.1)
    assert bits(table) == before


@pytest.mark.parametrize("method", PRESETS)
def test_lookups_of_nothing_give_and_learn_nothing(method):
    table = learn(made(method, empty_bags="zeros", optimizer="adagrad"))
    none = np.empty(0, int)
    for given, count in ((none, 0), ((none, [0]), 0), (np.zeros((3, 0), int), 3), ((none, [0, 0]), 1)):
        rows = table.lookup({"item": given})["item"]
        assert rows.shape == (count, 8) and not rows.any()
        before = bits(table)[0]
        table.update({"item": rows}, lr=0.1)
        after = bits(table)[0]
        assert all(after[name] == before[name] for name in before if name.startswith(("optim", "seeds")))
    mixed = table.lookup({"item": ([1, 2], [0, 0, 2, 2])})["item"]
    assert mixed[1].any() and not mixed[[0, 2]].any()


def test_ids_that_come_as_objects_are_what_they_are():
    table = vs.table("unified", FIELDS, budget="30%", dim=8)
    rows = table.lookup({"item": [1, 2]})["item"]
    assert np.array_equal(table.lookup({"item": objects(1, np.int64(2))})["item"], rows)
    texts = table.lookup({"item": ["a", "ü"]})["item"]
    assert np.array_equal(table.lookup({"item": objects("a", "ü")})["item"], texts)
    assert np.array_equal(table.lookup({"item": np.array([b"a", "ü".encode()])})["item"], texts)


def test_ids_that_changed_since_they_were_looked_up_are_refused():
    table = learn(made("plain"))
    before, ids = bits(table), IDS.copy()
    table.lookup({"user": ids})
    ids[1] = 1 << 40
    with pytest.raises(INPUT, match="'user': id 1099511627776 at position 1"):
        table.update({"user": GOOD}, lr=0.1)
    assert bits(table) == before


STATES = {
    "another method": ({"method": "hash"}, "method 'hash'"),
    "another optimizer": ({"optimizer": "adam"}, "optimizer 'adam'"),
    "another seed": ({"seed": 1}, "seed 1"),
    "other fields": ({"fields": {**FIELDS, "sex": 2}}, "fields"),
    "other knobs": ({"budget": "31%"}, "knobs"),
    "another format of rows": ({"rows": "f16", "knobs": True}, "rows 'f16'"),
}


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("case", STATES)
def test_the_state_of_another_table_is_refused_and_changes_nothing(case, finished):
    how, message = STATES[case]
    how = {"method": "unified", "fields": FIELDS, "budget": "30%", "dim": 8, **how}
    same = how.pop("knobs", False)
    other = vs.table(how.pop("method"), how.pop("fields"), **how)
    if finished:
        other.finish()
    table = learn(made("unified"))
    state, before = other.state(), bits(table)
    if same:
        object.__setattr__(state.setup, "knobs", table.setup.knobs)
    with pytest.raises(vs.FormatError, match=message):
        table.restore(state)
    assert bits(table) == before and not table.finished


@pytest.mark.parametrize(
    ("method", "one", "other"),
    [
        ("qr", {"combine": "mult"}, {"combine": "sum"}),
        ("robe", {"block": 8}, {"block": 4}),
        ("multihash", {"probes": 2}, {"probes": 3}),
        ("unified", {"probes": 1}, {"probes": 2}),
    ],
)
def test_the_same_arrays_under_other_options_are_another_table(method, one, other):
    table, state = made(method, **one), made(method, **other).state()
    object.__setattr__(state.setup, "knobs", table.setup.knobs)
    with pytest.raises(vs.FormatError, match=next(iter(one))):
        table.restore(state)


def test_a_state_from_before_an_option_was_there_is_taken():
    for method, option, other in (("optembed", "widths", "searched"), ("dhe", "norm", True)):
        table, state = made(method), learn(made(method)).state()
        options = {name: value for name, value in state.setup.options.items() if name != option}
        object.__setattr__(state.setup, "options", options)
        table.restore(state)
        assert bits(table)[0] == {
            name: (a.dtype.str, a.shape, a.tobytes()) for name, a in state.arrays().items()
        }
        with pytest.raises(vs.FormatError):
            made(method, **{option: other}).restore(state)


def test_a_state_whose_arrays_do_not_fit_leaves_a_table_that_grows_as_it_was():
    tables = [vs.table("dynamic", {"item": 1 << 40}, budget="8kB", start=16, seed=3) for _ in range(2)]
    for first, table in zip((0, 100), tables, strict=True):
        for step in range(first // 20 + 1):
            rows = table.lookup({"item": np.arange(first, first + 20) + 20 * step})
            table.update(rows, lr=0.1)
    small, large = tables
    before = bits(small)
    state = large.state()
    assert state.arrays()["maps.learner0.ids"].shape > small.arrays()["maps.learner0.ids"].shape
    state.arrays()["training.learner0.counts"] = np.zeros(3, np.uint32)
    with pytest.raises(vs.FormatError, match=r"training\.learner0\.counts"):
        small.restore(state)
    assert bits(small) == before
    seen = small.trace({"item": np.arange(20)})
    small.restore(large.state())
    assert bits(small)[0] == bits(large)[0]
    small.apply(seen, {"item": np.ones((20, 16))}, 0.1)  # by the rows that these ids have now
    assert all(np.isfinite(array).all() for array in small.arrays().values())


def test_a_table_of_a_method_or_option_that_is_not_known_is_of_a_newer_vecstore():
    from vecstore.codecs.tables.making import table_of

    state = made("unified").state()
    for name, value in (("method", "quantum"), ("options", {**state.setup.options, "spin": 1})):
        other = made("unified").state()
        object.__setattr__(other.setup, name, value)
        with pytest.raises(vs.FormatError, match="upgrade"):
            table_of(other)


@pytest.mark.parametrize("option", LIMITS)
def test_options_outside_their_limits_are_refused(option):
    method = next(name for name, preset in PRESETS.items() if option in preset.options)
    limits = LIMITS[option]
    bad = [limits.low - 1, limits.high + 1, np.nan, np.inf, "x", [1], *([1.5] if limits.whole else [])]
    for value in bad + ([] if limits.none else [None]):
        with pytest.raises(SPEC, match=f"{option}="):
            made(method, **{option: value})


@pytest.mark.parametrize("method", PRESETS)
def test_a_budget_of_nothing_is_refused(method):
    for budget in ("0B", "0%", "-5%", "-1B", "nan%", "inf%", "", 0, -3, "0bit/dim"):
        with pytest.raises(vs.BudgetError, match="positive"):
            vs.table(method, FIELDS, budget=budget)
    for budget in ("1B", "1e-9%"):
        with pytest.raises(vs.BudgetError, match=r"the least budget for it is [0-9,]+ B"):
            vs.table(method, FIELDS, budget=budget)


@pytest.mark.parametrize("method", PRESETS)
def test_more_ids_than_can_have_something_of_their_own_are_no_accident(method):
    try:
        vs.table(method, {"item": 1 << 50}, budget="4kB").lookup({"item": [5, (1 << 50) - 1]})
    except vs.BudgetError as error:
        assert any(part in str(error) for part in ("least budget", "hashes", "more than a store"))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"method": None}, "no table method"),
        ({"fields": [1, 2]}, "name: number of ids"),
        ({"fields": {1: 5}}, "name: number of ids"),
        ({"fields": {"a": "x"}}, "'a'.*whole number"),
        ({"fields": {"a": 2.5}}, "'a'.*whole number"),
        ({"fields": {"a": float("nan")}}, "'a'.*whole number"),
        ({"fields": {"a": 1 << 70}}, "'a'.*whole number"),
        ({"dim": "x"}, "'user' has dim 'x'"),
        ({"dim": {"user": 8}}, "'item' has dim 0"),
        ({"dim": {"user": 8, "item": 8, "sex": 8}}, "'sex'"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"seed": "a"}, "seed='a'"),
        ({"frequencies": {"sex": [1, 2]}}, "'sex'"),
        ({"frequencies": [1, 2]}, "field: counts"),
        ({"rows": 3}, "rows=3"),
        ({"rows": None}, "rows=None"),
        ({"rows": "lsq4", "init": 0}, "init=0"),
    ],
)
def test_what_no_table_can_be_made_of_is_said(how, message):
    how = {"method": "unified", "fields": FIELDS, **how}
    with pytest.raises(SPEC, match=message):
        vs.table(how.pop("method"), how.pop("fields"), **how)


@pytest.mark.parametrize(
    ("counts", "kind"), [([1, 2], SHAPE), (["a"] * 300, SHAPE), ([-1] * 300, INPUT), ([0] * 300, INPUT)]
)
def test_frequencies_that_are_no_counts_are_refused(counts, kind):
    with pytest.raises(kind, match="'user'"):
        vs.table("adapt", FIELDS, frequencies={"user": counts})


def test_a_keeper_that_fails_leaves_no_id_with_the_row_of_another():
    class Full:
        def put(self, ids, rows):
            raise OSError("disk full")

        def get(self, ids):
            return np.zeros(len(ids), bool), np.empty((len(ids), 0), np.uint8)

    table = vs.table("dynamic", {"item": 1 << 40}, dim=8, budget="2kB", policy="lru", optimizer="sgd")
    for first in range(0, 200, 20):
        table.lookup({"item": np.arange(first, first + 20)})
        table.update({"item": np.ones((20, 8))}, lr=1.0)
    table.spill("item", Full())
    late = np.arange(1000, 1200)
    shared = table.lookup({"item": late})["item"].copy()
    with pytest.raises(OSError, match="disk full"):
        table.update({"item": np.zeros((200, 8))}, lr=0.1)
    assert np.array_equal(table.lookup({"item": late})["item"], shared)
