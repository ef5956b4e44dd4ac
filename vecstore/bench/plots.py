"""Plots of what codecs lose by the bytes that they take, made from the records of `bench codecs`.

One panel a family of codecs, all on the same axes: its codecs are in colour and named beside their last
point, FAISS's dashed with hollow marks; the other families are grey behind them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

from vecstore.errors import NotFoundError

Record = dict[str, Any]
PACKAGE = "matplotlib"

FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Scalar": ("#0072b2", ("sq",)),
    "Product": ("#d55e00", ("pq", "opq")),
    "Residual and additive": ("#009e73", ("rq", "prq", "lsq", "plsq")),
    "Binary": ("#cc3377", ("sign", "itq", "rbe")),
    "Rotated, untrained": ("#7a5195", ("hadamard", "rabitq", "eden", "turboquant")),
    "Transform coding": ("#a67c00", ("klt", "tcq")),
}
_MEASURES = {
    "error": ("relative_mse", "relative MSE"),
    "recall": ("recall_at_10", "recall@10"),
}
_INK, _FAINT, _BEHIND = "#222222", "#666666", "#d4d4d4"
_LEAST_ERROR = 1e-5  # less is what half precision loses: not a matter of codecs
_GAP = 0.06  # of the panel's height, between names
_MARKS = (
    ("o", "●", "○"), ("s", "■", "□"), ("^", "▲", "△"), ("D", "◆", "◇"), ("v", "▼", "▽"), ("p", "⬟", "⬠"),
)  # fmt: skip
_TICKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Line:
    """One codec over its sizes."""

    name: str
    family: str
    faiss: bool
    points: tuple[tuple[float, float], ...]  # bytes a row and the measure, by rising bytes


@dataclass(frozen=True)
class Style:
    """What figures of one kind share."""

    colours: Mapping[str, str]  # of each family
    ticks: Sequence[float]  # of bytes
    tick: Callable[[float], str]
    across: str  # what bytes are of
    limits: tuple[float, float]  # of the measure
    logarithmic: bool = False


Bound = tuple[tuple[tuple[float, float], ...], str]  # points of a line behind all panels, and its name


@dataclass(frozen=True)
class Picture:
    """A file that was drawn."""

    dataset: str
    path: Path
    alt: str


def missing() -> str | None:
    """The package that drawing needs, where it is not installed."""
    return None if util.find_spec(PACKAGE) else PACKAGE


def file_name(text: str) -> str:
    """A text as the name of a file inside a folder."""
    return re.sub(r"[^\w.-]+", "_", text).lstrip(".")


def draw(
    records: Sequence[Record], folder: Path, stem: str = "codecs", suffix: str = ".svg"
) -> list[Picture]:
    """Two files for each data set that has a ladder of sizes: the error, and the recall, by bytes a row."""
    if package := missing():
        raise NotFoundError(f"plots need {package}, which is not installed: pip install 'vecstore[plots]'")
    found = []
    sets = dict.fromkeys(r["dataset"] for r in records if r["kind"] == "quality" and "bytes_per_row" in r)
    for name in sets:
        own = [record for record in records if record["dataset"] == name]
        bound: Bound | None = next(
            (
                (tuple(zip(r["bytes_per_row"], r["relative_mse"], strict=True)), "Gaussian bound")
                for r in own
                if r["kind"] == "limit" and r.get("relative_mse")
            ),
            None,
        )
        for what, (key, title) in _MEASURES.items():
            path = folder / f"{file_name(f'{stem}-{name}-{what}')}{suffix}"
            lines = lines_of(own, key)
            limit = bound if what == "error" else None
            figure(lines, _style(lines, what == "error"), f"{name}: {title} by bytes a row", path, limit)
            found.append(Picture(name, path, alt_text(name, title, lines, "bytes a row")))
    return found


def lines_of(records: Sequence[Record], key: str) -> list[Line]:
    """The lines of one data set, ours first; a codec's points are the best at each size."""
    best: dict[tuple[str, str, bool], dict[float, float]] = {}
    for record in records:
        value = record.get(key)
        if record["kind"] not in ("method", "quality") or value is None or record.get("threads") != 1:
            continue
        if (place := place_of(record["method"])) is None or (key == "relative_mse" and value < _LEAST_ERROR):
            continue
        points = best.setdefault((*place, record["method"].startswith("faiss ")), {})
        size = float(record["bytes_per_row"])
        choose = min if key == "relative_mse" else max
        points[size] = choose(value, points.get(size, value))
    found = [Line(*key, tuple(sorted(points.items()))) for key, points in best.items()]
    return sorted(found, key=lambda line: line.faiss)


