"""Steps of rows that are learned by a second lookup: Li et al. 2023 (ALPT), algorithm 1, by hand."""

import numpy as np
import pytest

import vecstore as vs

IDS, DIM, TOP = np.array([1, 2, 2, 7]), 8, {"alpt4": 7, "alpt": 127, "alpt16": 32767}


def made(rows="alpt", **how):
    return vs.table("alpt", {"x": 9, "y": 5}, dim=DIM, rows=rows, second=True, optimizer="sgd", **how)


def steps(table):
    return np.ascontiguousarray(table.stores[0].data[:, -4:]).view(np.float32)[:, 0].copy()


def slopes(seed):
    return np.random.default_rng(seed).standard_normal((4, DIM)).astype(np.float32)


def summed(gradient):
    """Of rows 1, 2 and 7."""
    return np.stack([gradient[0], gradient[1] + gradient[2], gradient[3]])


@pytest.mark.parametrize("rows", TOP)
def test_rows_move_first_and_steps_learn_from_what_was_looked_up_again(rows):
    table, top = made(rows), TOP[rows]
    before, old = table.lookup({"x": IDS})["x"], steps(table)
    one = slopes(0)
    table.update({"x": one}, lr=0.01)
    assert np.array_equal(steps(table), old)
    moved = before[[0, 1, 3]] - np.float32(0.01) * summed(one)
    mine = old[[1, 2, 7], None]
    again = table.lookup({"x": IDS})["x"][[0, 1, 3]]
    assert np.all(np.abs(again - np.clip(moved, -top * mine, top * mine)) <= mine * 1.001)
    two = slopes(1) * np.float32(50)
    table.update_steps({"x": two})
    places = moved / mine
    near = np.clip(np.rint(places), -top, top)
    slope = (summed(two) * np.where(np.abs(places) > top, near, near - places)).sum(1)
    expected = old.copy()
    expected[[1, 2, 7]] = np.maximum(old[[1, 2, 7]] - 2e-5 * slope / np.sqrt(DIM * top), 1e-8)
    assert np.allclose(steps(table), expected, rtol=1e-4, atol=1e-9)
    assert np.array_equal(steps(table)[[0, 3, 4, 5, 6, 8]], old[[0, 3, 4, 5, 6, 8]])
    mine = expected[[1, 2, 7], None]
    found = table.lookup({"x": IDS})["x"][[0, 1, 3]]
    assert np.all(np.abs(found - np.clip(moved, -top * mine, top * mine)) <= mine * 1.001)


def test_rounding_has_the_mean_of_what_was_learned():
    found = []
    for seed in range(300):
        table = made("alpt4", seed=7)
        table.lookup({"x": IDS})
        table.update({"x": slopes(0)}, lr=0.001)
        table.updates = seed  # other rounding, the same rows
        table.lookup({"x": IDS})
        table.update_steps({"x": np.zeros((4, DIM), np.float32)})
        found.append(table.lookup({"x": [1]})["x"][0])
    start = made("alpt4", seed=7)
    row, step = start.lookup({"x": [1]})["x"][0], steps(start)[1]
    wanted = np.clip(row - np.float32(0.001) * slopes(0)[0], -7 * step, 7 * step)
    assert np.all(np.abs(np.mean(found, 0) - wanted) < 5 * step / np.sqrt(12 * 300) + 1e-6)


def test_what_is_no_second_pass_is_refused_and_changes_nothing():
    table = made()
    good = np.ones((4, DIM), np.float32)

    def bits():
        return [array.tobytes() for array in table.arrays().values()], table.updates

    before = bits()
    with pytest.raises(vs.InputError, match="no lookup"):
        table.update_steps({"x": good})
    table.lookup({"x": IDS})
    with pytest.raises(vs.InputError, match="took no step"):
        table.update_steps({"x": good})
    assert bits() == before
    table.update({"x": good}, lr=0.1)
    before = bits()
    table.lookup({"x": [1, 2, 3, 7]})
    with pytest.raises(vs.InputError, match="took no step"):
        table.update_steps({"x": good})
    table.lookup({"x": IDS, "y": [1]})
    for gradients, kind, message in (
        ({"x": good * np.nan}, vs.InputError, "'x' is nan at row 0, value 0"),
        ({"x": good[:2]}, vs.ShapeError, "'x'"),
        ({"z": good}, vs.InputError, "'z', which was not looked up"),
        ({"x": good, "y": good[:1]}, vs.InputError, "took no step"),
        ([good], vs.ShapeError, "mapping"),
    ):
        with pytest.raises(kind, match=message):
            table.update_steps(gradients)
    assert bits() == before
    table.update_steps({"x": good})
    with pytest.raises(vs.InputError, match="no lookup"):
        table.update_steps({"x": good})
    for other in (vs.table("alpt", {"x": 9}), vs.table("plain", {"x": 9})):
        with pytest.raises(vs.SpecError, match="second=True"):
            other.update_steps({"x": good})
    with pytest.raises(vs.SpecError, match="second=True"):
        vs.table("alpt", {"x": 9}, rows="int8", second=True)


def test_it_goes_on_from_its_file_in_the_bytes_of_one_pass(tmp_path):
    table = made()
    assert table.ledger() == vs.table("alpt", {"x": 9, "y": 5}, dim=DIM, optimizer="sgd").ledger()

    def learn(one, seed):
        one.lookup({"x": IDS, "y": [0, 4, 4, 1]})
        one.update({"x": slopes(seed), "y": slopes(seed + 1)}, lr=0.01)
        one.lookup({"x": IDS, "y": [0, 4, 4, 1]})
        one.update_steps({"x": slopes(seed + 2), "y": slopes(seed + 3)})

    table.save(tmp_path / "base")
    learn(table, 0)
    table.save(tmp_path / "delta", since=tmp_path / "base")
    again = vs.table_open(tmp_path / "base", tmp_path / "delta")
    for one in (table, again):
        learn(one, 9)
    assert all(np.array_equal(array, again.arrays()[name]) for name, array in table.arrays().items())
