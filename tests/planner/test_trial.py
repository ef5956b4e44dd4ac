"""What a trial says of codecs, where it can be told beforehand."""

import numpy as np
import pytest

import vecstore as vs
from vecstore.ledger import parse_budget
from vecstore.planner.plan import Search, Wanted
from vecstore.planner.room import Room
from vecstore.planner.trial import Trial

METRICS = ["ip", "cosine", "l2"]


def spread(n, dim=16, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def order(trial, spec):
    return trial.measure(vs.fit(spec, trial.rows)).order


@pytest.mark.parametrize("metric", METRICS)
def test_what_loses_less_keeps_the_order_better(metric):
    trial = Trial(spread(3000), metric, 0)
    found = [order(trial, spec) for spec in ("f32", "sq:bits=8", "sq:bits=4", "pq:m=4,bits=4")]
    assert found[0] == pytest.approx(1) and found == sorted(found, reverse=True)
    assert found[1] > 0.99 and found[3] < 0.8


@pytest.mark.parametrize("metric", METRICS)
def test_clusters_that_are_told_apart_are_no_order_of_near_rows(metric):
    rng = np.random.default_rng(0)
    rows = np.concatenate([10 * rng.standard_normal((20, 4))[rng.integers(20, size=6000)], spread(6000)], 1)
    trial = Trial(rows.astype(np.float32), metric, 0)
    assert order(trial, "pca:dim=4+f32") < 0.5 < 0.9 < order(trial, "rotate+sq:bits=8")


def test_rows_of_a_query_s_own_run_are_not_its_neighbours():
    rows = np.repeat(spread(500), 8, axis=0)
    assert order(Trial(rows, "l2", 0), "f32") == pytest.approx(1)


@pytest.mark.parametrize("metric", METRICS)
def test_of_equal_rows_there_is_no_order_and_no_warning(metric):
    trial = Trial(np.ones((2000, 8), np.float32), metric, 0)
    kept = trial.measure(vs.fit("f32", trial.rows))
    assert (kept.order, kept.recall, kept.relative_mse) == (0, 1, 0)


@pytest.mark.parametrize(("n", "least"), [(20_000, 15_391), (8000, 7000), (2048, 1792), (1024, 768), (3, 3)])
@pytest.mark.parametrize("whole", [False, True])
def test_most_rows_are_fitted_on_and_none_of_these_is_a_query(n, least, whole):
    rows = np.arange(n, dtype=np.float32)[:, None] + np.zeros((1, 3), np.float32)
    trial = Trial(rows, "l2", 0, total=n if whole else None)
    assert len(trial.rows) >= least
    if n > 3:
        held = trial.field.rows[: trial.field.held, 0]
        assert len(held) and not np.intersect1d(trial.rows[:, 0], held).size
        assert np.isin(trial.field.queries[:, 0], held).all()
        assert len(trial.field.rows) == len(held) + (len(trial.rows) if whole else 0)


def test_recall_is_that_of_the_whole_collection():
    rows = spread(6000)
    codec, told = vs.fit("pq:m=2,bits=4", rows), {}
    for total in (3000, 6000):
        trials = [Trial(rows[seed::2], "ip", seed, total=total) for seed in (0, 1)]
        told[total] = np.mean([trial.measure(codec).recall for trial in trials])
    true = np.mean([Trial(rows, "ip", seed, total=6000).measure(codec).recall for seed in (0, 1)])
    assert abs(told[6000] - true) < abs(told[3000] - true)


def test_rows_that_were_fitted_on_count_where_they_are_most_of_the_collection():
    rows = spread(3000)
    room = Room(parse_budget("16B/row"), 16, 5000, 8.0)
    assert room.mostly(3000) and not room.mostly(2500)
    assert not Room(parse_budget("16B/row"), 16, None, 8.0).mostly(3000)
    by_heart = vs.fit("rq:m=4", Trial(rows, "ip", 0).rows)  # 1,024 centroids of 2,600 rows
    assert (
        Trial(rows, "ip", 0, total=3000).measure(by_heart).order
        > Trial(rows, "ip", 0).measure(by_heart).order
    )


def test_where_too_few_rows_are_left_the_error_alone_counts():
    trial = Trial(spread(200), "ip", 0)
    search = Search(trial, Room(parse_budget("16B/row"), 16, 200, 8.0), Wanted(), speeds=False)
    search.run()
    ranked = search.ranked()
    assert {one.kept.order for one in ranked} == {0.0} and {one.kept.recall for one in ranked} == {None}
    assert ranked[0].kept.relative_mse == min(one.kept.relative_mse for one in ranked)


def test_side_data_are_no_codes_of_which_a_tenth_of_learned_state_is_free():
    room = Room(parse_budget("4.09bit/dim"), 32, 384, 8.0)
    assert room.keeps(15, 1040) and not room.keeps(15, 1040, 3)
