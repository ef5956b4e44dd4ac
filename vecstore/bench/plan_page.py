"""The page of plans beside exhaustive runs, made from records of scripts/bench_plan.py and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vecstore.bench.line import Line
from vecstore.bench.pages import Table, markdown
from vecstore.bench.process import Record
from vecstore.ledger import parse_budget
from vecstore.planner.room import Room

TASK = "plan"
NOTHING = "-"
COMMAND = "python scripts/bench_plan.py --data DIR --out FILE"
BUDGETS = ("8B/row", "32B/row", "1bit/dim", "5%", "12%")
SETS = (
    "generated", "manual", "limit_small_minilm", "word2vec_googlenews_8k", "blogcatalog", "sift_sceaux",
    "classic3_minilm",
)  # fmt: skip
RECALL, SHARE, TIME = 0.01, 0.9, 0.1  # what is asked
ABOUT = """\
A plan sees a collection. Beside it an exhaustive run tries what the budget holds: each codec with its
options, behind the transforms that may help it (`vecstore/bench/plan_grid.py`), at the largest size, more
than the planner lists; options that only take longer aside. Each is fitted on all of the collection (on a
sample as `compress` draws it, where it is large), and the collection is searched with queries that neither
has seen: the set's own, where it has some, or rows left out of it. `told` is the plan's interval of 95 %, of
what as many other rows as it measured on would show; beside it stands what its first choice comes to with
rows that were left out as queries, and what is lost of these. Collections drawn at random are up to 2,400
rows of each set, planned for each of the budgets in turn, beside as many that were not drawn as the plan
measured with. Seconds are processor time of one thread, kernels compiled before, and those of a plan include
what it measures of costs, which the exhaustive run does not: how much of the share goes to looks at few rows,
and to costs, stands behind it, and the rest is what two or three candidates take that are fitted on all rows,
and measured; what two specs come to that are the same codec counts once.

