import numpy as np
import pytest

from vecstore.bench import datasets, quality, timing


@pytest.fixture
def rows():
    return np.random.default_rng(0).standard_normal((400, 8), dtype=np.float32)


def test_the_mean_of_the_rows_has_relative_mse_one(rows):
    assert quality.relative_mse(rows, np.broadcast_to(rows.mean(axis=0), rows.shape)) == pytest.approx(1)
    assert quality.relative_mse(rows, rows) == 0


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_nearest_rows_are_those_of_the_definition(rows, metric):
    queries = rows[:5] + np.float32(0.1)
    scores = queries @ rows.T
    if metric == "l2":
        scores = -((queries[:, None] - rows[None]) ** 2).sum(axis=2)
    elif metric == "cosine":
        scores = scores / np.linalg.norm(rows, axis=1)
    expected = np.argsort(-scores, axis=1)[:, :10]
    assert (np.sort(quality.nearest(rows, queries, metric, 10)) == np.sort(expected)).all()


def test_recall_of_the_rows_themselves_is_one_and_of_others_is_not(rows):
    assert quality.recall(rows, rows, rows[:20], "l2") == 1
    assert quality.recall(rows, rows[::-1].copy(), rows[:20], "l2") < 0.3


def test_the_gap_of_white_rows_at_the_bound_is_zero_decibels():
    white = np.random.default_rng(0).standard_normal((40_000, 4), dtype=np.float32)
    assert quality.gap_db(white, 2**-4.0, 2.0) == pytest.approx(0, abs=0.05)
    assert quality.gap_db(white, 2 * 2**-4.0, 2.0) == pytest.approx(3.01, abs=0.05)


def test_generated_rows_are_the_same_each_time_and_of_unit_norm():
    first, again = datasets.generated(16, rows=300), datasets.generated(16, rows=300)
    assert (first.base == again.base).all()
    assert np.linalg.norm(first.fit, axis=1) == pytest.approx(1, abs=1e-5)
    assert not (first.fit[0] == first.base).all(axis=1).any()


def test_jobs_are_run_in_turn():
    calls = []
    times = timing.in_turn(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, runs=3, least_s=0
    )
    assert calls[-6:] == ["a", "b"] * 3
    assert len(times["a"]) == len(times["b"]) == 3


def test_ratios_are_of_the_rounds():
    found = timing.ratios("x", [1.0, 2.0, 4.0], [4.0, 4.0, 4.0])
    assert found == {"x_ratio": 2.0, "x_ratio_min": 1.0, "x_ratio_max": 4.0}
