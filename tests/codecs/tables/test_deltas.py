"""Files of what has changed: a chain of them is the table, bit for bit, or an error."""

import os

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.tables.presets import PRESETS

FIELDS = {"user": 3000, "item": 170}


def learn(table, first, steps):
    for step in range(first, first + steps):
        rng = np.random.default_rng(step)
        rows = table.lookup({"user": rng.integers(0, 3000, 40), "item": rng.integers(0, 170, (20, 2))})
        table.update({name: np.sin(7 * value) for name, value in rows.items()}, lr=0.05)


def same(one, other):
    mine, yours = one.arrays(), other.arrays()
    assert list(mine) == list(yours) and one.updates == other.updates
    assert all(np.array_equal(mine[name], yours[name], equal_nan=True) for name in mine)


@pytest.mark.parametrize("method", PRESETS)
def test_a_run_that_is_resumed_from_deltas_equals_one_that_went_on(method, tmp_path):
    table = vs.table(method, FIELDS, optimizer="adam")
    files = [tmp_path / name for name in ("base", "one", "two", "three")]
    table.save(files[0])
    for at in (1, 2):
        learn(table, 3 * at, 3)
        table.save(files[at], since=files[at - 1])
    resumed = vs.table_open(*files[:3])
    same(resumed, table)
    learn(table, 9, 3)
    learn(resumed, 9, 3)
    same(resumed, table)
    resumed.save(files[3], since=files[2])
    same(vs.table_open(*files), table)


def test_a_delta_holds_little_more_than_what_was_touched(tmp_path):
    table = vs.table("plain", {"x": 100_000}, dim=64)
    table.save(tmp_path / "base")
    table.lookup({"x": np.arange(0, 100_000, 1000)})
    table.update({"x": np.ones((100, 64))}, lr=0.1)
    table.save(tmp_path / "delta", since=tmp_path / "base")
    assert os.path.getsize(tmp_path / "delta") < 100 * 2 * (256 + 8) + 5000
    table.save(tmp_path / "nothing", since=tmp_path / "delta")
    assert os.path.getsize(tmp_path / "nothing") < 1000
    same(vs.table_open(tmp_path / "base", tmp_path / "delta", tmp_path / "nothing"), table)


@pytest.fixture
def chain(tmp_path):
    table = vs.table("unified", FIELDS, budget="20%")
    files = [tmp_path / name for name in ("base", "one", "two")]
    table.save(files[0])
    for at in (1, 2):
        learn(table, at, 1)
        table.save(files[at], since=files[at - 1])
    return table, files


def test_a_delta_behind_another_file_is_refused(chain, tmp_path):
    table, (base, one, two) = chain
    vs.table("unified", FIELDS, budget="20%", seed=1).save(tmp_path / "other")
    for files in ((base, two), (base, two, one), (tmp_path / "other", one), (base, one, one)):
        with pytest.raises(vs.ConflictError, match="chain"):
            vs.table_open(*files)
    with pytest.raises(vs.CorruptError, match="one is no table"):
        vs.table_open(one)
    with pytest.raises(vs.CorruptError, match="base is no delta"):
        vs.table_open(base, base)
    with pytest.raises(vs.InputError, match="last saved"):
        table.save(tmp_path / "three", since=one)
    with pytest.raises(vs.InputError, match="whole table"):
        vs.table("unified", FIELDS).save(tmp_path / "three", since=two)
    with pytest.raises(vs.ConflictError):
        table.save(two, since=two)
    table.finish()
    with pytest.raises(vs.InputError, match="finished"):
        table.save(tmp_path / "three", since=two)
    assert not (tmp_path / "three").exists()


def test_cut_and_flipped_bytes_of_a_delta_are_found(chain):
    table, (base, one, two) = chain
    data = one.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        at = int(rng.integers(len(data)))
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        for damaged in (bytes(flipped), data[:at]):
            one.write_bytes(damaged)
            try:
                found = vs.table_open(base, one, two)
            except (vs.CorruptError, vs.FormatError, vs.ConflictError):
                continue
            same(found, table)  # padding between arrays is nobody's
    one.write_bytes(data)
    same(vs.table_open(base, one, two), table)


def test_a_save_that_fails_leaves_the_chain_as_it_was(chain, tmp_path):
    table, (base, one, two) = chain
    with pytest.raises(vs.VecstoreError):
        table.save(tmp_path / "none" / "three", since=two)
    learn(table, 5, 1)
    table.save(tmp_path / "three", since=two)
    same(vs.table_open(base, one, two, tmp_path / "three"), table)
