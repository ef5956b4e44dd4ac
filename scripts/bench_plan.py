"""Is the first choice of a plan the best that its budget holds, and is what it says of it true?

    python scripts/bench_plan.py --data DIR --out docs/benchmarks/plan.jsonl --resume \\
        --page docs/benchmarks/plan.md

A plan sees a collection and nothing else. The exhaustive run fits each candidate that the planner lists for
the budget on the whole of it, encodes all of it, and searches it with queries that neither has seen.
Records are JSON lines of three kinds: `plan`, what `vs.plan` and `compress` made of a set and a budget, and
what its first choice then comes to; `fitted`, a codec on a set; `case`, the candidates that a budget holds.
Times are processor time of one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vecstore as vs
from vecstore.bench import datasets, machine
from vecstore.bench.pages import markdown
from vecstore.bench.quality import recalls, relative_mse, with_error
from vecstore.bench.vectors import sets
from vecstore.codecs.base import Codec, Rows
from vecstore.errors import NotFoundError, VecstoreError
from vecstore.kernels.threads import set_threads
from vecstore.ledger import parse_budget
from vecstore.planner.candidates import candidates
from vecstore.planner.room import Room
from vecstore.search.searcher import Searcher
from vecstore.stream.sample import SAMPLE_ROWS

BUDGETS = ("8B/row", "32B/row", "1bit/dim", "5%", "12%")
SETS = (
    "generated", "manual", "limit_small_minilm", "word2vec_googlenews_8k", "blogcatalog", "sift_sceaux",
    "classic3_minilm",
)  # fmt: skip
RECALL, SHARE, TIME = 0.01, 0.9, 0.1  # what is asked
LARGE, LARGE_ROWS = "generated_large", 200_000
_SEED, _UNSEEN = 7, 2000

ABOUT = """\
A plan sees a collection. Beside it every candidate that the budget holds is fitted on all of the
collection (on a sample as `compress` draws it, where it is large), and the collection is searched with
queries that neither has seen: the set's own, where it has some, or rows left out of it. `told` is the
plan's interval of 95 %; beside it stands what its first choice comes to with unseen rows as queries, and
what is lost of these. Seconds are processor time of one thread, kernels compiled before, and those of a
plan include what it measures of costs, which the exhaustive run does not.

What this does not show: collections of millions, of which a plan sees a sample, so that its recall is
that of the sample; other settings of codecs than the planner lists, which may be better still; what
another draw of the rows would give, as one seed was run. A plan takes as long for a million rows as for
twenty thousand, so that on small sets, where everything is tried in a second or two, it saves little: the
share of time is asked of collections that are worth a plan."""

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
    if len(found.held) < len(found.base):
        return _parted(name, found.metric, found.base, found.queries)
    return Split(name, found.metric, found.base, found.fit[:_UNSEEN], found.queries)


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
    record: Record = {"code_bytes": codec.code_bytes, "shared": codec.ledger(0).shared}
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
    return {"plan_s": plan_s, "file_bytes": done.bytes, "first": fitted(data, plan[0].spec), **plan.as_dict()}


def held(data: Split, budget: str) -> list[str]:
    """The planner's candidates for a budget."""
    return list(candidates(_room(data.rows.shape[1], len(data.rows), budget)))


def _room(dim: int, rows: int, budget: str) -> Room:
    return Room(parse_budget(budget), dim, rows, 8.0)


