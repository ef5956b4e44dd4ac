"""Stores of which only the values that matter are kept, found by a bit for each row and each value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.bitmaps import Bitmap, bitmap_bytes
from vecstore.codecs.tables.dense import DensePlan, DenseStore, shifted
from vecstore.codecs.tables.optimizers import Optimizer
from vecstore.codecs.tables.rows import Room, Store, put_in
from vecstore.errors import SpecError

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PrunedPlan(DensePlan):
    """`kept` values of all, or, where whole rows are kept, of `kept` / width rows.

    Kept are: a bit a row for those with values, a bit a value of as many rows as may have some, values as
    float16 (or float32), each row's behind the last one's.
    """

    kept: int
    store: type[PrunedStore]
    half: bool = True
    whole: bool = False
    options: tuple[tuple[str, float], ...] = ()
    starts: tuple[int, ...] = (0,)  # first row of each field
    orders: tuple[I64, ...] = ()  # ids of each field, those that come most often first

    @property
    def room(self) -> int:
        """How many rows may have values."""
        return -(-self.kept // self.width) if self.whole else min(self.count, self.kept)

    def parts(self) -> dict[str, int]:
        masks = bitmap_bytes(self.count) + (0 if self.whole else bitmap_bytes(self.room * self.width))
        return {
            "masks": masks,
            "maps": self.store.map_bytes(self),
            "parameters": self.kept * (2 if self.half else 4),
            "training": self.dense().bytes + self.store.shaping_bytes(self),
        }

    def new(self, optimizer: Optimizer, seed: int) -> Store:
        return self.store(self, optimizer, seed)

    def grown(self, at: int, count: int) -> Self:
        if issubclass(self.store, SoftStore):
            raise SpecError(
                "'pep' tables take no more ids: values that they keep go back to where they began, and new "
                "rows did not begin with them; make a new table"
            )
        return dataclasses.replace(super().grown(at, count), starts=shifted(self.starts, at, count))


class PrunedStore(DenseStore):
    """The largest values are kept.

    rule `prune`: from update `warm` on, every `every` updates the smallest of all are set to zero, a share of
    them that grows to the wanted one as 1 - damping**(updates / 100): .99 in the source, with which a few
    thousand updates do not get there. Deng et al. 2021 (DeepLight), arXiv:2002.06987, section 3.3.
    """

    plan: PrunedPlan

    def __init__(self, plan: PrunedPlan, optimizer: Optimizer, seed: int) -> None:
        super().__init__(plan, optimizer, seed)
        self.plan = plan
        self.options = dict(plan.options)
        self.present = Bitmap.empty(plan.count)
        self.inside = Bitmap.empty(0 if plan.whole else plan.room * plan.width)
        self.numbers = np.zeros(plan.kept, np.float16 if plan.half else np.float32)

    @classmethod
    def shaping_bytes(cls, plan: PrunedPlan) -> int:
        """Bytes of `shaping`."""
        return 0

    @classmethod
    def map_bytes(cls, plan: PrunedPlan) -> int:
        """Bytes of maps."""
        return 0

    def stepped(self, rows: I64, count: int) -> None:
        since = count - self.options["warm"]
        if since >= 0 and count % self.options["every"] == 0:
            wanted = 1 - self.plan.kept / (self.plan.count * self.plan.width)
            self.cut(wanted * (1 - self.options["damping"] ** (since / 100)))

    def cut(self, share: float) -> None:
        """Sets the smallest values to zero, a share of all."""
        count = int(share * self.inner.values.size)
        if not count:
            return
        bound = self._size_at(count)
        for rows in self.blocks():
            values = self.inner.values[rows[0] : rows[-1] + 1]
            values[np.abs(values) <= bound] = 0

    def _size_at(self, place: int) -> np.float32:
        """The size that the value at a place, from 1, has among all sizes, the smallest first.

        By counts of their upper and then of their lower bits, whose order is that of sizes: all values would
        have to be copied to be sorted.
        """
        found = 0
        for shift in (16, 0):
            counts = np.zeros(1 << 16, np.int64)
            for rows in self.blocks():
                bits = self.inner.values[rows[0] : rows[-1] + 1].view(np.uint32).reshape(-1) & 0x7FFFFFFF
                if shift == 0:
                    bits = bits[bits >> 16 == found]
                counts += np.bincount((bits >> shift) & 0xFFFF, minlength=1 << 16)
            before = np.cumsum(counts)
            digit = int(np.searchsorted(before, place))
            place -= int(before[digit] - counts[digit])
            found = found << 16 | digit
        return np.uint32(found).view(np.float32)

    def chosen(self, values: F32) -> NDArray[np.bool_]:
        """Which of all values (count, w) are kept: as many as there is room for, equal ones in order."""
        sizes = np.abs(values).reshape(-1)
        kept = np.zeros(sizes.size, np.bool_)
        kept[np.argsort(-sizes, kind="stable")[: self.plan.kept]] = True
        return (kept & (sizes > 0)).reshape(values.shape)

    def compact(self) -> None:
        values = self.all_shaped()
        kept = self.chosen(values)
        rows: NDArray[np.bool_] = np.any(kept, axis=1)
        self.present = Bitmap.of(rows)
        numbers = values[kept]
        if not self.plan.whole:
            inside = np.zeros((self.plan.room, self.plan.width), np.bool_)
            inside[: rows.sum()] = kept[rows]
            self.inside = Bitmap.of(inside.reshape(-1))
        self.numbers[: len(numbers)] = numbers

    def read(self, rows: I64) -> F32:
        width = self.plan.width
        ranks = self.present.ranks_of(rows)
        out = np.zeros((len(rows), width), np.float32)
        there = np.flatnonzero(ranks >= 0)
        places = (ranks[there, None] * width + np.arange(width)).reshape(-1)
        if not self.plan.whole:
            places = self.inside.ranks_of(places)
        found = np.where(places >= 0, self.numbers[np.maximum(places, 0)], 0)
        out[there] = found.reshape(-1, width)
        return out

    def serving(self) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {"parameters": self.numbers}
        found |= {f"masks.present.{name}": array for name, array in self.present.arrays().items()}
        if not self.plan.whole:
            found |= {f"masks.inside.{name}": array for name, array in self.inside.arrays().items()}
        return found


class SoftStore(PrunedStore):
    """sign(v) max(|v| - sigmoid(s), 0), a threshold s for each dimension, that is learned.

    Once no more values are left than there is room for, which these are is fixed, and they go on from where
    they began. Liu et al. 2021 (PEP), arXiv:2101.07577, sections 3.2 and 3.3.
    """

    def __init__(self, plan: PrunedPlan, optimizer: Optimizer, seed: int) -> None:
        super().__init__(plan, optimizer, seed)
        self.thresholds = np.full(plan.width, self.options["threshold"], np.float32)
        self.mask = np.zeros((plan.count, plan.width), np.uint8)  # all zero until it is fixed
        self._seed = seed
        self._optimizer = optimizer

    @classmethod
    def shaping_bytes(cls, plan: PrunedPlan) -> int:
        return 4 * plan.width + plan.count * plan.width

    def shaping(self) -> dict[str, NDArray[Any]]:
        return {"thresholds": self.thresholds, "mask": self.mask}

    @property
    def _fixed(self) -> bool:
        return bool(self.mask.any())

    def shaped(self, rows: I64, values: F32) -> F32:
        if self._fixed:
            return values * self.mask[rows]
        cut = 1 / (1 + np.exp(-self.thresholds))
        return np.sign(values) * np.maximum(np.abs(values) - cut, np.float32(0))

    def slopes(self, rows: I64, sums: F32) -> F32:
        if self._fixed:
            return sums * self.mask[rows]
        values = self.inner.values[rows]
        cut = 1 / (1 + np.exp(-self.thresholds))
        passed = sums * (np.abs(values) > cut)
        slope = -(passed * np.sign(values)).sum(0) * cut * (1 - cut)
        self.thresholds -= np.float32(self.options["threshold_rate"]) * (
            slope - np.float32(self.options["pull"])
        )
        return passed

    def stepped(self, rows: I64, count: int) -> None:
        if self._fixed or count % self.options["every"]:
            return
        left = sum(np.count_nonzero(self.shaped(rows, self.inner.values[rows])) for rows in self.blocks())
        if 0 < left <= self.plan.kept:
            there = [self.shaped(rows, self.inner.values[rows]) != 0 for rows in self.blocks()]
            self.mask[...] = np.concatenate(there)  # at once: from the first one on it is fixed
            self.inner = type(self.inner).new(self.plan.dense(), self._optimizer, self._seed)
            self.state = self.inner.state


class GatedStore(PrunedStore):
    """A gate for each dimension times the row, the same for all rows of a group that come as often.

    Gates go down their gradient, of length one, and towards zero; they stay in [0, 1]. Kong et al. 2022
    (AutoSrh), arXiv:2208.06153, section 4.
    """

    def __init__(self, plan: PrunedPlan, optimizer: Optimizer, seed: int) -> None:
        super().__init__(plan, optimizer, seed)
        self.groups = np.full(plan.count, GROUPS - 1, np.uint8)
        for first, order in zip(plan.starts, plan.orders, strict=True):
            self.groups[first + order] = np.arange(len(order)) * GROUPS // len(order)
        self.gates = np.ones((GROUPS, plan.width), np.float32)

    @classmethod
    def shaping_bytes(cls, plan: PrunedPlan) -> int:
        return plan.count + 4 * GROUPS * plan.width

    def grown(self, room: Room) -> Store:
        new = super().grown(room)
        assert isinstance(new, GatedStore)
        new.groups = put_in(self.groups, room.at, room.count, GROUPS - 1)  # as of ids that come least often
        return new

    def shaping(self) -> dict[str, NDArray[Any]]:
        return {"groups": self.groups, "gates": self.gates}

    def shaped(self, rows: I64, values: F32) -> F32:
        return values * self.gates[self.groups[rows]]

    def slopes(self, rows: I64, sums: F32) -> F32:
        groups = self.groups[rows]
        out = sums * self.gates[groups]
        slope = np.zeros_like(self.gates)
        np.add.at(slope, groups, sums * self.inner.values[rows])
        length = max(float(np.sqrt((slope**2).sum())), 1e-12)
        self.gates -= np.float32(self.options["gate_rate"]) * (slope / np.float32(length) + np.float32(1e-5))
        np.clip(self.gates, 0, 1, out=self.gates)
        return out

    def stepped(self, rows: I64, count: int) -> None:
        """Gates alone are learned until the end."""


class ThresholdStore(PrunedStore):
    """Rows whose sum of |v| is above their field's threshold, which is learned; others are zeros.

    The step from zero to one has a slope of 2 - 4 |z| near its middle, .4 further out, 0 beyond 1; thresholds
    are pulled up by exp(-t). Lyu et al. 2022 (OptEmbed), arXiv:2208.04482, section 3.2.
    """

    def __init__(self, plan: PrunedPlan, optimizer: Optimizer, seed: int) -> None:
        super().__init__(plan, optimizer, seed)
        self.thresholds = np.zeros(len(plan.starts), np.float32)

    @classmethod
    def shaping_bytes(cls, plan: PrunedPlan) -> int:
        return 4 * len(plan.starts)

    def shaping(self) -> dict[str, NDArray[Any]]:
        return {"thresholds": self.thresholds}

    def _fields(self, rows: I64) -> I64:
        return np.searchsorted(np.array(self.plan.starts), rows, side="right") - 1

    def _above(self, rows: I64, values: F32) -> tuple[I64, F32]:
        """The field of each row, and how far it is above its threshold."""
        fields = self._fields(rows)
        return fields, np.abs(values).sum(1) - self.thresholds[fields]

    def shaped(self, rows: I64, values: F32) -> F32:
        there: F32 = (self._above(rows, values)[1] > 0).astype(np.float32)
        return values * there[:, None]

    def slopes(self, rows: I64, sums: F32) -> F32:
        values = self.inner.values[rows]
        fields, above = self._above(rows, values)
        size = np.abs(above)
        step = np.where(size < 0.4, 2 - 4 * size, np.where(size <= 1, 0.4, 0)).astype(np.float32)
        through = (sums * values).sum(1) * step  # of the loss, by how far the row is above
        out: F32 = sums * (above > 0)[:, None] + through[:, None] * np.sign(values)
        slope = np.zeros(len(self.thresholds), np.float32)
        np.add.at(slope, fields, -through)
        pull = np.float32(self.options["alpha"]) * np.exp(-self.thresholds)
        self.thresholds -= np.float32(self.options["threshold_rate"]) * (slope - pull)
        return out

    def stepped(self, rows: I64, count: int) -> None:
        """Thresholds alone are learned until the end."""

    def chosen(self, values: F32) -> NDArray[np.bool_]:
        sizes = np.abs(values).sum(1)
        kept = np.zeros(len(sizes), np.bool_)
        kept[np.argsort(-sizes, kind="stable")[: self.plan.kept // self.plan.width]] = True
        out = np.zeros(values.shape, np.bool_)
        out[kept & (sizes > 0)] = True
        return out


GROUPS = 6  # of as many ids of each field, by frequency
