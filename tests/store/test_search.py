"""Search in stores of many segments: the same rows as of one, k of them whenever k match."""

import numpy as np
import pytest

import vecstore as vs
from vecstore.archive import together
from vecstore.store import writing

N, DIM = 3000, 24
SPECS = ["pq:m=6", "sq:bits=8", "rabitq:bits=2", "tcq:bits=2,states=64", "f32", "lossless", "sign"]


def some(n, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, DIM)) + rng.standard_normal((8, DIM))[rng.integers(8, size=n)]
    return rows.astype(np.float32)


def filled(path, spec, metric, monkeypatch, keep="f16"):
    """A store of many segments of different sizes, with deleted rows and rows that were put twice."""
    monkeypatch.setattr(writing, "FIT_ROWS", 500)
    store = vs.Store.create(path, dim=DIM, codec=spec, metric=metric, keep=keep)
    rows, at = some(N), 0
    for size in (600, 1, 40, 700, 3, 3, 200, 64, 1000, 128, 50, 50, 161):
        ids = np.arange(at, at + size)
        store.put(ids, rows[ids], {"year": ids % 100})
        at += size
    assert at == N
    store.put([5, 2000], rows[[5, 2000]], {"year": [5, 0]})
    store.delete(range(100, N, 97))
    assert len(store.view.parts) == 14
    return store, rows


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
@pytest.mark.parametrize("spec", SPECS)
def test_many_segments_are_searched_as_one(tmp_path, spec, metric, monkeypatch):
    store, _ = filled(tmp_path / "x", spec, metric, monkeypatch)
    queries = some(9, seed=1)

    def found():
        with vs.Store.open(tmp_path / "x") as opened:
            asked = [{}, {"rerank": 50}, {"where": "year = 7"}, {"where": "id in (3, 1500)"}, {"k": N}]
            return [opened.search(queries, check_space=False, **more) for more in asked]

    together_, monkey = found(), monkeypatch
    monkey.setattr(together, "_SMALL_ROWS", 0)
    behind_each_other = found()
    monkey.setattr(together, "_SMALL_ROWS", 200)
    monkey.setattr(together, "_TOGETHER_BYTES", 2000)
    some_of_each = found()
    store.compact()
    assert len(store.view.parts) == 1
    one = found()
    for results in (behind_each_other, some_of_each, one):
        for (ids, scores), (other_ids, other_scores) in zip(together_, results, strict=True):
            assert ids.shape == other_ids.shape
            # Rows that were put twice have moved to the end, where they lose ties.
            assert np.mean([set(a) == set(b) for a, b in zip(ids, other_ids, strict=True)]) > 0.99
            np.testing.assert_allclose(scores, other_scores, rtol=1e-5, atol=1e-5)
    assert together_[2][0].shape == (9, 10) and together_[3][0].shape == (9, 2)
    assert together_[4][0].shape == (9, len(store))


def test_a_symmetric_search_of_many_segments(tmp_path, monkeypatch):
    store, _ = filled(tmp_path / "x", "sign", "cosine", monkeypatch)
    before = store.search(some(5, seed=1), 20, symmetric=True)
    monkeypatch.setattr(together, "_SMALL_ROWS", 0)
    again = vs.Store.open(tmp_path / "x").search(some(5, seed=1), 20, symmetric=True)
    assert all(np.array_equal(a, b) for a, b in zip(before, again, strict=True))
    store.compact()
    np.testing.assert_array_equal(store.search(some(5, seed=1), 20, symmetric=True)[1], before[1])


def test_generations_are_searched_beside_each_other(tmp_path, monkeypatch):
    store, rows = filled(tmp_path / "x", "pq:m=12", "l2", monkeypatch)
    store.refit("sq:bits=8")
    store.put(range(5000, 5010), some(10, seed=3), {"year": [1] * 10})
    ids, scores = store.search(some(10, seed=3), 1)
    assert ids[:, 0].tolist() == list(range(5000, 5010)) and scores.max() < 0.01
    kept = rows[np.setdiff1d(np.arange(N), np.arange(100, N, 97))]
    true = ((kept[:, None] - some(4, seed=4)[None]) ** 2).sum(axis=2).min(axis=0)
    np.testing.assert_allclose(store.search(some(4, seed=4), 1)[1][:, 0], true, rtol=0.02)


