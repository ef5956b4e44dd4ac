"""What is kept of rows beside their codes can be changed later, and dropped."""

import os

import numpy as np
import pytest

import vecstore as vs
from vecstore.errors import InputError, SpecError
from vecstore.store import writing

DIM = 24


def some(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FIT_ROWS", 500)
    store = vs.Store.create(tmp_path / "x", dim=DIM, codec="pq:m=6", metric="ip", keep="f16")
    for at in range(0, 3000, 1000):
        ids = np.arange(at, at + 1000)
        store.put(ids, some(3000)[ids], {"year": ids})
    store.delete(range(0, 3000, 10))
    return store


def on_disk(store, folder):
    return sum(os.path.getsize(entry) for entry in os.scandir(os.path.join(store.path, folder)))


def error(store):
    """How far the score of the best row is off, scored by the finest rows that there are."""
    queries = some(20, 1)
    ids, scores = store.search(queries, 1, rerank=200)
    return np.abs(scores[:, 0] - (queries * some(3000)[ids[:, 0]]).sum(axis=1)).max()


def test_finer_rows_are_dropped_and_their_bytes_are_gone(store):
    codes = store.get([1, 2002])
    segments = [part.segment.name for part in store.view.parts]
    assert error(store) < 0.01 and on_disk(store, "fine") > 3000 * DIM * 2
    before, total = store.version, store.ledger().total
    store.compact(thinned=1, keep=None)
    assert store.keep is None and store.version == before + 1
    assert len(store) == 2700 and store.check() == [] and store.ledger().total < total
    assert len(vs.Store.open(store.path, version=before).search(some(2), 3)[0]) == 2
    store.gc()
    assert on_disk(store, "fine") == 0
    assert np.array_equal(store.get([1, 2002]), codes) and error(store) > 0.01
    store.put([9000], some(1, 5), {"year": [1]})
    assert on_disk(store, "fine") == 0
    again = vs.Store.open(store.path)
    assert again.keep is None and len(again) == 2701 and again.check() == []
    assert len(segments) == 3


def test_finer_rows_alone_are_dropped_without_writing_codes_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FIT_ROWS", 500)
    monkeypatch.setattr("vecstore.store.compaction.SMALL_ROWS", 10)
    store = vs.Store.create(tmp_path / "x", dim=DIM, codec="pq:m=6", keep="f16")
    store.put(range(1000), some(1000))
    names = [part.segment.name for part in store.view.parts]
    store.compact(keep=None)
    assert [part.segment.name for part in store.view.parts] == names
    version = store.version
    store.compact(keep=None)
    store.compact()
    assert store.version == version


@pytest.mark.parametrize("thinned", [-1, 2, float("nan"), "1"])
def test_a_share_of_deleted_rows_is_one(store, thinned):
    with pytest.raises(SpecError, match="thinned"):
        store.compact(thinned)


@pytest.mark.parametrize("keep", ["sq:bits=8", "sq:bits=4", "hadamard:bits=4"])
def test_finer_rows_are_made_coarser_and_codes_stay(store, keep):
    codes = store.get(np.arange(1, 10))
    store.compact(keep=keep)
    assert store.keep == keep and len(store.view.parts) == 1
    assert np.array_equal(store.get(np.arange(1, 10)), codes)
    assert str(store.view.parts[0].fine.spec).startswith(keep.partition(":")[0])
    store.gc()
    assert on_disk(store, "fine") < 3000 * DIM * 1.3 + 20_000
    assert 0.001 < error(store) < 4 and store.check() == []
    ids, _ = next(iter(store.scan(5000)))
    assert np.array_equal(np.sort(ids), np.setdiff1d(np.arange(3000), np.arange(0, 3000, 10)))
    assert store.search(some(1), 5, where="year < 50")[0].max() < 50


def test_what_is_not_there_cannot_be_kept(store):
    store.compact(keep="sq:bits=4")
    version = store.version
    with pytest.raises(SpecError, match=r"rows of .* held as sq:bits=4.* tells less than f16 \(48 bytes"):
        store.compact(keep="f16")
    store.compact(keep=None)
    with pytest.raises(SpecError, match="held as pq:m=6"):
        store.compact(keep="sq:bits=8")
    assert store.version == version + 1 and store.keep is None


def test_finer_rows_of_rows_to_come(store):
    store.compact(keep=None)
    store.refit(keep="f16")
    store.put(range(5000, 5600), some(600, 7), {"year": range(600)})
    assert store.keep == "f16"
    for _ in range(2):
        store.compact()
        kinds = {str(part.fine.spec) for part in store.view.parts}
        assert kinds == {"pq:m=6,bits=8", "f16"} and len(store.view.parts) == 2
        assert len(store) == 3300 and store.check() == []
    version = store.version
    store.compact()
    assert store.version == version
    queries = some(600, 7)[:50]
    ids, scores = store.search(queries, 1, rerank=50)
    own = ids[:, 0] >= 5000
    assert own.mean() > 0.3
    wanted = (queries * some(600, 7)[np.where(own, ids[:, 0] - 5000, 0)]).sum(axis=1)
    np.testing.assert_allclose(scores[own, 0], wanted[own], rtol=1e-2)


def test_small_segments_with_less_are_not_joined_to_those_with_more(store, monkeypatch):
    monkeypatch.setattr(writing, "_MOST_SMALL", 2)
    store.compact(keep=None)
    store.refit(keep="f16")
    for number in range(6):
        store.put([6000 + number], some(1, number), {"year": [0]})
    kinds = [str(part.fine.spec) for part in store.view.parts]
    assert kinds.count("pq:m=6,bits=8") == 1 and len(kinds) <= 4


def test_before_a_codec_is_fitted(tmp_path):
    store = vs.Store.create(tmp_path / "x", dim=DIM, codec="pq:m=6", keep="f16")
    store.compact(keep=None)
    assert store.keep is None
    with pytest.raises(InputError, match="no rows to fit"):
        store.refit(keep="f16")
    store.compact(keep="sq:bits=8")
    store.put(range(300), some(300))
    store.compact()
    assert store.keep == "sq:bits=8" and str(store.view.parts[0].fine.spec).startswith("sq:bits=8")


def test_a_spec_that_is_none_changes_nothing(store):
    version = store.version
    for change in (store.compact, store.refit):
        with pytest.raises(SpecError):
            change(keep="f17")
    assert store.version == version
