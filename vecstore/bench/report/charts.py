"""Charts as Vega-Lite specifications, their colours named (`@ink`) for the page to fill in by its theme."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecstore.bench.report.model import LABEL, NOTHING, Chart, Dot, Dots, Mark, Scale, Spec, Table

OURS, OTHERS = "vecstore", "others"
_TICKS = tuple(2.0**power for power in range(-3, 21))
_SHARES = (0.0001, 0.001, 0.01, 0.1, 1.0)
_HEIGHT, _LINE, _BETWEEN = 320, 13, 8  # pixels
_LABEL = 24  # characters of a line of a label
_MOST_TOLD = 6  # figures of a chart that its words give
_ROOM = 1.15
_PLAIN = ".6~g"  # a form of figures; without a precision an axis would choose one, and write 1e+3


@dataclass(frozen=True)
class Point:
    """One measurement: size across, value up."""

    size: float
    value: float
    method: str
    family: str
    side: str


@dataclass(frozen=True)
class Axes:
    """What the two directions are."""

    size: str  # what is across
    value: str  # what is up
    low: bool = False  # whether a low value is good, and is drawn by its logarithm
    share: bool = False  # whether sizes are shares


@dataclass(frozen=True)
class Bound:
    """A line that points are held against."""

    name: str
    points: Sequence[tuple[float, float]] = ()
    absent: str = ""  # why it is not drawn


def frontier(points: Sequence[Point], low: bool) -> list[Point]:
    """Points than which none of as few bytes is better, by rising bytes."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.size, p.value if low else -p.value)):
        if not found or (point.value < found[-1].value if low else point.value > found[-1].value):
            found.append(point)
    return found


def pareto(
    where: str, axes: Axes, points: Sequence[Point], families: Sequence[str], bound: Bound, command: str
) -> Chart:
    """Quality against bytes: all points, the best of ours and of others at each size, and the bound."""
    fronts = {side: frontier([p for p in points if p.side == side], axes.low) for side in (OURS, OTHERS)}
    across = min(p.size for p in points) / _ROOM, max(p.size for p in points) * _ROOM
    values = [p.value for p in points]
    up = _limits(min(values), max(values), axes.low)
    inside = [(size, value) for size, value in bound.points if across[0] <= size <= across[1]]
    title = f"{where}: {axes.value} by {axes.size}"
    scales = _scales(axes, across, up)
    layers: list[Spec] = [
        _line(scales, [_xy(size, value) for size, value in inside], "@bound", [2, 3]),
        _line(scales, _steps(fronts[OTHERS], across[1]), "@faint", [6, 3]),
        _line(scales, _steps(fronts[OURS], across[1]), "@ink", []),
        _points(scales, points, families, axes),
    ]
    spec = _framed(_HEIGHT, [layer for layer in layers if layer["data"]["values"]])
    spec["params"] = [{"name": "family", "value": ""}]
    shown = [family for family in families if any(p.family == family for p in points)]
    marks = [
        Mark(f"best of {side}", shape) for side, shape in ((OURS, "line"), (OTHERS, "dashes")) if fronts[side]
    ]
    marks += [Mark(bound.name, "dots")] if inside else []
    marks += [Mark(family, f"dot c{families.index(family)}", family) for family in shown]
    marks += [Mark(OTHERS, "dot hollow")] if fronts[OTHERS] else []
    both = [*fronts[OURS], *fronts[OTHERS]]
    lines = [
        [p.method, p.side, _size(p.size, axes.share), f"{p.value:.4g}", _at(bound, p.size)]
        for p in sorted(both, key=lambda p: (p.size, p.side))
    ]
    header = ["method", "of", axes.size, axes.value, bound.name]
    return Chart(
        title, _told(title, axes, points, fronts, bound), spec,
        Table(f"{title}: the best at each size", header, lines, command), command, tuple(marks), bound.absent,
    )  # fmt: skip


def _limits(low: float, high: float, logarithmic: bool) -> tuple[float, float]:
    if logarithmic:
        return low / 1.5, high * 1.5
    room = 0.05 * (high - low) + 0.002
    return low - room, high + room


def _scales(axes: Axes, across: tuple[float, float], up: tuple[float, float]) -> Spec:
    ticks = [tick for tick in (_SHARES if axes.share else _TICKS) if across[0] <= tick <= across[1]]
    size: Spec = {
        "field": "size", "type": "quantitative", "title": axes.size,
        "scale": {"type": "log", "base": 10 if axes.share else 2, "domain": across, "nice": False},
        "axis": {"values": ticks, "format": "~%" if axes.share else _PLAIN, "labelOverlap": True},
    }  # fmt: skip
    kind: Spec = {"type": "log"} if axes.low else {"type": "linear", "zero": False}
    value: Spec = {
        "field": "value", "type": "quantitative", "title": axes.value,
        "scale": {**kind, "domain": up, "nice": False},
        "axis": {"format": _PLAIN, "labelOverlap": True, **_levels(axes.low, up)},
    }  # fmt: skip
    return {"x": size, "y": value}