def run(plan: argparse.Namespace, done: list[Record]) -> Iterator[Record]:
    """Records that are not among those done: what budgets hold and what plans say of them first."""
    finished = {key(record) for record in done}
    stamp = machine.describe()
    for name in plan.datasets:
        try:
            data = split(name, plan.data)
        except NotFoundError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        shape = {"dataset": name, "rows": len(data.rows), "dim": data.rows.shape[1], "metric": data.metric}
        for budget in ("8B/row", "32B/row"):  # kernels are compiled, or read, from here on
            with suppress(VecstoreError):
                vs.plan(data.rows[:3000], budget=budget, metric=data.metric)
        for budget in plan.budgets:
            case = {"kind": "plan", **shape, "budget": budget}
            if key(case) not in finished:
                yield case | planned(data, budget) | {"machine": stamp}
        for budget in plan.budgets if plan.exhaustive else ():
            specs = held(data, budget)
            case = {"kind": "case", **shape, "budget": budget, "specs": specs}
            if key(case) in finished:
                continue
            for spec in specs:
                one = {"kind": "fitted", **shape, "spec": spec}
                if key(one) not in finished:
                    finished.add(key(one))
                    yield one | fitted(data, spec) | {"machine": stamp}
            yield case


def key(record: Record) -> tuple[str, ...]:
    """What two records of one case have in common."""
    return tuple(str(record.get(name)) for name in ("kind", "dataset", "budget", "spec"))


@dataclass(frozen=True)
class Case:
    """A plan beside the exhaustive run."""

    plan: Record
    tried: list[Record]  # all that the budget holds

    @property
    def first(self) -> Record:
        """What the plan says of its first choice."""
        return dict(self.plan["candidates"][0])

    @property
    def got(self) -> Record:
        """What it comes to."""
        return dict(self.plan["first"])

    @property
    def best(self) -> Record:
        """What finds most; the plan's own choice where nothing finds more."""
        return max([self.got | {"spec": self.first["spec"]}, *self.tried], key=lambda r: r["recall_at_10"])

    @property
    def short(self) -> float:
        """Recall@10 that the first choice lacks."""
        return float(self.best["recall_at_10"] - self.got["recall_at_10"])

    @property
    def exhaustive_s(self) -> float:
        """What the exhaustive run took."""
        return float(sum(r["fit_s"] + r["encode_s"] + r["search_s"] for r in self.tried))

    def inside(self, quality: str, found: str) -> bool:
        """Whether what was found lies in the plan's interval."""
        low, high = self.first[f"{quality}_interval"]
        return bool(low <= self.got[found] <= high)

    @property
    def agrees(self) -> bool:
        """Whether recall does, if what was found, with so many queries, has an interval of its own."""
        low, high = self.first["recall_at_10_interval"]
        width = float(np.hypot((high - low) / 2, 1.96 * self.got["unseen_recall_error"]))
        return bool(abs(self.got["unseen_recall"] - self.first["recall_at_10"]) <= width)


def gathered(records: list[Record]) -> tuple[list[Case], list[Record]]:
    """Cases of which both runs are there, and plans of budgets that hold nothing."""
    last = {key(record): record for record in records}
    fits = {(r["dataset"], r["spec"]): r for r in last.values() if r["kind"] == "fitted"}
    found, empty = [], []
    for case in (r for r in last.values() if r["kind"] == "case"):
        plan = last.get(key(case | {"kind": "plan"}))
        if plan is None or "candidates" not in plan:
            empty += [] if plan is None else [plan]
            continue
        room = _room(case["dim"], case["rows"], case["budget"])
        tried = [fits[case["dataset"], spec] for spec in case["specs"]]
        good = [r for r in tried if "error" not in r and room.keeps(r["code_bytes"], r["shared"])]
        found.append(Case(plan, good))
    return found, empty


