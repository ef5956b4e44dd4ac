"""Streams into stores: committed as they come, none of it twice, and a cut one refused."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

import vecstore as vs
from vecstore.store import Store
from vecstore.stream import ingest

DIM = 8


def rows_of(first, count):
    return np.repeat(np.arange(first, first + count, dtype=np.float32), DIM).reshape(count, DIM)


def batches(first, count, step=10):
    for start in range(first, first + count, step):
        rows = min(step, first + count - start)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows_of(start, rows).reshape(-1)), DIM)
        ids = [f"r{i}" for i in range(start, start + rows)]
        yield pa.record_batch({"id": ids, "vector": vectors, "n": list(range(start, start + rows))})


def stream(first, count, step=10):
    out = io.BytesIO()
    found = list(batches(first, count, step))
    with pa.ipc.new_stream(out, found[0].schema) as writer:
        for batch in found:
            writer.write_batch(batch)
    return out.getvalue()


@pytest.fixture
def path(tmp_path):
    Store.create(tmp_path / "x.store", dim=DIM, codec="f16", metric="l2").close()
    return tmp_path / "x.store"


def start(path, *options, **pipes):
    command = [sys.executable, "-m", "vecstore", "ingest", str(path), "-", *map(str, options)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def run(path, data, *options):
    child = start(path, *options)
    out, error = child.communicate(data, timeout=120)
    return child.returncode, out.decode(), error.decode()


def held(path):
    with Store.open(path, read_only=True) as store:
        assert store.check() == []
        return {i: float(row[0]) for ids, rows in store.scan() for i, row in zip(ids, rows, strict=True)}


def expected(count):
    return {f"r{i}": float(i) for i in range(count)}


def wait_for(path, count):
    stop = time.monotonic() + 60
    while len(held(path)) < count and time.monotonic() < stop:
        time.sleep(0.05)
    assert len(held(path)) == count


def test_a_cut_stream_is_refused_and_goes_on_where_it_was(path):
    whole = stream(0, 100)
    code, _, error = run(path, whole[:-8], "--source", "s", "--every-rows", 40)
    assert code == 3 and "no end marker" in error and "rows before 80 are committed" in error
    assert held(path) == expected(80)
    for at in (len(whole) - 4, len(whole) // 2):
        assert run(path, whole[:at], "--source", "s", "--every-rows", 40)[0] == 3
        assert held(path) == expected(80)
    code, out, _ = run(path, whole, "--source", "s", "--json")
    assert code == 0 and json.loads(out) | {"version": 0} == {
        "rows": 20, "skipped": 80, "offset": 100, "version": 0,
    }  # fmt: skip
    assert held(path) == expected(100)
    code, out, _ = run(path, stream(100, 5), "--source", "s", "--offset", 100)
    assert code == 0 and held(path) == expected(105)


def test_rows_are_committed_after_a_while_and_an_interruption_keeps_them(path):
    whole = stream(0, 100)
    child = start(path, "--source", "s", "--every-seconds", 0.2)
    child.stdin.write(whole[: len(whole) // 2])
    child.stdin.flush()
    stop = time.monotonic() + 60
    while not held(path) and time.monotonic() < stop:
        time.sleep(0.05)
    time.sleep(1)
    seen = held(path)
    child.send_signal(signal.SIGINT)
    child.wait(timeout=60)  # its input is still open
    _, error = child.communicate(timeout=60)
    assert child.returncode == 130 and f"interrupted; rows before {len(seen)} are committed" in error.decode()
    assert seen == held(path) == expected(len(seen)) and 30 < len(seen) < 60
    assert run(path, whole, "--source", "s")[0] == 0 and held(path) == expected(100)


def test_no_more_is_read_than_fits_while_another_writes(path):
    store = Store.open(path)
    data = stream(0, 400_000, step=1000)
    with store._commit():
        child = start(path, "--source", "s", "--every-rows", 5000)
        os.set_blocking(child.stdin.fileno(), False)
        sent, last = 0, time.monotonic()
        while time.monotonic() < last + (4 if sent > 65536 else 60):  # It takes a while to begin.
            try:
                sent += os.write(child.stdin.fileno(), data[sent : sent + 65536])
                last = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        assert 100_000 < sent < len(data) // 10
    os.set_blocking(child.stdin.fileno(), True)
    child.stdin.write(data[sent : sent + 65536])  # it goes on
    wait_for_some = time.monotonic() + 60
    while not len(Store.open(path)) and time.monotonic() < wait_for_some:
        time.sleep(0.1)
    assert len(Store.open(path)) >= 5000
    child.kill()
    child.communicate()


def test_the_codec_is_fitted_when_there_are_rows_enough(tmp_path, monkeypatch):
    monkeypatch.setattr("vecstore.store.writing.FIT_ROWS", 300)
    path = tmp_path / "x.store"
    Store.create(path, dim=DIM, codec="sq:bits=8", metric="l2").close()
    reader = pa.RecordBatchReader.from_batches(next(batches(0, 1)).schema, batches(0, 200))
    vs.ingest(path, reader, name="s", every_rows=50)
    with Store.open(path) as store:
        assert store.codec is None and store.get(["r7"])[0, 0] == 7.0
        assert store.search(rows_of(7, 1), k=1)[0][0, 0] == "r7"
    reader = pa.RecordBatchReader.from_batches(next(batches(0, 1)).schema, batches(0, 600))
    found = vs.ingest(path, reader, name="s", every_rows=50)
    assert (found.rows, found.skipped, found.offset) == (400, 200, 600)
    with Store.open(path) as store:
        assert str(store.spec).startswith("sq") and len(store) == 600
        assert np.allclose(store.get(["r7", "r250"])[:, 0], [7, 250], atol=2)


def table(first, count):
    return pa.Table.from_batches(list(batches(first, count)))


def test_what_does_not_go_on_is_refused(path):
    vs.ingest(path, table(0, 50), name="s")
    with pytest.raises(vs.InputError, match="begins with row 60; of s the store has those before 50"):
        vs.ingest(path, table(60, 10), name="s", offset=60)
    with pytest.raises(vs.InputError, match=r"ends before row 20; .* those before 50"):
        vs.ingest(path, table(0, 20), name="s")
    with pytest.raises(vs.ShapeError, match="3 dimensions"):
        vs.ingest(path, np.ones((4, 3), np.float32))
    with pytest.raises(vs.SpecError, match="0 seconds"):
        vs.ingest(path, table(0, 5), every_s=0)
    bad = rows_of(0, 100)
    bad[70] = np.nan
    with pytest.raises(vs.InputError, match=r"row 70 \(counted from 0\).*rows before 60 are committed"):
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(bad.reshape(-1)), DIM)
        vs.ingest(path, table(0, 100).set_column(1, "vector", vectors), name="t", every_rows=20)
    assert held(path) == expected(60)


def test_of_two_that_take_in_the_same_stream_one_is_told(path, monkeypatch):
    real = Store.take_in

    def overtaken(store, *arguments, **claim):
        monkeypatch.setattr(Store, "take_in", real)
        vs.ingest(path, table(0, 30), name="s")
        return real(store, *arguments, **claim)

    monkeypatch.setattr(Store, "take_in", overtaken)
    with pytest.raises(vs.ConflictError, match="up to offset 30"):
        vs.ingest(path, table(0, 30), name="s")
    assert held(path) == expected(30)


def test_a_writer_that_stays_is_an_error_after_a_while(path, monkeypatch):
    monkeypatch.setattr(ingest, "_PATIENCE_S", 0.2)
    with Store.open(path)._commit(), pytest.raises(vs.ConflictError, match="written to by another"):
        vs.ingest(path, table(0, 30), name="s")
    assert held(path) == {}


def test_rows_without_ids_get_their_numbers_and_files_are_taken_too(tmp_path):
    path = tmp_path / "y.store"
    Store.create(path, dim=DIM, codec="f32", keep=None).close()
    np.save(tmp_path / "a.npy", rows_of(0, 30))
    seen = []
    found = vs.ingest(path, tmp_path / "a.npy", every_rows=10, progress=lambda *args: seen.append(args))
    assert found.rows == 30 and seen == [(10, 30), (20, 30), (30, 30)]
    assert Store.open(path).get([29])[0, 0] == 29.0