def _levels(logarithmic: bool, up: tuple[float, float]) -> Spec:
    """Where lines across stand: at powers of ten on a logarithmic axis, unless these are too few."""
    tens = [10.0**power for power in range(-12, 7) if up[0] <= 10.0**power <= up[1]]
    return {"values": tens} if logarithmic and len(tens) > 1 else {"tickCount": 6}


def _line(scales: Spec, values: list[Spec], colour: str, dash: list[int]) -> Spec:
    mark = {"type": "line", "color": colour, "strokeDash": dash, "strokeWidth": 1.8, "clip": True}
    return {"data": {"values": values}, "mark": mark, "encoding": {**scales, "order": {"field": "place"}}}


def _xy(size: float, value: float) -> Spec:
    return {"size": size, "value": value, "place": size}


def _steps(front: Sequence[Point], last: float) -> list[Spec]:
    """A stair: a value holds until the next size that has a better one."""
    found = []
    for at, point in enumerate(front):
        until = front[at + 1].size if at + 1 < len(front) else last
        found += [_xy(point.size, point.value), _xy(until, point.value)]
    return [{**corner, "place": place} for place, corner in enumerate(found)]


def _points(scales: Spec, points: Sequence[Point], families: Sequence[str], axes: Axes) -> Spec:
    colour: Spec = {
        "field": "family", "type": "nominal", "legend": None,
        "scale": {"domain": list(families), "range": [f"@c{at}" for at in range(len(families))]},
    }  # fmt: skip
    front = "family == '' || datum.family == family"
    encoding: Spec = {
        **scales,
        "stroke": colour,
        "fill": {"condition": {"test": f"datum.side == '{OURS}'", **colour}, "value": "@paper"},
        "shape": {
            "field": "side", "type": "nominal", "legend": None,
            "scale": {"domain": [OURS, OTHERS], "range": ["circle", "diamond"]},
        },
        "opacity": {"condition": {"test": front, "value": 0.95}, "value": 0.1},
        "tooltip": [
            {"field": "method", "type": "nominal"},
            _figure("size", axes.size, ".3~%" if axes.share else _PLAIN),
            _figure("value", axes.value, ".4~g"),
            {"field": "family", "type": "nominal"},
        ],
    }  # fmt: skip
    mark = {"type": "point", "size": 42, "strokeWidth": 1.3, "clip": True}
    return {"data": {"values": [vars(p) for p in points]}, "mark": mark, "encoding": encoding}


def _figure(field: str, title: str, form: str) -> Spec:
    """A figure of a tooltip."""
    return {"field": field, "type": "quantitative", "title": title, "format": form}


def _framed(height: int, layers: list[Spec]) -> Spec:
    fit = {"type": "fit-x", "contains": "padding", "resize": True}
    return {"width": "container", "height": height, "autosize": fit, "layer": layers}


def _size(value: float, share: bool) -> str:
    return f"{value:.3%}" if share else f"{value:,.6g}"


def _at(bound: Bound, size: float) -> str:
    """The bound at a size, by a straight line on logarithmic axes between its points."""
    sizes, values = [at for at, _ in bound.points], [value for _, value in bound.points]
    if not sizes or not sizes[0] <= size <= sizes[-1]:
        return NOTHING
    return f"{np.exp(np.interp(np.log(size), np.log(sizes), np.log(values))):.4g}"


