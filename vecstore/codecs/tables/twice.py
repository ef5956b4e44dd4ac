"""Rows whose steps are learned from gradients of their own, by a second lookup of what was just learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.ids import NO_OFFSETS
from vecstore.codecs.tables.optimizers import STEP_RATE, Optimizer
from vecstore.codecs.tables.rows import Job, RowsPlan, RowStore
from vecstore.errors import InputError
from vecstore.kernels import rowformats as formats

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class TwicePlan(RowsPlan):
    """Rows of a kind whose steps are learned, which take two passes to it."""

    def new(self, optimizer: Optimizer, seed: int) -> RowStore:
        return TwiceStore.new(self, optimizer, seed)


@dataclass
class TwiceStore(RowStore):
    """A step moves rows and leaves their steps; what they are unrounded waits for `learn_steps`.

    Li et al. 2023 (ALPT), arXiv:2212.05735, algorithm 1; slopes of steps are those of Esser et al. 2020,
    arXiv:1902.08153, equation 3, over the root of the width times the largest integer.
    """

    waiting: tuple[I64, F32] | None = None  # rows (u,), ascending, and their values (u, w)

    def _steps(self, rows: I64) -> F32:
        return np.ascontiguousarray(self.data[rows, -4:]).view(np.float32)[:, 0]

    def step(self, jobs: Sequence[Job], optimizer: Optimizer, rate: float, count: int, seed: int) -> None:
        rows, sums = self.coalesce(jobs)
        values = self.gather(rows[:, None])[:, 0]
        moved = RowStore(RowsPlan(*values.shape), values.view(np.uint8), self.state[rows])
        each = np.arange(len(rows)).reshape(-1, 1, 1)
        moved.step([Job(each, NO_OFFSETS, np.ascontiguousarray(sums))], optimizer, rate, count, seed)
        self.state[rows] = moved.state
        self._put(rows, values, self._steps(rows), seed)
        self.waiting = rows, values

    def check_waiting(self, jobs: Sequence[Job]) -> None:
        """InputError unless all rows of jobs have just taken a step."""
        rows, _ = self.coalesce(jobs)
        if self.waiting is None or not np.isin(rows, self.waiting[0]).all():
            raise InputError(
                "gradients for steps are of rows that took no step in the update before: look up the same "
                "ids again after `update`, then call `update_steps` once"
            )

    def learn_steps(self, jobs: Sequence[Job], seed: int) -> None:
        """Steps go down their slopes; the rows of jobs are rounded anew, from what they were unrounded."""
        assert self.waiting is not None
        rows, sums = self.coalesce(jobs)
        values = np.ascontiguousarray(self.waiting[1][np.searchsorted(self.waiting[0], rows)])
        steps, top = self._steps(rows), np.float32(formats.TOP[self.plan.kind])
        places = values / steps[:, None]
        near = np.clip(np.rint(places), -top, top)
        slopes = (sums * np.where(np.abs(places) > top, near, near - places)).sum(1)
        steps = steps - np.float32(STEP_RATE / math.sqrt(self.plan.width * top)) * slopes
        self._put(rows, values, np.maximum(steps, np.float32(1e-8)), seed)
        self.waiting = None

    def _put(self, rows: I64, values: F32, steps: F32, seed: int) -> None:
        formats.encode_with(values, steps, self.data, rows, self.plan.kind, np.uint64(seed))

    def finish(self) -> None:
        super().finish()
        self.waiting = None
