"""A stream writer that is killed and started again: every row is there once, and readers see commits only."""

import os
import random
import signal
import subprocess
import sys
import time

from vecstore.store import Store

KILLS = 6
BATCHES = 400
PRODUCER = """
import sys
import numpy as np, pyarrow as pa
from vecstore.store import Store

store = Store.open(sys.argv[1])
with store.writer(source="numbers") as writer:
    last = writer.last_offset
    print("ready", flush=True)
    for offset in range(0 if last is None else last + 1, int(sys.argv[2])):
        ids = np.arange(3 * offset, 3 * offset + 3)
        rows = np.repeat(ids.astype(np.float32), 2)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows), 2)
        writer.write(pa.record_batch({"id": pa.array(ids), "vector": vectors}), offset=offset)
        writer.commit()
"""


def contents(store):
    return {int(i): row.tolist() for ids, rows in store.scan() for i, row in zip(ids, rows, strict=True)}


def test_a_killed_stream_writer_loses_and_doubles_nothing(tmp_path):
    path = tmp_path / "x.store"
    Store.create(path, dim=2, codec="f32", keep=None, metric="l2").close()
    rng = random.Random(0)
    seen = 0
    for kill in range(KILLS + 1):
        goal = (
            BATCHES if kill < KILLS else int(Store.open(path).writer(source="numbers").last_offset or 0) + 20
        )
        process = subprocess.Popen(
            [sys.executable, "-c", PRODUCER, str(path), str(goal)], stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"ready\n"
        if kill < KILLS:
            stop = time.monotonic() + rng.uniform(0.02, 0.4)
            while time.monotonic() < stop:  # a reader meanwhile
                seen = check_whole(path, seen)
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        seen = check_whole(path, seen)
    with Store.open(path) as store:
        last = store.writer(source="numbers").last_offset
        assert len(store) == 3 * (last + 1) and store.check() == []
        store.compact()
        store.gc()
        assert len(contents(store)) == 3 * (last + 1) and store.check() == []


def check_whole(path, least):
    """How many rows a reader sees: those of whole batches, in order, never fewer than before."""
    with Store.open(path, read_only=True) as store:
        found = contents(store)
    assert found == {i: [i, i] for i in range(len(found))}
    assert len(found) % 3 == 0 and len(found) >= least
    return len(found)
