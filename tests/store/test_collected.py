"""Readers go on when the files of their version are collected, or let go since too many are open."""

import numpy as np
import pytest
from conftest import some_rows

import vecstore as vs
from vecstore.store import Store, collect, index, writing


@pytest.fixture
def often(monkeypatch):
    """A file of ids is written at each put."""
    monkeypatch.setattr(index, "LEAST_ROWS", 0)
    monkeypatch.setattr(index, "SHARE", 1 << 60)


def test_parts_that_are_let_go_while_others_are_opened_are_read_again(make, often, monkeypatch):
    monkeypatch.setattr(writing, "_MOST_SMALL", 100)
    store, rows = make(codec="f32"), some_rows(50_000)
    for first in range(0, 50_000, 5000):
        ids = np.arange(first, first + 5000)
        store.put(ids, rows[ids])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        with Store.open(store.path, memory=1) as again:  # four of the ten are open
            for _ in range(20):
                ids = rng.integers(0, len(rows), 4)
                assert np.array_equal(again.get(ids), rows[ids])
    with Store.open(store.path, memory=1) as again:
        again.get(np.arange(0, 50_000, 5000))
        store.compact()
        store.gc()
        assert np.array_equal(again.get(np.arange(0, 50_000, 777)), rows[::777])


@pytest.mark.parametrize("text", [False, True])
def test_a_reader_has_the_ids_of_its_version_after_that_is_collected(make, often, text):
    store, rows = make(codec="f32"), some_rows(300)
    ids = [f"name {i}" if text else i * 7 for i in range(300)]
    store.put(ids, rows)
    with Store.open(store.path) as reader, Store.open(store.path, version=1) as pinned:
        store.delete(ids[5:7])
        store.gc()
        for old in (reader, pinned):
            assert old.version == 1 and np.array_equal(old.get(ids), rows)
        assert reader.check() == store.check() == [] == vs.check(store.path)
        with pytest.raises(vs.NotFoundError):
            store.get(ids[5])


def test_a_check_during_collection_finds_nothing(make, monkeypatch):
    store = make(codec="f32")
    store.put([1, 2, 3], some_rows(3))
    store.delete([1])
    reader, real, turns = Store.open(store.path), collect.faults, []

    def late(view):
        if not turns:
            turns.append(view.manifest.version)
            store.compact()
            store.gc()
        return real(view)

    monkeypatch.setattr(collect, "faults", late)
    assert reader.check() == [] and turns == [2]
    store.delete([2])
    turns.clear()
    assert vs.check(store.path) == [] and turns == [4]
