"""What a store does with rows, and what it refuses."""

import os
import pickle

import numpy as np
import pyarrow as pa
import pytest
from conftest import some_rows

import vecstore as vs
from vecstore.store import Store, writing


def test_rows_come_back_by_id_newest_first(make):
    store = make()
    store.put(["a", "b", "c"], some_rows(3))
    store.put(["b"], some_rows(1, seed=1))
    assert len(store) == 3 and store.version == 2
    assert np.allclose(store.get(["b", "a"]), [some_rows(1, seed=1)[0], some_rows(3)[0]], atol=1e-3)
    with pytest.raises(vs.NotFoundError, match="'z'"):
        store.get(["a", "z"])


def test_deleted_rows_are_gone_and_can_come_again(make):
    store = make()
    store.put(np.arange(10), some_rows(10))
    store.delete([3, 5])
    assert len(store) == 8 and not {3, 5} & {int(i) for ids, _ in store.scan() for i in ids}
    with pytest.raises(vs.NotFoundError, match="no id 3"):
        store.delete([3])
    store.put([3], some_rows(1, seed=2))
    assert np.allclose(store.get([3]), some_rows(1, seed=2), atol=1e-3) and len(store) == 9


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
@pytest.mark.parametrize("keep", [None, "f32"])
def test_search_finds_what_an_exact_scan_of_all_rows_finds(make, metric, keep):
    store = make(codec="f32", keep=keep, metric=metric)
    rows = some_rows(300)
    for start in range(0, 300, 60):
        store.put(np.arange(start, start + 60), rows[start : start + 60])
    store.delete(np.arange(0, 300, 7))
    live = np.setdiff1d(np.arange(300), np.arange(0, 300, 7))
    queries = some_rows(5, seed=3)
    values = queries @ rows[live].T
    if metric == "cosine":
        values /= np.linalg.norm(rows[live], axis=1) * np.linalg.norm(queries, axis=1)[:, None]
    if metric == "l2":
        values = -np.square(queries[:, None] - rows[live]).sum(axis=2)
    order = np.argsort(-values, axis=1)[:, :7]
    ids, scores = store.search(queries, k=7)
    assert np.array_equal(ids, live[order])
    wanted = np.take_along_axis(values, order, axis=1)
    assert np.allclose(scores, -wanted if metric == "l2" else wanted, atol=1e-5)
    assert store.search(queries, k=1000)[0].shape == (5, len(live))
    store.compact()
    assert np.array_equal(store.search(queries, k=7)[0], ids)


def test_many_small_puts_are_joined(make, monkeypatch):
    monkeypatch.setattr(writing, "_MOST_SMALL", 8)
    store = make(codec="center+f32", keep="f16")
    rows = some_rows(200)
    for start in range(0, 200, 4):
        store.put(np.arange(start, start + 4), rows[start : start + 4])
        assert len(store.view.parts) <= 9
    store.put(np.arange(0, 200, 3), rows[::3] + 1)
    rows[::3] += 1
    assert np.allclose(store.get(np.arange(200)), rows, atol=1e-5) and store.check() == []
    again = Store.open(store.path)
    assert np.allclose(again.get(np.arange(200)), rows, atol=1e-5)


def test_columns_are_carried_and_filter_a_search(make):
    store = make()
    rows = some_rows(40)
    store.put(np.arange(40), rows, columns={"lang": ["en", "de"] * 20, "year": np.arange(1990, 2030)})
    ids, _ = store.search(rows[:2], k=40, where="lang = 'en' and year >= 2020")
    assert ids.shape == (2, 5) and set(ids[0]) == {30, 32, 34, 36, 38}
    with pytest.raises(vs.InputError, match="this store has"):
        store.put([50], rows[:1])
    with pytest.raises(vs.InputError, match="'year' cannot be taken"):
        store.put([50], rows[:1], columns={"lang": ["en"], "year": ["late"]})
    assert store.columns.names == ["lang", "year"] and store.version == 1


