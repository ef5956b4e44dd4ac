import numpy as np
import pytest

from vecstore.bench import datasets, quality, timing


@pytest.fixture
def rows():
    return np.random.default_rng(0).standard_normal((400, 8), dtype=np.float32)


def means(shares):
    return {k: None if found is None else found.mean() for k, found in shares.items()}


def test_the_mean_of_the_rows_has_relative_mse_one(rows):
    assert quality.relative_mse(rows, np.broadcast_to(rows.mean(axis=0), rows.shape)) == pytest.approx(1)
    assert quality.relative_mse(rows, rows) == 0


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_nearest_rows_are_those_of_the_definition_best_first(rows, metric):
    queries = rows[:5] + np.float32(0.1)
    scores = queries @ rows.T
    if metric == "l2":
        scores = -((queries[:, None] - rows[None]) ** 2).sum(axis=2)
    elif metric == "cosine":
        scores = scores / np.linalg.norm(rows, axis=1)
    assert (quality.nearest(rows, queries, metric, 10) == np.argsort(-scores, axis=1)[:, :10]).all()


def test_recall_of_the_rows_themselves_is_one_and_of_others_is_not(rows):
    queries = rows[:20] + np.float32(0.1)
    found = quality.nearest(rows, queries, "l2", 100)
    assert means(quality.recalls(rows, found, queries, "l2")) == {1: 1, 10: 1, 100: 1}
    others = quality.nearest(rows[::-1].copy(), queries, "l2", 100)
    assert means(quality.recalls(rows, others, queries, "l2"))[10] < 0.3


def test_recall_is_the_share_of_the_true_nearest(rows):
    queries = rows[:20] + np.float32(0.1)
    found = quality.nearest(rows, queries, "ip", 10)
    found[:, 5:] = -1
    found[:, 0] = found[:, 4]
    shares = quality.recalls(rows, found, queries, "ip", (1, 10, 100, 400))
    assert means(shares) == {1: 0, 10: pytest.approx(0.5), 100: None, 400: None}


def test_the_error_of_a_mean_is_what_means_of_other_queries_differ_by():
    rng = np.random.default_rng(0)
    mean, error = quality.with_error(rng.binomial(10, 0.8, 400) / 10)
    others = rng.binomial(10, 0.8, (1000, 400)).mean(axis=1) / 10
    assert mean == pytest.approx(0.8, abs=0.02)
    assert error == pytest.approx(others.std(), rel=0.15)
    assert quality.with_error(np.array([0.5])) == (0.5, 0)


def test_of_equal_rows_either_is_the_nearest(rows):
    twice = np.concatenate([rows, rows])
    found = quality.nearest(rows, rows[:50], "l2", 1)
    assert means(quality.recalls(twice, found, rows[:50], "l2", (1,))) == {1: 1}
    assert means(quality.recalls(twice, found + len(rows), rows[:50], "l2", (1,))) == {1: 1}


def test_the_error_of_inner_products_is_the_share_of_length_that_was_lost():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2000, 32), dtype=np.float32)
    queries = rng.standard_normal((300, 32), dtype=np.float32)
    noise = rng.standard_normal((2000, 32), dtype=np.float32)
    noise *= 0.3 * np.linalg.norm(rows, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    error, slope = quality.inner_products(rows, rows + noise, queries)
    assert error == pytest.approx(0.09, rel=0.02)
    assert slope == pytest.approx(1, abs=0.01)
    units = queries.astype(np.float64) / np.linalg.norm(queries, axis=1)[:, None]
    differences = units @ noise.T / np.linalg.norm(rows, axis=1)
    assert error == pytest.approx(32 * np.square(differences).mean(), rel=1e-5)


def test_the_slope_shows_what_shrinks(rows):
    rows = np.concatenate([rows, np.zeros((1, 8), np.float32)])
    error, slope = quality.inner_products(rows, rows * np.float32(0.75), rows[:50])
    assert slope == pytest.approx(0.75)
    assert error > 0
    assert quality.inner_products(rows, rows, rows[:50]) == (0, pytest.approx(1))
    assert quality.inner_products(rows[-1:], rows[-1:], rows[:50]) == (None, None)


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


def test_rows_far_from_zero_are_ranked_by_their_distance():
    rng = np.random.default_rng(0)
    rows, queries = ((rng.standard_normal((n, 16)) + 3000).astype(np.float32) for n in (1000, 20))
    true = np.square(queries[:, None].astype(np.float64) - rows[None]).sum(axis=2)
    order = np.argsort(true, axis=1)[:, :10]
    assert (quality.nearest(rows, queries, "l2", 10) == order).mean() > 0.99
    assert means(quality.recalls(rows, order, queries, "l2", (10,)))[10] > 0.99
