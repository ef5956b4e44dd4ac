"""Tuning: the least rows to score again that find enough."""

import numpy as np
import pytest

import vecstore as vs
from vecstore.errors import InputError, ShapeError, SpecError
from vecstore.store import tuning, writing

DIM = 32


def some(n, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((20, DIM))
    return (centres[rng.integers(20, size=n)] + rng.standard_normal((n, DIM))).astype(np.float32)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FIT_ROWS", 500)
    store = vs.Store.create(tmp_path / "x", dim=DIM, codec="pq:m=8", metric="cosine", keep="f16")
    for part in np.array_split(np.arange(4000), 3):
        store.put([f"r{i}" for i in part], some(4000)[part])
    store.delete([f"r{i}" for i in range(0, 4000, 40)])
    return store


def exact(queries, k=10):
    rows = some(4000)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scores = queries @ unit.T
    scores[:, ::40] = -np.inf
    return np.array([f"r{i}" for i in range(4000)], object)[np.argsort(-scores, axis=1)[:, :k]]


def share(found, truth):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, truth, strict=True)])


def test_what_is_promised_is_found_and_less_would_not_do(store):
    queries = some(200, seed=1)
    tuned = store.tune(queries, recall=0.97)
    assert tuned.recall >= 0.97 and tuned.queries == 200 and not tuned.own and tuned.mix == 0
    found = store.search(queries, 10, rerank=tuned.rerank, mix=tuned.mix)[0]
    assert abs(share(found, exact(queries)) - tuned.recall) < 0.01
    less = store.search(queries, 10, rerank=tuned.rerank // 2)[0]
    assert share(less, exact(queries)) < 0.97
    depths = [tried.rerank for tried in tuned.tried if tried.mix == 0]
    assert depths[:3] == [10, 20, 40] and depths[-1] == tuning._MOST
    recalls = [tried.recall for tried in tuned.tried if tried.mix == 0]
    assert recalls == sorted(recalls) and recalls[-1] > 0.999


def test_without_queries_rows_of_the_store_are_asked(store):
    tuned = store.tune(recall=0.97)
    assert tuned.own and tuned.queries == 256 and tuned.recall >= 0.97
    assert tuned.rerank in (22, 44, 88, 176)


def test_what_is_to_be_found_can_be_told(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FIT_ROWS", 500)
    store = vs.Store.create(tmp_path / "x", dim=DIM, codec="rabitq:bits=3", metric="cosine", keep="sq:bits=4")
    store.put([f"r{i}" for i in range(4000)], some(4000))
    store.delete([f"r{i}" for i in range(0, 4000, 40)])
    queries = some(200, seed=1)
    tuned = store.tune(queries, truth=exact(queries), recall=1.0)
    # Two coarse looks at a row tell more than one.
    assert tuned.mix > 0 and tuned.recall == max(tried.recall for tried in tuned.tried) < 1
    found = store.search(queries, 10, rerank=tuned.rerank, mix=tuned.mix)[0]
    assert abs(share(found, exact(queries)) - tuned.recall) < 0.01
    plain = store.search(queries, 10, rerank=tuned.rerank)[0]
    assert share(plain, exact(queries)) < tuned.recall


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_other_metrics_and_numbers_of_rows(store, metric):
    tuned = store.tune(some(20, 2), k=3, metric=metric, recall=0.9)
    assert tuned.k == 3 and tuned.metric == metric and tuned.recall >= 0.9
    assert store.tune(some(5, 2), k=5000, recall=0.9).recall > 0.4  # more than are scored again


def test_what_cannot_be_tuned(store, tmp_path):
    for bad in (0, 1.5, float("nan")):
        with pytest.raises(SpecError, match="recall is"):
            store.tune(recall=bad)
    with pytest.raises(SpecError, match="k 0"):
        store.tune(k=0)
    with pytest.raises(SpecError, match="metric is 'L2'"):
        store.tune(metric="L2")
    with pytest.raises(InputError, match="no queries"):
        store.tune(some(0))
    with pytest.raises(ShapeError):
        store.tune(some(3)[:, :5])
    with pytest.raises(ShapeError, match="truth needs"):
        store.tune(some(3), truth=np.zeros((2, 5), int))
    with pytest.raises(ShapeError, match="truth needs"):
        store.tune(truth=np.zeros((2, 5), int))
    plain = vs.Store.create(tmp_path / "y", dim=DIM, codec="pq:m=8", keep=None)
    with pytest.raises(SpecError, match="keeps no finer rows"):
        plain.tune()
    store.compact(keep=None)
    with pytest.raises(SpecError, match="keeps no finer rows"):
        store.tune()
