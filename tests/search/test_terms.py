"""Rows are found by their distance wherever they lie, and by their direction however short others are."""

import numpy as np
import pytest

import vecstore as vs
from vecstore.archive import together
from vecstore.search import Searcher, keys
from vecstore.store import writing

SPECS = [
    "f32", "f16", "sq:bits=8", "sq:bits=4", "center+sq:bits=8", "pq:m=8", "pq:m=8,bits=4", "rotate+sq:bits=8",
    "rq:m=3", "klt:bits=4", "tcq:bits=2", "tcq:bits=3,states=64,stages=0", "rabitq:bits=4", "rabitq:bits=8",
]  # fmt: skip


def make(n, seed, middle):
    rows = np.random.default_rng(seed).standard_normal((n, 32))
    return (rows + middle).astype(np.float32)


def distances(queries, rows):
    """(q, n), squared, in float64."""
    return np.square(queries[:, None].astype(np.float64) - rows[None]).sum(axis=2)


def cosines(queries, rows):
    """(q, n) less one, in float64; 0 less one of rows of length zero."""
    queries, rows = queries.astype(np.float64), rows.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units = np.divide(rows, lengths, where=lengths > 0, out=np.zeros_like(rows))
    asked = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    return np.where(lengths[:, 0] > 0, -distances(asked, units) / 2, -1)


def recall(found, wanted):
    """The share of the wanted rows that were found."""
    return np.mean([np.isin(a, b).mean() for a, b in zip(wanted, found, strict=True)])


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("middle", [100, 1000, 10_000])
def test_the_nearest_rows_are_found_far_from_the_origin(spec, middle):
    if spec == "f16" and middle > 1000:
        pytest.skip("all rows are one")
    rows, queries = make(2000, 0, middle), make(20, 1, middle)
    codec = vs.fit(spec, rows)
    codes = codec.encode(rows)
    found, scores = Searcher.of(codec, codes).search(queries, metric="l2")
    true = distances(queries, codec.decode(codes))
    order = np.argsort(true, axis=1, kind="stable")[:, :10]
    assert recall(found, order) > 0.99
    np.testing.assert_allclose(scores, np.take_along_axis(true, found, axis=1), rtol=1e-6)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("middle", [20, 100, 1000])
def test_the_rows_of_the_nearest_directions_are_found_far_from_the_origin(spec, middle):
    rows, queries = make(2000, 0, middle), make(20, 1, middle)
    if spec == "f16" and middle == 1000:
        pytest.skip("all rows are one")
    codec = vs.fit(spec, rows)
    codes = codec.encode(rows)
    found, scores = Searcher.of(codec, codes).search(queries, metric="cosine")
    true = cosines(queries, codec.decode(codes))
    order = np.argsort(-true, axis=1, kind="stable")[:, :10]
    assert recall(found, order) > 0.99
    np.testing.assert_allclose(scores, 1 + np.take_along_axis(true, found, axis=1), rtol=1e-6)


@pytest.mark.parametrize("spec", ["f32", "sq:bits=8", "tcq:bits=2", "rabitq:bits=4"])
def test_rows_elsewhere_and_queries_of_any_direction_are_ordered_by_the_cosine_far_from_the_origin(spec):
    rows, queries = make(3000, 0, 100), make(60, 1, 100)
    rows[::25] *= np.random.default_rng(2).uniform(0.01, 2, (120, 1)).astype(np.float32)
    rows[3::100], rows[5::100], rows[7::100] = -rows[3::100], 50 * make(30, 3, 0), 0
    queries[20:40], queries[40:] = -queries[20:40], make(20, 4, 0)
    codec = vs.fit(spec, rows)
    codes = codec.encode(rows)
    searcher = Searcher.of(codec, codes)
    assert searcher.terms.far
    found, scores = searcher.search(queries, metric="cosine")
    true = cosines(queries, codec.decode(codes))
    taken = np.take_along_axis(true, found, axis=1)
    best = -np.sort(-true, axis=1)[:, :10]
    np.testing.assert_allclose(scores, 1 + taken, atol=1e-4)
    np.testing.assert_allclose(scores[:20], 1 + taken[:20], atol=1e-7)
    assert np.abs(taken - best)[:40].max() < 1e-6
    assert np.abs(taken - best)[40:].mean() < 0.01
    for query in (0, 25, 50):
        alone = searcher.search(queries[query : query + 1], metric="cosine")
        assert np.array_equal(alone[0][0], found[query])
        assert np.array_equal(alone[1][0], scores[query])
    some = np.arange(3000) % 3 == 1
    assert some[searcher.search(queries, metric="cosine", where=some)[0]].all()


def test_few_rows_far_away_leave_the_others_in_order():
    rows, queries = make(2000, 0, 0), make(20, 1, 0)
    rows[:100] = 1e15
    codec = vs.fit("f32", rows)
    found, _ = Searcher.of(codec, codec.encode(rows)).search(queries, metric="l2")
    assert recall(found, np.argsort(distances(queries, rows), axis=1)[:, :10]) == 1


