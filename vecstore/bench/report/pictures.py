"""Pictures of a report's charts for pages that show no scripts: by matplotlib, in the style of plots.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vecstore.bench import plots
from vecstore.bench.plots import Picture, file_name
from vecstore.bench.process import trouble
from vecstore.bench.report.build import Records
from vecstore.bench.report.model import LABEL, Chart, Dots, Report
from vecstore.bench.tables import pictures as tables_pictures
from vecstore.bench.tables.cells import gather
from vecstore.errors import NotFoundError

_COLOURS = ("#0b62a8", "#b84a00", "#0a7a55", "#b3246b", "#6b46a0", "#806000")
_INK, _FAINT, _GRID = "#1b1f24", "#57606a", "#e4e7eb"
_WIDTH, _LINE = 7.2, 0.17  # inches


def draw(report: Report, records: Records, folder: Path) -> list[Picture]:
    """PNG files of every chart in a folder. Raises NotFoundError where matplotlib is not installed."""
    if package := plots.missing():
        raise NotFoundError(f"pictures need {package}, which is not installed: pip install 'vecstore[plots]'")
    found: list[Picture] = []
    if own := [r for r in records.get("codecs", ()) if not trouble(r)]:
        found += plots.draw(own, folder, suffix=".png")
    cells = list(gather(records.get("tables", ())).values())
    found += tables_pictures.draw(cells, folder / "tables", suffix=".png")
    return [*found, *(_dotted(folder, chart) for chart in _plain(report))]


def _plain(report: Report) -> Iterator[Chart]:
    for section in report.sections:
        yield from (chart for chart in section.charts if chart.plain is not None)


def _dotted(folder: Path, chart: Chart) -> Picture:
    """A line of dots for each label, from the top down."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    assert chart.plain is not None
    labels = list(dict.fromkeys(dot.label for dot in chart.plain.dots))
    lines = 1 + max(label.count(LABEL) for label in labels)
    path = folder / f"{file_name(chart.title)}.png"
    with mpl.rc_context(plots.looks(path)):
        height = 1.3 + len(labels) * (lines * _LINE + 0.06)
        drawn = Figure(figsize=(_WIDTH, height), facecolor="white", layout="constrained")
        FigureCanvasAgg(drawn)
        axes = drawn.subplots()
        _dots(axes, chart.plain, labels)
        drawn.suptitle(chart.title, color=_INK, fontsize=10)
        drawn.legend(loc="outside lower center", ncols=4, frameon=False, labelcolor=_INK)
        drawn.savefig(path)
    return Picture("", path, chart.alt)


def _dots(axes: Any, plain: Dots, labels: Sequence[str]) -> None:
    places = {label: place for place, label in enumerate(labels)}
    for kind, colour in zip(plain.kinds, _COLOURS * len(plain.kinds), strict=False):
        own = [dot for dot in plain.dots if dot.what == kind]
        heights = [places[dot.label] for dot in own]
        ends = [(dot.low or dot.value, dot.high or dot.value) for dot in own]
        axes.hlines(heights, [low for low, _ in ends], [high for _, high in ends], color=colour, alpha=0.5)
        axes.plot([dot.value for dot in own], heights, "o", color=colour, markersize=4.5, label=kind)
    if plain.scale.rule is not None:
        axes.axvline(
            plain.scale.rule, color=_INK, linestyle=(0, (4, 3)), linewidth=1, label=plain.scale.rule_name
        )
    if plain.scale.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    elif "%" in plain.scale.form:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_yticks(range(len(labels)), [label.replace(LABEL, "\n") for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel(plain.scale.title, color=_FAINT)
    axes.grid(color=_GRID, linewidth=0.6, which="both", axis="x")
    axes.grid(color=_GRID, linewidth=0.6, axis="y")
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, colors=_FAINT)
    for side in axes.spines.values():
        side.set_color("#cccccc")
