"""What is a compressed collection still good for: search, filters, words, graphs, groups, capacity?

    vecstore bench vectors --data DIR --out docs/benchmarks/vectors.jsonl --page docs/benchmarks/vectors.md

Each contender keeps a collection in a process of its own, and all tasks that apply to the collection are then
done with what it kept. Records are JSON lines, with the machine in each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from vecstore.bench import capped, machine
from vecstore.bench.chosen import strangers
from vecstore.bench.process import Record, empty_interpreter, record_of, trouble
from vecstore.bench.vectors import methods, sets
from vecstore.bench.vectors.sets import CAPACITY
from vecstore.bench.vectors.worker import TASKS, loaded
from vecstore.errors import NotFoundError, SpecError
from vecstore.spec import unknown

TASK = "vectors"
DIMS = (8, 12, 16, 32, 64)  # of free vectors
_DROPS = ("recall_at_10", "ndcg_at_10", "micro_f1", "macro_f1", "map_hop_1", "map_hop_2", "analogies")
_LONGEST_S = 900
_KEY = ("task", "dataset", "method", "seed", "quick", "memory", "tasks")


@dataclass(frozen=True)
class Plan:
    """What to run."""

    data: str | None = None  # folder of the known sets
    datasets: tuple[str, ...] = ()  # empty: all
    methods: tuple[str, ...] = ()  # patterns of labels, or specs; empty: the usual ones
    budgets: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()  # empty: all that apply
    quick: bool = False
    seed: int = 0
    memory: int | None = None  # bytes that a contender may use
    source: str | None = None  # a file of the user's, instead of the known sets
    queries: str | None = None
    metric: str = "cosine"
    judgments: str | None = None  # of these queries


def run(
    plan: Plan, done: Iterable[Record] = (), say: Callable[[str], None] = lambda line: None
) -> Iterator[Record]:
    """Records of the plan's cases that are not among those done, one after the other.

    What float32 reaches on a set is measured first; the others' records say how far they fall short of it.
    """
    finished = {key(record): record for record in done}
    stamp = machine.describe()
    todo = [case for case in cases(plan, say) if key(case) not in finished]
    full = {record["dataset"]: record for record in finished.values() if record["method"] == methods.FULL}
    for number, case in enumerate(todo, 1):
        say(f"[{number}/{len(todo)}] {case['dataset']}: {case['method']}")
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        record = {name: case[name] for name in _KEY} | record_of(
            "vecstore.bench.vectors.worker", case | {"empty_bytes": empty_interpreter()}, _LONGEST_S
        )
        if plan.memory is not None:
            capped.leave(os.getpid())
        if case["method"] == methods.FULL:
            full[case["dataset"]] = record
        record |= _drops(record, full.get(case["dataset"], {}))
        record |= {"machine": stamp, "load_before": load}
        for why in (trouble(record), *(f"{name}: {told}" for name, told in record.get("errors", {}).items())):
            if why:
                say(f"    {why}")
        yield record


def cases(plan: Plan, say: Callable[[str], None] = lambda line: None) -> Iterator[Record]:
    """Everything that a plan measures. Sets whose files are not there are left out and said."""
    for name in plan.tasks:
        if name not in TASKS:
            raise unknown("task", name, list(TASKS))
    if plan.memory is not None and (reason := capped.refusal()):
        raise SpecError(f"memory cannot be capped here: it takes {reason}; run without --memory")
    common = {
        "task": TASK, "data": plan.data, "quick": plan.quick, "seed": plan.seed, "memory": plan.memory,
        "tasks": list(plan.tasks), "budgets": list(plan.budgets), "input": plan.source,
        "queries": plan.queries, "metric": plan.metric, "judgments": plan.judgments,
    }  # fmt: skip
    found: list[str] = []
    for name in (plan.source,) if plan.source else plan.datasets or sets.names():
        try:
            data = loaded(common | {"dataset": name})
        except NotFoundError as error:
            if plan.datasets or plan.source:
                raise
            say(f"left out: {error}")
            continue
        for label in methods.labels(data, plan.budgets, plan.methods):
            found.append(label)
            yield common | {"dataset": data.name, "method": label}
    for pattern in strangers(plan.methods, found):
        say(f"left out: no method is named like {pattern}")
    if not found:
        raise SpecError(f"no method is named like {' or '.join(plan.methods)}; try 'tcq*' or 'faiss*'")


def free(dims: Iterable[int] = DIMS) -> tuple[str, ...]:
    """Names of the sets of free vectors."""
    return tuple(f"{CAPACITY}{dim}" for dim in dims)


def _drops(record: Record, full: Record) -> Record:
    """How far each figure is below that of float32, as `map_hop_1_drop`."""
    known = [name for name in _DROPS if record.get(name) is not None and full.get(name) is not None]
    return {f"{name}_drop": full[name] - record[name] for name in known}


def key(record: Record) -> tuple[object, ...]:
    """What two records of one case have in common."""
    return tuple(str(record.get(name)) for name in _KEY)


def latest(records: Iterable[Record]) -> list[Record]:
    """The last record of each case."""
    return list({key(record): record for record in records if record.get("task") == TASK}.values())
