"""One topic of `bench store` in a process of its own: a case in as JSON, its records out as JSON lines.

python -m vecstore.bench.store_worker < case.json
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import pyarrow as pa

from vecstore.archive.pages import sums_of
from vecstore.bench import capped, machine, timing
from vecstore.bench.contenders.rowstores import DIM, I64, PEERS, WIDTH, ids_of, make_store, pieces
from vecstore.bench.process import answer, failure
from vecstore.codecs.base import Array, Codec
from vecstore.kernels.threads import get_threads
from vecstore.store import Store, versions

Record = dict[str, Any]
BATCH = 10_000
_SETS = 25  # of ids that are asked for in turn
_SINGLES = 2000
_COMMIT_ROWS = 100
_LEAST_CAP = 48 << 20
_READ_BYTES = 1 << 19  # at a time, where nothing else is done
_FLOATS = WIDTH // 4  # dimensions of rows that are kept as float32, WIDTH bytes


def main() -> None:
    """Answers one case."""

    def records(case: Record) -> Iterator[Record]:
        with tempfile.TemporaryDirectory(prefix="vecstore-bench-", dir=case.get("folder")) as folder:
            yield from run(case, folder)

    answer(records)


def run(case: Record, folder: str) -> Iterator[Record]:
    """The records of a case."""
    if (threads := case.get("threads", 1)) > get_threads():
        yield {"missing": f"{threads} processors"}
        return
    try:
        yield from TOPICS[case["topic"]](case, folder)
    except Exception as error:  # A contender may fail in any way; the run goes on and the table says so.
        yield failure(error)


def _get(case: Record, folder: str) -> Iterator[Record]:
    """Batches and single rows by id, ours and others'."""
    rows, runs = case["rows"], case["runs"]
    make_store(os.path.join(folder, "x.store"), rows, case["segments"])
    ids = ids_of(rows)
    rng = np.random.default_rng(3)
    numbers = [rng.integers(0, rows, BATCH) for _ in range(_SETS)]
    sets = [(ids[chosen], chosen) for chosen in numbers]
    with Store.open(os.path.join(folder, "x.store")) as store:
        for asked, _ in sets:
            store.get_codes(asked)
        jobs: dict[str, timing.Job] = {"ours": _in_turn(lambda ids, _: store.get_codes(ids), sets)}
        for kind in PEERS:
            peer = kind()
            if package := peer.missing():
                yield {"peer": kind.label, "missing": package}
                continue
            try:
                peer.build(folder, rows)
                if not np.array_equal(store.get_codes(sets[0][0]), _as_codes(peer.get(*sets[0]))):
                    raise AssertionError(f"{kind.label} has other rows")
            except Exception as error:  # The others are measured without it.
                yield {"peer": kind.label, **failure(error)}
                continue
            jobs[kind.label] = _in_turn(peer.get, sets)
        times = timing.in_turn(jobs, runs=runs, clock=time.process_time)
        for label in list(jobs)[1:]:
            yield {"peer": label, **_pair("codes", times["ours"], times[label])}
        places = [(store.view.places(asked), None) for asked, _ in sets]
        jobs = {
            "find": _in_turn(lambda ids, _: store.view.places(ids), sets),
            "take": _in_turn(
                lambda at, _: store.view.ids.take(at, np.empty((BATCH, WIDTH), np.uint8)), places
            ),
        }
        times = timing.in_turn(jobs, runs=runs, clock=time.process_time)
        yield {"peer": "steps", **{f"{step}_us": float(np.median(times[step])) * 1e6 for step in jobs}}
        codec = store.codec
        assert isinstance(codec, Codec)
        gathered = [(store.get_codes(asked), None) for asked, _ in sets]
        jobs = {
            "ours": _in_turn(lambda ids, _: store.get(ids), sets),
            "decode": _in_turn(lambda codes, _: codec.decode(codes), gathered),
        }
        times = timing.in_turn(jobs, runs=runs, clock=time.process_time)
        yield {"peer": "decoding alone", **_pair("rows", times["ours"], times["decode"])}
        single = {
            "codes": _p50(store.get_codes, sets[0][0]),
            "rows": _p50(store.get, sets[0][0]),
        }
        yield {"peer": "one row", **{f"{what}_p50_us": found for what, found in single.items()}}


