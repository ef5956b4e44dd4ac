"""What a report says of `bench scan`, `store` and `tables`, and of tasks that it does not know."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vecstore.bench import scan_page, store_page
from vecstore.bench.process import trouble
from vecstore.bench.report import charts
from vecstore.bench.report.charts import OURS, Axes, Bound, Point
from vecstore.bench.report.codecs_section import best, quality
from vecstore.bench.report.model import NOTHING, Chart, Dot, Record, Scale, Section, Table, finite
from vecstore.bench.tables import page as tables_page
from vecstore.bench.tables import speed
from vecstore.bench.tables.cells import Cell, gather, within
from vecstore.bench.tables.pictures import FAMILIES
from vecstore.bench.tables.targets import judge

_SHARES = (0.5, 0.25, 0.1, 0.05, 0.01, 0.001)
_OTHER = "Other"
_LEFT_OUT = "Beyond all codes: bounds leave most rows unread, or the cache holds the codes."
_MEMORY = "python scripts/bench_memory.py FOLDER --out FILE"
_FACTS = 24  # columns of a task that is not known
_NESTED = ("machine",)


def scan(records: Sequence[Record]) -> Section:
    """Of the records of `bench scan`."""
    found = Section("scan", "Scans: every row scored", "vecstore bench scan")
    found.targets = scan_page.judge(records)
    good = [r for r in records if "scan_ratio" in r]
    for rows, threads in sorted({(r["rows"], r["threads"]) for r in good}):
        own = [r for r in good if (r["rows"], r["threads"]) == (rows, threads)]
        what = f"{rows:,} rows, {threads} thread{'s' * (threads > 1)}"
        command = f"vecstore bench scan --sizes {rows} --threads {threads} --out FILE"
        found.charts += _shares(what, own, command)
        found.charts.append(_ratios(what, own, command))
    found.tables = [
        Table(*table, "vecstore bench scan --threads 1,2 --out FILE") for table in scan_page.tables(records)
    ]
    found.not_shown = scan_page.NOT_SHOWN
    return found


def _shares(what: str, own: Sequence[Record], command: str) -> Iterator[Chart]:
    """Of one query: how near to reading its codes a scan comes."""
    shares: dict[str, list[float]] = {}
    for record in own:
        if record["queries"] == 1 and (share := finite(record.get("read_share"))) is not None:
            label = charts.label(record["method"], f"{record['ours_row_bytes']:.0f} bytes a row")
            shares.setdefault(label, []).append(share)
    if shares:
        drawn = [
            Dot(label, OURS, sorted(found)[len(found) // 2], min(found), max(found))
            for label, found in sorted(shares.items(), key=lambda item: -max(item[1]))
        ]
        scale = Scale(
            "share of memory's speed", ".0%", 1.0, "as fast as reading all codes", logarithmic=False
        )
        made = charts.dots(f"{what}: one query, share of memory bandwidth", scale, drawn, command)
        over = max(dot.value for dot in drawn) > 1
        yield replace(made, note=_LEFT_OUT) if over else made


def _ratios(what: str, own: Sequence[Record], command: str) -> Chart:
    drawn = [
        Dot(
            charts.label(r["method"], f"against {r['peer']}"),
            f"{r['queries']} quer{'ies' if r['queries'] > 1 else 'y'}",
            r["scan_ratio"], r["scan_ratio_min"], r["scan_ratio_max"],
        )
        for r in sorted(own, key=lambda r: r["queries"])
        if finite(r["scan_ratio"], above=0) is not None
    ]  # fmt: skip
    scale = Scale("times as fast as the peer", rule=1, rule_name="as fast as the peer")
    return charts.dots(f"{what}: speed against peers", scale, drawn, command)


def store(records: Sequence[Record]) -> Section:
    """Of the records of `bench store`."""
    found = Section("store", "Stores: rows found, read and written", "vecstore bench store")
    good = [r for r in records if not trouble(r)]
    found.targets = list(store_page.judge(good))
    kinds = ("codes", "rows", "load", "commit")
    drawn = [
        Dot(
            charts.label(r["peer"], f"{r['rows']} rows in {r['segments']} segments"), kind,
            r[f"{kind}_ratio"], r[f"{kind}_ratio_min"], r[f"{kind}_ratio_max"],
        )
        for r in good
        for kind in kinds
        if finite(r.get(f"{kind}_ratio"), above=0) is not None
    ]  # fmt: skip
    if drawn:
        scale = Scale("times as fast as the peer", rule=1, rule_name="as fast as the peer", kinds=kinds)
        found.charts.append(charts.dots("Stores against peers", scale, drawn, f"{found.command} --out FILE"))
    found.tables = [Table(*table, f"{found.command} --out FILE") for table in store_page.tables(records)]
    found.not_shown = store_page.NOT_SHOWN
    return found


def tables(records: Sequence[Record]) -> Section:
    """Of the records of `bench tables`, with and without `--speed`."""
    command = "vecstore bench tables"
    found = Section("tables", "Trainable tables: quality, bytes and speed", command)
    found.targets = [
        replace(line, found=f"{line.found}; too few seeds to judge")
        if _unjudged(line.kept, line.found)
        else line
        for line in judge(records)
    ]
    cells = [cell for cell in gather(records).values() if cell.league == "serve"]
    for name in dict.fromkeys(cell.dataset for cell in cells):
        own = [cell for cell in cells if cell.dataset == name]
        made = f"{command} --data DIR --datasets {shlex.quote(name)} --out FILE"
        found.best.append(_best(name, own, made))
        found.charts += _auc(name, own, made)
    timed = [r for r in records if r["task"] == speed.TASK and "times" in r]
    found.charts += [_speeds(record) for record in timed]
    for table in tables_page.tables(records):
        fast = " --speed --threads 1,2" if table[0].startswith("Speed") else " --data DIR"
        found.tables.append(Table(*table, f"{command}{fast} --out FILE"))
    found.not_shown = tables_page.NOT_SHOWN
    return found


def _unjudged(kept: bool | None, found: str) -> bool:
    return kept is None and found != NOTHING


def _best(name: str, own: Sequence[Cell], command: str) -> Table:
    lines = []
    for share in _SHARES:
        if inside := within(own, name, share):
            cell = inside[0]
            spread = f"{cell.spread:.4f}" if len(cell.runs) > 1 else NOTHING
            lines.append([
                f"{100 * share:g}%", cell.method, f"{cell.mean('auc'):.4f}", spread, str(len(cell.runs)),
                f"{cell.mean('serve'):,.0f}",
            ])  # fmt: skip
    header = ["of the plain table's bytes", "best method", "test AUC", "spread over seeds", "seeds", "bytes"]
    return Table(f"{name}: what to take at which budget", header, lines, command)


def _auc(name: str, own: Sequence[Cell], command: str) -> Iterator[Chart]:
    """AUC by the share of the plain table's bytes; what the plain table reaches is the line to hold."""
    names = (*FAMILIES, _OTHER)
    points = [
        Point(cell.mean("share"), cell.mean("auc"), cell.method, _family(cell.method), OURS)
        for cell in own
        if cell.mean("share") > 0
    ]
    plain = [point.value for point in points if point.method == "plain"]
    if len(points) > 1:
        ends = min(p.size for p in points), max(p.size for p in points)
        drawn = [(size, value) for size in ends for value in plain[:1]]
        absent = f"No record has the plain table: {command} --methods plain"
        bound = Bound("the plain table", drawn, "" if plain else absent)
        axes = Axes("share of the plain table's bytes", "test AUC", share=True)
        yield charts.pareto(name, axes, points, names, bound, command)


