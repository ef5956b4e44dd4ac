"""Figures of a certificate are those that the data were made to have, or that plain numpy finds."""

from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from vecstore.bench import capacity, limit_bits
from vecstore.bench.certificate import certify

DIM, ROWS, K = 16, 9000, 10
DEVIATIONS = np.geomspace(3, 0.1, DIM)
SPEC = "tcq:bytes=4,renormalize=false"


@pytest.fixture(scope="module")
def rows():
    """A Gaussian source of known covariance, turned so that no dimension shows an axis."""
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.standard_normal((DIM, DIM)))
    return (rng.standard_normal((ROWS, DIM)) * DEVIATIONS @ turn).astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("certificate") / "items.store"
    with vs.Store.create(path, dim=DIM, codec=SPEC, keep="f16", metric="l2") as store:
        store.put(np.arange(ROWS), rows, model="some")
        store.gc()
        yield store


@pytest.fixture(scope="module")
def found(store):
    return certify(store)


@pytest.fixture(scope="module")
def decoded(store):
    return store.codec.decode(store.codec.encode(store_rows(store)))


def store_rows(store):
    """The rows as they are kept: in f16."""
    return np.concatenate([part.fine.rows_at(np.arange(ROWS)) for part in store.view.parts])


def test_bytes_are_those_on_disk(found, store):
    sizes = [each.stat().st_size for each in Path(store.path).rglob("*") if each.is_file()]
    parts = {key: value for key, value in found["bytes"].items() if key not in ("total", "row_bytes")}
    assert found["bytes"]["total"] == sum(parts.values()) == sum(sizes)
    assert found["bytes"]["row_bytes"] == store.codec.code_bytes == 4


def test_the_error_is_that_of_the_rows(found, rows, decoded):
    looked_at = np.linspace(0, ROWS - 1, found["probe"]["rows"]).astype(np.int64)
    rows = rows[looked_at]
    lost = np.square(rows.astype(np.float64) - decoded[looked_at]).sum(axis=1)
    spread = np.square(rows - rows.mean(axis=0, dtype=np.float64)).sum()
    assert found["error"]["relative_mse"] == pytest.approx(lost.sum() / spread, rel=2e-3)
    each = np.sqrt(lost) / np.linalg.norm(rows, axis=1)
    for quantile in (50, 95, 99):
        wanted = pytest.approx(np.percentile(each, quantile), rel=0.01)
        assert found["error"][f"row_error_p{quantile}"] == wanted
    assert found["error"]["row_error_max"] <= each.max() * 1.001


def test_the_limit_is_that_of_the_source(found):
    """Reverse water-filling (Cover & Thomas 2006, theorem 10.3.3) of the variances that were drawn from."""
    variances, bits = DEVIATIONS**2, 8 * 4
    low, high = 0.0, variances.max()
    for _ in range(100):
        water = (low + high) / 2
        spent = (np.log2(variances / np.minimum(water, variances)) / 2).sum()
        low, high = (water, high) if spent > bits else (low, water)
    least = np.minimum(water, variances).sum() / variances.sum()
    assert found["limit"]["least_relative_mse"] == pytest.approx(least, rel=0.03)
    gap = 10 * np.log10(found["error"]["relative_mse"] / least)
    assert found["limit"]["gap_db"] == pytest.approx(gap, abs=0.15) and gap > 0
    assert found["limit"]["bits_per_dim"] == bits / DIM


def test_recall_is_that_of_the_decoded_rows(found, rows, decoded):
    chosen = np.random.default_rng(1).permutation(ROWS)[:300]

    def nearest(base, own):
        apart = np.square(base).sum(axis=1) - 2 * rows[chosen] @ base.T
        if own:
            apart[np.arange(len(chosen)), chosen] = np.inf
        return np.argsort(apart, axis=1)[:, :K]

    hits = [np.isin(a, b).mean() for a, b in zip(nearest(rows, True), nearest(decoded, True), strict=True)]
    error = np.std(hits) / np.sqrt(min(found["recall"]["queries"], len(chosen)))
    assert found["recall"]["recall_at_10"] == pytest.approx(np.mean(hits), abs=4 * error)
    assert list(found["recall"]["recall_at_10_rescored"].values())[-1] > 0.97


