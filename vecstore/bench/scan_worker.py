"""One measurement of a scan in a process of its own: a case in as JSON, its records out as JSON lines.

python -m vecstore.bench.scan_worker < case.json
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np

from vecstore.bench import timing
from vecstore.bench.contenders.searchers import Searching, searching
from vecstore.bench.process import answer, failure
from vecstore.codecs.base import Rows
from vecstore.kernels.finite import largest
from vecstore.kernels.threads import get_threads, spread

Record = dict[str, Any]
K = 10
_QUERIES = 128  # in turn: of one that comes again and again the processor learns each branch
_BLOCK_ROWS = 1 << 14
_ROUNDING = 1e-6  # of products of rows of length one
_PARTS = 8  # per thread, of what several read to learn the speed of memory


def main() -> None:
    """Answers one case."""
    answer(run)


def run(case: Record) -> list[Record]:
    """A record for each number of queries; one with `missing` or `error` where there is nothing to time."""
    both = {"ours": searching(case["method"]), "peer": searching(case["peer"])}
    try:
        for contender in both.values():
            if package := contender.missing():
                return [{"missing": package}]
            contender.use_threads(case["threads"])
        rows, asked = _rows(case["rows"], case["dim"], 0), _rows(_QUERIES, case["dim"], 1)
        for contender in both.values():
            contender.build(rows)
        least = _tenth(rows, asked)
        recall = {f"{name}_recall": _recall(one, rows, asked, least) for name, one in both.items()}
        del rows
        return [_timed(both, case, queries) | recall for queries in case["queries"]]
    except Exception as error:  # A contender may fail in any way; the run goes on and the table says so.
        return [failure(error)]


def _rows(count: int, dim: int, seed: int) -> Rows:
    """Rows whose dimensions matter less and less, turned so that no one shows it, of length one."""
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))
    scaled = ((1 + np.arange(dim)) ** -0.5)[:, None] * turn
    rows = np.random.default_rng([1, seed]).standard_normal((count, dim), np.float32) @ scaled.astype(
        np.float32
    )
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows)


def _tenth(rows: Rows, queries: Rows) -> Rows:
    """The K-th largest inner product of each query (q, 1) with a row."""
    best = np.full((len(queries), K), -np.inf, np.float32)
    for start in range(0, len(rows), _BLOCK_ROWS):
        found = np.concatenate([best, queries @ rows[start : start + _BLOCK_ROWS].T], axis=1)
        best = -np.partition(-found, K - 1, axis=1)[:, :K]
    least: Rows = best.min(axis=1, keepdims=True)
    return least


def _recall(contender: Searching, rows: Rows, queries: Rows, least: Rows) -> float:
    """The share of the K rows found for each query whose inner product is as large as the K-th largest."""
    products = np.einsum("qd,qkd->qk", queries, rows[contender.found(queries, K)])
    return float((products >= least - _ROUNDING).mean())


def _timed(both: dict[str, Searching], case: Record, count: int) -> Record:
    """Nanoseconds a row and query of both, runs taken in turn, and what of memory's speed they are."""
    sets = max(1, _QUERIES // count)
    queries = np.split(_rows(count * sets, case["dim"], 1), sets)
    jobs: dict[str, timing.Job] = {
        name: partial(_search, contender, cycle(queries)) for name, contender in both.items()
    }
    size = int(both["ours"].row_bytes * case["rows"])
    memory = np.ones(max(1, size // 4), np.float32)
    jobs["read"] = partial(_read, memory)
    clock = time.process_time if case["threads"] == 1 else time.perf_counter
    times = timing.in_turn(jobs, runs=case["runs"], clock=clock)
    read = memory.nbytes / np.array(times["read"])
    record: Record = {"queries": count, "runs": case["runs"], "read_gb_s": float(np.median(read)) / 1e9}
    for name, contender in both.items():
        each = np.array(times[name]) * 1e9 / (case["rows"] * count)
        record |= {
            f"{name}_ns_row": float(np.median(each)),
            f"{name}_ns_row_min": float(each.min()),
            f"{name}_ns_row_max": float(each.max()),
            f"{name}_row_bytes": contender.row_bytes,
        }
    share = size / np.array(times["ours"]) / read
    record["read_share"] = float(np.median(share))
    return record | timing.ratios("scan", times["ours"], times["peer"])


def _search(contender: Searching, queries: Iterator[Rows]) -> None:
    contender.search(next(queries), K)


def _read(memory: Rows) -> None:
    """Goes over all of it once."""
    threads = get_threads()
    parts = 1 if threads == 1 else _PARTS * threads
    spread(len(memory), -(-len(memory) // parts), lambda start, stop: _largest(memory[start:stop]))


def _largest(part: Rows) -> None:
    largest(part)


if __name__ == "__main__":
    main()