What this does not show: collections of millions, of which a plan sees a sample, so that its recall is that of
the sample; other options of codecs, which may be better still; what another draw of the rows would give, as
one seed was run: budgets of a set are measured with the same unseen rows, and are right or wrong together.
How many rows a plan looks at, and how far behind the best a candidate may be to be looked at again, was
chosen by what plans of the first seven sets then cost and lost; of `generated_32` and `generated_256` nothing
was looked at before. Of few rows a look is no cheaper than a measurement, so that a plan takes a larger share
there. The interval of recall is that of the sample, not of all rows."""


def key(record: Record) -> tuple[str, ...]:
    """What two records of one case have in common."""
    if record["kind"] == "told":  # of a number, which says the budget
        return "told", str(record["dataset"]), str(record["number"])
    return tuple(str(record.get(name)) for name in ("kind", "dataset", "budget", "spec"))


def room_of(dim: int, rows: int, budget: str) -> Room:
    """What a budget leaves for codes."""
    return Room(parse_budget(budget), dim, rows, 8.0)


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
        return sum(map(_seconds, self.tried))


def _seconds(fitted: Record) -> float:
    return float(fitted["fit_s"] + fitted["encode_s"] + fitted["search_s"])


def inside(first: Record, got: Record, quality: str) -> bool | None:
    """Whether what unseen rows show lies in a first choice's interval; None where it has none.

    quality: recall_at_10 or relative_mse; got: what the choice came to.
    """
    interval = first[f"{quality}_interval"]
    found = got["unseen_recall" if quality == "recall_at_10" else "unseen_relative_mse"]
    return None if interval is None else bool(interval[0] <= found <= interval[1])


def gathered(records: Sequence[Record]) -> tuple[list[Case], list[Record]]:
    """Cases of which both runs are there whole, and plans of budgets that hold nothing."""
    last = {key(record): record for record in records}
    fits = {(r["dataset"], r["spec"]): r for r in last.values() if r["kind"] == "fitted"}
    found, empty = [], []
    for case in (r for r in last.values() if r["kind"] == "case"):
        plan = last.get(key(case | {"kind": "plan"}))
        tried = [fits.get((case["dataset"], spec)) for spec in case["specs"]]
        if plan is not None and "candidates" not in plan:
            empty.append(plan)
        elif plan is not None and None not in tried:
            # Defaults are resolved to what another spec says: that is one, and takes its time once.
            found.append(Case(plan, list({r["full"]: r for r in reversed(tried) if r}.values())))
    return found, empty


def judge(records: Sequence[Record]) -> list[Line]:
    """What is asked, what was found, whether it is kept."""
    cases, _ = gathered(records)
    told = [record for record in records if record["kind"] == "told" and "first" in record]
    shares = {
        f"first choice within {RECALL:g} of the best recall@10": [case.short <= RECALL for case in cases],
    }
    for quality, what in (("recall_at_10", "recall@10"), ("relative_mse", "error")):
        shares |= {
            f"{what} of unseen rows inside the plan's interval": [
                within for case in cases if (within := inside(case.first, case.got, quality)) is not None
            ],
            f"{what} of as many other rows, collections drawn at random": [
                within for one in told if (within := inside(one, one["first"], quality)) is not None
            ],
        }
    exact = [case.first["total_bytes"] == case.plan["file_bytes"] for case in cases]
    times = sorted((share, name) for name, share in shares_of_time(cases).items())
    text = ", ".join(f"{share:.2f} {name}" for share, name in times)
    if (whole := sum(case.exhaustive_s for case in cases)) > 0:
        all_of_it, looks, costs = (
            sum(float(case.plan.get(f"{what}_s", 0.0)) for case in cases) / whole
            for what in ("plan", "looks", "costs")
        )
        text = f"{all_of_it:.2f} of all sets (looks {looks:.2f}, costs {costs:.2f}): {text}"
    return [
        *(_counted(f"{what}: {SHARE:.0%} of cases", each, SHARE) for what, each in shares.items()),
        Line(
            f"time of a plan: {TIME:g} of the exhaustive run's",
            text or NOTHING,
            times[-1][0] <= TIME if times else None,
            "",
        ),
        _counted("bytes of the file as told", exact, 1.0),
    ]


def _counted(what: str, each: Sequence[bool], least: float) -> Line:
    if not each:
        return Line(what, NOTHING, None, "")
    return Line(what, f"{sum(each)} of {len(each)}", sum(each) >= least * len(each), "")


def shares_of_time(cases: Sequence[Case]) -> dict[str, float]:
    """Of each set: what plans took over what the exhaustive runs did."""
    parts: dict[str, float] = {}
    alls: dict[str, float] = {}
    for case in cases:
        name = case.plan["dataset"]
        parts[name] = parts.get(name, 0.0) + float(case.plan["plan_s"])
        alls[name] = alls.get(name, 0.0) + case.exhaustive_s
    return {name: parts[name] / alls[name] for name in parts if alls[name] > 0}


def page(records: Sequence[Record]) -> str:
    """docs/benchmarks/plan.md."""
    cases, empty = gathered(records)
    parts = ["# What a plan is worth", "<!-- Made by scripts/bench_plan.py --page. -->", ABOUT]
    asked = [[line.what, line.found, line.verdict] for line in judge(records)]
    parts.append(markdown(("", ["asked", "found", "kept"], asked)))
    there = {(r["dataset"], r["budget"]) for r in (*(case.plan for case in cases), *empty)}
    if left := [f"{name} {budget}" for name in SETS for budget in BUDGETS if (name, budget) not in there]:
        parts.append(f"Not measured yet: {', '.join(left)}.")
    if empty:
        parts.append("\n".join(f"- {r['dataset']}, {r['budget']}: {r['error']}" for r in empty))
    return "\n\n".join([*parts, *map(markdown, tables(records))]) + "\n"


def tables(records: Sequence[Record]) -> Iterator[Table]:
    """One, of all cases."""
    header = ["set", "rows", "budget", "first choice", "bytes/row", "recall@10", "told", "of unseen rows"]
    header += ["error told", "of unseen rows", "best of all", "recall@10", "tried", "plan s", "all s"]
    if lines := [_line(case) for case in gathered(records)[0]]:
        yield "First choices of plans beside all that their budgets hold", header, lines


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
