"""How fast are rows of a store found, read and written, beside others' stores and what memory and disk give?

    vecstore bench store --out docs/benchmarks/store.jsonl --page docs/benchmarks/store.md

Each topic runs in a process of its own, on one thread or two, with its peers: runs are taken in turn, the
median of 5 counts. Codes are 96 bytes. Records are JSON lines with the machine in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

from vecstore.bench import machine
from vecstore.bench.chosen import strangers
from vecstore.bench.codecs_task import Record
from vecstore.bench.process import records_of, trouble
from vecstore.errors import SpecError

TASK = "store"
_LONGEST_S = 900
_RUNS, _QUICK_RUNS = 5, 2
SMALL, LARGE = 200_000, 2_000_000

CASES: tuple[Record, ...] = (
    {"topic": "get", "rows": SMALL, "segments": 1},
    {"topic": "get", "rows": LARGE, "segments": 16},
    {"topic": "memory", "rows": 4_000_000, "segments": 4, "batches": 40},
    {"topic": "load", "rows": 1_000_000, "segments": 1},
    {"topic": "load", "rows": 1_000_000, "segments": 1, "threads": 2},
    {"topic": "commits", "rows": 100, "segments": 0},
    {"topic": "open", "rows": 1_000_000, "segments": 1000},
    {"topic": "open", "rows": 10_000_000, "segments": 1000},
    {"topic": "scan", "rows": LARGE, "segments": 16},
    {"topic": "scan", "rows": LARGE, "segments": 16, "threads": 2},
)
_QUICK_ROWS, _QUICK_SEGMENTS = 20_000, 4


@dataclass(frozen=True)
class Plan:
    """What to run. folder: where stores are made; None: the temporary folder."""

    topics: tuple[str, ...] = ()  # patterns; empty: all
    folder: str | None = None
    quick: bool = False


def run(
    plan: Plan, done: Iterable[Record] = (), say: Callable[[str], None] = lambda line: None
) -> Iterator[Record]:
    """Records of the plan's cases that are not among those done, one after the other."""
    finished = {case_key(record) for record in done}
    stamp = machine.describe()
    known = list(cases(plan))
    if not known:
        raise SpecError(
            f"no topic is named like {' or '.join(plan.topics)}; there are "
            f"{', '.join(dict.fromkeys(case['topic'] for case in CASES))}"
        )
    for pattern in strangers(plan.topics, (case["topic"] for case in known)):
        say(f"left out: no topic is named like {pattern}")
    todo = [case for case in known if case_key(case) not in finished]
    for number, case in enumerate(todo, 1):
        say(f"[{number}/{len(todo)}] {case['topic']}: {case['rows']} rows")
        for record in _records(case):
            if why := trouble(record):
                say(f"    {why}")
            yield record | {"machine": stamp}


def cases(plan: Plan) -> Iterator[Record]:
    """Everything that a plan measures."""
    seen = set()
    for case in CASES:
        if plan.topics and not any(fnmatch(case["topic"], pattern) for pattern in plan.topics):
            continue
        found = {
            "task": TASK,
            "quick": plan.quick,
            "runs": _RUNS,
            "folder": plan.folder,
            "threads": 1,
            **case,
        }
        if plan.quick:
            small = {
                "rows": min(case["rows"], _QUICK_ROWS),
                "segments": min(case["segments"], _QUICK_SEGMENTS),
            }
            found |= {"runs": _QUICK_RUNS, **small}
        if case_key(found) not in seen:
            seen.add(case_key(found))
            yield found


def _records(case: Record) -> list[Record]:
    """The records of a case, whatever happens to its process."""
    kept = {key: case[key] for key in ("task", "topic", "rows", "segments", "quick", "runs", "threads")}
    return [kept | record for record in records_of("vecstore.bench.store_worker", case, _LONGEST_S)]


def case_key(record: Record) -> tuple[object, ...]:
    """What records of one case have in common; its peers are measured together."""
    names = ("task", "topic", "rows", "segments", "quick")
    return (*(record.get(name) for name in names), record.get("threads", 1))


def latest(records: Iterable[Record]) -> list[Record]:
    """The last record of each case and peer."""
    return list({(*case_key(record), record.get("peer")): record for record in records}.values())
