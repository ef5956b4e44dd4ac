"""Does any file, however damaged, make a reader do anything but read or refuse?

    python scripts/fuzz_readers.py >> docs/reliability/fuzz_readers.jsonl

One JSON line per reader: how many inputs were read cleanly and how many refused, by the kind of error.
Anything else is `unexpected` (another exception) or `crashes` (the process died), and the exit code is 1.
Each reader runs in a process of its own. `--reader .npy --only 17` runs one input again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vecstore.errors import FormatError, VecstoreError
from vecstore.formats import Batch, open_sink, open_source
from vecstore.formats.registry import READERS

Change = Callable[[np.random.Generator, bytearray], None]
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1)
_SLOW_S = 5.0


def seeds(suffix: str, folder: Path) -> list[bytes]:
    """Small valid files of a format: float32 and float16, with and without ids and columns."""
    rng = np.random.default_rng(0)
    found = []
    for rows, dtype, with_ids in ((40, np.float32, True), (3, np.float16, False), (300, np.float32, False)):
        values = rng.integers(0, 100, (rows, 5)).astype(dtype)
        ids = pa.array([f"w{i}" for i in range(rows)]) if with_ids else None
        columns = None
        if with_ids:
            tags = pa.array(["a", "b"] * (rows // 2)).dictionary_encode()
            columns = pa.record_batch({"tag": tags, "list": pa.array([["x", None]] * rows)})
        path = str(folder / f"seed{len(found)}{suffix}")
        schema = columns.schema if columns is not None else pa.schema([])
        id_type = pa.string() if with_ids else None
        with open_sink(path, dim=5, dtype=dtype, id_type=id_type, columns=schema, rows=rows) as sink:
            sink.write(Batch(values, ids, columns, "seed", 0))
        found.append(Path(path).read_bytes())
    return found


def foreign_seeds(suffix: str) -> list[bytes]:
    """Valid files as other programs write them: without checksums, and with lists of no fixed size."""
    values = np.random.default_rng(2).integers(0, 100, (60, 5)).astype(np.float32)
    target = io.BytesIO()
    table = pa.table({"id": np.arange(60), "v": pa.array(values.tolist(), pa.list_(pa.float32()))})
    if suffix in (".parquet", ".pq"):
        pq.write_table(table, target, compression="none", use_dictionary=False)
    elif suffix in (".arrow", ".feather", ".ipc"):
        with pa.ipc.new_file(
            target, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")
        ) as writer:
            writer.write_table(table, max_chunksize=25)
    elif suffix == ".arrows":
        with pa.ipc.new_stream(target, table.schema) as writer:
            writer.write_table(table, max_chunksize=25)
    elif suffix == ".npy":
        np.save(target, np.asfortranarray(values.astype(">f8")))
    elif suffix == ".npz":
        np.savez_compressed(target, np.asfortranarray(values))
    elif suffix in (".h5", ".hdf5", ".hdf"):
        with h5py.File(target, "w") as file:
            file["train"] = values
            file["neighbors"] = np.arange(5)
    else:
        return []
    return [target.getvalue()]


def flip(rng: np.random.Generator, data: bytearray) -> None:
    """Flips one to eight bits."""
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))


def cut(rng: np.random.Generator, data: bytearray) -> None:
    """Cuts the end off."""
    del data[int(rng.integers(len(data))) :]


def put_number(rng: np.random.Generator, data: bytearray) -> None:
    """Overwrites a few bytes with a number that parsers stumble over; headers more often than rows."""
    width = int(rng.choice([1, 2, 4, 8]))
    span = min(len(data), 256) if rng.integers(2) else len(data)
    at = int(rng.integers(span)) if rng.integers(3) else len(data) - 1 - int(rng.integers(span))
    number = int(_EDGES[int(rng.integers(len(_EDGES)))]) & ((1 << 8 * width) - 1)
    data[at : at + width] = number.to_bytes(width, "little")


def splice(rng: np.random.Generator, data: bytearray) -> None:
    """Copies a piece over another place, inserts it, or takes it away."""
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
    at, piece = int(rng.integers(len(data))), data[start : start + length]
    kind = int(rng.integers(3))
    if kind == 0:
        data[at : at + len(piece)] = piece
    elif kind == 1:
        data[at:at] = piece
    else:
        del data[at : at + length]


def digits(rng: np.random.Generator, data: bytearray) -> None:
    """Changes digits and signs of a text header."""
    places = [i for i, byte in enumerate(data[:4096]) if chr(byte) in "0123456789,:[]{}()'\" \n"]
    for _ in range(int(rng.integers(1, 4))):
        if places:
            data[int(rng.choice(places))] = int(rng.choice(list(b"0123456789-.eE,:[]{}()'\" \n\t")))


CHANGES: tuple[Change, ...] = (flip, cut, put_number, put_number, splice, digits)


def make(index: int, seed_files: list[bytes]) -> bytes:
    """The input with this number: random bytes, or a valid file changed one to three times."""
    rng = np.random.default_rng([1, index])
    if index % 10 == 0:
        return rng.integers(0, 256, int(rng.integers(0, 600)), dtype=np.uint8).tobytes()
    data = bytearray(seed_files[int(rng.integers(len(seed_files)))])
    for _ in range(int(rng.integers(1, 4))):
        if data:
            CHANGES[int(rng.integers(len(CHANGES)))](rng, data)
    return bytes(data)


def read(path: str) -> int:
    """Reads all rows, and some by number; the row count."""
    rows = 0
    with open_source(path) as source:
        for batch in source.batches(64):
            assert batch.rows.shape[1] == source.dim and len(batch) <= 64
            assert batch.ids is None or len(batch.ids) == len(batch)
            float(batch.rows.astype(np.float32)[0, -1])
            if batch.columns is not None:
                batch.columns.to_pylist()
            rows += len(batch)
        assert source.rows is None or source.rows == rows
        if rows:
            source.take(np.array([0, rows - 1]))
    return rows


def peak_kib() -> int:
    """The most memory that this process had; getrusage would count its parent's before exec, too."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0])