def place_of(label: str) -> tuple[str, str] | None:
    """The name of a label's line and the family that it is drawn with; None for what is not drawn.

    Of options only those that choose another line stay: bits of pq, and of sq where dimensions are cut.
    """
    steps = [step.partition(":") for step in label.removeprefix("faiss ").split("+")]
    names = [name for name, _, _ in steps if name not in ("center", "normalize")]
    last, options = steps[-1][0], steps[-1][2].split(",")
    name = "+".join(names)
    cut = any(name in ("pca", "jl") for name in names)
    if "bits=4" in options and (last == "pq" or (last == "sq" and cut)):
        name += " 4 bit"
    family = next((family for family, (_, members) in FAMILIES.items() if last in members), None)
    return None if family is None or name.startswith("prefix") else (name, family)


def alt_text(dataset: str, title: str, lines: Sequence[Line], across: str) -> str:
    """What the picture says, for those who do not see it."""
    ours = ", ".join(line.name for line in lines if not line.faiss)
    return f"{title} by {across} on {dataset}, one panel a family; ours: {ours or 'none'}"


@dataclass(frozen=True)
class _View:
    """What all panels of a figure share."""

    lines: Sequence[Line]
    style: Style
    bound: Bound | None

    def across(self) -> tuple[float, float]:
        """Limits of bytes, with some room."""
        sizes = [size for line in self.lines for size, _ in line.points]
        return min(sizes) / 1.25, max(sizes) * 1.25


def _style(lines: Sequence[Line], logarithmic: bool) -> Style:
    """Of codecs."""
    values = [value for line in lines for _, value in line.points]
    limits = (min(values) / 1.6, max(values) * 1.6) if logarithmic else (0.0, 1.02)
    colours = {family: colour for family, (colour, _) in FAMILIES.items()}
    across = "bytes a row: code and side data (solid: vecstore, dashed: FAISS)"
    return Style(colours, _TICKS, lambda value: f"{value:g}", across, limits, logarithmic)


def figure(lines: Sequence[Line], style: Style, title: str, path: Path, bound: Bound | None = None) -> None:
    """Writes a figure: a panel for each family that has a line, and the bound in all of them."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    view = _View(lines, style, bound)
    families = [family for family in style.colours if any(line.family == family for line in lines)]
    with mpl.rc_context(looks(path)):
        across = 2 if len(families) == 4 else min(3, len(families))
        down = -(-len(families) // across)
        drawn = Figure(figsize=(4.2 * across, 3.2 * down + 0.6), facecolor="white", layout="constrained")
        FigureCanvasSVG(drawn)
        drawn.suptitle(title, color=_INK, fontsize=11)
        grid = drawn.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, family in zip(grid, families, strict=False):
            _panel(axes, family, view, first=family == families[0])
        for axes in grid[len(families) :]:
            axes.set_visible(False)
        drawn.supxlabel(style.across, color=_FAINT)
        drawn.savefig(path, format=path.suffix[1:], metadata={"Date": None, "Creator": None})


def looks(path: Path) -> Any:
    """matplotlib's settings for a picture; text is text, whatever signs of formulas are in it."""
    font = {"font.family": "DejaVu Sans", "font.size": 8, "text.parse_math": False}
    return {**font, "savefig.dpi": 160, "svg.hashsalt": path.name}


