"""What a method is asked for, the knobs that a budget turns, and what many methods do with both."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from vecstore.codecs.tables.addresses import Own, salts
from vecstore.codecs.tables.layout import Branch, Field, Layout, Term
from vecstore.codecs.tables.rows import RowsPlan, kind_of
from vecstore.codecs.tables.stepped import SteppedPlan
from vecstore.codecs.tables.twice import TwicePlan
from vecstore.errors import SpecError

ENDLESS = (1 << 32) - 1  # rows of a store


@dataclass(frozen=True)
class Knob:
    """A whole number that a budget decides; `share` is how fast it grows beside the others."""

    low: int
    high: int
    share: float = 1.0


@dataclass(frozen=True)
class Shape:
    """What a method is asked for."""

    fields: Sequence[Field]
    seed: int
    options: Mapping[str, Any]

    def rows(self, count: int, width: int, high: float | None = None) -> RowsPlan | SteppedPlan:
        """Rows of the format that was asked for, drawn between -high and high, or as it was asked for."""
        high = self.options["init"] if high is None else high
        name = self.options.get("rows", "f32")
        decay = self.options.get("decay", 0.0)
        if re.fullmatch("lsq[0-9]+", str(name)):
            return SteppedPlan(count, width, high, int(name.removeprefix("lsq")), decay)
        if decay:
            raise SpecError(f"decay={decay} is for rows of lsq1 to lsq8; these are {name}")
        if self.options.get("second"):
            if name not in ("alpt", "alpt4", "alpt16"):
                raise SpecError(f"second=True is for rows of alpt, alpt4 and alpt16; these are {name}")
            return TwicePlan(count, width, kind_of(name), -high, high)
        return RowsPlan(count, width, kind_of(name), -high, high)

    def moved_rows(self, count: int, width: int) -> RowsPlan:
        """As `rows`, that learners write to and move; SpecError for a format whose rows only training has."""
        found = self.rows(count, width)
        if isinstance(found, RowsPlan):
            return found
        raise SpecError(f"rows={self.options['rows']!r}: this method moves rows, and those cannot be moved")

    def plain(self, field: Field) -> int:
        """Bytes of a field with a row for each id."""
        return self.rows(field.cardinality, field.dim).bytes

    def salts(self, field: Field, *shape: int) -> Any:
        """Salts of a field."""
        return salts(self.seed, field.name, *shape)


Knobs: TypeAlias = Sequence[int]


def own(shape: Shape, layout: Layout, field: Field) -> None:
    """A field with a row for each id."""
    store = layout.add(shape.rows(field.cardinality, field.dim))
    layout.branches[field.name] = Branch(field, (Term(Own(0), store),))


def spread(field: Field) -> float:
    """How many ids a field has, rare ones hardly counted: exp of the entropy of their frequencies."""
    if field.frequencies is None:
        return float(field.cardinality)
    share = field.frequencies[field.frequencies > 0] / field.frequencies.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def nothing(shape: Shape) -> list[Knob]:
    """No knob: the bytes are what they are."""
    return []


def each_rows(shape: Shape) -> list[Knob]:
    """Rows for each field: lost are about ids / rows of a field, so rows grow with the root of ids."""
    return [Knob(1, field.cardinality, math.sqrt(spread(field))) for field in shape.fields]


def one_dim(shape: Shape) -> int:
    dims = {field.dim for field in shape.fields}
    if len(dims) > 1:
        raise SpecError(f"this method has one dim for all fields; these are {sorted(dims)}")
    return dims.pop()


def chunk_width(shape: Shape) -> int:
    """The width of a chunk: that of the narrowest field over the number of chunks that it has."""
    narrowest = min(field.dim for field in shape.fields)
    chunks = shape.options["chunks"] or next(k for k in (2, 3, 5, 1) if narrowest % k == 0)
    width, rest = divmod(narrowest, chunks)
    wrong = [field for field in shape.fields if rest or field.dim % width]
    if wrong:
        raise SpecError(
            f"field {wrong[0].name!r} has {wrong[0].dim} values, which are not {chunks} equal chunks"
        )
    return width
