"""The page of `bench tables`, made from its records and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vecstore.bench import plots
from vecstore.bench.line import Line
from vecstore.bench.pages import Table, markdown
from vecstore.bench.process import trouble
from vecstore.bench.tables import speed
from vecstore.bench.tables.cells import Cell, Record, gather
from vecstore.bench.tables.pictures import draw
from vecstore.bench.tables.targets import judge

COMMAND = """\
vecstore bench tables --data DIR --out docs/benchmarks/tables.jsonl --resume
vecstore bench tables --speed --threads 1,2 --out docs/benchmarks/tables.jsonl --resume \\
    --page docs/benchmarks/tables.md"""
PROTOCOL = """\
All methods of a data set have the same network, initial weights of it, order of data, learning rates, Adam
for tables and network where the label says no other optimizer, and rule of stopping: after so many
evaluations without a better AUC on the validation part. What is evaluated is a finished copy of the table,
as it would serve; the test part is looked at once, by the best of these. A budget is a share of the plain
table's bytes, `4 rows dim`, and counts everything that lookups need: rows, codebooks, maps, masks,
sketches, seeds (in league train, `league=train` in the label, also the optimizer's state, and is then a
share of the plain table with Adam's). The ledger must agree with the live arrays to the byte, or the run
fails. `own`: no budget changes the method. An infeasible budget is one that the method refuses.

- ml-1m: ratings 1-2 and 4-5 of MovieLens 1M, 80/10/10 at random with a fixed split; user, item, gender,
  age, occupation, zip: 13,177 rows of 30 values. DCN-V2, one cross layer and 192 units; batches of 1,024,
  rate 2e-3.
- criteo-80k: rows 0-53,999 to train, to 59,999 to validate, to 79,999 to test; 161,091 rows of 16 values,
  tokens that were not seen share one a field. DCN-V2, 128 and 64 units; batches of 512, rate 1e-3. The
  standard error of an AUC is about .004 here: it cannot rank good methods.
- frappe: the validation file 90/10 to train and validate, the test file to test; 5,382 rows of 16 values.
  DeepFM, 64 and 64 units; batches of 512, rate 2e-3.
- gmf: generated; users and items with eight hidden values, 6,000 each, 166 items a user. Products of two
  vectors, summed with weights; 32 values.
- zipf: generated; fields as large as Criteo's, ids by Zipf's law, effects and pairwise matches of ids.
  DeepFM, 64 and 64 units; 16 values."""
NOT_SHOWN = """\
The learning rate is not tuned for each method unless `--rates` says so: the record has the one that was
used. `plain` and other methods without a knob are measured once. What a method costs in time is of Python
and kernels on batches of this size, beside other processes; times beside other libraries are in the table
of speed, whose runs were taken in turn. Sets are small: what a method does with a billion ids is not
shown. The best of many methods is found by their test AUC, and so is a little better than it will be again; a
target is judged once there are three seeds."""


def page(records: Sequence[Record], path: Path) -> str:
    """docs/benchmarks/tables.md; pictures are drawn beside it, where they can be."""
    machine: Record = next((record["machine"] for record in reversed(records) if "machine" in record), {})
    versions = ", ".join(
        f"{key} {value}" for key, value in machine.items() if key in ("python", "numpy", "torch")
    )
    parts = [
        "# Trainable tables: quality, bytes and speed",
        "<!-- Made by `vecstore bench tables --page`; edit vecstore/bench/tables/page.py instead. -->",
        f"Measured on {machine.get('cpu', 'an unknown processor')} ({machine.get('isa')}; {versions}), by\n\n"
        f"```\n{COMMAND}\n```",
    ]
    if quick := sum(bool(record.get("quick")) for record in records):
        parts.append(f"**{quick} records are from `--quick` and are no figures.**")
    if busy := sum((record.get("load_before") or 0) > record.get("threads", 1) for record in records):
        parts.append(f"{busy} of {len(records)} records were taken while other processes ran.")
    lines = [[line.what, line.found, _verdict(line), f"`{line.command}`"] for line in judge(records)]
    header = ["target", "found", "kept", "made by bench tables with"]
    parts += ["## Targets", markdown(("", header, lines)), "## Protocol", PROTOCOL]
    if plots.missing() is None and (drawn := draw(list(gather(records).values()), path)):
        parts += ["## AUC by bytes"]
        parts += [f"![{picture.alt}]({picture.path.name})" for picture in drawn]
    for title, header, cells in tables(records):
        parts += [f"## {title}", markdown((title, header, cells))]
    parts += [_walk(record["walk_ns"]) for record in records if "walk_ns" in record][-1:]
    return "\n\n".join([*parts, "## What this does not show", NOT_SHOWN]) + "\n"


def _verdict(line: Line) -> str:
    """Of a target; one that too few runs are there for is not judged."""
    return "too few runs" if line.kept is None and line.found != "-" else line.verdict


def tables(records: Sequence[Record]) -> Iterator[Table]:
    """For each data set the AUC by budget and what each cell takes; then speed, and what failed."""
    cells = gather(records)
    for dataset in dict.fromkeys(record["dataset"] for record in records if "dataset" in record):
        own = [cell for cell in cells.values() if cell.dataset == dataset]
        if own:
            yield _by_budget(dataset, own, records)
            yield _costs(dataset, own)
    timed = [record for record in records if record["task"] == speed.TASK and "times" in record]
    if timed:
        yield _speeds(timed)
    bad = [record for record in records if trouble(record)]
    if bad:
        keys = ("dataset", "method", "budget", "seed")
        lines = [[*(str(record.get(key, "-")) for key in keys), trouble(record)] for record in bad]
        yield "Failed or infeasible", [*keys, "what happened"], lines


def _by_budget(dataset: str, cells: Sequence[Cell], records: Sequence[Record]) -> Table:
    """Methods by budgets, the best at the smallest common budget first."""
    budgets = sorted({cell.budget for cell in cells if cell.budget is not None}, reverse=True)
    infeasible = dict.fromkeys(
        (r["method"], r["budget"]) for r in records if "infeasible" in r and r["dataset"] == dataset
    )
    places = {(cell.method, cell.budget): cell for cell in cells}
    methods = dict.fromkeys([cell.method for cell in cells] + [method for method, _ in infeasible])

    def text(method: str, budget: float | None) -> str:
        if cell := places.get((method, budget)):
            spread = f" ({cell.spread:.4f}, {len(cell.runs)})" if len(cell.runs) > 1 else ""
            return f"{cell.mean('auc'):.4f}{spread}"
        return "infeasible" if (method, budget) in infeasible else "-"

    def rank(method: str) -> tuple[float, ...]:
        found = [places.get((method, budget)) for budget in (*budgets[::-1], None)]
        return tuple(-cell.mean("auc") if cell else 0.0 for cell in found)

    header = ["method", "own", *(f"{100 * budget:g}%" for budget in budgets)]
    lines = [
        [method, *(text(method, budget) for budget in (None, *budgets))]
        for method in sorted(methods, key=rank)
    ]
    return f"{dataset}: test AUC, mean (largest less smallest, seeds) by budget", header, lines


def _costs(dataset: str, cells: Sequence[Cell]) -> Table:
    header = [
        "method", "budget", "AUC", "logloss", "AUC of tail ids", "parameters B", "index B", "optimizer B",
        "serve B", "train B", "of plain", "ns a lookup", "updates/s", "best epoch", "train s", "peak MB",
    ]  # fmt: skip
    lines = [
        [
            cell.method, "own" if cell.budget is None else f"{100 * cell.budget:g}%",
            f"{cell.mean('auc'):.4f}", f"{cell.mean('logloss'):.4f}", f"{cell.mean('tail_auc'):.4f}",
            *(f"{cell.mean(key):,.0f}" for key in ("parameters", "index", "optimizer", "serve", "train")),
            f"{cell.mean('share'):.2%}", f"{cell.mean('lookup_ns'):.0f}", f"{cell.mean('updates_s'):,.0f}",
            f"{cell.mean('epoch'):.1f}", f"{cell.mean('train_s'):.0f}",
            f"{cell.mean('peak_bytes') / 1e6:.0f}",
        ]
        for cell in sorted(cells, key=lambda cell: (-cell.mean("share"), -cell.mean("auc")))
    ]  # fmt: skip
    return f"{dataset}: what each takes", header, lines


def _walk(walk: dict[str, float]) -> str:
    """What two half lines cost where one whole line does."""
    line, halves = walk["line"], walk["halves"]
    return (
        "What a lookup of dim 16 costs at the least: a walk that asks for the rows of the same ids ahead of "
        f"time and adds them up, and nothing else, takes {line:.1f} ns an id where each is a line of the "
        f"cache, and {halves:.1f} ns, {halves / line:.1f} times that, where it is two halves of lines in "
        "different places, as of `unified` with two chunks. A step reads all of them again and writes them."
    )


def _speeds(timed: Sequence[Record]) -> Table:
    one = timed[0]
    lines = [
        [
            name, str(record["dim"]), str(record["threads"]),
            *(f"{times[f'{what}_ns']:.1f} ({times[f'{what}_ns_min']:.1f})" for what in ("lookup", "step")),
            f"{record[f'{name}_step_bytes'] / 1e6:.1f}" if f"{name}_step_bytes" in record else "-",
        ]
        for record in timed
        for name, times in record["times"].items()
    ]  # fmt: skip
    title = f"Speed: {one['rows']:,} rows, {one['bags']:,} bags of {one['ids']} ids by Zipf's law, ns an id"
    header = [
        "table",
        "dim",
        "threads",
        "lookup: median (least)",
        "step: median (least)",
        "extra MB of a step",
    ]
    return title, header, lines