def _as_codes(found: Any) -> Any:
    if isinstance(found, pa.Table):
        column = found.column("code").combine_chunks()
        return np.frombuffer(column.buffers()[1], np.uint8)[column.offset * WIDTH :].reshape(-1, WIDTH)[
            : len(column)
        ]
    return found


def _in_turn(get: Callable[..., Any], sets: list[Any]) -> timing.Job:
    """A job that asks for the next set each time."""
    following = cycle(sets)
    return lambda: get(*next(following))


def _pair(what: str, ours: list[float], peer: list[float]) -> Record:
    return {
        f"{what}_ours_us": float(np.median(ours)) * 1e6,
        f"{what}_peer_us": float(np.median(peer)) * 1e6,
        **timing.ratios(what, ours, peer),
    }


def _p50(get: Callable[[int], Any], ids: Any) -> float:
    """Median microseconds of a call for one id."""
    times = []
    for one in ids[:_SINGLES].tolist():
        started = time.perf_counter_ns()
        get(one)
        times.append(time.perf_counter_ns() - started)
    return float(np.median(times)) / 1e3


def _memory(case: Record, folder: str) -> Iterator[Record]:
    """Random rows from the disk, under a cap of a quarter of the codes."""
    rows = case["rows"]
    path = os.path.join(folder, "x.store")
    make_store(path, rows, case["segments"])
    cap = max(rows * WIDTH // 4, _LEAST_CAP)
    if reason := capped.refusal():
        yield {"peer": "disk", "missing": reason}
        return
    ids, rng = ids_of(rows), np.random.default_rng(4)
    asked = [ids[rng.integers(0, rows, BATCH)] for _ in range(case["batches"])]
    plain = os.path.join(folder, "codes.bin")
    with open(plain, "wb") as file:
        for _, codes in pieces(rows):
            file.write(codes.data)
    record: Record = {"peer": "disk", "cap_mb": cap / 1e6}
    record["disk_rows_s"] = capped.measure(cap, folder, partial(capped.read_at_random, plain, WIDTH, BATCH))
    for what, memory in (("plain", None), ("memory", cap)):
        record[f"{what}_rows_s"] = capped.measure(
            cap, folder, partial(capped.get_at_random, path, memory, asked)
        )
    yield record


def _load(case: Record, folder: str) -> Iterator[Record]:
    """One large put, and an Arrow file of the same ids and bytes."""
    rows = case["rows"]
    ids = ids_of(rows)
    vectors = np.random.default_rng(0).standard_normal((rows, _FLOATS), dtype=np.float32)
    path, plain = os.path.join(folder, "x.store"), os.path.join(folder, "x.arrow")

    def put() -> timing.Job:
        store = Store.create(path, dim=_FLOATS, codec="f32", keep=None)

        def job() -> None:
            store.put(ids, vectors, check_space=False)
            store.close()

        return job

    put()()
    sizes = _sizes(path)
    everything = memoryview(np.random.default_rng(0).bytes(max(sizes)))
    shutil.rmtree(path)

    def bare() -> timing.Job:
        os.mkdir(path)
        return partial(_write_bare, path, [everything[:size] for size in sizes])

    def rounds(make: Callable[[], timing.Job]) -> timing.Times:
        times: timing.Times = {"own": [], "arrow": []}
        for number in range(1 + case["runs"]):
            # What was written before is removed: memory that the system never had costs more than the file.
            own = _seconds(make())
            shutil.rmtree(path)
            peer = _seconds(partial(_write_arrow, plain, ids, vectors))
            os.unlink(plain)
            if number:
                times["own"].append(own)
                times["arrow"].append(peer)
        return times

    record = _pair("load", *rounds(put).values())
    alone = timing.ratios("bare", *rounds(bare).values())
    yield {"peer": "Arrow file", "mb": rows * (WIDTH + 8) / 1e6, "bare_ratio": alone["bare_ratio"], **record}


def _write_arrow(path: str, ids: I64, vectors: Array) -> None:
    """An Arrow file of ids and the bytes of rows, made durable."""
    kind = pa.binary(WIDTH)
    codes = pa.FixedSizeBinaryArray.from_buffers(kind, len(ids), [None, pa.py_buffer(vectors)])
    batch = pa.RecordBatch.from_arrays([pa.array(ids), codes], names=["id", "code"])
    with open(path, "wb") as file:
        with pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        file.flush()
        os.fsync(file.fileno())


def _sizes(folder: str) -> list[int]:
    """Bytes of each file below a folder."""
    return [os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names]


def _write_bare(folder: str, files: list[memoryview]) -> None:
    """Files of these bytes, each made durable, and its name."""
    for number, data in enumerate(files):
        with open(os.path.join(folder, str(number)), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        versions.sync_names(folder)


def _read_bare(folder: str) -> None:
    """Every byte below a folder read once and summed, page by page."""
    buffer = np.empty(_READ_BYTES, np.uint8)
    for at, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(at, name), "rb", buffering=0) as file:
                while (size := file.readinto(buffer.data)) > 0:
                    sums_of(buffer[:size].data)


def _seconds(job: timing.Job) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def _commits(case: Record, folder: str) -> Iterator[Record]:
    """Small puts, and as many files made durable as one of them makes."""
    rows = np.random.default_rng(0).standard_normal((_COMMIT_ROWS, _FLOATS), dtype=np.float32)
    store = Store.create(os.path.join(folder, "x.store"), dim=_FLOATS, codec="f32", keep=None)
    number = cycle(range(1 << 30))

    def commit() -> None:
        first = next(number) * _COMMIT_ROWS
        store.put(np.arange(first, first + _COMMIT_ROWS), rows)

    def sync() -> None:
        for _ in range(2):
            path = os.path.join(folder, f"{next(number)}.bin")
            with open(path, "wb") as file:
                file.write(rows.data)
                file.flush()
                os.fsync(file.fileno())
            place = os.open(folder, os.O_RDONLY)
            os.fsync(place)
            os.close(place)

    times = timing.in_turn({"ours": commit, "sync": sync}, runs=case["runs"], least_s=0.2)
    yield {
        "peer": "4 fsyncs",
        "commits_s": 1 / float(np.median(times["ours"])),
        **_pair("commit", *times.values()),
    }


def _open(case: Record, folder: str) -> Iterator[Record]:
    """A store of many segments: opened, and asked for one row."""
    path = os.path.join(folder, "x.store")
    make_store(path, case["rows"], case["segments"])
    one = int(ids_of(case["rows"])[-1])
    Store.open(path).close()  # imports and compiles
    opened, first = [], []
    before = machine.forget_peak()
    peak = None
    for _ in range(case["runs"]):
        started = time.perf_counter()
        store = Store.open(path)
        opened.append(time.perf_counter() - started)
        peak = peak or machine.peak_bytes()
        store.get(one)
        first.append(time.perf_counter() - started)
        store.close()
    yield {
        "peer": "itself", "open_s": float(np.median(opened)), "first_row_s": float(np.median(first)),
        "peak_mb": None if before is None or peak is None else (peak - before) / 1e6,
    }  # fmt: skip


def _scan(case: Record, folder: str) -> Iterator[Record]:
    """All codes in order, as Arrow; and a full check."""
    path = os.path.join(folder, "x.store")
    make_store(path, case["rows"], case["segments"])
    with Store.open(path) as store:

        def scan() -> None:
            for part in store.view.parts:
                for batch in part.archive.code_batches():
                    len(batch)

        def check() -> None:
            if store.check():
                raise AssertionError("the store is not sound")

        clock = time.process_time if case.get("threads", 1) == 1 else time.perf_counter
        jobs: dict[str, timing.Job] = {"scan": scan, "check": check, "read": partial(_read_bare, path)}
        found = timing.in_turn(jobs, runs=case["runs"], least_s=0, clock=clock)
        seconds = {name: float(np.median(times)) for name, times in found.items()}
        everything = store.ledger().total / 1e9
        yield {
            "peer": "itself", "scan_gb_s": case["rows"] * WIDTH / 1e9 / seconds["scan"],
            "check_gb_s": everything / seconds["check"], "read_gb_s": everything / seconds["read"],
        }  # fmt: skip


TOPICS: dict[str, Callable[[Record, str], Iterator[Record]]] = {
    "get": _get, "memory": _memory, "load": _load, "commits": _commits, "open": _open, "scan": _scan,
}  # fmt: skip
assert DIM % WIDTH == 0

if __name__ == "__main__":
    main()