def test_few_rows_wait_as_they_are_and_the_codec_is_fitted_when_there_are_enough(make, monkeypatch):
    monkeypatch.setattr(writing, "FIT_ROWS", 500)
    store = make(codec="pq:m=4", keep="f16", metric="l2")
    store.put(np.arange(400), some_rows(400))
    assert np.array_equal(store.get(np.arange(400)), some_rows(400))
    store.put(np.arange(300, 600), some_rows(300, seed=1))
    assert str(store.spec) == "pq:m=4,bits=8" and len(store) == 600
    ids, scores = store.search(some_rows(400)[:20], k=1)
    assert np.array_equal(ids[:, 0], np.arange(20))
    assert np.allclose(scores, 0, atol=1e-4)
    assert store.check() == []


def test_a_new_generation_is_read_beside_the_old_one_and_takes_over_when_compacted(make, monkeypatch):
    monkeypatch.setattr(writing, "FIT_ROWS", 100)
    store = make(codec="pq:m=2", keep="f16", metric="l2")
    rows = some_rows(900)
    store.put(np.arange(300), rows[:300])
    store.refit("sq:bits=8")
    store.put(np.arange(300, 900), rows[300:])
    assert str(store.spec).startswith("sq:bits=8")
    assert np.array_equal(store.search(rows[[5, 700]], k=1)[0][:, 0], [5, 700])
    before = np.square(store.get(np.arange(300)) - rows[:300]).sum()
    store.compact()
    assert np.square(store.get(np.arange(300)) - rows[:300]).sum() < before / 10
    assert [len(part.archive) for part in store.view.parts] == [900] and store.check() == []


def test_older_versions_stay_readable_until_they_are_collected(make):
    store = make()
    store.put([1, 2], some_rows(2))
    store.delete([1])
    store.compact()
    with Store.open(store.path, version=1) as old:
        assert len(old) == 2 and old.read_only
        with pytest.raises(vs.ConflictError, match="read only"):
            old.put([3], some_rows(1))
        gone = store.gc()
        assert store.versions() == [3] and any("segments" in path for path in gone)
        assert np.allclose(old.get([1]), some_rows(2)[:1], atol=1e-3)
    with pytest.raises(vs.NotFoundError, match="no version 1"):
        Store.open(store.path, version=1)
    assert store.check() == [] and len(Store.open(store.path)) == 1


@pytest.mark.parametrize("purge", [False, True])
def test_what_is_deleted_and_collected_leaves_no_byte(make, tmp_path, purge):
    store = make(codec="f32")
    rows = some_rows(30)
    store.put([f"name-{i}" for i in range(30)], rows, columns={"text": [f"secret {i}" for i in range(30)]})
    store.delete(["name-7"])
    if not purge:
        store.compact()
    store.gc(purge=purge)
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"secret 6" in held and rows[6].tobytes() in held
    assert b"secret 7" not in held and b"name-7" not in held and rows[7].tobytes() not in held


def test_a_reader_keeps_its_version_until_it_asks_for_the_newest(make):
    store = make()
    store.put([1], some_rows(1))
    reader = Store.open(store.path, read_only=True)
    store.put([2], some_rows(1))
    assert len(reader) == 1
    reader.refresh()
    assert len(reader) == 2 and np.allclose(reader.get([2]), store.get([2]))


def test_of_two_writers_one_waits_for_nobody_and_the_other_is_told(make):
    store = make()
    other = Store.open(store.path)
    with store._commit(), pytest.raises(vs.ConflictError, match="try again"):
        other.put([1], some_rows(1))
    other.put([1], some_rows(1))
    store.put([1, 2], some_rows(2, seed=1))
    assert len(store) == 2 and store.version == 2
    assert np.allclose(store.get([1]), some_rows(2, seed=1)[:1], atol=1e-3)


def test_a_store_can_be_pickled(make):
    store = make()
    store.put([1], some_rows(1))
    again = pickle.loads(pickle.dumps(store))
    assert np.array_equal(again.get([1]), store.get([1]))


