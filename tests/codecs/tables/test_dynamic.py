"""Tables without a vocabulary: who is admitted, who is given up, where new rows begin."""

import numpy as np
import pytest

import vecstore as vs


def made(rows=400, **options):
    how = {"dim": 8, "optimizer": "adagrad", "shared": 0.1, **options}
    return vs.table("dynamic", {"item": rows}, **how)


def come(table, ids, lr=0.0):
    table.lookup({"item": np.asarray(ids)})
    table.update({"item": np.ones((len(ids), 8))}, lr=lr)


def own(table, ids):
    return table.layout.learners[0].find(np.asarray(ids)) >= 0


def test_ids_that_come_have_their_own_rows_that_begin_as_the_shared_one():
    table = made()
    ids = np.random.default_rng(0).integers(-(1 << 62), 1 << 62, 100)
    before = table.lookup({"item": ids})["item"]
    come(table, ids)
    assert own(table, ids).all()
    assert np.array_equal(table.lookup({"item": ids})["item"], before)
    come(table, ids[:1], lr=1.0)
    after = table.lookup({"item": ids})["item"]
    assert np.array_equal(after[1:], before[1:]) and not np.array_equal(after[0], before[0])


@pytest.mark.parametrize("policy", ["lru", "lfu", "norm"])
def test_the_least_wanted_ids_are_given_up_and_named(policy):
    table = made(rows=120, policy=policy)
    rng = np.random.default_rng(0)
    wanted, others = np.arange(50), np.arange(1000, 1058)
    come(table, others)
    for _ in range(3):
        come(table, wanted, lr=1.0 if policy == "norm" else 0.0)
    assert own(table, wanted).all() and own(table, others).all()
    come(table, rng.integers(2000, 1 << 40, 40))
    gone = table.evicted()["item"]
    assert len(gone) and np.isin(gone, others).all() and own(table, wanted).all()
    assert not own(table, gone).any()
    assert not len(table.evicted()["item"])


def test_ids_are_kept_for_their_time():
    table = made(rows=60, policy="ttl", ttl=3)
    come(table, np.arange(54))
    new = np.arange(100, 154)
    for _ in range(3):
        come(table, new)
        assert not own(table, new).any()
    come(table, new)
    assert own(table, new).all()
    assert np.array_equal(np.sort(table.evicted()["item"]), np.arange(54))


def test_ids_are_admitted_once_they_have_come_often_enough():
    table = made(admit=3)
    for _ in range(2):
        come(table, [7])
        assert not own(table, [7]).any()
    come(table, [7])
    assert own(table, [7]).all()


def test_ids_are_admitted_by_chance():
    table = made(rows=4000, chance=0.3)
    ids = np.arange(2000)
    come(table, ids)
    assert 0.25 < own(table, ids).mean() < 0.35
    for _ in range(20):
        come(table, ids)
    assert own(table, ids).mean() > 0.99


def test_what_was_never_trained_changes_nothing():
    table = made()
    before = {name: array.copy() for name, array in table.arrays().items()}
    table.lookup({"item": np.arange(1000)})
    assert all(np.array_equal(array, before[name]) for name, array in table.arrays().items())


def test_an_unknown_policy_is_refused():
    with pytest.raises(vs.SpecError, match="lru, lfu, norm, ttl"):
        made(policy="fifo")


def test_rows_grow_as_ids_come_up_to_the_budget():
    table = vs.table("dynamic", {"item": 1 << 40}, dim=8, budget="100kB", start=16, optimizer="adagrad")
    most = table.layout.learners[0].most
    rng = np.random.default_rng(0)
    seen, sizes = np.empty(0, np.int64), []
    twin = made(rows=100_000, shared=table.setup.options["shared"])
    for _ in range(40):
        ids = rng.integers(0, 1 << 40, 40)
        slopes = rng.standard_normal((40, 8)).astype(np.float32)
        before = table.lookup({"item": ids})["item"]
        table.update({"item": slopes}, lr=0.1)
        after = table.lookup({"item": ids})["item"]
        seen = np.union1d(seen, ids)
        ledger, live = table.ledger(), sum(array.nbytes for array in table.arrays().values())
        sizes.append(live)
        assert ledger.total == live and ledger.serve <= 100_000
        assert not np.array_equal(before, after)
        if 4 * len(seen) <= 3 * most:
            assert own(table, seen).all()
    assert not len(table.evicted()["item"]) or 4 * len(seen) > 3 * most
    assert sizes[0] < sizes[-1] / 8 and len(set(sizes)) > 4 and len(set(sizes)) < 10
    assert twin.ledger().total > sizes[0]