@pytest.mark.parametrize("small", [0, 1 << 13])
@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_segments_far_from_the_origin_are_searched_as_one(tmp_path, small, metric, monkeypatch):
    monkeypatch.setattr(together, "_SMALL_ROWS", small)
    monkeypatch.setattr(writing, "FIT_ROWS", 200)
    rows, queries = make(3000, 0, 1000), make(20, 1, 1000)
    store = vs.Store.create(tmp_path / "x", dim=32, codec="sq:bits=8", metric=metric, keep=None)
    for start, stop in ((0, 300), (300, 2000), (2000, 2001), (2001, 3000)):
        store.put(range(start, stop), rows[start:stop])
        if start:  # What was made for other segments serves on.
            store.search(queries)
    decoded = np.concatenate([block for _, block in store.scan()])
    true = distances(queries, decoded) if metric == "l2" else -cosines(queries, decoded)
    assert recall(store.search(queries)[0], np.argsort(true, axis=1)[:, :10]) > 0.99


def test_the_score_of_a_code_far_from_the_origin_can_be_mixed_in(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FIT_ROWS", 200)
    rows, queries = make(500, 0, 1000), make(5, 1, 1000)
    store = vs.Store.create(tmp_path / "x", dim=32, codec="sq:bits=4", metric="l2", keep="f32")
    store.put(range(500), rows)
    codes = store.view.parts[0].archive.get(range(500))
    for metric, measure in (("l2", distances), ("cosine", lambda q, x: -cosines(q, x))):
        for mix in (0.5, 5):
            ids, scores = store.search(queries, 5, metric=metric, mix=mix)
            mixed = measure(queries, rows) + mix * measure(queries, codes)
            best = np.argsort(mixed, axis=1)[:, :5]
            assert recall(ids, best) > 0.9
            if metric == "cosine":
                mixed = 1 + mix - mixed
            np.testing.assert_allclose(
                scores, np.take_along_axis(mixed, ids, axis=1), rtol=0.1 if metric == "l2" else 1e-6
            )


@pytest.mark.parametrize("dim", [100, 300, 384])
def test_what_a_query_has_beside_the_middle_does_not_depend_on_others(dim):
    rng = np.random.default_rng(0)
    queries, middle = (rng.standard_normal((n, dim)).astype(np.float32) + 10 for n in (64, 1))
    all_at_once, alone = keys.shares(queries, middle[0]), [keys.shares(q[None], middle[0]) for q in queries]
    assert np.array_equal(all_at_once, np.concatenate(alone))


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize(
    "spec",
    [*SPECS, "tcq:bits=4", "whiten+sq:bits=4", "normalize+sq:bits=8", "whiten+f32", "center+rotate+f32"],
)
def test_rows_of_almost_no_length_displace_no_other(spec, share):
    rows, queries = make(4000, 0, 0), make(40, 1, 0)
    empty = np.random.default_rng(2).random(4000) < share
    rows[empty] = 0  # of which a code makes a row that is all but zero
    codec = vs.fit(spec, rows)
    codes = codec.encode(rows)
    decoded = codec.decode(codes).astype(np.float64)
    lengths = np.linalg.norm(decoded, axis=1)
    true = queries @ decoded.T / np.where(lengths > 0, lengths, 1) / np.linalg.norm(queries, axis=1)[:, None]
    for count in (1, 10):
        found, scores = Searcher.of(codec, codes).search(queries, count, metric="cosine")
        best = -np.sort(-true[:, ~empty], axis=1)[:, :count]
        assert (scores > best - 0.02).all()
        np.testing.assert_allclose(scores, np.take_along_axis(true, found, axis=1), atol=1e-5)


@pytest.mark.parametrize("rows", [make(500, 0, 0), np.eye(32, dtype=np.float32)[np.arange(500) % 32]])
def test_rows_whose_inverse_length_is_no_float32_displace_no_other(rows):
    rows, queries = rows.copy(), make(10, 1, 0)
    rows[3:5] *= np.array([[1e-41], [1e-39]], np.float32)
    found, scores = Searcher.of(vs.fit("f32", rows), rows.view(np.uint8)).search(queries, metric="cosine")
    true = 1 + cosines(queries, rows)
    np.testing.assert_allclose(scores, np.take_along_axis(true, found, axis=1), atol=1e-6)
    assert (scores > -np.sort(-np.delete(true, [3, 4], axis=1), axis=1)[:, :10] - 1e-6).all()


def test_segments_of_rows_of_almost_no_length_displace_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(together, "_SMALL_ROWS", 0)
    monkeypatch.setattr(writing, "FIT_ROWS", 200)
    rows, queries = make(2000, 0, 0), make(40, 1, 0)
    rows[1:1000:2] = 0
    store = vs.Store.create(tmp_path / "x", dim=32, codec="pq:m=8", metric="ip", keep=None)
    store.put(range(1000), rows[:1000])
    store.put(range(1000, 2000), rows[1000:])
    decoded = store.get(range(2000)).astype(np.float64)
    lengths = np.maximum(np.linalg.norm(decoded, axis=1), 1e-9)
    true = queries @ decoded.T / lengths / np.linalg.norm(queries, axis=1)[:, None]
    assert np.abs(store.search(queries, metric="cosine")[1] - -np.sort(-true, axis=1)[:, :10]).max() < 0.02
