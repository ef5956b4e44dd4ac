"""Several writers and readers at once, forked, spawned, pickled, and killed."""

import multiprocessing
import os
import pickle
import time

import numpy as np
import pytest
from conftest import some_rows
from store_trials import races

import vecstore as vs
from vecstore.store import Store, versions


def test_writers_that_race_lose_nothing(tmp_path):
    found = races.run_writers(str(tmp_path / "x.store"), 15)
    assert found["wrong"] == []


def test_readers_see_committed_versions_only(tmp_path):
    found = races.run_readers(str(tmp_path / "x.store"), commits=60, readers=3)
    assert found["wrong"] == [] and found["reads"] > 3 and found["versions_seen"] > 1


def test_a_killed_stream_writer_loses_and_doubles_nothing(tmp_path):
    assert races.run_stream_kills(str(tmp_path / "x.store"), 5)["wrong"] == []


def test_a_killed_writer_has_done_what_it_said(tmp_path):
    assert races.run_kills(str(tmp_path / "x.store"), 5)["wrong"] == []


def test_a_store_of_one_put_has_all_its_rows_or_none(tmp_path):
    found = races.run_bulk_kills(str(tmp_path), 3, 70_000)
    assert found["wrong"] == [] and found["files_of_ids"] >= 3


def test_without_locks_one_of_two_writers_wins(make, monkeypatch):
    """A mount may have no locks; then the name of the version is what only one can have."""
    monkeypatch.setattr("vecstore.archive.places.fcntl.flock", lambda *arguments: None)
    store = make()
    other = Store.open(store.path)
    publish = versions.publish

    def overtaken(root, manifest):
        monkeypatch.setattr(versions, "publish", publish)
        other.put([7], some_rows(1, seed=7))
        publish(root, manifest)

    monkeypatch.setattr(versions, "publish", overtaken)
    with pytest.raises(vs.ConflictError, match="another writer has changed"):
        store.put([1], some_rows(1))
    assert len(Store.open(store.path)) == 1
    store.put([1], some_rows(1))
    assert len(store) == 2 and store.version == 2 and store.check() == []


def in_fork(work):
    """Runs work in a forked child; how it ended."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1]


def read_all(store, rows):
    assert np.allclose(store.get([1, 2]), rows[1:3], atol=1e-3)
    assert store.search(rows[:2], k=1)[0][:, 0].tolist() == [0, 1]
    assert sum(len(ids) for ids, _ in store.scan()) >= len(rows)


def test_a_store_is_used_on_both_sides_of_a_fork(make):
    store, rows = make(metric="l2", keep="f32"), some_rows(20)
    store.put(np.arange(20), rows)
    read_all(store, rows)

    def work():
        read_all(store, rows)
        store.put([100], rows[:1])
        read_all(store, rows)

    assert in_fork(work) == 0
    read_all(store, rows)
    store.put([101], rows[:1])
    assert len(store) == 22 and store.version == 3 and store.check() == []


def test_a_child_that_was_forked_during_a_commit_does_not_keep_the_lock(make):
    store = make()
    with store._commit():
        child = os.fork()
        if not child:
            time.sleep(30)
            os._exit(0)
    try:
        store.put([1], some_rows(1))
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def _work(store, rows, out):
    read_all(store, rows)
    store.put([100], rows[:1])
    out.put(len(store))


def test_a_store_is_used_in_a_spawned_worker(make):
    store, rows = make(metric="l2"), some_rows(20)
    store.put(np.arange(20), rows)
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    worker = context.Process(target=races._writes, args=(store, 5, 1, out))
    with pytest.raises(vs.ShapeError):
        races._writes(store, 5, 1, out)  # its rows are two wide
    again = pickle.loads(pickle.dumps(store))
    read_all(again, rows)
    again.put([100], rows[:1])
    store.refresh()
    assert len(store) == 21
    with Store.open(store.path, version=1) as old:
        assert len(pickle.loads(pickle.dumps(old))) == 20
    small = Store.create(f"{store.path}.2", dim=2, codec="f32")
    worker = context.Process(target=races._writes, args=(small, 5, 3, out))
    worker.start()
    assert out.get(timeout=60)[0] == 5
    worker.join()
    small.refresh()
    assert len(small) == 3