def test_growing_changes_no_row_and_no_state():
    small, large = made(rows=2000, start=8), made(rows=2000)
    rng = np.random.default_rng(0)
    for table in (small, large):  # shared rows are drawn anew for each number of rows
        shared = table.layout.learners[0].shared
        table.stores[0].values[shared.first :] = 0.5
    for _ in range(10):
        ids = rng.integers(0, 400, 60)
        slopes = rng.standard_normal((60, 8)).astype(np.float32)
        for table in (small, large):
            table.lookup({"item": ids})
            table.update({"item": slopes}, lr=0.1)
    every = np.arange(400)
    came = own(large, every)
    assert np.array_equal(own(small, every), came) and came.sum() > 300
    rows = [table.lookup({"item": every[came]})["item"] for table in (small, large)]
    assert np.array_equal(*rows)


def test_a_lookup_from_before_rows_moved_still_steps_its_ids():
    table = made(rows=2000, start=8, optimizer="sgd")
    come(table, [1, 2, 3])
    seen = table.trace({"item": np.array([1, 2, 3])})
    come(table, np.arange(100, 400))
    before = table.lookup({"item": [1, 2, 3, 100, 101]})["item"]
    table.apply(seen, {"item": np.ones((3, 8))}, lr=1.0)
    after = table.lookup({"item": [1, 2, 3, 100, 101]})["item"]
    assert np.allclose(after[:3], before[:3] - 1) and np.array_equal(after[3:], before[3:])


@pytest.mark.parametrize("finished", [False, True])
def test_a_table_that_has_grown_is_saved_and_goes_on(finished, tmp_path):
    table = made(rows=2000, start=8)
    table.save(tmp_path / "base")
    come(table, np.arange(100))
    table.save(tmp_path / "delta", since=tmp_path / "base")
    if finished:
        table.finish()
    table.save(tmp_path / "whole")
    files = [[tmp_path / "whole"]] + ([] if finished else [[tmp_path / "base", tmp_path / "delta"]])
    for names in files:
        again = vs.table_open(*names)
        assert all(np.array_equal(array, again.arrays()[name]) for name, array in table.arrays().items())
        if not finished:
            come(again, np.arange(50, 400), lr=0.1)
            assert own(again, np.arange(400)).all()


class Shelf:
    def __init__(self):
        self.kept = {}

    def put(self, ids, rows):
        self.kept |= {int(key): row.copy() for key, row in zip(ids, rows, strict=True)}
        self.width = rows.shape[1]

    def get(self, ids):
        there = np.array([int(key) in self.kept for key in ids], bool)
        rows = np.zeros((len(ids), getattr(self, "width", 1)), np.uint8)
        for at in np.flatnonzero(there):
            rows[at] = self.kept[int(ids[at])]
        return there, rows


@pytest.mark.parametrize("kind", ["f32", "int8"])
def test_rows_that_are_given_up_come_back_with_their_ids_and_state(kind):
    how = {"dim": 8, "optimizer": "adagrad", "shared": 0.1, "policy": "lru", "rows": kind}
    table, shelf = vs.table("dynamic", {"item": 40}, **how), Shelf()
    table.spill("item", shelf)
    rng = np.random.default_rng(0)
    come(table, np.arange(10), lr=0.1)
    first, before = (
        table.layout.learners[0].find(np.arange(10)),
        table.lookup({"item": np.arange(10)})["item"],
    )
    state = table.stores[0].state[first].copy()
    for _ in range(20):
        come(table, rng.integers(1000, 1 << 40, 15))
    assert set(range(10)) <= set(shelf.kept) and not own(table, np.arange(10)).any()
    table.lookup({"item": np.arange(10)})
    table.update({"item": np.zeros((10, 8))}, lr=0.0)
    assert np.array_equal(table.lookup({"item": np.arange(10)})["item"], before)
    assert np.array_equal(table.stores[0].state[table.layout.learners[0].find(np.arange(10))], state)
    with pytest.raises(vs.SpecError, match="gives up no rows"):
        vs.table("plain", {"item": 5}).spill("item", shelf)


@pytest.mark.parametrize("first", ["zero", "mean"])
def test_new_rows_begin_as_they_are_asked_to(first):
    table = made(rows=400, first=first)
    come(table, np.arange(20), lr=0.1)
    known = table.lookup({"item": np.arange(20)})["item"]
    come(table, [777])
    row = table.lookup({"item": [777]})["item"][0]
    assert np.allclose(row, known.mean(0) if first == "mean" else 0, atol=1e-6)
    with pytest.raises(vs.SpecError, match="shared, mean, zero"):
        made(first="last")


@pytest.mark.parametrize("optimizer", ["rowwise_adagrad", "adam"])
def test_what_the_optimizer_keeps_begins_as_that_of_the_shared_row(optimizer):
    table = vs.table("dynamic", {"item": 1000}, dim=4, budget="4kB", optimizer=optimizer, admit=2)
    address, store = table.branch("item").terms[0].address, table.stores[0]
    shared = address(np.array([7]))[0, 0, 0]
    for _ in range(2):
        table.update({"item": np.ones_like(table.lookup({"item": [7]})["item"])}, lr=0.1)
    own = address(np.array([7]))[0, 0, 0]
    assert own != shared and store.state[own].any()
    assert np.array_equal(store.state[own], store.state[shared])
