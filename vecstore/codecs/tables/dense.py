"""Stores that learn as plain rows and become smaller when training is over."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.ids import NO_OFFSETS, Batch
from vecstore.codecs.tables.optimizers import Optimizer
from vecstore.codecs.tables.rows import Job, Plan, Room, RowsPlan, RowStore, Store, sum_bags
from vecstore.kernels.radix import NONE

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

BLOCK_ROWS = 4096


@dataclass(frozen=True)
class DensePlan(Plan):
    """What a store will be, and the plain rows that it learns as; subclasses add what is kept of them."""

    init: float

    def dense(self) -> RowsPlan:
        """The plain rows."""
        return RowsPlan(self.count, self.width, low=-self.init, high=self.init, role="training")


def shifted(starts: Sequence[int], at: int, count: int) -> tuple[int, ...]:
    """Where fields begin once so many rows have come in front of row `at`."""
    return tuple(start + count if start >= at else start for start in starts)


class DenseStore(Store):
    """Plain rows, seen through a shape, until `finish`; then what `compact` has made of them."""

    def __init__(self, plan: DensePlan, optimizer: Optimizer, seed: int) -> None:
        self._drawn_as = plan.dense(), optimizer, seed
        self.finished = False

    @cached_property
    def inner(self) -> RowStore:
        """The plain rows, which are not drawn before they are needed: a table that is opened to serve has
        none."""
        return RowStore.new(*self._drawn_as)

    @cached_property
    def state(self) -> F32:  # type: ignore[override]
        """The rows'."""
        return self.inner.state

    # What subclasses say.

    def shaped(self, rows: I64, values: F32) -> F32:
        """What rows (n,) with values (n, w) are read as while they are learned."""
        return values

    def slopes(self, rows: I64, sums: F32) -> F32:
        """The gradient of rows (u,), of that of what they are read as (u, w); learns what shapes them."""
        return sums

    def stepped(self, rows: I64, count: int) -> None:
        """After step number `count` of rows (u,)."""

    def compact(self) -> None:
        """Fills what is kept, from the rows as they are."""
        raise NotImplementedError

    def read(self, rows: I64) -> F32:
        """Rows (n,) of what is kept, (n, w)."""
        raise NotImplementedError

    def serving(self) -> dict[str, NDArray[Any]]:
        """What is kept, by part of the ledger; of the same size before and after."""
        raise NotImplementedError

    def shaping(self) -> dict[str, NDArray[Any]]:
        """What only training needs, besides the rows."""
        return {}

    # What all of them do.

    def gather(self, addresses: I64) -> F32:
        flat = np.ascontiguousarray(addresses.reshape(-1))
        below = flat < 0  # ~row: subtracted; NONE: zeros
        rows = np.where(below, ~flat, flat)
        rows[flat == NONE] = 0
        if self.finished:
            found = self.read(rows)
        else:
            found = self.shaped(rows, self.inner.gather(rows[:, None])[:, 0])
        found[below] *= np.where(flat[below] == NONE, np.float32(0), np.float32(-1))[:, None]
        return found.reshape(*addresses.shape, self.plan.width)

    def pool(self, addresses: I64, batch: Batch, out: F32, *, adds: bool = False) -> None:
        vectors = self.gather(addresses.reshape(len(addresses), -1))
        vectors = vectors.reshape(*addresses.shape, self.plan.width).sum(2)
        sum_bags(vectors.reshape(len(addresses), -1), batch, out, adds=adds)

    def step(self, jobs: Sequence[Job], optimizer: Optimizer, rate: float, count: int, seed: int) -> None:
        rows, sums = self.inner.coalesce(jobs)
        gradient = np.ascontiguousarray(self.slopes(rows, sums), np.float32)
        job = Job(rows.reshape(-1, 1, 1), NO_OFFSETS, gradient)
        self.inner.step([job], optimizer, rate, count, seed)
        self.stepped(rows, count)

    def kept(self) -> dict[str, NDArray[Any]]:
        found = self.serving()
        if not self.finished:
            found |= {f"training.{name}": array for name, array in self.shaping().items()}
            found |= self.inner.kept()
        return found

    def grown(self, room: Room) -> Store:
        assert isinstance(room.plan, DensePlan)
        _, optimizer, seed = self._drawn_as
        new = room.plan.new(optimizer, seed)
        assert isinstance(new, DenseStore)
        inner = self.inner.grown(dataclasses.replace(room, plan=room.plan.dense()))
        assert isinstance(inner, RowStore)
        new.inner, new.state = inner, inner.state
        mine = {**self.shaping(), **self.serving()}
        for name, array in {**new.shaping(), **new.serving()}.items():
            if array.shape == mine[name].shape:  # what is of each row is filled at the end, or by subclasses
                array[...] = mine[name]
        return new

    def finish(self) -> None:
        if not self.finished:
            self.compact()
            self.let_go()

    def let_go(self) -> None:
        """Holds nothing from here on but what is kept of the rows, whatever that is by now."""
        self.finished = True
        for name in ("inner", "state"):
            self.__dict__.pop(name, None)

    def blocks(self) -> Iterator[I64]:
        """All rows, some at a time."""
        for start in range(0, self.plan.count, BLOCK_ROWS):
            yield np.arange(start, min(start + BLOCK_ROWS, self.plan.count))

    def all_shaped(self) -> F32:
        """All rows as they are read, (count, w)."""
        every = np.arange(self.plan.count)
        return self.shaped(every, self.inner.values)
