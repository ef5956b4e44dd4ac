"""The methods that are measured: labels, and the tables that they stand for inside a budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vecstore.bench.tables.clicks import Clicks
from vecstore.codecs.tables.layout import Field
from vecstore.codecs.tables.making import Wish, make
from vecstore.codecs.tables.presets import PRESETS
from vecstore.codecs.tables.shapes import Shape
from vecstore.codecs.tables.table import Table
from vecstore.errors import BudgetError, SpecError, VecstoreError
from vecstore.spec import parse, unknown

NARROW = "narrow"  # the plain table with fewer values a row
# A network of a few thousand updates needs pruning that is faster than its source's.
PRUNE = "prune:damping=0.5"
CHEAP = ("plain", NARROW, "hash", "lowrank", "int8", PRUNE)  # always among those compared
_OF_TRAINING = ("optimizer", "lr", "league")
_CHUNKS = (1, 2, 3, 4, 5)
_HYBRIDS = (
    "lowbit:bits=2", "lowrank:rows=int8", "lowrank:rows=int4", "memcom:rows=int8", "adapt:rows=int8",
    "hashemb:rows=int8", "tt:rows=f16", "qr:rows=int8", "cafe:rows=int8", "tt:rows=int8",
)  # fmt: skip
TRAIN_LEAGUE = (
    "lowrank:rows=int8,optimizer=rowwise_adagrad,lr=0.05,league=train",
    "unified:chunks=2,rows=int8,optimizer=rowwise_adagrad,lr=0.05,league=train",
)


def labels(dim: int) -> list[str]:
    """The methods of a full run on vectors of so many values: cheap ones, all presets, hybrids."""
    pools = [
        f"unified:chunks={chunks}{rows}"
        for rows in ("", ",rows=int8", ",rows=int4")
        for chunks in _CHUNKS
        if dim % chunks == 0
    ]
    return list(dict.fromkeys([*CHEAP, *PRESETS, *pools, *_HYBRIDS, *TRAIN_LEAGUE]))


@dataclass(frozen=True)
class Method:
    """A label, read: the preset and its options, and how it is trained."""

    name: str
    options: dict[str, Any]
    optimizer: str
    lr: float | None  # None: the recipe's
    league: str

    @classmethod
    def of(cls, label: str) -> Method:
        """SpecError for a label that names no preset."""
        steps = parse(label).steps
        if len(steps) != 1:
            raise SpecError(f"method {label!r} is a chain; expected one preset with options")
        options = dict(steps[0].options)
        own = {key: options.pop(key, None) for key in _OF_TRAINING}
        if steps[0].name not in (NARROW, *PRESETS):
            raise unknown("table method", steps[0].name, (NARROW, *PRESETS))
        lr = own["lr"]
        if not isinstance(lr, int | float | None):
            raise SpecError(f"method {label!r} has lr={lr}; expected a number")
        return cls(
            steps[0].name, options, str(own["optimizer"] or "adam"), lr, str(own["league"] or "serve"),
        )  # fmt: skip

    def sized(self, data: Clicks) -> bool:
        """Whether a budget changes it."""
        if self.name == NARROW:
            return True
        preset = PRESETS[self.name]
        fields = [Field(name, count, data.recipe.dim) for name, count in data.fields.items()]
        return bool(preset.knobs(Shape(fields, 0, {**preset.options, **self.options})))

    def table(self, data: Clicks, share: float | None, seed: int) -> Table:
        """A new table whose bytes are at most a share of the plain one's in the method's league.

        The plain table of league `train` has what Adam keeps, twice its rows. BudgetError as `vs.table`.
        """
        total = 4 * data.rows * data.recipe.dim * (3 if self.league == "train" else 1)
        bound = None if share is None else math.floor(share * total + 1e-6)
        name, dim = self.name, data.recipe.dim
        if name == NARROW:
            name, dim = "plain", dim if bound is None else bound // (4 * data.rows)
            if dim < 1:
                raise BudgetError(
                    f"{self.name!r} cannot be kept within {bound:,} bytes; the least budget for it is "
                    f"{4 * data.rows:,} B"
                )
        counts = {field: count + 1e-3 for field, count in data.counts().items()}
        budget = None if bound is None else f"{max(bound, 1)}B"  # less cannot be said
        return make(
            Wish(
                name,
                data.fields,
                dim,
                budget,
                self.league,
                self.optimizer,
                seed,
                counts,
                options=self.options,
            )
        )


def sized(label: str, data: Clicks) -> bool:
    """Whether a budget changes the method of a label; not that of a label that cannot be one for this set."""
    try:
        return Method.of(label).sized(data)
    except VecstoreError:
        return False
