"""A store whose fields find out how many values their rows need."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.dense import DensePlan, DenseStore, shifted
from vecstore.codecs.tables.optimizers import Optimizer
from vecstore.codecs.tables.rows import Store

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class WidthsPlan(DensePlan):
    """Rows of fields, of which each field's first values are kept, `kept` values in all; a width a field."""

    kept: int
    starts: tuple[int, ...]  # first row of each field
    gate_rate: float = 0.01

    def parts(self) -> dict[str, int]:
        fields = len(self.starts)
        return {
            "parameters": 4 * self.kept,
            "maps": 4 * fields,
            "training": self.dense().bytes + 4 * fields * len(candidates(self.width)),
        }

    def new(self, optimizer: Optimizer, seed: int) -> Store:
        return WidthsStore(self, optimizer, seed)

    def grown(self, at: int, count: int) -> Self:
        return dataclasses.replace(super().grown(at, count), starts=shifted(self.starts, at, count))


def candidates(dim: int) -> list[int]:
    """Widths that are tried: 2, 4, 8, .. and all."""
    return [*(2**k for k in range(1, 20) if 2**k < dim), dim]


class WidthsStore(DenseStore):
    """Rows are means of their first 2, 4, 8, .. values (others zero), by the softmax of their field's gates.

    Gates go down their gradient. At the end fields have the widths whose gates are best, as far as there is
    room: each step goes to the field whose gates ask for it most, for its number of rows. Zhao et al. 2021
    (AutoDim), arXiv:2006.14827, section 2.2, with weights shared between widths, softmax without noise, and
    no linear layers: narrow rows are filled up with zeros.
    """

    plan: WidthsPlan

    def __init__(self, plan: WidthsPlan, optimizer: Optimizer, seed: int) -> None:
        super().__init__(plan, optimizer, seed)
        self.plan = plan
        self.tried = candidates(plan.width)
        self.gates = np.zeros((len(plan.starts), len(self.tried)), np.float32)
        self.widths = np.zeros(len(plan.starts), np.int32)
        self.numbers = np.zeros(plan.kept, np.float32)
        # inside[k, j]: whether value j is among the first tried[k].
        self._inside = (np.arange(plan.width) < np.array(self.tried)[:, None]).astype(np.float32)

    def shaping(self) -> dict[str, NDArray[Any]]:
        return {"gates": self.gates}

    def _fields(self, rows: I64) -> I64:
        return np.searchsorted(np.array(self.plan.starts), rows, side="right") - 1

    def _shares(self) -> F32:
        """The softmax of each field's gates."""
        raised = np.exp(self.gates - self.gates.max(1, keepdims=True))
        shares: F32 = raised / raised.sum(1, keepdims=True)
        return shares

    def shaped(self, rows: I64, values: F32) -> F32:
        weights: F32 = self._shares() @ self._inside
        return values * weights[self._fields(rows)]

    def slopes(self, rows: I64, sums: F32) -> F32:
        fields, shares = self._fields(rows), self._shares()
        out: F32 = sums * (shares @ self._inside)[fields]
        by_value = np.zeros((len(self.gates), self.plan.width), np.float32)
        np.add.at(by_value, fields, sums * self.inner.values[rows])
        slope = by_value @ self._inside.T  # of the loss, by each share
        slope = shares * (slope - (slope * shares).sum(1, keepdims=True))
        self.gates -= np.float32(self.plan.gate_rate) * slope
        return out

    def chosen(self) -> I64:
        """The width of each field."""
        sizes = np.diff([*self.plan.starts, self.plan.count])
        wanted, shares = self.gates.argmax(1), self._shares()
        at, left = np.full(len(sizes), -1), self.plan.kept
        while True:
            steps = []
            for place, size in enumerate(sizes):
                if at[place] + 1 < len(self.tried):
                    before = self.tried[at[place]] if at[place] >= 0 else 0
                    more = (self.tried[at[place] + 1] - before) * size
                    if more <= left:
                        asks = shares[place, at[place] + 1 :].sum() / more
                        steps.append((at[place] < wanted[place], asks, -place, more))
            if not steps:
                return np.array([self.tried[k] if k >= 0 else 0 for k in at])
            _, _, place, more = max(steps)
            at[-place] += 1
            left -= more

    def compact(self) -> None:
        self.widths[:] = self.chosen()
        values, at = self.all_shaped(), 0
        ends = [*self.plan.starts[1:], self.plan.count]
        for first, end, width in zip(self.plan.starts, ends, self.widths, strict=True):
            part = values[first:end, :width].reshape(-1)
            self.numbers[at : at + part.size] = part
            at += part.size

    def read(self, rows: I64) -> F32:
        starts = np.array(self.plan.starts)
        sizes = np.diff([*self.plan.starts, self.plan.count])
        begins = np.concatenate([[0], np.cumsum(sizes * self.widths)])[:-1]
        fields = self._fields(rows)
        widths = self.widths[fields]
        places = (begins[fields] + (rows - starts[fields]) * widths)[:, None] + np.arange(self.plan.width)
        inside = np.arange(self.plan.width) < widths[:, None]
        return np.where(inside, self.numbers[np.where(inside, places, 0)], np.float32(0))

    def serving(self) -> dict[str, NDArray[Any]]:
        return {"parameters": self.numbers, "maps": self.widths}
