"""What a report says of `bench vectors` and `bench limit`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from vecstore.bench.process import trouble
from vecstore.bench.report import charts
from vecstore.bench.report.charts import Axes, Bound
from vecstore.bench.report.codecs_section import NAMES, best, points_of
from vecstore.bench.report.model import Chart, Record, Section, Table, finite
from vecstore.bench.vectors import methods, page
from vecstore.bench.vectors.sets import CAPACITY

_MEASURES = {
    "relative_mse": "relative MSE",
    "recall_at_10": "recall@10",
    "ndcg_at_10": "nDCG@10",
    "analogies": "analogies found",
    "micro_f1": "micro F1 of groups",
    "map_hop_2": "mAP of two hops",
    "limit_sets": "sets of two kept",
}
_FEWEST = 2  # points that a chart is drawn for


def section(records: Sequence[Record]) -> Section:
    """Of records of either command."""
    found = Section("vectors", "Vectors: what compressed ones are still good for", "vecstore bench vectors")
    good = [r for r in records if not trouble(r)]
    for name in dict.fromkeys(str(r["dataset"]) for r in good):
        own = [r for r in good if r["dataset"] == name]
        found.charts += _charts(name, own)
        if any(finite(r.get("recall_at_10")) is not None for r in own):
            found.best += best(name, own, _command(name))
    found.tables = [Table(*table, _command(table[0].partition(":")[0])) for table in page.tables(records)]
    found.not_shown = page.NOT_SHOWN
    return found


def _charts(name: str, own: Sequence[Record]) -> Iterator[Chart]:
    """Each quality by bytes; the line to hold is what float32 reaches, of errors the bound."""
    for key, title in _MEASURES.items():
        points = points_of(own, key)
        if len(points) < _FEWEST:
            continue
        if low := key == "relative_mse":
            bound = Bound("rate-distortion bound", _bound(own))
        else:
            full = [point.value for point in points if point.method == methods.FULL]
            ends = min(p.size for p in points), max(p.size for p in points)
            bound = Bound("float32", [(size, value) for size in ends for value in full[:1]])
        yield charts.pareto(name, Axes("bytes a row", title, low), points, NAMES, bound, _command(name))


def _bound(own: Sequence[Record]) -> list[tuple[float, float]]:
    """The least error at sizes that records tell their gap to it at: at those of all their bytes."""
    found: dict[float, float] = {}
    for record in own:
        loss, gap = finite(record.get("relative_mse"), above=0), finite(record.get("gap_db"))
        if loss is not None and gap is not None:
            found[record["ledger"]["total"] / record["rows"]] = loss / 10 ** (gap / 10)
    return sorted(found.items())


def _command(name: str) -> str:
    """What makes the figures of a data set."""
    dims = name.removeprefix(CAPACITY)
    if name.startswith(CAPACITY) and dims.isdigit():
        return f"vecstore bench limit --dims {dims} --out FILE"
    return f"vecstore bench vectors --data DIR --datasets {shlex.quote(name)} --out FILE"
