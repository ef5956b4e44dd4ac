"""Damage to any file of a store: each trial ends in the right rows, or in an error that says so."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

import vecstore as vs
from vecstore.store import Store, index, layout, writing

ROWS, DIM = 400, 16
SECTOR = 512
WHERE = "lang = 'de'"
KINDS = ("flip", "zeroed sector", "cut", "swapped", "missing", "longer")
WORKERS = 3  # processes
LIMIT_S = 60  # of a trial: longer is a hang
QUERIES = np.random.default_rng(5).standard_normal((3, DIM)).astype(np.float32)


def make(path: str) -> None:
    """A store with all that one may have: two generations, deletes, finer rows, columns, tags, a stream."""
    rng = np.random.default_rng(0)
    before = writing.FIT_ROWS, index.LEAST_ROWS
    writing.FIT_ROWS, index.LEAST_ROWS = 100, 100
    try:
        store = Store.create(path, dim=DIM, codec="sq:bits=8", keep="f16", metric="l2")

        def batch(first: int, count: int) -> tuple[list[str], np.ndarray, dict[str, list[object]]]:
            rows = rng.standard_normal((count, DIM)).astype(np.float32)
            ids = [f"item-{first + i}" for i in range(count)]
            return ids, rows, {"lang": ["en", "de", None, "fr"][: count % 4] + ["en"] * (count - count % 4)}

        store.put(*batch(0, ROWS))
        store.tag("early")
        store.delete([f"item-{i}" for i in range(0, ROWS, 9)])
        store.refit("pq:m=4,bits=4")
        store.put(*batch(ROWS - 40, ROWS))
        ids, rows, columns = batch(2 * ROWS, 30)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), DIM)
        with store.writer("clicks") as writer:
            writer.write(pa.record_batch({"id": ids, "vector": vectors, **columns}), offset=7)
        store.delete(["item-1", f"item-{ROWS}"])
        store.tag("late")
        store.get(["item-2"])
        store.close()
    finally:
        writing.FIT_ROWS, index.LEAST_ROWS = before


def _rows(store: Store) -> list[object]:
    found = []
    for batch in store.batches():
        assert batch.ids is not None and batch.columns is not None
        found += list(zip(batch.ids.to_pylist(), batch.rows.tolist(), batch.columns.to_pylist(), strict=True))
    return found


def _tagged(store: Store) -> object:
    found = {}
    for name in ("early", "late"):
        with Store.open(store.path, version=name) as old:
            found[name] = _rows(old)
    return found


def _some(store: Store) -> object:
    return store.get(["item-2", f"item-{ROWS + 5}", f"item-{2 * ROWS + 3}"]).tolist()


def _missing(store: Store) -> object:
    found = []
    for name in ("item-0", "item-1", f"item-{3 * ROWS}"):
        try:
            found.append(store.get([name]).tolist())
        except vs.NotFoundError:
            found.append("none")
    return found


READS: dict[str, Callable[[Store], object]] = {
    "rows": _rows,
    "get": _some,
    "unknown ids": _missing,
    "search": lambda store: [part.tolist() for part in store.search(QUERIES, k=7)],
    "filtered": lambda store: [part.tolist() for part in store.search(QUERIES, 3, where=WHERE)],
    "tags": lambda store: store.tags(),
    "tagged rows": _tagged,
    "source": lambda store: store.writer("clicks").last_offset,
    "count": len,
}


def truth_of(path: str) -> dict[str, object]:
    """What a sound store gives."""
    with Store.open(path, read_only=True) as store:
        return {name: read(store) for name, read in READS.items()}


def outcome(path: str, truth: dict[str, object]) -> tuple[str, list[str]]:
    """Whether the damage was noticed, and which reads gave what is not so."""
    wrong: list[str] = []
    try:
        noticed = vs.check(path) != []
    except vs.VecstoreError:
        noticed = True
    try:
        with Store.open(path, read_only=True) as store:
            for name, read in READS.items():
                try:
                    if read(store) != truth[name]:
                        wrong.append(name)
                except vs.VecstoreError:
                    noticed = True
    except vs.VecstoreError:
        noticed = True
    return "detected" if noticed else "harmless", wrong


def files_of(path: str) -> list[str]:
    """All files but the lock, relative, in order."""
    found = [os.path.join(place, name) for place, _, names in os.walk(path) for name in names]
    return sorted(os.path.relpath(name, path) for name in found if os.path.basename(name) != layout.LOCK)


def damage(path: str, kind: str, rng: random.Random) -> tuple[str, list[str]]:
    """Damages one file, or swaps two; what was done, and the files to restore.

    Sectors that are zeros are passed over. Versions and tags are not taken away: what is left would be what
    was there before them.
    """
    names = [name for name in files_of(path) if os.path.getsize(os.path.join(path, name))]
    if kind == "missing":
        names = [name for name in names if not name.startswith((layout.TAGS, layout.VERSIONS))]
    sizes = [os.path.getsize(os.path.join(path, name)) for name in names]
    name = rng.choice(names) if rng.random() < 0.5 else rng.choices(names, sizes)[0]
    target = os.path.join(path, name)
    with open(target, "rb") as file:
        data = bytearray(file.read())
    at = rng.randrange(len(data))
    if kind == "missing":
        os.unlink(target)
        return f"{name} is missing", [name]
    if kind == "swapped":
        others = [other for other in names if other != name]
        likes = [other for other in others if os.path.dirname(other) == os.path.dirname(name)]
        other = rng.choice(likes or others)
        os.rename(target, f"{target}.x")
        os.rename(os.path.join(path, other), target)
        os.rename(f"{target}.x", os.path.join(path, other))
        return f"{name} and {other} are swapped", [name, other]
    if kind == "flip":
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "zeroed sector":
        at -= at % SECTOR
        if not any(data[at : at + SECTOR]):
            return damage(path, kind, rng)
        data[at : at + SECTOR] = bytes(len(data[at : at + SECTOR]))
    elif kind == "cut":
        del data[at:]
    else:
        data += rng.randbytes(rng.randrange(1, 2000))
    with open(target, "wb") as file:
        file.write(data)
    return f"{name}: {kind} at {at}", [name]


def work(whole: str, folder: str, kind: str, first: int, last: int) -> None:
    """Trials from first to last on a copy, a line each: begun, and how it ended."""
    path = os.path.join(folder, f"{os.getpid()}.store")
    shutil.copytree(whole, path)
    truth = truth_of(path)
    for number in range(first, last):
        signal.alarm(LIMIT_S)
        print(json.dumps([number, "begun", []]), flush=True)
        what, touched = damage(path, kind, random.Random(f"{kind} {number}"))
        how, wrong = outcome(path, truth)
        for name in touched:
            shutil.copy(os.path.join(whole, name), os.path.join(path, name))
        print(json.dumps([number, how, [f"{what}: {', '.join(wrong)}"] if wrong else []]), flush=True)
    signal.alarm(0)
    shutil.rmtree(path)


def _child(whole: str, folder: str, kind: str, first: int, last: int) -> subprocess.Popen[str]:
    code = "import sys; from store_trials.damage import work; work(*sys.argv[1:4], *map(int, sys.argv[4:]))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, whole, folder, kind, str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def _lines(whole: str, folder: str, kind: str, first: int, last: int) -> Iterator[tuple[str, list[str]]]:
    """How each trial of a range ended, whatever becomes of the process: a new one goes on behind a crash."""
    while first < last:
        child = _child(whole, folder, kind, first, last)
        assert child.stdout is not None
        for line in child.stdout:
            number, how, wrong = json.loads(line)
            if how != "begun":
                first = number + 1
                yield how, wrong
        child.stdout.close()
        if child.wait():
            ended = "hang" if child.returncode == -signal.SIGALRM else f"crash {child.returncode}"
            yield ended, [f"trial {first} of {kind}"]
            first += 1


def run(folder: str, kind: str, trials: int) -> dict[str, Any]:
    """Trials of one kind of damage: a record."""
    whole = os.path.join(folder, "whole.store")
    if not os.path.exists(whole):
        make(whole)
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    step = -(-trials // WORKERS)
    ranges = [(first, min(first + step, trials)) for first in range(0, trials, step)]
    with ThreadPoolExecutor(WORKERS) as pool:
        for found in pool.map(lambda part: list(_lines(whole, folder, kind, *part)), ranges):
            outcomes.update(how for how, _ in found)
            wrong += [line for _, lines in found for line in lines]
    files = files_of(whole)
    return {
        "task": "damage", "damage": kind, "trials": trials, "files": len(files),
        "index": any(name.startswith("index") for name in files), "outcomes": dict(outcomes), "wrong": wrong,
    }  # fmt: skip