def targets(cases: list[Case]) -> list[list[str]]:
    """What is asked, what was found, whether it is kept."""
    near = [case.short <= RECALL for case in cases]
    times = {
        name: sum(c.plan["plan_s"] for c in cases if c.plan["dataset"] == name)
        / sum(c.exhaustive_s for c in cases if c.plan["dataset"] == name)
        for name in dict.fromkeys(case.plan["dataset"] for case in cases)
    }
    text = ", ".join(f"{share:.2f} {name}" for name, share in sorted(times.items(), key=lambda item: item[1]))
    exact = [case.first["total_bytes"] == case.plan["file_bytes"] for case in cases]
    lines = [(f"first choice within {RECALL:g} of the best recall@10: {SHARE:.0%} of cases", near)]
    known = [case for case in cases if case.first["recall_at_10_interval"]]
    recall = [case.inside("recall_at_10", "unseen_recall") for case in known]
    lines += [(f"recall@10 of unseen rows inside the plan's interval: {SHARE:.0%}", recall)]
    agrees = [case.agrees for case in known]
    lines += [(f"the same, allowing for the error of that recall itself: {SHARE:.0%}", agrees)]
    error = [case.inside("relative_mse", "unseen_relative_mse") for case in cases]
    lines += [(f"error of unseen rows inside the plan's interval: {SHARE:.0%}", error)]
    shown = [
        [what, f"{sum(each)} of {len(each)}", "yes" if np.mean(each) >= SHARE else "no"]
        for what, each in lines
    ]
    kept = "yes" if max(times.values()) <= TIME else "no"
    shown.append([f"time of a plan: {TIME:g} of the exhaustive run's", text, kept])
    shown.append(
        ["bytes of the file as told", f"{sum(exact)} of {len(exact)}", "yes" if all(exact) else "no"]
    )
    return shown


def page(records: list[Record]) -> str:
    """docs/benchmarks/plan.md."""
    cases, empty = gathered(records)
    header = ["set", "rows", "budget", "first choice", "bytes/row", "recall@10", "told", "of unseen rows"]
    header += ["error told", "of unseen rows", "best of all", "recall@10", "tried", "plan s", "all s"]
    lines = [_line(case) for case in cases]
    parts = ["# What a plan is worth", "<!-- Made by scripts/bench_plan.py --page. -->", ABOUT]
    parts.append(markdown(("", ["asked", "found", "kept"], targets(cases))))
    there = {(r["dataset"], r["budget"]) for r in (*(case.plan for case in cases), *empty)}
    if left := [f"{name} {budget}" for name in SETS for budget in BUDGETS if (name, budget) not in there]:
        parts.append(f"Not measured yet: {', '.join(left)}.")
    if empty:
        parts.append("\n".join(f"- {r['dataset']}, {r['budget']}: {r['error']}" for r in empty))
    return "\n\n".join([*parts, markdown(("", header, lines))]) + "\n"


def _line(case: Case) -> list[str]:
    first, got, best = case.first, case.got, case.best
    told = first["recall_at_10_interval"]
    return [
        case.plan["dataset"], f"{case.plan['rows']:,}", case.plan["budget"], first["spec"],
        f"{first['bytes_per_row']:g}", f"{got['recall_at_10']:.3f}",
        "{:.3f}-{:.3f}".format(*told) if told else "", f"{got['unseen_recall']:.3f}",
        "{:.3g}-{:.3g}".format(*first["relative_mse_interval"]), f"{got['unseen_relative_mse']:.3g}",
        best["spec"], f"{best['recall_at_10']:.3f}", str(len(case.tried)), f"{case.plan['plan_s']:.2f}",
        f"{case.exhaustive_s:.2f}",
    ]  # fmt: skip


def main() -> None:
    """Runs what is asked, and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", help="folder of the known sets")
    parser.add_argument("--datasets", type=_listed, default=SETS)
    parser.add_argument("--budgets", type=_listed, default=BUDGETS)
    parser.add_argument("--no-exhaustive", dest="exhaustive", action="store_false", help="plans only")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    set_threads(1)
    before = _lines(args.out) if args.resume and args.out.exists() else []
    with args.out.open("a" if args.resume else "w") as file:
        for record in run(args, before):
            print(json.dumps(record), file=file, flush=True)
            print(record["kind"], record["dataset"], record.get("budget") or record["spec"], file=sys.stderr)
    if args.page:
        args.page.write_text(page(_lines(args.out)))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    main()
