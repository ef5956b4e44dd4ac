"""Several at once: writers that race, readers during commits, writers that are killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from store_trials.life import files_of_ids

import vecstore as vs
from vecstore.errors import ConflictError, InputError, NotFoundError
from vecstore.store import Store, hashfile

SCRIPTS = Path(__file__).resolve().parents[1]
SPAWN = multiprocessing.get_context("spawn")
WIDTH = 10  # rows of a commit that readers check

# Writes rows that can be told from their number, until it is killed or has come to the end.
STREAM = """
import sys
import numpy as np, pyarrow as pa
from vecstore.store import Store, index

index.LEAST_ROWS = 5
store = Store.open(sys.argv[1])
with store.writer(source="numbers") as writer:
    last = writer.last_offset
    first = 0 if last is None else last + 1
    for offset in range(first, int(sys.argv[2])):
        ids = np.arange(3 * offset, 3 * offset + 3)
        rows = np.repeat(ids.astype(np.float32), 2)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows), 2)
        writer.write(pa.record_batch({"id": pa.array(ids), "vector": vectors}), offset=offset)
        writer.commit()
        if offset == first:  # All kernels are loaded: from now on time goes into commits.
            print("ready", flush=True)
"""
# Puts rows by hand and says which are acknowledged; the row before the last is deleted, too, and so on.
PUTS = """
import sys
import numpy as np
from vecstore.store import Store, index

index.LEAST_ROWS = 5
store = Store.open(sys.argv[1])
first = 0 if not len(store) else max(int(i) for ids, _ in store.scan() for i in ids) + 1
for number in range(first, first + 10_000):
    store.put([number], np.full((1, 2), number, np.float32))
    if number == first:
        print("ready", flush=True)
    print("put", number, flush=True)
    if number % 7 == 3:
        store.delete([number - 1])
        print("deleted", number - 1, flush=True)
    if number % 40 == 39:
        store.compact()
        store.gc()
"""

# Makes stores, each of one put of many rows, and says which are made.
BULK = """
import sys
import numpy as np
from vecstore.store import Store

rows = np.repeat(np.arange(int(sys.argv[2]), dtype=np.float32), 2).reshape(-1, 2)
number = 0
while True:
    store = Store.create(f"{sys.argv[1]}/{number}.store", dim=2, codec="f32", keep=None, metric="l2")
    store.put(np.arange(len(rows)), rows)
    if number == 0:
        print("ready", flush=True)
    print(number, flush=True)
    number += 1
