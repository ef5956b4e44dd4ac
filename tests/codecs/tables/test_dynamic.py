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