def _told(
    title: str, axes: Axes, points: Sequence[Point], fronts: dict[str, list[Point]], bound: Bound
) -> str:
    """The chart in words."""
    parts = [f"{title}. {len(points)} measurements; {'lower' if axes.low else 'higher'} is better."]
    for side, front in fronts.items():
        if front:
            step = -(-len(front) // _MOST_TOLD)
            few = ", ".join(
                f"{p.value:.3g} at {_size(p.size, axes.share)} ({p.method})" for p in front[::step]
            )
            parts.append(f"Best of {side}: {few}.")
    if bound.points:
        parts.append(f"The {bound.name} is drawn as a dotted line.")
    return " ".join(parts)


def label(*parts: str) -> str:
    """A label of these parts, each on lines of its own that are broken at commas."""
    lines: list[str] = []
    for part in parts:
        line = ""
        for piece in re.findall(r"[^,]*,|[^,]+", part.replace(LABEL, " ")):
            if line and len(line) + len(piece) > _LABEL:
                lines.append(line)
                line = ""
            line += piece
        lines.append(line)
    return LABEL.join(lines)


def dots(title: str, scale: Scale, found: Sequence[Dot], command: str) -> Chart:
    """A line of dots for each label, in the order in which these come."""
    labels = list(dict.fromkeys(dot.label for dot in found))
    kinds = list(scale.kinds) or list(dict.fromkeys(dot.what for dot in found))
    values = [value for dot in found for value in (dot.low, dot.value, dot.high) if value is not None]
    values += [] if scale.rule is None else [scale.rule]
    ends = min(values), max(values)
    domain = [ends[0] / _ROOM, ends[1] * _ROOM] if scale.logarithmic else [min(0, ends[0]), ends[1] * 1.05]
    kind = {"type": "log"} if scale.logarithmic else {"type": "linear"}
    x: Spec = {
        "field": "value", "type": "quantitative", "title": scale.title,
        "scale": {**kind, "domain": domain, "nice": False},
        "axis": {"format": scale.form, "tickCount": 5, "labelOverlap": True, "titleAnchor": "end"},
    }  # fmt: skip
    lines = 1 + max(label.count(LABEL) for label in labels)
    above = -_LINE // 2 if lines > 1 else 0  # of a label's first line
    # `sort` by labels would put these into an expression, where the text of records has no place.
    y: Spec = {
        "field": "label", "type": "nominal", "sort": None, "scale": {"domain": labels}, "title": None,
        "axis": {"labelExpr": f"split(datum.label, '{LABEL}')", "labelOffset": above, "grid": True},
    }  # fmt: skip
    colour = {
        "field": "what", "type": "nominal", "legend": None,
        "scale": {"domain": kinds, "range": [f"@c{at}" for at in range(len(kinds))]},
    }  # fmt: skip
    tip: list[Spec] = [{"field": name, "type": "nominal"} for name in ("label", "what")]
    tip += [_figure(*names, ".4~g") for names in (("value", scale.title), ("low", "least"), ("high", "most"))]
    common: Spec = {"x": x, "y": y, "color": colour, "tooltip": tip}
    layers: list[Spec] = [
        {"data": {"values": [dict(vars(dot)) for dot in found]}, **part}
        for part in (
            {"mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.55},
             "encoding": {**common, "x": {**x, "field": "low"}, "x2": {"field": "high"}}},
            {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1}, "encoding": common},
        )
    ]  # fmt: skip
    if scale.rule is not None:
        rule = {"type": "rule", "color": "@ink", "strokeDash": [4, 3], "strokeWidth": 1.4}
        layers.append({
            "data": {"values": [{"value": scale.rule}]}, "mark": rule,
            "encoding": {"x": {"field": "value", "type": "quantitative"}},
        })  # fmt: skip
    marks = [Mark(name, f"dot c{at}") for at, name in enumerate(kinds)]
    marks += [Mark(scale.rule_name, "dashes")] if scale.rule is not None else []
    figures = Table(
        title, ["of", "what", scale.title, "least", "most"], [_told_dot(d) for d in found], command
    )
    height = len(labels) * (lines * _LINE + _BETWEEN)
    return Chart(
        title, _dots_told(title, scale, found), _framed(height, layers), figures, command, tuple(marks),
        plain=Dots(scale, tuple(found), tuple(kinds)),
    )  # fmt: skip


def _flat(label: str) -> str:
    """A label on one line."""
    return label.replace(f",{LABEL}", ",").replace(LABEL, " ").strip()


def _told_dot(dot: Dot) -> list[str]:
    ends = ["-" if end is None else f"{end:.4g}" for end in (dot.low, dot.high)]
    return [_flat(dot.label), dot.what, f"{dot.value:.4g}", *ends]


def _dots_told(title: str, scale: Scale, found: Sequence[Dot]) -> str:
    least, most = (choose(found, key=lambda dot: dot.value) for choose in (min, max))
    ends = ", ".join(
        f"{word} {dot.value:.3g} ({_flat(dot.label)}, {dot.what})"
        for word, dot in (("least", least), ("most", most))
    )
    above: Any = "" if scale.rule is None else sum(dot.value >= scale.rule for dot in found)
    over = (
        f" {above} of them at {scale.rule:g} ({scale.rule_name}) or above." if scale.rule is not None else ""
    )
    return f"{title}. {len(found)} figures: {ends}.{over}"
