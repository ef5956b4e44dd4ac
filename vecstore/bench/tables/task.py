"""How well do networks learn behind each table, inside each budget?

    vecstore bench tables --data DIR --out docs/benchmarks/tables.jsonl --page docs/benchmarks/tables.md

Every data set, method, budget and seed is a run in a process of its own, on one processor. All methods have
the same network, order of data, learning rates tried and rule of stopping. Records are JSON lines with the
machine in each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from vecstore.bench import machine
from vecstore.bench.chosen import chosen, strangers
from vecstore.bench.codecs_task import Record
from vecstore.bench.process import record_of, trouble
from vecstore.bench.tables import clicks, networks, speed
from vecstore.bench.tables.methods import labels, sized
from vecstore.errors import NotFoundError, SpecError

TASK = "tables"
BUDGETS = (0.5, 0.25, 0.1, 0.05, 0.01, 0.001)
SEEDS = (0, 1, 2)
_QUICK_BUDGETS, _QUICK_SEEDS = (0.1,), (0,)
_LONGEST_S = 3600
_KEY = ("task", "dataset", "method", "budget", "seed", "threads", "quick")


@dataclass(frozen=True)
class Plan:
    """What to run."""

    data: str | None = None  # folder of the data sets
    datasets: tuple[str, ...] = ()  # empty: all
    methods: tuple[str, ...] = ()  # patterns of labels, or labels with other options; empty: all
    budgets: tuple[float, ...] = ()  # shares of the plain table; empty: BUDGETS
    seeds: tuple[int, ...] = ()  # empty: SEEDS
    rates: tuple[float, ...] = (1.0,)  # of the learning rate of tables, the best by validation counts
    quick: bool = False


def run(
    plan: Plan, done: Iterable[Record] = (), say: Callable[[str], None] = lambda line: None
) -> Iterator[Record]:
    """Records of the plan's cases that are not among those done, one after the other."""
    networks.need()
    yield from finished(list(cases(plan, say)), done, say)


def finished(todo: list[Record], done: Iterable[Record], say: Callable[[str], None]) -> Iterator[Record]:
    """Records of cases that are not among those done."""
    have = {case_key(record) for record in done}
    todo = [case for case in todo if case_key(case) not in have]
    stamp = machine.describe()
    for number, case in enumerate(todo, 1):
        say(f"[{number}/{len(todo)}] " + ", ".join(f"{case[key]}" for key in _KEY[1:-1] if key in case))
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        record = {key: case[key] for key in _KEY if key in case}
        record |= record_of("vecstore.bench.tables.worker", case, _LONGEST_S, OMP_NUM_THREADS="1")
        record |= {"machine": stamp, "load_before": load}
        if why := trouble(record):
            say(f"    {why}")
        yield record


def cases(plan: Plan, say: Callable[[str], None] = lambda line: None) -> Iterator[Record]:
    """Everything that a plan measures, seed by seed. Sets whose files are not there are left out and said."""
    budgets = plan.budgets or (_QUICK_BUDGETS if plan.quick else BUDGETS)
    sets = {}
    for name in plan.datasets or clicks.names():
        try:
            sets[name] = clicks.load(name, plan.data, quick=plan.quick)
        except NotFoundError as error:
            if plan.datasets:
                raise
            say(f"left out: {error}")
    common = {"data": plan.data, "rates": list(plan.rates), "quick": plan.quick, "threads": 1}
    methods = {name: chosen(plan.methods, labels(data.recipe.dim)) for name, data in sets.items()}
    if not any(methods.values()):
        raise SpecError(f"no method is named like {' or '.join(plan.methods)}; try 'unified*' or 'int8'")
    for pattern in strangers(plan.methods, (label for found in methods.values() for label in found)):
        say(f"left out: no method is named like {pattern}")
    for seed in plan.seeds or (_QUICK_SEEDS if plan.quick else SEEDS):
        for name, data in sets.items():
            for label in methods[name]:
                for budget in budgets if sized(label, data) else (None,):
                    case = {"dataset": name, "method": label, "budget": budget, "seed": seed}
                    yield {"task": TASK, **case, **common}


def case_key(record: Record) -> tuple[object, ...]:
    """What two records of one case have in common."""
    return tuple(record.get(name) for name in _KEY)


def latest(records: Iterable[Record]) -> list[Record]:
    """The last record of each case."""
    return list({case_key(record): record for record in records}.values())


def speeds(
    plan: Plan, threads: tuple[int, ...], done: Iterable[Record] = (), say: Callable[[str], None] = print
) -> Iterator[Record]:
    """Records of large tables and their peers, for each width and number of threads."""
    networks.need()
    todo: list[Record] = []
    for count in threads:
        if count > machine.cores():
            raise SpecError(f"{count} threads on {machine.cores()} processors; expected at most these")
        todo += [
            {"task": speed.TASK, "method": f"dim {dim}", "dim": dim, "threads": count, "quick": plan.quick}
            for dim in speed.DIMS
        ]
    yield from finished(todo, done, say)
