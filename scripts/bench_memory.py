"""How much memory and time do `compress` and `decompress` take on a file larger than the memory they may use?

    python scripts/bench_memory.py FOLDER --out docs/benchmarks/memory.jsonl --page docs/benchmarks/memory.md

Writes a .npy and a Parquet file of random rows into FOLDER, runs the commands on them as processes of their
own, watches these in /proc, and deletes all that it wrote. Unit: MB/s of float32 (10^6 bytes) over the whole
run of the command, start of Python and fit included. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vecstore import fit
from vecstore.bench import machine
from vecstore.bench.pages import markdown
from vecstore.bench.timing import in_turn
from vecstore.codecs.base import Codec, Rows
from vecstore.kernels.threads import set_threads

SEED, RANK, CHUNK = 3, 32, 1 << 14  # rows of a chunk
PEAK_BYTES, SHARE = 600e6, 0.6
IN_MEMORY_BYTES = 512e6
ROOT = Path(__file__).resolve().parents[1]
COMMAND = ("-m", "vecstore")
_FIELDS = ("VmHWM", "RssAnon", "RssFile", "RssShmem")


def main() -> None:
    """Generates, measures, writes records and page, deletes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gb", type=float, default=4.0, help="size of the rows as float32, 10^9 bytes")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--specs", default="sq:bits=8;pq:m=32", help="separated by ;")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--resume", action="store_true", help="leave out what --out holds already")
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    records = _known(given)
    known = {_case(record) for record in records}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        rows = int(given.gb * 1e9 / (4 * given.dim))
        for path in (folder / "rows.npy", folder / "rows.parquet"):
            todo = [
                spec
                for spec in given.specs.split(";")
                if (path.suffix[1:], spec, rows, given.dim, given.threads) not in known
            ]
            if not todo:
                continue
            (write_npy if path.suffix == ".npy" else write_parquet)(path, rows, given.dim)
            for spec in todo:
                found = measure(path, spec, rows, given)
                records += found
                if given.out:
                    with given.out.open("a") as sink:
                        sink.writelines(json.dumps(record) + "\n" for record in found)
            path.unlink()
    if given.page:
        given.page.write_text(page(records))


