"""Adapters: queries of a new model find old rows."""

import dataclasses

import numpy as np
import pytest

import vecstore as vs
from vecstore.errors import (
    CorruptError,
    FormatError,
    InputError,
    NotFoundError,
    ShapeError,
    SpaceMismatchError,
)

N = 3000


def rows(n=N, dim=24, seed=0):
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((n, dim)) * np.exp(-np.arange(dim) / 8)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def turn(a, b, seed=1):
    """(a, b), the shorter side orthonormal."""
    whole = np.linalg.qr(np.random.default_rng(seed).standard_normal((max(a, b), max(a, b))))[0]
    return whole[:a, :b].astype(np.float32)


def exact(queries, among, k=10):
    return np.argsort(-(queries @ among.T), axis=1, kind="stable")[:, :k]


@pytest.fixture
def store(tmp_path):
    options = {"dim": 24, "codec": "f16", "metric": "cosine", "model": "old"}
    with vs.Store.create(tmp_path / "x", **options) as store:
        store.put(range(N), rows())
        yield store


@pytest.mark.parametrize("width", [24, 40])
def test_a_rotated_model_finds_what_it_would_find_among_its_own(store, width, tmp_path):
    old, matrix = rows(), turn(24, width)
    adapter = store.adapter(old[:500], old[:500] @ matrix, model="new", revision="2")
    assert adapter.recall_at_10 > 0.999 and adapter.rank == 0 and adapter.unit
    new = rows(50, seed=5) @ matrix
    ids, scores = store.search(new, adapter=adapter, model="new")
    assert (ids == exact(rows(50, seed=5), old)).mean() > 0.99
    np.testing.assert_allclose(scores[:, 0], (rows(50, seed=5) @ old.T).max(axis=1), atol=2e-3)
    vs.compress(old, tmp_path / "a", "f32", metric="cosine", model="old")
    with vs.open(tmp_path / "a") as archive:
        assert (archive.search(new, adapter=adapter)[0] == exact(rows(50, seed=5), old)).all()
    with pytest.raises(SpaceMismatchError, match=r"model 'new'.*model 'old'"):
        store.search(new, adapter=adapter, model="old")


def test_a_narrower_model_finds_most(store):
    old = rows()
    adapter = store.adapter(old[:1000], old[:1000] @ turn(24, 16))
    found, _ = store.search(rows(100, seed=5) @ turn(24, 16), adapter=adapter)
    true = exact(rows(100, seed=5), old)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, true, strict=True)]) > 0.3
    assert adapter.dim == 16 and adapter.dim_out == 24


def test_the_recall_that_is_promised_is_the_recall_that_comes(store):
    rng = np.random.default_rng(3)
    old = rows()
    new = old @ turn(24, 24) + (0.05 * rng.standard_normal(old.shape)).astype(np.float32)
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    adapter = store.adapter(old, new)
    asked = rng.permutation(N)[:300]
    true = exact(new[asked], new, 11)
    found, _ = store.search(new[asked], 11, adapter=adapter)
    hits = [len((set(a) & set(b)) - {i}) / 10 for a, b, i in zip(found, true, asked, strict=True)]
    assert abs(np.mean(hits) - adapter.recall_at_10) < 0.05
    assert adapter.recall_at_10 > adapter.old_recall_at_10 - 0.02
    assert adapter.held_out == 300 and adapter.pairs == N


def test_a_residual_comes_where_a_rotation_is_not_enough():
    old = rows(6000, 24)
    stretched = old @ turn(24, 24) @ np.diag(np.exp(np.linspace(-1, 1, 24))).astype(np.float32)
    adapter = vs.Adapter.fit(old, stretched, metric="l2")
    assert adapter.rank > 0 and adapter.recall_at_10 > adapter.old_recall_at_10


def test_the_same_pairs_give_the_same_adapter_and_a_row_does_not_depend_on_others():
    old, new = rows(), rows() @ turn(24, 24)
    first, second = vs.Adapter.fit(old, new), vs.Adapter.fit(old, new)
    assert first.identity == second.identity
    assert (first.apply(new)[7] == first.apply(new[7:8])[0]).all()


def test_it_comes_back_from_a_file(tmp_path):
    path = tmp_path / "a.adapter"
    adapter = vs.Adapter.fit(rows(), rows() @ turn(24, 30)).named("new", None, "old")
    adapter.save(path)
    back = vs.Adapter.load(path)
    assert back.report() == adapter.report() and back.identity == adapter.identity
    with pytest.raises(vs.ConflictError):
        adapter.save(path)
    adapter.save(path, force=True)
    data = path.read_bytes()
    for damaged in (data[:100], data[:-9], data[: len(data) // 2] + b"x" + data[len(data) // 2 + 1 :], b""):
        path.write_bytes(damaged)
        with pytest.raises(CorruptError, match="is no adapter"):
            vs.Adapter.load(path)
    path.write_bytes(vs.dumps(vs.fit("f16", rows())))
    with pytest.raises(FormatError, match="holds a 'f16'"):
        vs.Adapter.load(path)
    with pytest.raises(NotFoundError, match="vecstore adapter"):
        vs.Adapter.load(tmp_path / "none")


def test_hostile_state_is_refused(tmp_path):
    adapter = vs.Adapter.fit(rows(), rows() @ turn(24, 30))
    for change in (
        {"mean": adapter.mean[:-1]},
        {"matrix": adapter.matrix * np.nan},
        {"offset": adapter.mean},
    ):
        with pytest.raises(ValueError, match=r"expected|finite"):
            dataclasses.replace(adapter, **change)


@pytest.mark.parametrize(
    "old, new, error, message",
    [
        (rows(40), rows(40), InputError, "40 pairs that differ.*needs 64 or more"),
        (rows(100, 60), rows(100, 60), InputError, "needs 120 or more"),
        (np.tile(rows(30), (10, 1)), np.tile(rows(30), (10, 1)), InputError, "30 pairs that differ"),
        (rows(300), np.full((300, 5), np.nan), InputError, "pair 0 holds NaN.*new row"),
        (np.where(np.arange(300)[:, None] == 9, np.inf, rows(300)), rows(300), InputError, "pair 9.*old row"),
        (rows(300), rows(300)[:, :3] @ rows(3, 24), InputError, "new rows of the pairs fill 3 of 24"),
        (rows(300), np.zeros((300, 24)), InputError, "new rows of the pairs fill 0 of 24"),
        (rows(300), rows(299), ShapeError, "300 old rows and 299 new"),
        (rows(300), rows(300)[0], ShapeError, "expected \\(n, dim\\)"),
        (rows(0), rows(0), InputError, "0 pairs"),
    ],
)
def test_pairs_that_say_too_little(old, new, error, message):
    with pytest.raises(error, match=message):
        vs.Adapter.fit(old, new)


def test_what_does_not_go_together(store, tmp_path):
    adapter = store.adapter(rows(), rows() @ turn(24, 30))
    with pytest.raises(ShapeError, match="expected"):
        store.search(rows(3), adapter=adapter)
    other = vs.Adapter.fit(rows(500, 12), rows(500, 12))
    with pytest.raises(ShapeError, match=r"gives 12 dimensions; .* has 24"):
        store.search(rows(3, 12), adapter=other)
    elsewhere = dataclasses.replace(adapter, old_model="another")
    with pytest.raises(SpaceMismatchError, match="'another'"):
        store.search(rows(3) @ turn(24, 30), adapter=elsewhere)
    with pytest.raises(SpaceMismatchError, match="lie in other directions"):
        store.adapter(rows() @ turn(24, 24, 8), rows())
