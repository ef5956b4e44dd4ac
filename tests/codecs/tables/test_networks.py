"""Networks whose layers are normalized: forward by hand, gradients by differences, running means."""

import numpy as np
import pytest

import vecstore as vs

HOW = {"hashes": 5, "layers": 2, "norm": True, "budget": "90%", "dim": 6}
FIELDS = {"item": 400}


def made(**how):
    """A table of one network of two hidden layers, its parts drawn anew so that each of them matters."""
    table = vs.table("dhe", FIELDS, **{**HOW, **how})
    rng = np.random.default_rng(0)
    arrays = table.arrays()
    assert len(table.stores) == 7 and arrays["parameters.learner0.means"].shape[0] == 2
    for store in table.stores:
        store.values[...] += 0.3 * rng.standard_normal(store.values.shape)
    arrays["parameters.learner0.means"][...] = rng.standard_normal(arrays["parameters.learner0.means"].shape)
    arrays["parameters.learner0.variances"][...] += 2 * rng.random(
        arrays["parameters.learner0.variances"].shape
    )
    return table


def plain(table, ids):
    """What comes out of the hidden layers' matrices, and of the network."""
    layers = [np.float64(store.values) for store in table.stores]
    means, variances = (table.arrays()[f"parameters.learner0.{name}"] for name in ("means", "variances"))
    network = table.branch("item").combiner
    values, made_of = np.float64(network.inputs(ids)[0][:, 0]), []
    for at in range(3):
        values = values @ layers[at][:-1] + layers[at][-1]
        if at < 2:
            made_of.append(values)
            gain, shift = layers[3 + 2 * at], layers[4 + 2 * at]
            values = (values - means[at]) / np.sqrt(variances[at] + 1e-5) * gain + shift
            values = values * np.tanh(np.log1p(np.exp(values)))
    return made_of, values


def test_hidden_layers_are_normalized_by_running_means_and_variances():
    table, ids = made(), np.arange(400)
    rows = table.lookup({"item": ids})["item"]
    assert np.allclose(rows, plain(table, ids)[1], atol=1e-5)
    assert np.array_equal(table.lookup({"item": ids[7:8]})["item"][0], rows[7])  # of its id alone


def test_means_and_variances_run_after_those_of_batches():
    table, ids = made(optimizer="sgd"), np.arange(50)
    before = {name: array.copy() for name, array in table.arrays().items()}
    made_of, _ = plain(table, ids)
    table.update({"item": np.zeros_like(table.lookup({"item": ids})["item"])}, lr=0.1)
    for name, now in (
        ("means", [values.mean(0) for values in made_of]),
        ("variances", [values.var(0, ddof=1) for values in made_of]),
    ):
        old = before[f"parameters.learner0.{name}"]
        assert np.allclose(
            table.arrays()[f"parameters.learner0.{name}"], 0.9 * old + 0.1 * np.array(now), atol=1e-5
        )
    rng = np.random.default_rng(0)
    for _ in range(60):
        table.lookup({"item": rng.integers(0, 400, 300)})
        table.update({"item": np.zeros((300, 6))}, lr=0.1)
    made_of, _ = plain(table, np.arange(400))
    means = table.arrays()["parameters.learner0.means"]
    assert all(
        np.allclose(values.mean(0), mean, atol=0.1) for values, mean in zip(made_of, means, strict=True)
    )


def test_gradients_are_those_of_finite_differences():
    table, ids = made(optimizer="sgd"), np.arange(20)
    slopes = np.random.default_rng(1).standard_normal((20, 6))
    stats = {name: a.copy() for name, a in table.arrays().items() if "learner" in name}
    stores = [store.values for store in table.stores]
    before = [values.copy() for values in stores]
    table.lookup({"item": ids})
    table.update({"item": slopes}, lr=1.0)
    found = [old - values for old, values in zip(before, stores, strict=True)]
    for name, array in stats.items():
        table.arrays()[name][...] = array
    for values, old in zip(stores, before, strict=True):
        values[...] = old
    for values, gradient in zip(stores, found, strict=True):
        for at in list(np.ndindex(values.shape))[:: max(1, values.size // 12)]:
            kept, ends = values[at], []
            for sign in (1, -1):
                values[at] = kept + np.float32(sign / 256)
                ends.append(float((slopes * plain(table, ids)[1]).sum()))
            values[at] = kept
            assert np.isclose((ends[0] - ends[1]) * 128, gradient[at], rtol=1e-2, atol=5e-3), at


@pytest.mark.parametrize("league", ["serve", "train"])
def test_means_and_variances_count_and_are_kept(league, tmp_path):
    table = vs.table("dhe", FIELDS, **HOW, league=league, optimizer="adam")
    ledger = table.ledger()
    assert sum(array.nbytes for array in table.arrays().values()) == ledger.total
    assert ledger.bound(league) <= 0.9 * 4 * 6 * 400
    for step in range(3):
        table.update(table.lookup({"item": np.arange(step, 90)}), lr=0.01)
    table.save(tmp_path / "it.table")
    again = vs.table_open(tmp_path / "it.table")
    for each in (table, again):
        each.update(each.lookup({"item": np.arange(40)}), lr=0.01)
    assert all(np.array_equal(array, again.arrays()[name]) for name, array in table.arrays().items())
    table.finish()
    assert table.ledger().total == ledger.serve
    with pytest.raises(vs.FormatError, match=r"knobs|norm"):
        table.restore(vs.table("dhe", FIELDS, **{**HOW, "norm": False}, optimizer="adam").state())
