"""Tables that find out which ids need rows of their own."""

import numpy as np
import pytest

import vecstore as vs

FIELDS = {"user": 400, "item": 200}


def batch(seed, hot):
    rng = np.random.default_rng(seed)
    return {"user": rng.choice(hot, 300), "item": rng.integers(0, 200, 300)}


@pytest.mark.parametrize("optimizer", ["sgd", "rowwise_adagrad", "adagrad", "adam"])
@pytest.mark.parametrize("rows", ["f32", "int8"])
def test_a_promoted_id_goes_on_from_the_row_that_it_shared(optimizer, rows):
    table = vs.table("cafe", FIELDS, dim=8, budget="30%", optimizer=optimizer, rows=rows)
    hot = np.arange(0, 400, 40)
    trained = batch(0, hot)
    for _ in range(2):
        table.update(table.lookup(trained), lr=0.001)
    before = table.lookup(trained)
    slopes = {field: np.ones_like(value) for field, value in before.items()}
    for _ in range(20):
        table.lookup(trained)
        table.update(slopes, lr=0.0)
    own = table.branch("user").terms[0].address(hot)
    assert (own >= 0).all() and len(np.unique(own)) == len(hot)
    for field, value in table.lookup(trained).items():
        assert np.allclose(value, before[field], atol=1e-6 if rows == "f32" else 0.01)
    hot_state = table.stores[table.layout.learners[0].hot].state
    assert hot_state[own.ravel()].any() == (optimizer != "sgd")


def test_ids_with_rows_of_their_own_do_not_disturb_others():
    table = vs.table("cafe", FIELDS, dim=8, budget="30%", optimizer="sgd")
    hot = np.arange(0, 400, 40)
    for step in range(30):
        rows = table.lookup(batch(step, hot))
        table.update({field: np.ones_like(value) for field, value in rows.items()}, lr=0.0)
    cold = np.setdiff1d(np.arange(400), hot)
    before = table.lookup({"user": cold})["user"].copy()
    rows = table.lookup({"user": hot})["user"]
    table.update({"user": np.ones_like(rows)}, lr=1.0)
    assert np.array_equal(table.lookup({"user": cold})["user"], before)


def test_scores_fade_and_rows_come_free():
    table = vs.table("cafe", FIELDS, dim=8, budget="10%", optimizer="sgd", threshold=2.0)
    sketch = table.layout.learners[0]
    for step in range(300):
        rows = table.lookup(batch(step, np.arange(30) + step))
        table.update({field: np.ones_like(value) for field, value in rows.items()}, lr=0.0)
    kept = sketch.arrays()
    used = kept["sketches.slots"][kept["sketches.slots"] >= 0]
    assert len(np.unique(used)) == len(used) and used.max() < sketch.rows
    assert kept["sketches.scores"].sum() < 1.01 * 100 * 600  # a hundredth fades for each batch of 600


def test_adaembed_gives_rows_to_ids_with_the_largest_gradients():
    table = vs.table("adaembed", FIELDS, dim=8, budget="40%", optimizer="sgd", every=20)
    strong = np.arange(100, 160)
    for step in range(20):
        rng = np.random.default_rng(step)
        ids = rng.permutation(400)
        table.lookup({"user": ids})
        slopes = np.where(np.isin(ids, strong), 10.0, 0.1)[:, None] * np.ones((1, 8))
        table.update({"user": slopes}, lr=0.0)
    address = table.branch("user").terms[0].address
    assert (address(strong) >= 0).all()
    before = table.lookup({"user": strong})["user"].copy()
    assert 0 < (~before.any(1)).sum() < 60  # new rows begin as zeros, those that were there stay
    table.update({"user": -np.ones((60, 8))}, lr=1.0)
    assert np.array_equal(table.lookup({"user": strong})["user"], before + 1)
    none = np.flatnonzero(address(np.arange(400)).ravel() < 0)
    assert len(none) and not table.lookup({"user": none})["user"].any()


@pytest.mark.parametrize(("share", "fades"), [(1.02, True), (0.9, False)])
def test_scores_fade_from_ten_times_what_all_rows_need_on(share, fades):
    table = vs.table("cafe", FIELDS, dim=8, budget="10%", optimizer="sgd", threshold=50.0)
    sketch = table.layout.learners[0]
    scores = sketch.arrays()["sketches.scores"]
    scores[...] = share * 10 * sketch.rows * sketch.threshold / scores.size
    before = scores.copy()
    table.update(table.lookup({"user": [7]}), lr=0.0)  # one id changes one cell
    wanted = before * np.float32(0.99 if fades else 1)
    assert (sketch.arrays()["sketches.scores"] != wanted).sum() <= 1


def test_adaembed_scores_are_lengths_by_their_95th_percentile_and_decay():
    table = vs.table("adaembed", FIELDS, dim=8, budget="40%", optimizer="sgd", every=2)
    ids = np.arange(100)
    slopes = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    lengths = np.sqrt((slopes**2).sum(1))
    for decayed in (1, 2 * 0.8):  # of the second update all that was gathered so far decays
        table.lookup({"user": ids})
        table.update({"user": slopes}, lr=0.0)
        assert np.allclose(
            table.scores("user", ids), decayed * lengths / np.percentile(lengths, 95), rtol=1e-5
        )
