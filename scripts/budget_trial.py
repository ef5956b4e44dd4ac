"""Is a budget ever exceeded, by the file or by the memory of whoever opens and reads it?

    python scripts/budget_trial.py --data DIR --out docs/reliability/budget.jsonl --resume
    python scripts/budget_trial.py --table docs/reliability/budget.jsonl    # as in docs/reliability/README.md

Random cases: rows of a set, some of their dimensions, a budget of any unit, a metric. Where the budget
holds nothing, the error names the least that would do, and that is then the case's. A fresh process, which
has read a few rows by the same codec, so that kernels are loaded, opens the file, reads all of it and
searches it. Records: `file_bytes`; `used_bytes` beside `budget_bytes` (of a budget a row: codes with what
counts of the shared bytes); and `grown_bytes`, the resident memory that is held then beyond that of before,
what the allocator keeps of freed memory handed back both times. Needs Linux and glibc.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
from vecstore.bench import machine
from vecstore.bench.vectors import sets
from vecstore.codecs.base import Rows
from vecstore.errors import BudgetError
from vecstore.kernels.threads import set_threads
from vecstore.ledger import SHARED_ALLOWANCE, Ledger, parse_budget
from vecstore.search import METRICS

BUFFERS = 8 << 20  # what a scan works with, and memory that malloc cannot hand back
_MOST_ROWS, _LEAST_ROWS = 8000, 60
Record = dict[str, Any]


def cases(names: list[str], data: str | None, count: int, seed: int) -> Iterator[tuple[Record, Rows]]:
    """What is tried, and its rows."""
    rng = np.random.default_rng(seed)
    known = {name: sets.load(name, data).base for name in names}
    for number in range(count):
        name = names[int(rng.integers(len(names)))]
        rows = known[name]
        n = int(np.exp(rng.uniform(np.log(_LEAST_ROWS), np.log(min(_MOST_ROWS, len(rows))))))
        dim = int(rng.integers(4, rows.shape[1] + 1))
        start = int(rng.integers(len(rows) - n + 1))
        row_bytes = float(np.exp(rng.uniform(np.log(1.0), np.log(4.2 * dim))))
        budget = [
            f"{row_bytes:.3g}B/row", f"{8 * row_bytes / dim:.3g}bit/dim",
            f"{100 * row_bytes / (4 * dim):.3g}%", f"{int(row_bytes * n)}B",
        ][int(rng.integers(4))]  # fmt: skip
        case = {"number": number, "dataset": name, "rows": n, "dim": dim, "budget": budget}
        metric = METRICS[int(rng.integers(len(METRICS)))]
        yield case | {"metric": metric}, np.ascontiguousarray(rows[start : start + n, :dim])


def tried(case: Record, rows: Rows, folder: str) -> Record:
    """A case with what came of it."""
    path, budget, refused = os.path.join(folder, "x.arrow"), case["budget"], False
    try:
        done = vs.compress(rows, path, budget=budget, metric=case["metric"], force=True)
    except BudgetError as error:
        refused, budget = True, str(error).rpartition("the least is ")[2]
        done = vs.compress(rows, path, budget=budget, metric=case["metric"], force=True)
    bound, used = _account(done.ledger, budget, case)
    return case | {
        "budget": budget, "refused": case["budget"] if refused else None, "spec": done.spec,
        "file_bytes": os.path.getsize(path), "budget_bytes": bound, "used_bytes": used,
        "kept": used <= bound + 1e-6, "grown_bytes": grown(path, rows),
    }  # fmt: skip


def _account(ledger: Ledger, text: str, case: Record) -> tuple[float, float]:
    """What the budget allows, and what it counts of the archive."""
    budget = parse_budget(text)
    total = budget.total_bytes(case["dim"], case["rows"])
    if total is not None:
        return total, float(ledger.total - ledger.carried)
    extra = max(0.0, ledger.shared - SHARED_ALLOWANCE * ledger.codes)
    return budget.row_bytes(case["dim"], case["rows"]) * case["rows"], ledger.codes + ledger.side + extra


def grown(path: str, rows: Rows) -> int:
    """Resident bytes that opening, reading all, and searching add to a process of its own."""
    few = f"{path}.few"
    with vs.open(path) as collection:
        vs.compress(rows[:8], few, collection.codec, force=True)
    # Not a fork: what this process has freed would be taken, or handed back, there.
    words = [sys.executable, __file__, "--read", few, path]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def read(few: str, path: str) -> int:
    """Resident bytes that the second file adds to a process that has read and searched the first."""
    set_threads(1)
    with vs.open(few) as collection:
        queries = next(collection.scan(4))[1]
    held, before = [_read(few, queries)], _resident()
    held.append(_read(path, queries))
    return _resident() - before


def _read(path: str, queries: Rows) -> Any:
    collection = vs.open(path)
    for _, rows in collection.scan(4096):
        rows.sum()
    collection.search(queries, 1)
    return collection


def _resident() -> int:
    """Bytes that are held: how much freed memory malloc keeps depends on all that was freed before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def table(records: list[Record]) -> str:
    """What came of all cases."""
    kept = sum(r["kept"] for r in records)
    inside = sum(r["grown_bytes"] <= max(r["budget_bytes"], r["file_bytes"]) + BUFFERS for r in records)
    most = max(r["grown_bytes"] - r["file_bytes"] for r in records) / 1e6
    refused = sum(r["refused"] is not None for r in records)
    largest = max(r["used_bytes"] / r["budget_bytes"] for r in records)
    kinds = {r["spec"].partition(":")[0] for r in records}
    return (
        f"Of {len(records)} cases the file keeps the budget in {kept}; the memory of a process that opens, "
        f"reads and searches it grows by no more than budget or file and {BUFFERS >> 20} MiB of buffers in "
        f"{inside} (at most {most:.1f} MB more than the file). {refused} budgets held nothing, and the least "
        f"that was named did. The largest share of a budget that was used is {largest:.4f}; what was chosen "
        f"begins with {len(kinds)} different codecs and transforms."
    )


def main() -> None:
    """Runs all cases, or sums up the records."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", help="folder of the known sets")
    parser.add_argument("--datasets", default="generated,classic3_minilm,word2vec_googlenews_8k,sift_sceaux")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--resume", action="store_true", help="go on behind the cases of the same seed in OUT"
    )
    parser.add_argument("--table", type=Path)
    parser.add_argument("--read", nargs=2, metavar="FILE", help="what the second file adds to a process")
    args = parser.parse_args()
    if args.read:
        return print(read(*args.read))
    if args.table:
        return print(table([json.loads(line) for line in args.table.read_text().splitlines()]))
    set_threads(1)
    stamp = machine.describe()
    done = args.out.read_text().splitlines() if args.resume and args.out.exists() else []
    finished = {json.loads(line)["number"] for line in done}
    with tempfile.TemporaryDirectory() as folder, args.out.open("a" if args.resume else "w") as file:
        for case, rows in cases(args.datasets.split(","), args.data, args.cases, args.seed):
            if case["number"] in finished:
                continue
            print(json.dumps(tried(case, rows, folder) | {"machine": stamp}), file=file, flush=True)


if __name__ == "__main__":
    main()
