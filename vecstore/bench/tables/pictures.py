"""Plots of AUC by the bytes that serve, one a data set, made from the cells of `bench tables`.

One panel a family of methods, in the style of `vecstore/bench/plots.py`; the black line is the best of
all methods at each size. A line is one method as it was trained best for each budget; of a family those that
come nearest to the best of all are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vecstore.bench.plots import Line, Picture, Style, alt_text, figure, file_name
from vecstore.bench.tables.cells import Cell

FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Shared rows": ("#0072b2", ("hash", "multihash", "hashemb", "qr", "unified", "memcom", "cce", "dedup")),
    "Flat arrays and networks": ("#d55e00", ("robe", "hashednet", "tt", "dhe")),
    "Narrow rows": ("#009e73", ("narrow", "lowrank", "lowbit", "mde", "autodim")),
    "Few bits": ("#cc3377", ("plain", "int16", "int8", "int4", "alpt", "fewbits", "mpe", "dpq", "mgqe")),
    "Few values": ("#7a5195", ("prune", "pep", "autosrh", "optembed")),
    "Own rows for some": ("#a67c00", ("adapt", "cafe", "adaembed", "dynamic")),
}
_TUNED = ("optimizer", "lr", "decay", "init")  # of a label's options, those that change no byte
_BEHIND = ""  # of no family
_NAMED = 8  # of a family
_LEAST_POINTS = 3
_EQUAL = 1.05
_TICKS = (0.0001, 0.001, 0.01, 0.1, 1.0)


def draw(cells: Sequence[Cell], page: Path, suffix: str = ".svg") -> list[Picture]:
    """A file for each data set, beside the page."""
    found = []
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        lines = lines_of([cell for cell in cells if cell.dataset == dataset and cell.league == "serve"])
        if sum(len(line.points) for line in lines) < _LEAST_POINTS:
            continue
        path = page.parent / f"{file_name(f'{page.stem}-{dataset}')}{suffix}"
        style = Style(
            {family: colour for family, (colour, _) in FAMILIES.items()}, _TICKS,
            lambda value: f"{100 * value:g}%",
            "bytes that serve, of the plain table's (black: the best of all)", _limits(lines),
        )  # fmt: skip
        best = best_of(lines)
        figure(lines, style, f"{dataset}: AUC by bytes", path, (best, "best of all"))
        named = [line for line in lines if line.family != _BEHIND]
        found.append(Picture(dataset, path, alt_text(dataset, "AUC", named, "bytes of the plain table's")))
    return found


def lines_of(cells: Sequence[Cell]) -> list[Line]:
    """A line for each method, points by rising bytes, one for each budget: as it was trained best."""
    best: dict[tuple[str, float | None], Cell] = {}
    for cell in cells:
        case = _untuned(cell.method), cell.budget
        if case not in best or cell.mean("auc") > best[case].mean("auc"):
            best[case] = cell
    points: dict[str, list[tuple[float, float]]] = {}
    for (label, _), cell in best.items():
        points.setdefault(label, []).append((cell.mean("share"), cell.mean("auc")))
    lines = [
        Line(_short(label), family, False, tuple(sorted(found)))
        for label, found in points.items()
        if (family := _family(label)) is not None
    ]
    first = best_of(lines)
    behind = [
        line
        for family in FAMILIES
        for line in sorted(
            (one for one in lines if one.family == family), key=lambda one: _lacks(one, first)
        )[_NAMED:]
    ]
    return [replace(line, family=_BEHIND) if line in behind else line for line in lines]


def _untuned(label: str) -> str:
    name, _, options = label.partition(":")
    kept = [option for option in options.split(",") if option and option.partition("=")[0] not in _TUNED]
    return f"{name}:{','.join(kept)}" if kept else name


def _lacks(line: Line, best: Sequence[tuple[float, float]]) -> float:
    """How far a line stays below the best of all where it comes nearest."""
    return min(
        max((top for bytes_, top in best if bytes_ <= _EQUAL * size), default=value) - value
        for size, value in line.points
    )


def _short(label: str) -> str:
    """A label as it is written in a picture: values of options alone."""
    name, _, options = label.partition(":")
    values = [option.partition("=")[2] for option in options.split(",") if option]
    return " ".join([name, *values])


def _family(label: str) -> str | None:
    name = label.partition(":")[0]
    return next((family for family, (_, members) in FAMILIES.items() if name in members), None)


def best_of(lines: Sequence[Line]) -> tuple[tuple[float, float], ...]:
    """Points that no other point of as many bytes, a twentieth more or less, or fewer is above."""
    points = sorted({point for line in lines for point in line.points})
    return tuple(
        (size, value)
        for size, value in points
        if not any(other > value for bytes_, other in points if bytes_ <= _EQUAL * size)
    )


def _limits(lines: Sequence[Line]) -> tuple[float, float]:
    values = [value for line in lines for _, value in line.points]
    room = 0.06 * (max(values) - min(values)) + 0.002
    return min(values) - room, max(values) + room