def _family(label: str) -> str:
    name = label.partition(":")[0]
    return next((family for family, (_, members) in FAMILIES.items() if name in members), _OTHER)


def _speeds(record: Record) -> Chart:
    drawn = [
        Dot(charts.label(name), what, times[f"{what}_ns"], times[f"{what}_ns_min"], times[f"{what}_ns"])
        for name, times in record["times"].items()
        for what in ("lookup", "step")
    ]
    threads = record["threads"]
    title = f"Tables of {record['dim']} values, {threads} thread{'s' * (threads > 1)}: time of an id"
    command = f"vecstore bench tables --speed --threads {threads} --out FILE"
    return charts.dots(title, Scale("ns an id, less is better"), drawn, command)


def unknown(records: Sequence[Record]) -> Section:
    """Of a task that is not known: what can be drawn by the names of its figures, and a table of all."""
    task = str(records[0]["task"])
    command = f"vecstore bench {shlex.quote(task)}"
    found = Section(task, f"{task}: a task that this version does not know", command)
    good = [r for r in records if not trouble(r)]
    for name in dict.fromkeys(str(r["dataset"]) for r in good if "dataset" in r and "method" in r):
        own = [r for r in good if str(r.get("dataset")) == name and "method" in r]
        found.charts += quality(name, own, command)
        found.best += best(name, own, command)
    keys = dict.fromkeys(
        key for r in records for key, value in r.items()
        if key not in ("task", *_NESTED) and not isinstance(value, dict | list)
    )  # fmt: skip
    header = list(keys)[:_FACTS]
    lines = [[_shown(r.get(key)) for key in header] for r in records]
    found.tables = [Table(f"{task}: all records", header, lines, f"{command} --out FILE")]
    return found


def memory(records: Sequence[Record]) -> Section:
    """Of the records of scripts/bench_memory.py."""
    found = unknown(records)
    found.title, found.command = "Memory: peaks and speed on a large file", _MEMORY
    found.tables = [replace(table, command=_MEMORY) for table in found.tables]
    found.not_shown = "Files lie in the page cache: how fast a disk is does not show."
    return found


def _shown(value: object) -> str:
    if value is None or isinstance(value, dict | list):
        return NOTHING
    return f"{value:.5g}" if isinstance(value, float) else str(value)