def _known(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Records that there are."""
    if not (given.resume and given.out and given.out.exists()):
        return []
    return [json.loads(line) for line in given.out.read_text().splitlines()]


def _case(record: dict[str, Any]) -> tuple[str, str, int, int, int]:
    """What two records of one measurement have in common, but for the command."""
    return record["format"], record["method"], record["rows"], record["dim"], record["threads"]


def chunks(rows: int, dim: int) -> Iterator[Rows]:
    """Normal rows with a strong part of low rank, the same for a seed."""
    rng = np.random.default_rng(SEED)
    basis = rng.standard_normal((RANK, dim), dtype=np.float32)
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        noise = rng.standard_normal((count, dim), dtype=np.float32)
        yield rng.standard_normal((count, RANK), dtype=np.float32) @ basis + noise


def write_npy(path: Path, rows: int, dim: int) -> None:
    """Chunk by chunk."""
    with path.open("wb") as sink:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)}
        np.lib.format.write_array_header_1_0(sink, header)
        for chunk in chunks(rows, dim):
            sink.write(chunk.data)
        os.fsync(sink.fileno())


def write_parquet(path: Path, rows: int, dim: int) -> None:
    """Chunk by chunk, one row group each, uncompressed: what is measured is ours and not a decompressor."""
    schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), dim))])
    start = 0
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as sink:
        for chunk in chunks(rows, dim):
            ids = pa.array(np.arange(start, start + len(chunk)))
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(chunk.reshape(-1)), dim)
            sink.write_table(pa.table([ids, vectors], schema=schema))
            start += len(chunk)
    with path.open("rb") as written:
        os.fsync(written.fileno())


def measure(path: Path, spec: str, rows: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Records of compress and decompress of one file."""
    archive, back = path.with_suffix(".arrow"), path.with_name(f"back{path.suffix}")
    threads = ["--threads", str(given.threads)]
    common = {
        "task": "memory",
        "format": path.suffix[1:],
        "method": spec,
        "rows": rows,
        "dim": given.dim,
        "threads": given.threads,
        "raw_bytes": rows * given.dim * 4,
        "seed": SEED,
        "machine": machine.describe(),
    }
    memory = in_memory(spec, given) | {"read": read_speed(path)}
    records = []
    for what, words in (
        ("compress", ["compress", str(path), str(archive), "--codec", spec, *threads, "--json"]),
        ("decompress", ["decompress", str(archive), str(back), *threads]),
    ):
        print(f"{path.name}: {what} {spec}", file=sys.stderr)
        found = watch(words)
        speed = common["raw_bytes"] / 1e6 / found["seconds"]
        there = memory["encode" if what == "compress" else "decode"]
        pass_speed = common["raw_bytes"] / 1e6 / found.get("pass_seconds", found["seconds"])
        speeds = {"mb_s": speed, "pass_mb_s": pass_speed, "in_memory_mb_s": there}
        speeds["share_of_in_memory"] = pass_speed / there
        records.append(common | {"what": what, **found, **speeds, "read_mb_s": memory["read"]})
    archive.unlink(missing_ok=True)
    back.unlink(missing_ok=True)
    return records


def in_memory(spec: str, given: argparse.Namespace) -> dict[str, float]:
    """MB/s of encode and decode of rows that are in memory, same codec and threads."""
    set_threads(given.threads)
    count = int(min(given.gb * 1e9, IN_MEMORY_BYTES) / (4 * given.dim))
    rows = np.concatenate(list(chunks(count, given.dim)))
    codec = fit(spec, rows[: 1 << 16])
    assert isinstance(codec, Codec)
    codes, out = codec.encode(rows), np.empty_like(rows)
    clock = time.process_time if given.threads == 1 else time.perf_counter
    jobs = {"encode": lambda: codec.encode(rows), "decode": lambda: codec.decode(codes, out=out)}
    return {
        what: rows.nbytes / 1e6 / float(np.median(times))
        for what, times in in_turn(jobs, runs=5, clock=clock).items()
    }


def read_speed(path: Path) -> float:
    """MB/s of reading the file from the page cache and doing nothing: what no pipeline can exceed."""
    buffer = bytearray(1 << 20)
    started = time.perf_counter()
    with path.open("rb", buffering=0) as source:
        while source.readinto(buffer):
            pass
    return path.stat().st_size / 1e6 / (time.perf_counter() - started)


def watch(words: list[str]) -> dict[str, Any]:
    """Runs a vecstore command and samples its memory until it ends; RuntimeError if it fails.

    peak_bytes is the kernel's own high-water mark, mapped files included; anonymous_bytes is the most that
    only a swap could take away; file_bytes the most of mapped files, which the system may drop at any time.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [sys.executable, *COMMAND, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    peak = {"VmHWM": 0, "RssAnon": 0, "RssFile": 0, "own": 0}
    while process.poll() is None:
        now = _status(process.pid)
        own = now["RssAnon"] + now["RssShmem"]
        for key, value in {**now, "own": own}.items():
            if key in peak:
                peak[key] = max(peak[key], value)
        time.sleep(0.004)
    seconds = time.perf_counter() - started
    output, errors = process.communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}: {errors.decode()}")
    found = {
        "peak_bytes": peak["VmHWM"],
        "anonymous_bytes": peak["own"],
        "file_bytes": peak["RssFile"],
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }
    if words[-1] == "--json":
        summary = json.loads(output)
        found |= {"bytes": summary["bytes"], "relative_mse": summary["relative_mse"]}
        found |= {"pass_seconds": summary["seconds"] - summary["fit_seconds"]}
    return found


def _status(pid: int) -> dict[str, int]:
    found = dict.fromkeys(_FIELDS, 0)
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        key, _, value = line.partition(":")
        if key in found:
            found[key] = 1024 * int(value.split()[0])
    return found


def page(records: list[dict[str, Any]]) -> str:
    """docs/benchmarks/memory.md."""
    header = [
        "file", "command", "codec", "GB", "peak MB", "anonymous MB", "mapped MB", "seconds", "CPU s", "MB/s",
        "pass MB/s", "in memory MB/s", "share", "read MB/s",
    ]  # fmt: skip
    lines = [
        [
            r["format"],
            r["what"],
            r["method"],
            f"{r['raw_bytes'] / 1e9:.2f}",
            *(f"{r[key] / 1e6:,.0f}" for key in ("peak_bytes", "anonymous_bytes", "file_bytes")),
            f"{r['seconds']:.1f}",
            f"{r['cpu_seconds']:.1f}",
            f"{r['mb_s']:,.0f}",
            f"{r['pass_mb_s']:,.0f}",
            f"{r['in_memory_mb_s']:,.0f}",
            f"{r['share_of_in_memory']:.0%}",
            f"{r['read_mb_s']:,.0f}",
        ]
        for r in records
    ]
    low = [r for r in records if r["what"] == "compress" and r["share_of_in_memory"] < SHARE]
    high = [r for r in records if r["anonymous_bytes"] > PEAK_BYTES]
    total = [r for r in records if r["peak_bytes"] > PEAK_BYTES]
    about = (
        "Whole runs of the commands, start of Python and fit included, files in the page cache. `anonymous` "
        "is memory that the process holds itself; `mapped` are pages of files, which the system may drop and "
        "read again. `pass` is without the start of Python and the fit of the codec, which do not grow with "
        "the file. `in memory` is the codec's own encode or decode of rows that are already there; `share` "
        "is `pass` over it. `read` reads the input file and does nothing with it."
    )
    verdict = (
        f"Targets: peak below {PEAK_BYTES / 1e6:.0f} MB ({len(total)} of {len(records)} runs above with "
        f"mapped pages, {len(high)} without), compress at {SHARE:.0%} or more of the speed in memory "
        f"({len(low)} of {sum(r['what'] == 'compress' for r in records)} below). Below it are codecs that "
        "encode faster than the file is read: their pass is as fast as reading, checking and, of Parquet, "
        "Arrow's decoding of lists."
    )
    parts = ["# Memory and speed on a large file", "<!-- Made by scripts/bench_memory.py --page. -->", about]
    return "\n\n".join([*parts, verdict, markdown(("", header, lines))]) + "\n"


if __name__ == "__main__":
    main()
