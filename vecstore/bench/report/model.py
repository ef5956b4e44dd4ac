"""What a report is made of, apart from how it is shown: sections with conclusions, charts and tables."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vecstore.bench.line import Line

Record = dict[str, Any]
Spec = dict[str, Any]
LABEL = "|"  # parts the lines of a label
NOTHING = "-"  # a cell without a figure
_NUMBER = re.compile(r"[-+]?(\d[\d,]*\.?\d*|\.\d+)(e[-+]?\d+)?", re.I)


@dataclass(frozen=True)
class Table:
    """Text in columns, and the command that makes it."""

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    command: str = ""

    @property
    def numeric(self) -> list[bool]:
        """Of each column: whether all its figures begin with a number, by which it is then sorted."""
        return [
            bool(column) and all(cell == NOTHING or number(cell) is not None for cell in column)
            for column in ([line[at] for line in self.lines] for at in range(len(self.header)))
        ]


@dataclass(frozen=True)
class Mark:
    """What a legend says of one kind of mark: `shape` is one of page.css's."""

    name: str
    shape: str
    family: str = ""  # if it can be brought to the front


@dataclass(frozen=True)
class Dot:
    """A figure beside a label: a median with the least and the most of its runs, where there are some."""

    label: str  # its lines parted by LABEL
    what: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Scale:
    """What dots are measured on."""

    title: str
    form: str = ".3~g"  # of figures, as d3-format has it
    rule: float | None = None  # a line across, and
    rule_name: str = ""  # what it means
    logarithmic: bool = True
    kinds: Sequence[str] = field(default=())  # of dots, in the order of their colours


@dataclass(frozen=True)
class Dots:
    """Dots as they are, for those who draw them without Vega."""

    scale: Scale
    dots: tuple[Dot, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Chart:
    """A picture: what it shows in words, a Vega-Lite specification, and its figures as a table."""

    title: str
    alt: str
    spec: Spec
    figures: Table
    command: str
    marks: tuple[Mark, ...] = ()
    note: str = ""  # what it lacks
    plain: Dots | None = None


@dataclass
class Section:
    """All that is said of one task."""

    name: str
    title: str
    command: str  # that the lines of targets go on from
    targets: list[Line] = field(default_factory=list)
    best: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    not_shown: str = ""


@dataclass(frozen=True)
class Trouble:
    """Something that is not in the report."""

    where: str
    what: str


@dataclass(frozen=True)
class Machine:
    """What some of the records were measured on."""

    facts: tuple[tuple[str, str], ...]
    records: int
    tasks: tuple[str, ...]


@dataclass
class Report:
    """sources: files, their lines, and how many records were taken from them."""

    sources: list[tuple[str, int, int]]
    machines: list[Machine] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    unlisted: int = 0  # troubles beyond those that are listed
    notes: list[str] = field(default_factory=list)


def number(cell: str) -> float | None:
    """The number that a cell begins with; None where it begins with another thing."""
    found = _NUMBER.match(cell)
    return float(found.group().replace(",", "")) if found else None


def finite(value: object, *, above: float = -math.inf) -> float | None:
    """A value of a record if it is a number that can be drawn, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value > above else None
