"""Is the first choice of a plan the best that its budget holds, and is what it says of it true?

    python scripts/bench_plan.py --data DIR --out docs/benchmarks/plan.jsonl --resume \\
        --page docs/benchmarks/plan.md

A plan sees a collection and nothing else. The exhaustive run tries what the budget holds, more than the
planner lists: it fits each codec on the whole of it, encodes all of it, and searches it with queries that
neither has seen.
Records are JSON lines of four kinds: `plan`, what `vs.plan` and `compress` made of a set and a budget, and
what its first choice then comes to; `fitted`, a codec on a set; `case`, the specs tried for a budget;
`told` (--told N of each set), what a plan says of few rows that are drawn at random, and what as many
other rows as it measured on then show. Times are processor time of one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
from vecstore.bench import datasets, machine
from vecstore.bench.plan_grid import GRID
from vecstore.bench.plan_page import BUDGETS, SETS, TASK, key, page, room_of
from vecstore.bench.process import trouble
from vecstore.bench.quality import recalls, relative_mse, with_error
from vecstore.bench.vectors import sets
from vecstore.codecs.base import Codec, Rows
from vecstore.errors import NotFoundError, VecstoreError
from vecstore.kernels.threads import set_threads
from vecstore.planner.candidates import Candidates
from vecstore.search.searcher import Searcher
from vecstore.stream.sample import SAMPLE_ROWS

LARGE, LARGE_ROWS = "generated_large", 200_000
_SEED, _UNSEEN, _TOLD_ROWS, _WARM_ROWS = 7, 2000, 2400, 3000

Record = dict[str, Any]


@dataclass(frozen=True)
class Split:
    """What a plan sees of a set, and what nothing that is measured has seen."""

    name: str
    metric: str
    rows: Rows  # (n, dim), the collection
    unseen: Rows  # (m, dim), of the same kind
    queries: Rows  # (q, dim), those of the set; or unseen


def split(name: str, folder: str | None) -> Split:
    """The set of this name; NotFoundError if its files are not under folder."""
    if name == LARGE:
        made = datasets.generated(128, rows=LARGE_ROWS)
        return Split(name, made.metric, made.base, made.fit[:_UNSEEN], made.queries)
    if name == "limit_small_minilm":  # its documents are too few: its queries are a collection here
        known = datasets.load(name, folder)
        return _parted(name, known.metric, np.concatenate([known.fit, known.queries]), None)
    found = sets.load(name, folder)
    if found.words is not None or found.graph is not None:  # whose queries are rows of the collection
        return _parted(name, found.metric, found.base, None)
    if name.partition("_")[0] == datasets.GENERATED:
        return Split(name, found.metric, found.base, found.fit[:_UNSEEN], found.queries)
    return _parted(name, found.metric, found.base, found.queries)


def _parted(name: str, metric: str, rows: Rows, queries: Rows | None) -> Split:
    order = np.random.default_rng(_SEED).permutation(len(rows))
    count = min(_UNSEEN, len(rows) // 8)
    unseen = rows[order[:count]]
    return Split(name, metric, rows[np.sort(order[count:])], unseen, unseen if queries is None else queries)


def spent(job: Callable[[], Any]) -> tuple[Any, float]:
    """What a job gives, and the processor time that it took."""
    started = time.process_time()
    found = job()
    return found, time.process_time() - started


def fitted(data: Split, spec: str) -> Record:
    """One codec on a set, at full size."""
    sample = data.rows[np.sort(np.random.default_rng(_SEED).permutation(len(data.rows))[:SAMPLE_ROWS])]
    try:
        codec, fit_s = spent(lambda: vs.fit(spec, sample, seed=0))
    except VecstoreError as error:
        return {"error": " ".join(str(error).split())}
    if not isinstance(codec, Codec):
        return {"error": "not of a fixed size"}
    codes, encode_s = spent(lambda: codec.encode(data.rows))
    searcher, ready_s = spent(lambda: Searcher.of(codec, codes))
    found, search_s = spent(lambda: searcher.search(data.queries, 10, metric=data.metric)[0])
    record: Record = {
        "full": str(codec.spec),
        "code_bytes": codec.code_bytes,
        "shared": codec.ledger(0).shared,
    }
    record |= {"fit_s": fit_s, "encode_s": encode_s, "search_s": ready_s + search_s}
    record |= _recall(data, found, data.queries, "recall_at_10")
    found = searcher.search(data.unseen, 10, metric=data.metric)[0]
    record |= _recall(data, found, data.unseen, "unseen_recall")
    back = codec.decode(codec.encode(data.unseen))
    return {**record, "unseen_relative_mse": relative_mse(data.unseen, back)}


def _recall(data: Split, found: Any, queries: Rows, name: str) -> Record:
    shares = recalls(data.rows, found, queries, data.metric, (10,))[10]
    assert shares is not None
    mean, error = with_error(shares)
    return {name: mean, f"{name}_error": error}


def planned(data: Split, budget: str) -> Record:
    """What a plan says, what it takes, and what comes of its first choice."""
    wanted = {"budget": budget, "metric": data.metric}
    try:
        plan, plan_s = spent(lambda: vs.plan(data.rows, **wanted))
    except VecstoreError as error:
        return {"error": " ".join(str(error).split())}
    with tempfile.TemporaryDirectory() as place:
        done = vs.compress(data.rows, f"{place}/x", plan[0].spec, metric=data.metric)
    spent_s = {f"{what}_s": seconds for what, seconds in plan.seconds.items()}
    first = fitted(data, plan[0].spec)
    return {"plan_s": plan_s, **spent_s, "file_bytes": done.bytes, "first": first, **plan.as_dict()}


def told(data: Split, number: int) -> Record:
    """What a plan says of rows drawn at random, and what as many others as it measured on show."""
    rows = np.concatenate([data.rows, data.unseen])
    # Of another seed than the plan's: permutations that begin alike choose alike.
    order = np.random.default_rng([_SEED, number]).permutation(len(rows))
    count = min(_TOLD_ROWS, 3 * len(rows) // 4)
    budget = BUDGETS[number % len(BUDGETS)]
    try:
        found = vs.plan(rows[order[:count]], budget=budget, metric=data.metric, seed=number)
    except VecstoreError as error:
        return {"rows": count, "budget": budget, "error": " ".join(str(error).split())}
    unseen = rows[order[count : count + found.queries]]
    part = Split(data.name, data.metric, rows[order[:count]], unseen, unseen)
    first = found[0].as_dict()
    kept = {name: first[name] for name in ("spec", "recall_at_10_interval", "relative_mse_interval")}
    return {"rows": count, "budget": budget, **kept, "first": fitted(part, found[0].spec)}


def exhaustive(data: Split, case: Record, known: dict[tuple[str, ...], Record]) -> Iterator[Record]:
    """Records of what is tried for a budget and not known yet, and of which specs these are."""
    room = room_of(case["dim"], case["rows"], case["budget"])
    candidates = Candidates(room, families=GRID)
    specs = []
    for family in GRID:
        while (found := candidates.largest(family)) is not None:
            one = {**case, "kind": "fitted", "spec": found.spec}
            del one["budget"]
            if key(one) not in known:
                known[key(one)] = one | fitted(data, found.spec)
                yield known[key(one)]
            tried = known[key(one)]
            if trouble(tried) or room.keeps(tried["code_bytes"], tried["shared"]):
                specs += [] if trouble(tried) else [found.spec]
                break
            candidates.too_large(found, tried["shared"])
    yield case | {"specs": specs}


def warm(data: Split, exhaustive: bool) -> None:
    """Kernels are compiled, or read, from here on."""
    few = replace(data, rows=data.rows[:_WARM_ROWS])
    for budget in ("8B/row", "32B/row"):
        with suppress(VecstoreError):
            vs.plan(few.rows, budget=budget, metric=data.metric)
        for one in Candidates(room_of(few.rows.shape[1], len(data.rows), budget), families=GRID).listed():
            if exhaustive:
                fitted(few, one.spec)


def run(plan: argparse.Namespace, done: list[Record]) -> Iterator[Record]:
    """Records that are not among those done: what budgets hold and what plans say of them first."""
    known = {key(record): record for record in done}
    for name in plan.datasets:
        try:
            data = split(name, plan.data)
        except NotFoundError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        shape = {"dataset": name, "rows": len(data.rows), "dim": data.rows.shape[1], "metric": data.metric}
        warm(data, plan.exhaustive)
        for budget in plan.budgets if plan.planned else ():
            case = {"task": TASK, "kind": "plan", **shape, "budget": budget}
            if key(case) not in known:
                yield case | planned(data, budget)
        for number in range(plan.told):
            case = {"task": TASK, "kind": "told", **shape, "number": number}
            if key(case) not in known:
                yield case | told(data, number)
        for budget in plan.budgets if plan.exhaustive else ():
            case = {"task": TASK, "kind": "case", **shape, "budget": budget}
            if key(case) not in known:
                yield from exhaustive(data, case, known)


def main() -> None:
    """Runs what is asked, and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", help="folder of the known sets")
    parser.add_argument("--datasets", type=_listed, default=SETS)
    parser.add_argument("--budgets", type=_listed, default=BUDGETS)
    parser.add_argument("--no-exhaustive", dest="exhaustive", action="store_false")
    parser.add_argument("--no-plans", dest="planned", action="store_false")
    parser.add_argument("--told", type=int, default=0, metavar="N", help="collections drawn of each set")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    set_threads(1)
    before = _lines(args.out) if args.resume and args.out.exists() else []
    stamp = machine.describe()
    with args.out.open("a" if args.resume else "w") as file:
        for record in run(args, before):
            print(json.dumps(record | {"machine": stamp}), file=file, flush=True)
            print(record["kind"], record["dataset"], record.get("budget") or record["spec"], file=sys.stderr)
    if args.page:
        args.page.write_text(page(_lines(args.out)))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    main()