def _panel(axes: Any, family: str, view: _View, *, first: bool) -> None:
    """One family in front of the others; the first panel names the bound."""
    colour = view.style.colours[family]
    _scale(axes, view)
    for line in view.lines:
        if line.family != family:
            axes.plot(*zip(*line.points, strict=True), color=_BEHIND, linewidth=0.7, zorder=1)
    shown = [line for line in view.lines if line.family == family]
    names = list(dict.fromkeys(line.name for line in shown))
    marks = []
    for line in shown:
        number = names.index(line.name)  # FAISS's has the mark of ours
        own = _FAINT if line.faiss else _shade(colour, number)
        mark, full, hollow = _MARKS[number % len(_MARKS)]
        axes.plot(
            *zip(*line.points, strict=True), color=own, linestyle=(0, (4, 2)) if line.faiss else "-",
            linewidth=1.0 if line.faiss else 1.4, marker=mark, markersize=3.5, markeredgewidth=0.8,
            markerfacecolor="white" if line.faiss else own, zorder=2 if line.faiss else 3,
        )  # fmt: skip
        label = f"{hollow} FAISS {line.name}" if line.faiss else f"{full} {line.name}"
        marks.append((label, own, line.points[-1]))
    if view.bound is not None:
        points, name = view.bound
        axes.plot(*zip(*points, strict=True), color=_INK, linewidth=1, zorder=2)
        (_, right), (low, high) = view.across(), view.style.limits
        inside = [point for point in points if point[0] <= right and low <= point[1] <= high]
        marks += [(name, _INK, inside[-1])] if inside and first else []
    _name(axes, marks)
    axes.set_title(family, loc="left", color=colour, fontsize=9, fontweight="bold")


def _shade(colour: str, number: int) -> str:
    """The family's colour for its first codec, then in turn lighter and darker ones."""
    if not number:
        return colour
    towards, share = (255, 0.22) if number % 2 else (0, 0.28)
    share *= (number + 1) // 2
    parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (towards - part) * min(share, 0.6)):02x}" for part in parts)


def _scale(axes: Any, view: _View) -> None:
    """Limits, and few quiet ticks."""
    left, right = view.across()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log" if view.style.logarithmic else "linear")
    if view.style.logarithmic:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlim(left, right)
    axes.set_ylim(*view.style.limits)
    axes.set_xticks([tick for tick in view.style.ticks if left <= tick <= right])
    axes.xaxis.set_major_formatter(lambda value, _: view.style.tick(value))
    axes.minorticks_off()
    axes.grid(color="#ececec", linewidth=0.6, zorder=0)
    axes.tick_params(length=0, colors=_FAINT, labelbottom=True, labelleft=True)
    for side in axes.spines.values():
        side.set_color("#cccccc")


def _name(axes: Any, marks: list[tuple[str, str, tuple[float, float]]]) -> None:
    """Names to the right of the panel, apart from each other, each led to from the line's last point."""
    places = {mark: axes.transAxes.inverted().transform(axes.transData.transform(mark[2])) for mark in marks}
    beside = sorted(marks, key=lambda mark: places[mark][1])
    heights = _apart([float(places[mark][1]) for mark in beside])
    for mark, height in zip(beside, heights, strict=True):
        axes.annotate(
            mark[0], mark[2], xytext=(1.03, height), textcoords="axes fraction", color=mark[1], va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": mark[1], "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2,
                "relpos": (0, 0.5),
            },
        )  # fmt: skip


def _apart(heights: Sequence[float]) -> list[float]:
    """Ascending heights moved as little as need be so that neighbours are _GAP apart, inside 0 to 1."""
    found: list[float] = []
    for height in heights:
        found.append(max(height, found[-1] + _GAP) if found else max(height, 0.0))
    over = found[-1] - 1 if found else 0.0
    for at in reversed(range(len(found))):
        above = found[at + 1] - _GAP if at + 1 < len(found) else 1.0
        found[at] = min(found[at], above) if over > 0 else found[at]
    return found
