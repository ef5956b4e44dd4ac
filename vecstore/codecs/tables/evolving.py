"""Widths of fields that are searched for by evolution, for rows that thresholds let through."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.bitmaps import Bitmap
from vecstore.codecs.tables.optimizers import Optimizer
from vecstore.codecs.tables.pruning import PrunedPlan, ThresholdStore
from vecstore.errors import InputError

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
Widths = tuple[int, ...]  # of each field

_BORN = 10  # children by mutation of each generation, and as many by crossing
_CHANCE = 0.1  # that a mutation draws a field's width anew


class EvolvedStore(ThresholdStore):
    """Rows above their field's threshold, of which the first values are read, as many as the field's width.

    Until widths were searched for, each update draws one for each field, so that all widths are trained; the
    source draws one for each sample. While they are searched for, rows are read as they would be kept: those
    with the largest sum of |v| for each value, as many as there is room for. Then widths stay. Lyu et al.
    2022 (OptEmbed), arXiv:2208.04482, sections 3.3 and 3.4.
    """

    def __init__(self, plan: PrunedPlan, optimizer: Optimizer, seed: int) -> None:
        super().__init__(plan, optimizer, seed)
        self.widths = np.zeros(len(plan.starts), np.int32)  # 0: not searched for yet
        self.drawn = np.full(len(plan.starts), plan.width, np.int32)
        self._seed = seed
        self._stay: NDArray[np.bool_] | None = None

    @classmethod
    def shaping_bytes(cls, plan: PrunedPlan) -> int:
        return super().shaping_bytes(plan) + 4 * len(plan.starts)

    @classmethod
    def map_bytes(cls, plan: PrunedPlan) -> int:
        return 4 * len(plan.starts)

    def shaping(self) -> dict[str, NDArray[np.generic]]:
        return {**super().shaping(), "drawn": self.drawn}

    def serving(self) -> dict[str, NDArray[np.generic]]:
        return {**super().serving(), "maps": self.widths}

    def _inside(self, rows: I64) -> F32:
        """1 for the values that are read of rows (n,), else 0; (n, w)."""
        widths = self.drawn[self._fields(rows)]
        inside = np.arange(self.plan.width) < widths[:, None]
        if self._stay is not None:
            inside &= self._stay[rows, None]
        return inside.astype(np.float32)

    def shaped(self, rows: I64, values: F32) -> F32:
        return super().shaped(rows, values) * self._inside(rows)

    def slopes(self, rows: I64, sums: F32) -> F32:
        return super().slopes(rows, sums * self._inside(rows))

    def stepped(self, rows: I64, count: int) -> None:
        if not self.widths.any():
            rng = np.random.default_rng((self._seed, count))
            self.drawn[:] = rng.integers(1, self.plan.width + 1, len(self.drawn))

    def try_widths(self, widths: Widths) -> None:
        """Rows are read as they would be kept with these widths."""
        self.stop(np.array(widths, np.int32))
        self._stay = self._kept_rows(self.all_shaped())

    def settle(self, widths: Widths) -> None:
        """These are the widths from now on."""
        self.widths[:] = widths
        self.stop(self.widths)

    def stop(self, drawn: NDArray[np.int32]) -> None:
        """Nothing is tried any more; rows are read with these widths."""
        self.drawn[:], self._stay = drawn, None

    def _kept_rows(self, values: F32) -> NDArray[np.bool_]:
        """Which rows (count,) there is room for."""
        widths = self.drawn[self._fields(np.arange(self.plan.count))]
        worth = np.abs(values).sum(1) / widths
        order = np.argsort(-worth, kind="stable")
        kept = np.zeros(self.plan.count, np.bool_)
        kept[order[np.cumsum(widths[order]) <= self.plan.kept]] = True
        kept &= worth > 0
        return kept

    def compact(self) -> None:
        self.settle(tuple(self.widths if self.widths.any() else [self.plan.width] * len(self.widths)))
        values = self.all_shaped()
        kept = self._kept_rows(values)
        self.present = Bitmap.of(kept)
        inside = self._inside(np.arange(self.plan.count)).astype(np.bool_)[kept]
        numbers = values[kept][inside]
        self.numbers[: len(numbers)] = numbers

    def read(self, rows: I64) -> F32:
        before = self.present.before(np.array(self.plan.starts))
        begins = np.concatenate([[0], np.cumsum(np.diff(before) * self.widths[:-1])])
        fields, ranks = self._fields(rows), self.present.ranks_of(rows)
        widths = self.widths[fields]
        places = begins[fields] + (ranks - before[fields]) * widths
        columns = np.arange(self.plan.width)
        inside = (columns < widths[:, None]) & (ranks >= 0)[:, None]
        found = self.numbers[np.where(inside, places[:, None] + columns, 0)]
        return np.where(inside, found, np.float32(0)).astype(np.float32)


def evolve(store: EvolvedStore, score: Callable[[], float], generations: int, seed: int) -> float:
    """Gives fields the widths with the best score; the score. `score` is called with rows as they would be.

    Where it fails, or gives no number (InputError), widths are as they were.
    """
    before = store.drawn.copy()
    try:
        found, best = _search(store, score, generations, seed)
    except BaseException:
        store.stop(before)
        raise
    store.settle(found)
    return best


def _search(
    store: EvolvedStore, score: Callable[[], float], generations: int, seed: int
) -> tuple[Widths, float]:
    """The widths with the best score, and that.

    Each generation has children of the best ten so far, ten by mutation and ten by crossing, after a first
    one of full rows and random widths.
    """
    rng, width, fields = np.random.default_rng(seed), store.plan.width, len(store.widths)
    scores: dict[Widths, float] = {}

    def drawn(count: int) -> I64:
        return rng.integers(1, width + 1, (count, fields))

    children = np.concatenate([np.full((1, fields), width), drawn(2 * _BORN - 1)])
    for _ in range(generations):
        for child in children:
            widths = tuple(int(each) for each in child)
            if widths not in scores:
                store.try_widths(widths)
                scores[widths] = float(score())
                if not math.isfinite(scores[widths]):
                    raise InputError(f"the score of widths {widths} is {scores[widths]}; expected a number")
        best = np.array(sorted(scores, key=lambda widths: -scores[widths])[:_BORN])
        one, first, second = best[rng.integers(len(best), size=(3, _BORN))]
        changed = np.where(rng.random((_BORN, fields)) < _CHANCE, drawn(_BORN), one)
        crossed = np.where(rng.random((_BORN, fields)) < 0.5, first, second)
        children = np.concatenate([changed, crossed])
    return max(scores.items(), key=lambda item: item[1])