"""


def held(path: str) -> dict[int, list[float]]:
    """Rows by id, as a reader finds them now."""
    with Store.open(path, read_only=True) as store:
        return {int(i): row.tolist() for ids, rows in store.scan() for i, row in zip(ids, rows, strict=True)}


def _writes(path: str | Store, who: int, commits: int, out: Any) -> None:
    """Puts rows of its own, and tries again when another writer is faster."""
    store = path if isinstance(path, Store) else Store.open(path)
    conflicts = 0
    for number in range(commits):
        row = np.array([[who, number]], np.float32)
        while True:
            try:
                store.put([who * 1_000_000 + number], row)
                break
            except ConflictError:
                conflicts += 1
                time.sleep(0.002 * random.random())
    out.put((who, conflicts))


def run_writers(path: str, commits: int) -> dict[str, Any]:
    """Two processes, then two threads with a store each, then two with one: every row is there once."""
    Store.create(path, dim=2, codec="f32", keep=None).close()
    found: dict[str, Any] = {"task": "racing writers", "commits": 6 * commits, "wrong": []}
    shared = Store.open(path)
    kinds: list[tuple[str, Any, Any, Any]] = [
        ("processes", SPAWN.Process, SPAWN.Queue(), path),
        ("threads", threading.Thread, SimpleQueue(), path),
        ("threads with one store", threading.Thread, SimpleQueue(), shared),
    ]
    for kind, (name, make, out, store) in enumerate(kinds):
        workers = [make(target=_writes, args=(store, 2 * kind + who, commits, out)) for who in range(2)]
        for worker in workers:
            worker.start()
        found[f"conflicts of {name}"] = sum(out.get()[1] for _ in workers)
        for worker in workers:
            worker.join()
    expected = {w * 1_000_000 + n: [float(w), float(n)] for w in range(6) for n in range(commits)}
    if held(path) != expected or Store.open(path).version != 6 * commits:
        found["wrong"].append("rows or versions are missing")
    return found


def _reads(path: str, stop: Any, out: Any) -> None:
    """Reads until told to stop; gives what it read at which version, and how often."""
    seen: dict[int, set[float]] = {}
    reads, store = 0, Store.open(path, read_only=True)
    out.put("ready")
    while not stop.is_set():
        if reads % 10 == 9:
            store.close()
            store = Store.open(path, read_only=True)
        store.refresh()
        values = seen.setdefault(store.version, set())
        if len(store):
            values |= {float(value) for _, rows in store.scan() for value in rows[:, 0]}
            values |= set(store.get(np.arange(WIDTH))[:, 0].tolist())
            ids, scores = store.search(np.array([[1, 0]], np.float32), k=WIDTH)
            values |= set(scores[0].tolist())
            if len(store) != WIDTH or set(ids[0].tolist()) != set(range(WIDTH)):
                values.add(float("nan"))
        reads += 1
        time.sleep(0.002)  # for the writer, where there are few processors
    out.put((reads, seen))


def run_readers(path: str, commits: int, readers: int) -> dict[str, Any]:
    """Reader processes during commits: each read is of one committed version, whole."""
    store = Store.create(path, dim=2, codec="f32", keep="f32")
    stop, out = SPAWN.Event(), SPAWN.Queue()
    workers = [SPAWN.Process(target=_reads, args=(path, stop, out)) for _ in range(readers)]
    for worker in workers:
        worker.start()
    for _ in workers:
        out.get()
    truth: dict[int, set[float]] = {0: set()}
    with files_of_ids(WIDTH // 2):
        for number in range(1, commits + 1):
            rows = np.stack([np.full(WIDTH, number), np.zeros(WIDTH)], axis=1).astype(np.float32)
            store.put(np.arange(WIDTH), rows)
            truth[store.version] = {float(number)}
            if number % 25 == 0:
                store.compact()
                truth[store.version] = {float(number)}
                store.gc(keep=3)
    stop.set()
    found = [out.get() for _ in workers]
    for worker in workers:
        worker.join()
    reads = sum(count for count, _ in found)
    wrong = [
        [version, sorted(values)]
        for _, seen in found
        for version, values in seen.items()
        if values != truth.get(version)
    ]
    versions = len({version for _, seen in found for version in seen})
    return {
        "task": "readers", "readers": readers, "commits": commits, "reads": reads,
        "versions_seen": versions, "wrong": wrong,
    }  # fmt: skip


def _start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    return process


def _kill(process: subprocess.Popen[bytes]) -> list[bytes]:
    """What it had said when it was killed, whole lines."""
    os.kill(process.pid, signal.SIGKILL)
    assert process.stdout is not None
    said = process.stdout.read()
    process.wait()
    process.stdout.close()
    return said[: said.rfind(b"\n") + 1].splitlines()


def run_stream_kills(path: str, kills: int, seed: int = 0) -> dict[str, Any]:
    """A stream writer is killed and started again: in the end each row is there once; readers see batches."""
    Store.create(path, dim=2, codec="f32", keep=None, metric="l2").close()
    rng, seen, wrong = random.Random(seed), 0, []
    for _ in range(kills):
        process = _start(STREAM, path, 1 << 30)
        stop = time.monotonic() + rng.uniform(0.0, 0.3)
        while True:
            found = held(path)
            if found != {i: [i, i] for i in range(len(found))} or len(found) % 3 or len(found) < seen:
                wrong.append(f"a reader found {len(found)} rows after {seen}")
            seen = len(found)
            if time.monotonic() > stop:
                break
        _kill(process)
    with Store.open(path) as store:
        last = store.writer(source="numbers").last_offset
        process = _start(STREAM, path, (-1 if last is None else last) + 21)
        process.communicate()
    with Store.open(path) as store:
        last = store.writer(source="numbers").last_offset or 0
        if len(store) != 3 * (last + 1) or store.check() or len(held(path)) != len(store):
            wrong.append(f"{len(store)} rows at offset {last}")
        store.compact()
        store.gc()
    if held(path) != {i: [i, i] for i in range(3 * (last + 1))}:
        wrong.append("rows are missing or there twice in the end")
    if last + 1 < 2 * kills:
        wrong.append(f"only {last + 1} commits: writers were killed before they had begun")
    return {"task": "stream kills", "kills": kills, "commits": last + 1, "wrong": wrong}


def run_kills(path: str, kills: int, seed: int = 0) -> dict[str, Any]:
    """A writer is killed: what it said to be done is done, and at most the one thing after that."""
    Store.create(path, dim=2, codec="f32", keep=None, metric="l2").close()
    rng, wrong, acknowledged = random.Random(seed), [], 0
    before: set[int] = set()
    for kill in range(kills):
        process = _start(PUTS, path)
        stop = time.monotonic() + rng.uniform(0.0, 0.3)
        while time.monotonic() < stop:
            found = held(path)
            if any(row != [i, i] for i, row in found.items()):
                wrong.append("a reader found a wrong row")
        rows = set(before)
        said = _kill(process)
        for line in said:
            what, number = line.split()
            rows = rows | {int(number)} if what == b"put" else rows - {int(number)}
        acknowledged += len(said)
        found = held(path)
        put = max(before | rows, default=-1) + 1
        allowed = [rows, rows | {put}, rows - {max(rows, default=0) - 1}]
        with Store.open(path, read_only=True) as store:
            findings = store.check() if kill % 10 == 0 else []
        if set(found) not in allowed or findings or any(row != [i, i] for i, row in found.items()):
            wrong.append(f"kill {kill}: {sorted(set(found) ^ rows)[:10]} differ; {findings}")
        before = set(found)
    if acknowledged < 2 * kills:
        wrong.append(f"only {acknowledged} were acknowledged: writers were killed before they had begun")
    return {"task": "kills", "kills": kills, "acknowledged": acknowledged, "wrong": wrong}


def run_bulk_kills(folder: str, kills: int, rows: int, seed: int = 0) -> dict[str, Any]:
    """A writer of stores of one put each is killed: all rows of a store are there, or none, as it said."""
    rng, wrong, stores, written = random.Random(seed), [], 0, 0
    for kill in range(kills):
        place = os.path.join(folder, str(kill))
        os.mkdir(place)
        process = _start(BULK, place, rows)
        time.sleep(rng.uniform(0.0, 0.3))
        said = len(_kill(process))
        for number in range(said + 1):
            path = os.path.join(place, f"{number}.store")
            try:
                with Store.open(path, read_only=True) as store:
                    found, findings = len(store), vs.check(path)
                    some = np.arange(found)[::97]
                    same = np.array_equal(store.get(some), np.repeat(some, 2).reshape(-1, 2))
                    written += len(hashfile.paths(path))
            except (NotFoundError, InputError):
                found, findings, same = 0, [], True
            stores += 1
            if found not in (rows, *([] if number < said else [0])) or findings or not same:
                wrong.append(f"kill {kill}, store {number} of {said}: {found} rows, {findings}")
        shutil.rmtree(place)
    return {
        "task": "bulk kills", "kills": kills, "rows": rows, "stores": stores, "files_of_ids": written,
        "wrong": wrong,
    }  # fmt: skip
