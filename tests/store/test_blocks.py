"""Rows that change in place: snapshots, crashes, damage."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest

import vecstore as vs
from vecstore.store.blocks import BLOCK_ROWS, Blocks
from vecstore.store.spilled import SpilledRows

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def rows_of(numbers, number, width=24):
    """The rows that commit `number` puts."""
    seeds = (numbers * 31 + number * 7919)[:, None] + np.arange(width)
    return (seeds % 251 + 1).astype(np.uint8)


def numbers_of(number, rows):
    return np.unique(np.random.default_rng(number).integers(0, rows, 50))


WRITER = """
import sys, os
sys.path.insert(0, {tests!r})
from test_blocks import numbers_of, rows_of
from vecstore.store.blocks import Blocks

blocks = Blocks({path!r})
for number in range({first}, {last}):
    numbers = numbers_of(number, len(blocks))
    blocks.put(numbers, rows_of(numbers, number))
    blocks.commit()
    print(number, flush=True)
os._exit(0)  # without a close
"""


def writer(path, first, last):
    code = WRITER.format(tests=str(Path(__file__).parent), path=str(path), first=first, last=last)
    return subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)


def went(path, first, last):
    """A writer that has gone without a close."""
    with writer(path, first, last) as process:
        assert process.wait() == 0


def expected(last, rows=5000):
    """All rows after commits 1 to `last`."""
    out = np.zeros((rows, 24), np.uint8)
    for number in range(1, last + 1):
        numbers = numbers_of(number, rows)
        out[numbers] = rows_of(numbers, number)
    return out


@pytest.fixture
def path(tmp_path):
    Blocks.create(tmp_path / "it", row_bytes=24, rows=5000).close()
    return tmp_path / "it"


def write(path, first, last):
    with Blocks(path) as blocks:
        for number in range(first, last):
            numbers = numbers_of(number, len(blocks))
            blocks.put(numbers, rows_of(numbers, number))
            blocks.commit()


def read(path, **how):
    with Blocks(path, **how) as blocks:
        return blocks.get(np.arange(len(blocks)))


def test_rows_are_what_was_put_last_and_zeros_before(path):
    rng, plain = np.random.default_rng(0), np.zeros((5000, 24), np.uint8)
    for _ in range(5):
        with Blocks(path) as blocks:
            for _ in range(3):
                numbers = rng.integers(0, 5000, 70)
                values = rng.integers(0, 256, (70, 24)).astype(np.uint8)
                blocks.put(numbers, values)
                for number, value in zip(numbers, values, strict=True):
                    plain[number] = value
                some = rng.permutation(5000)[:900]
                assert np.array_equal(blocks.get(some), plain[some])
                blocks.commit()
            blocks.put(np.array([3]), np.full((1, 24), 9, np.uint8))  # never committed
        assert np.array_equal(read(path), plain)
    assert np.array_equal(read(path, read_only=True), plain)


def test_more_rows_are_zeros_and_what_was_there_stays(path):
    write(path, 1, 4)
    with Blocks(path) as blocks:
        blocks.grow(700_000)
        blocks.put(np.array([699_999]), np.full((1, 24), 5, np.uint8))
        blocks.commit()
        with pytest.raises(vs.SpecError, match="shrink"):
            blocks.grow(10)
    with Blocks(path, read_only=True) as blocks:
        assert len(blocks) == 700_000
        assert np.array_equal(blocks.get(np.arange(5000)), expected(3))
        assert (blocks.get(np.array([699_999])) == 5).all() and not blocks.get(np.array([650_000])).any()


def test_what_cannot_be_done_says_why(path, tmp_path):
    with pytest.raises(vs.NotFoundError):
        Blocks(tmp_path / "none")
    with pytest.raises(vs.ConflictError):
        Blocks.create(path, row_bytes=1, rows=1)
    with pytest.raises(vs.SpecError):
        Blocks.create(tmp_path / "other", row_bytes=0, rows=1)
    with Blocks(path) as blocks:
        for numbers, shape in (([5000], (1, 24)), ([1], (1, 23)), ([1, 2], (1, 24))):
            with pytest.raises(vs.ShapeError):
                blocks.put(np.array(numbers), np.zeros(shape, np.uint8))
        blocks.put(np.array([1]), np.zeros((1, 24), np.uint8))
        with pytest.raises(vs.StorageError, match="commit"):
            blocks.refresh()
        with writer(path, 1, 2) as other:
            assert other.wait() and not other.stdout.read()
    with pytest.raises(vs.StorageError, match="closed"):
        blocks.get(np.array([1]))
    with Blocks(path, read_only=True) as blocks, pytest.raises(vs.StorageError, match="read only"):
        blocks.put(np.array([1]), np.zeros((1, 24), np.uint8))


def test_readers_stay_at_their_snapshot_until_they_refresh(path):
    write(path, 1, 3)
    with Blocks(path, read_only=True) as blocks:
        some = numbers_of(3, 5000)
        before = blocks.get(some)
        went(path, 3, 6)
        assert np.array_equal(blocks.get(np.arange(5000)), expected(2))
        blocks.refresh()
        assert np.array_equal(blocks.get(np.arange(5000)), expected(5))
        assert not np.array_equal(blocks.get(some), before)


def test_a_writer_that_is_killed_loses_no_commit(path):
    last = 0
    for _ in range(2):
        with writer(path, last + 1, last + 10_000) as process:
            for _ in range(8):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            last += 8 + len(process.stdout.read().split())
        found = read(path)
        if not np.array_equal(found, expected(last)):
            last += 1  # committed, but not said any more
        assert np.array_equal(found, expected(last))


@pytest.fixture
def unclosed(path):
    """Blocks whose writer went without a close."""
    went(path, 1, 9)
    return path


def opened(path, **how):
    """The rows, or None if damage is found."""
    try:
        return read(path, **how)
    except (vs.CorruptError, vs.StorageError, vs.FormatError):
        return None


def damaged(path, where, seed):
    """A copy of a folder in which a bit is flipped, or a file cut off."""
    copy = path.with_name(f"damaged{seed}")
    shutil.copytree(path, copy)
    rng = np.random.default_rng(seed)
    data = bytearray((path / where).read_bytes())
    at = int(rng.integers(len(data)))
    if seed % 3:
        data[at] ^= 1 << int(rng.integers(8))
    else:
        del data[at:]
    (copy / where).write_bytes(data)
    return copy


@pytest.mark.parametrize("where", ["data.mdb", "seal"])
def test_damage_of_what_was_closed_is_found_or_harmless(path, where):
    write(path, 1, 9)
    found = 0
    for seed in range(40 if where == "data.mdb" else 9):
        rows = opened(damaged(path, where, seed))
        found += rows is None
        assert rows is None or np.array_equal(rows, expected(8))
    assert found == 40 or where == "seal"


@pytest.mark.parametrize("read_only", [False, True])
def test_damage_of_what_was_not_closed_is_found_or_harmless(unclosed, read_only):
    for seed in range(3):
        rows = opened(damaged(unclosed, "data.mdb", seed), read_only=read_only)
        assert rows is None or np.array_equal(rows, expected(8))


def test_an_older_version_of_what_was_not_closed_is_no_version(path):
    write(path, 1, 3)
    older = (path / "data.mdb").read_bytes()
    went(path, 3, 9)
    (path / "data.mdb").write_bytes(older)
    with pytest.raises(vs.CorruptError, match="commits of"):
        read(path)


def test_a_block_that_changes_while_it_is_open_is_found(path):
    with Blocks(path) as blocks:
        numbers = np.arange(BLOCK_ROWS)
        blocks.put(numbers, rows_of(numbers, 1))
        blocks.commit()
        data = (path / "data.mdb").read_bytes()
        at = data.index(rows_of(numbers, 1).tobytes())
        with open(path / "data.mdb", "r+b") as file:
            file.seek(at + 100)
            file.write(b"\xff")
        with pytest.raises(vs.CorruptError, match="block 0"):
            blocks.get(numbers)


def test_rows_that_a_table_gave_up_come_back_from_disk(tmp_path):
    table = vs.table("dynamic", {"item": 60}, dim=8, policy="lru", rows="int8", optimizer="adagrad")
    packed = 8 + 2 + 4 * 8  # a row, its scale, and squares

    def come(ids):
        rows = table.lookup({"item": np.asarray(ids)})["item"]
        table.update({"item": np.cos(9 * rows)}, lr=0.1)

    with SpilledRows(tmp_path / "rows", row_bytes=packed) as keeper:
        table.spill("item", keeper)
        come(np.arange(10))
        before = table.lookup({"item": np.arange(10)})["item"]
        for at in range(300):
            come(1000 + 20 * at + np.arange(20))
        keeper.commit()
        kept = len(keeper)
        keeper.put(np.array([5]), np.zeros((1, packed), np.uint8))  # never committed
        table.spill("item", None)
    with pytest.raises(vs.ShapeError, match="rows of 42 bytes"):
        SpilledRows(tmp_path / "rows", row_bytes=7)
    with SpilledRows(tmp_path / "rows", row_bytes=packed) as keeper:
        assert len(keeper) == kept > 5000
        there, _ = keeper.get(np.array([3, -1]))
        assert there.tolist() == [True, False]
        table.spill("item", keeper)
        table.lookup({"item": np.arange(10)})
        table.update({"item": np.zeros((10, 8))}, lr=0.0)
    assert np.array_equal(table.lookup({"item": np.arange(10)})["item"], before)


READER = """
from vecstore.store.blocks import Blocks
import time

blocks = Blocks({path!r}, read_only=True)
blocks.get([1])
print("reads", flush=True)
time.sleep(600)
"""


def test_a_reader_that_is_killed_holds_no_snapshot(path):
    write(path, 1, 2)
    code, pipe = READER.format(path=str(path)), subprocess.PIPE
    with (
        subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stdout=pipe) as stays,
        subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stdout=pipe) as goes,
    ):
        assert stays.stdout.readline() == goes.stdout.readline() == b"reads\n"
        goes.kill()
        goes.wait()
        with lmdb.open(str(path), readonly=True) as environment:
            assert f" {goes.pid} " in environment.readers() and f" {stays.pid} " in environment.readers()
        with Blocks(path, read_only=True) as blocks:
            found = blocks._environment.readers()
            assert f" {goes.pid} " not in found and f" {stays.pid} " in found
        stays.kill()
