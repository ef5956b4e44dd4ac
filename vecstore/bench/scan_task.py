"""How fast is every row scored, beside others' exhaustive search?

    vecstore bench scan --out docs/benchmarks/scan.jsonl --page docs/benchmarks/scan.md

A pair of ours and a peer runs in a process of its own, runs taken in turn. Unit: ns a row and query, end to
end: queries in, the ten best out; median of 5 runs after a warm-up. Records are JSON lines with the machine
in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from vecstore.bench import machine
from vecstore.bench.chosen import is_label, strangers
from vecstore.bench.codecs_task import Record
from vecstore.bench.process import records_of, trouble
from vecstore.errors import SpecError

TASK = "scan"
DIM = 384
QUERIES = (1, 32)
SIZES = (20_000, 1_000_000)
_RUNS, _QUICK_RUNS = 5, 2
_QUICK_SIZES = (4_000,)
_LONGEST_S = 900
_NOBODY = "-"  # the peer of a label that no pair has


@dataclass(frozen=True)
class Pair:
    """Two that are timed in turn, and how many times faster ours is meant to answer one query."""

    ours: str
    peer: str
    goal: float | None = None
    in_cache: bool = True  # whether the goal is also meant for the smaller set, which the cache holds


PAIRS = (
    Pair("sq:bits=8", "faiss SQ8", 2),
    Pair("sq:bits=8", "usearch i8", 1.5),
    Pair("sq:bits=6", "faiss SQ6"),
    Pair("sq:bits=4", "faiss SQ4", 6),
    Pair("sq:bits=4", "turbovec 4 bit", 1),
    Pair("klt:bits=4", "faiss SQ4", 6),
    Pair("klt:bits=4", "turbovec 4 bit", 1),
    Pair("pq:m=48", "faiss PQ48x8", 2),
    Pair("pq:m=96", "faiss PQ96x8", 2),
    Pair("pq:m=96,bits=4", "faiss PQ96x4fs", 1),
    Pair("pq:m=192,bits=4", "faiss PQ192x4fs", 1),
    Pair("pq:m=192,bits=4", "turbovec 2 bit"),
    Pair("tcq:bits=2,states=64,stages=0", "faiss PQ192x4fs", 0.75, in_cache=False),
    Pair("tcq:bits=2,states=64,stages=0", "turbovec 2 bit", 1, in_cache=False),
    Pair("tcq:bits=1,states=64,stages=0", "faiss PQ96x4fs", 0.5, in_cache=False),
    Pair("tcq:bits=2,states=256,stages=0", "faiss PQ192x4fs", 0.5, in_cache=False),
    Pair("tcq:bits=2", "faiss PQ192x4fs", 0.35, in_cache=False),
    Pair("tcq:bits=1", "faiss PQ96x4fs", 0.35, in_cache=False),
    Pair("sign", "faiss RaBitQfs"),
    Pair("sign", "rabitqlib 1 bit"),
    Pair("rabitq:bits=1", "faiss RaBitQfs", 1),
    Pair("rabitq:bits=1", "rabitqlib 1 bit", 1),
    Pair("rabitq:bits=2", "rabitqlib 2 bit", 1),
    Pair("rabitq:bits=4", "rabitqlib 4 bit", 1),
    Pair("symmetric sign", "faiss binary", 2),
    Pair("symmetric rbe:bits=1", "faiss binary", 1),
    Pair("symmetric rbe:bits=2", "faiss PQ192x4fs"),
    Pair("hadamard:bits=2", "turbovec 2 bit"),
    Pair("hadamard:bits=4", "turbovec 4 bit"),
)


@dataclass(frozen=True)
class Plan:
    """What to run."""

    methods: tuple[str, ...] = ()  # patterns of labels of either side; empty: all
    threads: tuple[int, ...] = (1,)
    sizes: tuple[int, ...] = ()  # rows; empty: SIZES
    quick: bool = False


def run(
    plan: Plan, done: Iterable[Record] = (), say: Callable[[str], None] = lambda line: None
) -> Iterator[Record]:
    """Records of the plan's cases that are not among those done, one after the other."""
    finished = {case_key(record) for record in done}
    stamp = machine.describe()
    todo = [case for case in cases(plan, say) if case_key(case) not in finished]
    for number, case in enumerate(todo, 1):
        what = f"{case['method']} against {case['peer']}, {case['rows']} rows, {case['threads']} threads"
        say(f"[{number}/{len(todo)}] {what}")
        for record in _records(case):
            if why := trouble(record):
                say(f"    {why}")
            yield record | {"machine": stamp}


def cases(plan: Plan, say: Callable[[str], None] = lambda line: None) -> Iterator[Record]:
    """Everything that a plan measures."""
    pairs = list(_pairs(plan.methods, say))
    sizes = plan.sizes or (_QUICK_SIZES if plan.quick else SIZES)
    for rows in sizes:
        for threads in plan.threads:
            if threads > machine.cores():
                raise SpecError(f"{threads} threads on {machine.cores()} processors; expected at most these")
            for pair in pairs:
                yield {
                    "task": TASK, "method": pair.ours, "peer": pair.peer, "dim": DIM, "rows": rows,
                    "threads": threads, "quick": plan.quick, "queries": QUERIES,
                    "runs": _QUICK_RUNS if plan.quick else _RUNS,
                }  # fmt: skip


def _pairs(patterns: tuple[str, ...], say: Callable[[str], None]) -> Iterator[Pair]:
    """Those of which a pattern names one side; a label that none has becomes one without a peer, to fail."""
    found = [pair for pair in PAIRS if len(strangers(patterns, (pair.ours, pair.peer))) < len(patterns)]
    if not found and patterns:
        raise SpecError(f"no pair is named like {' or '.join(patterns)}; try 'pq*' or 'faiss*'")
    yield from found or PAIRS
    for pattern in strangers(patterns, (label for pair in found for label in (pair.ours, pair.peer))):
        if is_label(pattern):
            yield Pair(pattern, _NOBODY)
        else:
            say(f"left out: no pair is named like {pattern}")


def _records(case: Record) -> list[Record]:
    """The records of a case, whatever happens to its process."""
    kept = {key: case[key] for key in ("task", "method", "peer", "dim", "rows", "threads", "quick")}
    if case["peer"] == _NOBODY:
        return [kept | {"error": f"no pair is named like {case['method']!r}"}]
    return [kept | record for record in records_of("vecstore.bench.scan_worker", case, _LONGEST_S)]


def case_key(record: Record) -> tuple[object, ...]:
    """What two records of one case have in common; its queries are measured together."""
    names = ("task", "method", "peer", "dim", "rows", "threads", "quick")
    return tuple(record.get(name) for name in names)


def latest(records: Iterable[Record]) -> list[Record]:
    """The last record of each case and number of queries."""
    return list({(*case_key(record), record.get("queries")): record for record in records}.values())