def test_what_is_laid_out_together_is_kept_as_long_as_it_serves(tmp_path, monkeypatch):
    store, rows = filled(tmp_path / "x", "pq:m=6", "ip", monkeypatch)
    kept = store.view._kept
    store.search(rows[:1])
    (first,) = kept.scans.values()
    store.delete([1])
    store.search(rows[:1])
    assert list(kept.scans.values()) == [first] and store.view._kept is kept
    store.put([7], rows[7:8], {"year": [7]})
    store.search(rows[:1])
    (second,) = kept.scans.values()
    assert second is not first


@pytest.mark.parametrize("spec", ["pq:m=6", "rabitq:bits=2", "f16"])
@pytest.mark.parametrize("share", [0.0001, 0.001, 0.01, 0.1, 0.5])
def test_k_rows_come_whenever_k_match(tmp_path, spec, share):
    rows = some(20_000)
    rng = np.random.default_rng(2)
    drawn = rng.random(len(rows))
    store = vs.Store.create(tmp_path / "x", dim=DIM, codec=spec, metric="cosine")
    for part in np.array_split(np.arange(len(rows)), 5):
        store.put(part, rows[part], {"drawn": drawn[part]})
    store.delete(np.flatnonzero(drawn > 0.9))
    matches = np.flatnonzero(drawn < share)
    queries = some(6, seed=3)
    for k in (1, 10, 300):
        ids, scores = store.search(queries, k, where=f"drawn < {share}", check_space=False)
        assert ids.shape == scores.shape == (6, min(k, len(matches)))
        assert np.isin(ids, matches).all()
        assert all(len(set(row)) == len(row) for row in ids.tolist())
    unit = rows[matches] / np.linalg.norm(rows[matches], axis=1, keepdims=True)
    cosine = queries @ unit.T / np.linalg.norm(queries, axis=1, keepdims=True)
    ids, scores = store.search(queries, 1, where=f"drawn < {share}", rerank=200, check_space=False)
    np.testing.assert_allclose(scores[:, 0], cosine.max(axis=1), atol=0.02)


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
def test_the_score_of_the_code_can_be_mixed_in(tmp_path, metric):
    rows, queries = some(9000), some(7, seed=1)
    store = vs.Store.create(tmp_path / "x", dim=DIM, codec="pq:m=6", metric=metric, keep="f16")
    store.put(range(9000), rows)
    asked = {"k": 40, "check_space": False}
    ids, scores = store.search(queries, rerank=40, mix=0.3, **asked)
    fine_ids, fine = store.search(queries, rerank=40, **asked)
    coarse_rows = store.get(np.arange(9000))
    dense = [dict(zip(a.tolist(), b.tolist(), strict=True)) for a, b in zip(fine_ids, fine, strict=True)]
    for query, names, values, known in zip(queries, ids, scores, dense, strict=True):
        code = coarse_rows[names]
        if metric == "l2":
            own = ((code - query) ** 2).sum(axis=1)
        else:
            own = code @ query
            if metric == "cosine":
                own = own / np.linalg.norm(code, axis=1) / np.linalg.norm(query)
        wanted = np.array([known[name] for name in names.tolist()]) + 0.3 * own
        np.testing.assert_allclose(values, wanted, rtol=0.02, atol=0.02)
        assert (np.diff(values) * (1 if metric == "l2" else -1) >= 0).all()


def test_a_mix_that_makes_no_sense_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FIT_ROWS", 50)
    store = vs.Store.create(tmp_path / "x", dim=DIM, codec="sign", keep="f16")
    store.put(range(100), some(100))
    for mix in (-1, float("nan"), float("inf"), "much"):
        with pytest.raises(vs.SpecError, match="mix is"):
            store.search(some(1), mix=mix)
    with pytest.raises(vs.SpecError, match="another measure"):
        store.search(some(1), mix=1, symmetric=True)
    with pytest.raises(vs.ShapeError, match="where is a ndarray"):
        store.search(some(1), where=np.ones(100, bool))