def test_sets_that_are_kept_are_those_that_decoded_documents_find(found, store):
    shape = limit_bits.Shape(store_rows(store)[: found["probe"]["rows"]], unit=False)
    inner, queries = capacity.learned(DIM, 0, shape.placed)
    documents = shape.rows_of(inner)
    back = store.codec.decode(store.codec.encode(documents))
    both = [np.sort(np.argsort(-(queries @ each.T), axis=1)[:, :2], axis=1) for each in (documents, back)]
    exact, kept = ((each == capacity.pairs()).all(axis=1) for each in both)
    assert found["limit_bits"]["exact"] == pytest.approx(exact.sum(), abs=30)
    assert found["limit_bits"]["kept"] == pytest.approx((exact & kept).sum(), abs=60)


def test_the_spectrum_is_that_of_the_source(found):
    variances = DEVIATIONS**2
    shares = np.cumsum(variances) / variances.sum()
    assert set(found["spectrum"]["shares"]) == {"1", "2", "4", "8", "16"}
    for count, share in found["spectrum"]["shares"].items():
        assert share == pytest.approx(shares[int(count) - 1], abs=0.02)
    effective = variances.sum() ** 2 / np.square(variances).sum()
    assert found["spectrum"]["effective_dims"] == pytest.approx(effective, rel=0.05)


def test_rows_that_stay_have_not_moved_and_others_as_far_as_they_were_moved(tmp_path, found, rows):
    assert found["drift"]["mean_moved"] < 0.1
    assert found["drift"]["fingerprint"]["nearness_of_last"] == pytest.approx(1, abs=0.1)
    step = np.float32(2 * DEVIATIONS.max()) * np.eye(1, DIM, dtype=np.float32)
    with vs.Store.create(tmp_path / "s", dim=DIM, codec=SPEC, keep="f16", metric="l2") as store:
        store.put(np.arange(ROWS // 2), rows[: ROWS // 2])
        store.put(np.arange(ROWS // 2, ROWS), rows[ROWS // 2 :] + step, check_space=False)
        drift = certify(store)["drift"]
    moved = np.concatenate([rows[: ROWS // 2], rows[ROWS // 2 :] + step])
    spread = np.sqrt(np.square(moved - moved.mean(axis=0)).sum(axis=1).mean())
    assert drift["mean_moved"] == pytest.approx(np.linalg.norm(step) / spread, rel=0.05)


def test_of_codes_alone_the_same_figures_are_near_and_the_others_are_refused(tmp_path, found, rows):
    """What decoded rows say of mean, covariance and fingerprint is said to be theirs, and near the truth."""
    with vs.Store.create(tmp_path / "s", dim=DIM, codec=SPEC, keep=None, metric="l2") as store:
        store.put(np.arange(ROWS), rows, model="some")
        alone = certify(store)
    assert {key for key, part in alone.items() if isinstance(part, dict) and "not_given" in part} == {
        "error", "limit", "recall",
    }  # fmt: skip
    for key in ("spectrum", "drift"):
        assert alone[key]["of"] == "decoded rows" and found[key]["of"] == "kept rows (f16)"
    assert alone["limit_bits"]["shaped_by"] == "decoded rows"
    assert alone["limit_bits"]["kept"] == pytest.approx(found["limit_bits"]["kept"], abs=120)
    for count, share in alone["spectrum"]["shares"].items():
        assert share == pytest.approx(found["spectrum"]["shares"][count], abs=0.05)
    assert alone["drift"]["fingerprint"]["nearness_of_last"] == pytest.approx(1, abs=0.15)
    assert alone["bytes"]["row_bytes"] == found["bytes"]["row_bytes"]
    assert not {"relative_mse_first", "relative_mse_last"} & set(alone["drift"])
