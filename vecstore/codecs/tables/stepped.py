"""A store whose values are whole numbers of few bits times steps that are learned, one for each column."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.dense import DensePlan, DenseStore
from vecstore.codecs.tables.optimizers import Optimizer
from vecstore.codecs.tables.packed import PackedInts, packed_bytes
from vecstore.codecs.tables.rows import Store
from vecstore.errors import SpecError

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

MOST_BITS = 8
_REACH = 4  # times the largest value that rows begin with are the largest levels at first
_RATE = 0.003  # by which a step grows or shrinks at most, each time
_OLD, _OLD_SQUARES = 0.9, 0.999  # of means of slopes, as Adam has them
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class SteppedPlan(DensePlan):
    """Values of `bits` bits and a step for each column; no row has anything of its own beside them."""

    bits: int
    decay: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MOST_BITS:
            raise SpecError(f"rows have bits={self.bits}; expected 1 to {MOST_BITS}")
        if not self.init > 0:
            raise SpecError(f"init={self.init}; values of few bits have steps, which begin as a part of it")

    @property
    def bytes(self) -> int:
        """Bytes of what is kept."""
        return packed_bytes(self.count * self.width, self.bits) + 4 * self.width

    def parts(self) -> dict[str, int]:
        return {"parameters": self.bytes, "training": self.dense().bytes + 8 * self.width}

    def new(self, optimizer: Optimizer, seed: int) -> Store:
        return SteppedStore(self, optimizer, seed)


class SteppedStore(DenseStore):
    """Value v of a column with step s is read as (k + 1/2) s, k = floor(v / s) as far as there are levels.

    Gradients pass straight through to values between the outermost levels; others and steps have theirs:
    Esser et al. 2020 (LSQ), arXiv:1902.08153, section 2.1, with levels between whole numbers, so that one
    bit has two of them. Steps are positive: Adam moves their logarithms. `decay` times the square of each
    value, over two, is part of the loss of updates that touch its row.
    """

    plan: SteppedPlan

    def __init__(self, plan: SteppedPlan, optimizer: Optimizer, seed: int) -> None:
        super().__init__(plan, optimizer, seed)
        self.plan = plan
        self._half = 1 << (plan.bits - 1)
        first = _REACH * plan.init / self._half
        self.steps = np.full(plan.width, first, np.float32)
        self.codes = PackedInts.zeros(plan.count * plan.width, plan.bits)
        self.means = np.zeros((2, plan.width), np.float32)  # of slopes of log s, and of their squares
        self._moved = np.zeros(plan.width, np.float32)

    def shaping(self) -> dict[str, NDArray[Any]]:
        return {"steps": self.means}

    def serving(self) -> dict[str, NDArray[Any]]:
        return {"parameters": self.codes.words, "parameters.steps": self.steps}

    def _levels(self, places: F32) -> F32:
        """k of values (n, w), which are given in steps."""
        found: F32 = np.clip(np.floor(places), -self._half, self._half - 1)
        return found

    def shaped(self, rows: I64, values: F32) -> F32:
        found: F32 = (self._levels(values / self.steps) + np.float32(0.5)) * self.steps
        return found

    def slopes(self, rows: I64, sums: F32) -> F32:
        values = self.inner.values[rows]
        places = values / self.steps
        inside = np.abs(places) <= self._half
        read = self._levels(places) + np.float32(0.5)
        by_step = (sums * np.where(inside, read - places, read)).sum(0, dtype=np.float64)
        self._moved = (by_step * self.steps / math.sqrt(max(len(rows), 1) * self._half)).astype(np.float32)
        out: F32 = np.where(inside, sums, np.float32(0)) + np.float32(self.plan.decay) * values
        return out

    def stepped(self, rows: I64, count: int) -> None:
        if not len(rows):
            return
        slope, (mean, square) = self._moved, self.means
        mean += np.float32(1 - _OLD) * (slope - mean)
        square += np.float32(1 - _OLD_SQUARES) * (slope * slope - square)
        fair, fair_square = mean / (1 - _OLD**count), square / (1 - _OLD_SQUARES**count)
        self.steps *= np.exp(-_RATE * fair / (np.sqrt(fair_square) + _TINY)).astype(np.float32)

    def compact(self) -> None:
        for rows in self.blocks():
            found = (self._levels(self.inner.values[rows] / self.steps) + self._half).astype(np.int64)
            self.codes.fill(found.reshape(-1), int(rows[0]) * self.plan.width)

    def read(self, rows: I64) -> F32:
        columns = np.arange(self.plan.width)
        found = self.codes.at(rows[:, None] * self.plan.width + columns) - self._half
        values: F32 = (found.astype(np.float32) + np.float32(0.5)) * self.steps
        return values