def test_an_empty_store_answers(make):
    store = make()
    ids, scores = store.search(some_rows(2), k=3)
    for wrong in ({"k": 0}, {"metric": "far"}, {"rerank": -1}, {"mix": -1.0}):
        with pytest.raises(vs.SpecError, match=next(iter(wrong))):
            store.search(some_rows(2), **wrong)
    assert ids.shape == scores.shape == (2, 0) and len(store) == 0 and list(store.scan()) == []
    store.put(np.empty(0, np.int64), np.empty((0, 8), np.float32))
    store.compact()
    assert store.version == 0 and store.get([]).shape == (0, 8) and store.check() == []


@pytest.mark.parametrize(
    ("ids", "rows", "message"),
    [
        ([1, 1], some_rows(2), "repeats the id 1"),
        ([1], some_rows(2), "1 ids for 2 rows"),
        ([1], some_rows(1, dim=9), "expected a real dtype"),
        ([1], np.full((1, 8), np.nan), "nan"),
        ([1], np.zeros((1, 8)), "all zeros"),
        (["a", 2], some_rows(2), "is a int"),
        ([None], some_rows(1), "None"),
        ([1.5], some_rows(1), "1.5"),
    ],
)
def test_rows_that_cannot_be_taken_change_nothing(make, ids, rows, message):
    store = make(metric="cosine")
    with pytest.raises(vs.VecstoreError, match=message):
        store.put(ids, rows)
    assert store.version == 0 and len(Store.open(store.path)) == 0


def test_an_id_of_the_other_kind_is_refused(make):
    store = make()
    store.put(pa.array([1, 2]), some_rows(2))
    with pytest.raises(vs.InputError, match="whole numbers for ids"):
        store.put(["a"], some_rows(1))


def test_stores_that_cannot_be_made_or_opened(make, tmp_path):
    with pytest.raises(vs.SpecError, match="nosuch"):
        make(codec="nosuch")
    with pytest.raises(vs.SpecError, match="metric"):
        make(metric="hamming")
    store = make()
    with pytest.raises(vs.ConflictError, match="exists"):
        make()
    with pytest.raises(vs.NotFoundError, match="there is no store"):
        Store.open(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    with pytest.raises(vs.InputError, match="no store"):
        Store.open(tmp_path / "folder")
    store.close()
    with pytest.raises(vs.StorageError, match="closed"):
        len(store)


def test_the_ledger_counts_every_file(make, tmp_path):
    store = make(codec="sq:bits=8", keep="f16")
    store.put(np.arange(9000), some_rows(9000), columns={"text": ["x"] * 9000})
    store.delete([5])
    store.gc()
    files = [path for path in (tmp_path / "x.store").rglob("*") if path.is_file() and path.name != "LOCK"]
    assert store.ledger().total == sum(path.stat().st_size for path in files)
    assert store.ledger().carried > 0 and store.ledger().ids == 9000 * 16


def test_a_reader_goes_on_with_deleted_rows_that_were_collected(make):
    store = make(codec="f32")
    store.put(range(20), some_rows(20))
    store.delete([3, 4])
    with vs.Store.open(store.path, read_only=True) as old:
        store.compact()
        store.gc()
        assert [int(i) for ids, _ in old.scan() for i in ids] == [0, 1, 2, *range(5, 20)]
        with pytest.raises(vs.NotFoundError):
            old.get([3])


def test_a_version_in_between_that_is_missing_is_noticed(make):
    store = make(codec="f32")
    for i in range(4):
        store.put([i], some_rows(1))
    os.unlink(os.path.join(store.path, "versions", f"{2:020d}.json"))
    assert any("no version 2" in finding for finding in vs.check(store.path))


def test_a_store_that_was_opened_by_a_relative_path_is_the_same_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    store = Store.create("x.store", dim=8, codec="f16")
    monkeypatch.chdir(tmp_path / "b")
    Store.create("x.store", dim=8, codec="f16")
    store.put([1], some_rows(1))
    assert len(pickle.loads(pickle.dumps(store))) == 1 and store.gc() and store.check() == []
    assert len(Store.open("x.store")) == 0 and len(Store.open(tmp_path / "a" / "x.store")) == 1
