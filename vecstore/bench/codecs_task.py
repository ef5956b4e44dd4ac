"""How fast does each codec encode and decode, what does it lose, and what does it take?

    vecstore bench codecs --out docs/benchmarks/codecs.jsonl --page docs/benchmarks/codecs.md

Each method on each data set runs in a process of its own; so does each pair of ours and a peer, whose runs
are taken in turn, and each instruction set that a codec is to make the same bytes on. Unit: MB/s of float32
(10^6 bytes), median of 5 runs after a warm-up. Records are JSON lines with the machine in each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from vecstore.bench import datasets, machine, sameness
from vecstore.bench.chosen import is_label, strangers
from vecstore.bench.contenders import catalog, ladder
from vecstore.bench.datasets import Dataset
from vecstore.bench.fidelity import goal_sizes
from vecstore.bench.process import empty_interpreter, record_of, trouble
from vecstore.bench.timing import RUNS
from vecstore.errors import NotFoundError, SpecError

Record = dict[str, Any]
TASK = "codecs"
LIMIT = "limit"
_KINDS = ("pairs", "quality", sameness.SAME)  # that are asked for as methods are
QUICK_RUNS = 3
_LONGEST_S = 900
_LEAST_ROWS = 1000  # ratios on fewer rows would be of overheads


@dataclass(frozen=True)
class Plan:
    """What to run."""

    data: str | None = None  # folder of the data sets
    datasets: tuple[str, ...] = ()  # empty: all
    methods: tuple[str, ...] = ()  # patterns of labels, as `pq*`; empty: all
    threads: tuple[int, ...] = (1,)
    quick: bool = False
    seed: int = 0


def run(
    plan: Plan, done: Iterable[Record] = (), say: Callable[[str], None] = lambda line: None
) -> Iterator[Record]:
    """Records of the plan's cases that are not among those done, one after the other."""
    finished = {case_key(record) for record in done}
    stamp = machine.describe()
    todo = [case for case in cases(plan, say) if case_key(case) not in finished]
    for number, case in enumerate(todo, 1):
        against = f" against {case['peer']}" if "peer" in case else ""
        say(f"[{number}/{len(todo)}] {case['dataset']}: {case['method']}{against}, {case['threads']} threads")
        record = _result(case) | {"machine": stamp, "load_before": case["load"]}
        if why := trouble(record):
            say(f"    {why}")
        yield record


def cases(plan: Plan, say: Callable[[str], None] = lambda line: None) -> Iterator[Record]:
    """Everything that a plan measures. Sets whose files are not there are left out and said."""
    found: list[str] = []
    learning: list[str] = []  # sets that codecs are fitted on
    runs = QUICK_RUNS if plan.quick else RUNS
    common = {"quick": plan.quick, "seed": plan.seed, "data": plan.data, "runs": runs}
    for name in plan.datasets or datasets.names():
        try:
            data = datasets.load(name, plan.data, quick=plan.quick)
        except NotFoundError as error:
            if plan.datasets:
                raise
            say(f"left out: {error}")
            continue
        learning += [name] * (not data.lossless_only)
        for threads in plan.threads:
            if threads > machine.cores():
                raise SpecError(
                    f"{threads} threads on {machine.cores()} processors; expected at most as many"
                )
            for case in _cases(plan, data, threads):
                found.append(case["method"])
                yield {"task": TASK, "dataset": name, "threads": threads, **common, **case}
    for pattern in strangers(plan.methods, [*found, *_KINDS]):
        if not is_label(pattern):
            say(f"left out: no method is named like {pattern}")
            continue
        for name in learning:
            found.append(pattern)
            case = {"kind": "method", "method": pattern}
            yield {"task": TASK, "dataset": name, "threads": plan.threads[0], **common, **case}
    if not found:
        raise SpecError(f"no method is named like {' or '.join(plan.methods)}; try 'pq*' or 'faiss*'")


def _cases(plan: Plan, data: Dataset, threads: int) -> Iterator[Record]:
    known = catalog.contenders(data.dim)
    for label, contender in known.items():
        if _wanted(plan, label) and (contender.lossless or not data.lossless_only):
            yield {"kind": "method", "method": label}
    for label in catalog.cells(data.dim):
        if _wanted(plan, label):
            yield {"kind": "cells", "method": label}
    few = data.lossless_only or len(data.base) < _LEAST_ROWS
    if threads == plan.threads[0] and not few:  # more threads change no error
        yield from _quality_cases(plan, data, list(known))
        for label in sameness.labels(data.dim, few=plan.quick and not plan.methods):
            if _wanted(plan, label) or _wanted(plan, sameness.SAME):
                yield {"kind": sameness.SAME, "method": label}
    for pair in catalog.pairs(data.dim) if len(data.base) >= _LEAST_ROWS else ():
        if data.lossless_only and pair.topic != "lossless":
            continue
        if _wanted(plan, pair.ours) or _wanted(plan, "pairs"):
            yield {"kind": "pair", "method": pair.ours, "peer": pair.peer, "pair": asdict(pair)}


def _quality_cases(plan: Plan, data: Dataset, timed: list[str]) -> Iterator[Record]:
    """Those of the ladder that are not timed, of which the quality is known already."""
    if _wanted(plan, LIMIT):
        yield {"kind": "limit", "method": LIMIT}
    sizes = ladder.sizes(data.dim, goal_sizes(data.name), quick=plan.quick)
    for label in ladder.labels(data.dim, sizes, timed):
        if _wanted(plan, label) or _wanted(plan, "quality"):
            yield {"kind": "quality", "method": label}


def _wanted(plan: Plan, label: str) -> bool:
    return not plan.methods or any(fnmatch(label, pattern) for pattern in plan.methods)


def _result(case: Record) -> Record:
    """The record of a case, whatever happens to its process."""
    timed = case["kind"] != sameness.SAME
    case["load"] = os.getloadavg()[0] if timed and hasattr(os, "getloadavg") else None
    kept = {key: case[key] for key in ("task", "kind", "dataset", "method", "threads", "quick", "seed")}
    if "pair" in case:
        kept |= {"peer": case["peer"], "topic": case["pair"]["topic"], "setting": case["pair"]["setting"]}
    if not timed:
        return kept | sameness.record(case, _LONGEST_S)
    return kept | record_of("vecstore.bench.worker", case | {"empty_bytes": empty_interpreter()}, _LONGEST_S)


def case_key(record: Record) -> tuple[object, ...]:
    """What two records of one case have in common."""
    names = ("task", "kind", "dataset", "method", "peer", "threads", "quick", "seed")
    return tuple(record.get(name) for name in names)


def read(path: Path) -> list[Record]:
    """Records of a file of JSON lines, the last of each case; none if there is no file."""
    return list({case_key(record): record for record in lines(path)}.values())


def lines(path: Path) -> list[Record]:
    """All records of a file of JSON lines; none if there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
