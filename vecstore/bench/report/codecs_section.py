"""What a report says of `bench codecs`, and of any records that tell a quality at a size."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from statistics import median

from vecstore.bench import fidelity, pages, targets
from vecstore.bench.contenders.own import BUDGET
from vecstore.bench.plots import FAMILIES, place_of
from vecstore.bench.process import trouble
from vecstore.bench.report import charts
from vecstore.bench.report.charts import OTHERS, OURS, Axes, Bound, Point
from vecstore.bench.report.model import NOTHING, Chart, Dot, Record, Scale, Section, Table, finite
from vecstore.ledger import parse_budget

COMMAND = "vecstore bench codecs"
OTHER_FAMILY, CHOSEN = "Other", "Chosen by a budget"
NAMES = (*FAMILIES, OTHER_FAMILY, CHOSEN)
MEASURES = {
    "relative_mse": Axes("bytes a row", "relative MSE", low=True),
    "recall_at_10": Axes("bytes a row", "recall@10"),
}
_LEAST_ERROR = 1e-7  # less is the rounding of float32
_FEWEST = 2  # points that a chart is drawn for
_BUDGETS = tuple(sorted(step << power for power in range(1, 13) for step in (2, 3)))
_SHARE = "decode_to_memcpy_ratio"
_PAIRS = (("encode", "encode_ratio"), ("decode", "decode_ratio"), ("fit", "fit_ratio"))


def section(records: Sequence[Record]) -> Section:
    """Of the records of `bench codecs`."""
    found = Section("codecs", "Codecs: quality, bytes and speed", COMMAND)
    found.targets = targets.judge(records)
    good = [r for r in records if not trouble(r)]
    for name in dict.fromkeys(str(r["dataset"]) for r in good):
        own = [r for r in good if r["dataset"] == name]
        found.charts += quality(name, own, COMMAND)
        found.best += best(name, own, COMMAND)
    found.charts += _of_memory([r for r in good if r["kind"] == "pair"])
    found.charts += _pair_charts([r for r in good if r["kind"] == "pair"])
    found.tables = [Table(*table, _command(table[0], good)) for table in pages.tables(records)]
    found.not_shown = pages.NOT_SHOWN
    return found


def quality(name: str, own: Sequence[Record], command: str) -> Iterator[Chart]:
    """Error and recall of one data set by bytes, with the bound where there is a record of it."""
    for key, axes in MEASURES.items():
        points = points_of(own, key)
        if len(points) >= _FEWEST:
            made = f"{command} --data DIR --datasets {shlex.quote(name)} --out FILE"
            curve = _bound(own) if axes.low else []
            absent = f"No record has the bound: {command} --datasets {shlex.quote(name)} --methods limit"
            bound = Bound("rate-distortion bound", curve, "" if curve or not axes.low else absent)
            yield charts.pareto(name, axes, points, NAMES, bound, made)


def points_of(own: Sequence[Record], key: str) -> list[Point]:
    """What can be drawn of one data set: methods with a size above zero and a value."""
    found: dict[tuple[str, float], Point] = {}
    for record in own:
        size, value = row_bytes(record), finite(record.get(key))
        if size is None or value is None or record.get("kind") not in (None, "method", "quality"):
            continue
        if key == "relative_mse" and value < _LEAST_ERROR:
            continue
        label = str(record["method"])
        found[label, size] = Point(size, value, label, _family(label), OURS if is_ours(record) else OTHERS)
    return sorted(found.values(), key=lambda point: point.family != CHOSEN)  # named ones in front


def is_ours(record: Record) -> bool:
    """Whether a method of vecstore made a record, which may say no error, or none at all."""
    return fidelity.is_ours({**record, "relative_mse": None})


def row_bytes(record: Record) -> float | None:
    """Bytes a row of codes and side data; from the ledger or a budget by the row where no more is said."""
    if (size := finite(record.get("bytes_per_row"), above=0)) is not None:
        return size
    ledger, rows = record.get("ledger"), finite(record.get("rows"), above=0)
    if isinstance(ledger, dict) and rows and (codes := finite(ledger.get("codes"), above=0)) is not None:
        return (codes + (finite(ledger.get("side")) or 0)) / rows
    text = str(record.get("budget", ""))
    return finite(parse_budget(text).amount, above=0) if text.endswith("B/row") else None


def _family(label: str) -> str:
    if label.startswith(BUDGET):
        return CHOSEN
    place = place_of(label)
    return place[1] if place else OTHER_FAMILY


def _bound(own: Sequence[Record]) -> list[tuple[float, float]]:
    for record in own:
        if record.get("kind") == "limit" and record.get("relative_mse"):
            pairs = zip(record["bytes_per_row"], record["relative_mse"], strict=True)
            return [(float(size), float(value)) for size, value in pairs if size > 0 and value > 0]
    return []


def best(name: str, own: Sequence[Record], command: str) -> Iterator[Table]:
    """The method to take at each size: of ours and of others, by recall; the least error and its gap."""
    sized = [
        (size, r)
        for r in own
        if (size := row_bytes(r)) is not None and r.get("kind") in (None, "method", "quality")
    ]
    ours = [(size, r) for size, r in sized if is_ours(r)]
    others = [(size, r) for size, r in sized if not is_ours(r)]
    sizes = [size for size, _ in ours]
    budgets = [b for b in _BUDGETS if sizes and min(sizes) <= b < 2 * max(sizes)]
    lines: list[list[str]] = []
    for budget in budgets:
        recall, peer = (_most([r for size, r in side if size <= budget]) for side in (ours, others))
        error = _least([r for size, r in ours if size <= budget])
        gap = None if error is None else finite(error.get("gap_codes_db", error.get("gap_db")))
        line = [
            *_cells(recall, "recall_at_10", ".3f"), *_cells(peer, "recall_at_10", ".3f"),
            *_cells(error, "relative_mse", ".3g"), NOTHING if gap is None else f"{gap:.2f}",
        ]  # fmt: skip
        if not lines or line != lines[-1][1:]:
            lines.append([str(budget), *line])
    header = [
        "B/row", "best of vecstore", "recall@10", "best of others", "recall@10",
        "least error of vecstore", "relative MSE", "gap to the bound, dB",
    ]  # fmt: skip
    if lines:
        made = f"{command} --data DIR --datasets {shlex.quote(name)} --out FILE"
        yield Table(f"{name}: what to take at which budget", header, lines, made)


def _most(records: list[Record]) -> Record | None:
    known = [r for r in records if finite(r.get("recall_at_10")) is not None]
    return max(known, key=lambda r: (float(r["recall_at_10"]), _named(r)), default=None)


def _least(records: list[Record]) -> Record | None:
    known = [r for r in records if finite(r.get("relative_mse")) is not None]
    return max(known, key=lambda r: (-float(r["relative_mse"]), _named(r)), default=None)


def _named(record: Record) -> bool:
    """Whether a record names a codec, not the budget that one was chosen by."""
    return not str(record["method"]).startswith(BUDGET)


def _cells(record: Record | None, key: str, form: str) -> list[str]:
    if record is None:
        return [NOTHING, NOTHING]
    return [str(record["method"]), format(record[key], form)]


def _pair_charts(pairs: Sequence[Record]) -> Iterator[Chart]:
    """How many times as fast as the peer, one chart a topic, on one thread where there are such runs."""
    for topic in dict.fromkeys(r["topic"] for r in pairs):
        own = [r for r in pairs if r["topic"] == topic]
        least = min(r["threads"] for r in own)
        found: dict[tuple[str, str], list[Record]] = {}
        for record in own:
            if record["threads"] == least:
                label = charts.label(record["method"], f"against {record['peer']}")
                for what, key in _PAIRS:
                    if finite(record.get(key), above=0) is not None:
                        found.setdefault((label, what), []).append(record)
        if not found:
            continue
        keys = dict(_PAIRS)
        drawn = [_over_sets(label, what, keys[what], records) for (label, what), records in found.items()]
        scale = Scale(
            "times as fast as the peer", rule=1, rule_name="as fast as the peer",
            kinds=[what for what, _ in _PAIRS if any(dot.what == what for dot in drawn)],
        )  # fmt: skip
        title = f"{topic}: speed against peers, {least} thread{'s' * (least > 1)}, over data sets"
        yield charts.dots(title, scale, drawn, f"{COMMAND} --data DIR --methods pairs --out FILE")


def _of_memory(pairs: Sequence[Record]) -> Iterator[Chart]:
    """How near to copying as many bytes a codec's decoding comes, on one thread where there are such runs."""
    known = [r for r in pairs if finite(r.get(_SHARE), above=0) is not None]
    least = min((r["threads"] for r in known), default=1)
    found: dict[str, list[Record]] = {}
    for record in known:
        if record["threads"] == least:
            found.setdefault(charts.label(record["method"]), []).append(record)
    if found:
        drawn = [_over_sets(label, OURS, _SHARE, records) for label, records in found.items()]
        drawn.sort(key=lambda dot: -dot.value)
        scale = Scale("share of memcpy's speed", ".0%", 1.0, "as fast as memcpy", logarithmic=False)
        title = f"Decoding: share of memory bandwidth, {least} thread{'s' * (least > 1)}, over data sets"
        yield charts.dots(title, scale, drawn, f"{COMMAND} --data DIR --methods pairs --out FILE")


def _over_sets(label: str, what: str, key: str, records: Sequence[Record]) -> Dot:
    """The median of data sets, with the least and the most run of any."""
    ends = [[finite(r.get(f"{key}_{end}"), above=0) or r[key] for r in records] for end in ("min", "max")]
    return Dot(label, what, median(r[key] for r in records), min(ends[0]), max(ends[1]))


def _command(title: str, good: Sequence[Record]) -> str:
    names = [name for name in dict.fromkeys(str(r["dataset"]) for r in good) if title.startswith(f"{name}:")]
    chosen = f" --datasets {shlex.quote(names[0])}" if names else ""
    pairs = " --methods pairs" if title.startswith("Pairs") else ""
    return f"{COMMAND} --data DIR{chosen}{pairs} --threads 1,2 --out FILE"