def run(suffix: str, first: int, count: int, journal: Path) -> None:
    """Reads the inputs from first on; the journal tells the parent how far it got."""
    tally: Counter[str] = Counter()
    unexpected: list[str] = []
    slowest, rows = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        seed_files = seeds(suffix, Path(folder)) + foreign_seeds(suffix)
        base = peak_kib()
        path = os.path.join(folder, f"input{suffix}")
        for index in range(first, first + count):
            Path(path).write_bytes(make(index, seed_files))
            journal.write_text(str(index))
            started = time.perf_counter()
            try:
                rows += read(path)
                tally["clean"] += 1
            except VecstoreError as error:
                tally[type(error).__name__] += 1
            except Exception:
                unexpected.append(f"input {index}: {traceback.format_exc(limit=-3)}")
            elapsed = time.perf_counter() - started
            if elapsed > _SLOW_S:
                unexpected.append(f"input {index} took {elapsed:.1f} s")
            slowest = max(slowest, elapsed)
    result = {
        "outcomes": dict(tally),
        "rows": rows,
        "unexpected": unexpected,
        "slowest_s": round(slowest, 3),
        "grown_mib": (peak_kib() - base) // 1024,
    }
    print(json.dumps(result))


def usable(suffix: str) -> bool:
    """False, with a word on stderr, if the reader's optional package is missing."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            seeds(suffix, Path(folder))
    except FormatError as error:
        print(f"{suffix} is left out: {error}", file=sys.stderr)
        return False
    return True


def supervise(suffix: str, count: int) -> bool:
    """Runs a reader in a process, goes on behind an input that kills it, prints its line; True if sound."""
    outcomes: Counter[str] = Counter()
    unexpected: list[str] = []
    crashes: list[str] = []
    facts = {"rows": 0, "slowest_s": 0.0, "grown_mib": 0}
    first = 0
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal"
        while first < count:
            journal.write_text(str(first))
            command = [sys.executable, __file__, "--reader", suffix, "--first", str(first)]
            command += ["--count", str(count - first), "--journal", str(journal)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                part = json.loads(done.stdout)
                outcomes.update(part["outcomes"])
                unexpected += part["unexpected"]
                facts["rows"] += part["rows"]
                facts["slowest_s"] = max(facts["slowest_s"], part["slowest_s"])
                facts["grown_mib"] = max(facts["grown_mib"], part["grown_mib"])
                break
            reached = int(journal.read_text())
            crashes.append(f"input {reached}: exit {done.returncode} {done.stderr[-300:]}")
            first = reached + 1
    line = {
        "reader": suffix,
        "inputs": count,
        "outcomes": dict(outcomes),
        **facts,
        "unexpected": unexpected,
        "crashes": crashes,
        "versions": {"numpy": np.__version__, "pyarrow": pa.__version__},
    }
    print(json.dumps(line), flush=True)
    return not unexpected and not crashes


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", help="one extension; all of them without it")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one input; its exception is shown")
    parser.add_argument("--journal", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"input{arguments.reader}"
            seed_files = seeds(arguments.reader, Path(folder)) + foreign_seeds(arguments.reader)
            path.write_bytes(make(arguments.only, seed_files))
            print(read(str(path)))
        return 0
    if arguments.journal is not None:
        run(arguments.reader, arguments.first, arguments.count, arguments.journal)
        return 0
    wanted = [
        suffix for suffix in ([arguments.reader] if arguments.reader else sorted(READERS)) if usable(suffix)
    ]
    return 0 if all([supervise(suffix, arguments.count) for suffix in wanted]) else 1


if __name__ == "__main__":
    sys.exit(main())
