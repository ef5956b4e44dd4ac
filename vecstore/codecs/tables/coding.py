"""Stores of which only codes are kept: parts of rows are centroids, or rows are those of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.bitmaps import Bitmap, bitmap_bytes
from vecstore.codecs.tables.combine import product
from vecstore.codecs.tables.dense import DensePlan, DenseStore
from vecstore.codecs.tables.optimizers import Optimizer
from vecstore.codecs.tables.packed import PackedInts, bits_for, packed_bytes
from vecstore.codecs.tables.rows import Room, Store

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CodedPlan(DensePlan):
    """Rows of `parts` equal parts, each one of `choices` centroids.

    frequent: how many rows may be any of them, where that is not all; others are one of the first `few`. Kept
    are codes of as many bits as they need, centroids as float32, and a bit a row for which are frequent.
    """

    parts_: int
    choices: int
    few: int = 0
    frequent: I64 | None = None  # rows
    pull: float = 0.05

    @property
    def frequent_count(self) -> int:
        """How many rows may be any centroid."""
        return self.count if self.frequent is None else len(self.frequent)

    def parts(self) -> dict[str, int]:
        many = packed_bytes(self.frequent_count * self.parts_, bits_for(self.choices))
        rare = packed_bytes((self.count - self.frequent_count) * self.parts_, bits_for(self.few))
        return {
            "parameters": many + rare,
            "codebooks": 4 * self.choices * self.width,
            "maps": 0 if self.frequent is None else bitmap_bytes(self.count),
            "training": self.dense().bytes,
        }

    def new(self, optimizer: Optimizer, seed: int) -> Store:
        return CodedStore(self, optimizer, seed)


class CodedStore(DenseStore):
    """Each part of a row is read as the nearest centroid; its gradient passes straight through to the row.

    A centroid moves by `pull` of its way to the mean of the parts that were read as it, after each update.
    Chen et al. 2020 (DPQ-VQ), arXiv:1908.09756, section 2.3; with fewer choices for rare rows Kang et al.
    2020 (MGQE), arXiv:2002.08530, section 3.3.
    """

    plan: CodedPlan

    def __init__(self, plan: CodedPlan, optimizer: Optimizer, seed: int) -> None:
        super().__init__(plan, optimizer, seed)
        self.plan = plan
        rng = np.random.default_rng(seed)
        shape = (plan.parts_, plan.choices, plan.width // plan.parts_)
        self.centroids = (rng.random(shape, np.float32) * 2 - 1) * np.float32(plan.init)
        members = np.ones(plan.count, np.bool_)
        if plan.frequent is not None:
            members[:] = False
            members[plan.frequent] = True
        self.often = Bitmap.of(members)
        rare = plan.count - plan.frequent_count
        self.codes = PackedInts.zeros(plan.frequent_count * plan.parts_, bits_for(plan.choices))
        self.rare_codes = PackedInts.zeros(rare * plan.parts_, bits_for(plan.few))

    def grown(self, room: Room) -> Store:
        new = super().grown(room)
        assert isinstance(new, CodedStore) and room.at == self.plan.count
        if self.plan.frequent is not None:
            new.often = self.often.grown(room.plan.count)  # new ids are rare
        return new

    def _nearest(self, rows: I64, values: F32) -> I64:
        """The centroid of each part of rows (n,) with values (n, w): (n, parts)."""
        n, parts = len(rows), self.plan.parts_
        rare = self.often.ranks_of(rows) < 0
        split = values.reshape(n, parts, -1)
        out = np.empty((n, parts), np.int64)
        for part in range(parts):
            centroids = self.centroids[part]
            scores = product(split[:, part], centroids.T) - (centroids**2).sum(1) / 2
            scores[rare, self.plan.few :] = -np.inf
            out[:, part] = scores.argmax(1)
        return out

    def _chosen(self, codes: I64) -> F32:
        """The centroids of codes (n, parts), (n, w)."""
        return self.centroids[np.arange(self.plan.parts_), codes].reshape(len(codes), -1)

    def shaped(self, rows: I64, values: F32) -> F32:
        return self._chosen(self._nearest(rows, values))

    def slopes(self, rows: I64, sums: F32) -> F32:
        values = self.inner.values[rows]
        codes = self._nearest(rows, values)
        split = values.reshape(len(rows), self.plan.parts_, -1)
        for part, centroids in enumerate(self.centroids):
            counts = np.bincount(codes[:, part], minlength=self.plan.choices)
            total = np.zeros_like(centroids)
            np.add.at(total, codes[:, part], split[:, part])
            there = np.flatnonzero(counts)
            means = total[there] / counts[there, None]
            centroids[there] += np.float32(self.plan.pull) * (means - centroids[there]).astype(np.float32)
        return sums

    def compact(self) -> None:
        codes = np.empty((self.plan.count, self.plan.parts_), np.int64)
        for rows in self.blocks():
            codes[rows] = self._nearest(rows, self.inner.values[rows])
        often = self.often.ranks_of(np.arange(self.plan.count)) >= 0
        self.codes.fill(codes[often].reshape(-1))
        self.rare_codes.fill(codes[~often].reshape(-1))

    def read(self, rows: I64) -> F32:
        parts = np.arange(self.plan.parts_)
        many = self.often.ranks_of(rows)
        codes = np.empty((len(rows), len(parts)), np.int64)
        often = many >= 0
        codes[often] = self.codes.at(many[often, None] * len(parts) + parts)
        rare = rows[~often] - self.often.before(rows[~often])
        codes[~often] = self.rare_codes.at(rare[:, None] * len(parts) + parts)
        return self._chosen(codes)

    def serving(self) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {
            "parameters.codes": self.codes.words,
            "parameters.rare": self.rare_codes.words,
            "codebooks": self.centroids,
        }
        if self.plan.frequent is not None:
            found |= {f"maps.{name}": array for name, array in self.often.arrays().items()}
        return found


@dataclass(frozen=True)
class MergedPlan(DensePlan):
    """Blocks of rows, of which `kept` differ; of each block the number of the one that it is (4 bytes)."""

    block: int
    kept: int
    near: float

    @property
    def blocks(self) -> int:
        """How many blocks there are, the last one filled up."""
        return -(-self.count // self.block)

    def parts(self) -> dict[str, int]:
        return {
            "parameters": 4 * self.kept * self.block * self.width,
            "maps": packed_bytes(self.blocks, bits_for(self.kept)),
            "training": self.dense().bytes,
        }

    def new(self, optimizer: Optimizer, seed: int) -> Store:
        return MergedStore(self, optimizer, seed)


class MergedStore(DenseStore):
    """Blocks that are alike become one.

    Blocks are taken by the third quartile of their values. Each joins the block, of those that stay, that has
    the largest share of values no further than `near` from its own, if that is enough; how much is enough
    falls from all until few enough stay. Zhou et al. 2022, VLDB 15 (10), section 4; all that stay are
    compared, none are passed over by hashing.
    """

    plan: MergedPlan

    def __init__(self, plan: MergedPlan, optimizer: Optimizer, seed: int) -> None:
        super().__init__(plan, optimizer, seed)
        self.plan = plan
        self.uniques = np.zeros((plan.kept * plan.block, plan.width), np.float32)
        self.map = PackedInts.zeros(plan.blocks, bits_for(plan.kept))

    def compact(self) -> None:
        plan = self.plan
        padded = np.zeros((plan.blocks * plan.block, plan.width), np.float32)
        padded[: plan.count] = self.inner.values
        blocks = padded.reshape(plan.blocks, -1)
        order = np.argsort(np.quantile(blocks, 0.75, axis=1), kind="stable")
        stay, joined = order, np.arange(plan.blocks)
        for enough in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0):
            if len(stay) <= plan.kept:
                break
            stay, into = self._merge(blocks, stay, enough)
            joined = into[joined]
        numbers = np.empty(plan.blocks, np.int64)
        numbers[stay] = np.arange(len(stay))
        self.map.fill(numbers[joined])
        self.uniques[: len(stay) * plan.block] = blocks[stay].reshape(-1, plan.width)

    def _merge(self, blocks: F32, order: I64, enough: float) -> tuple[I64, I64]:
        """Which blocks stay, and of every block the one that it joins, at one level of likeness."""
        into = np.arange(len(blocks))
        stay: list[int] = []
        left = len(order)
        for at in order:
            if left > self.plan.kept and stay:
                likeness = (np.abs(blocks[stay] - blocks[at]) <= self.plan.near).mean(1)
                best = int(likeness.argmax())
                if likeness[best] >= enough:
                    into[at] = stay[best]
                    left -= 1
                    continue
            stay.append(int(at))
        return np.array(stay, np.int64), into

    def read(self, rows: I64) -> F32:
        block = self.plan.block
        found: F32 = self.uniques[self.map.at(rows // block) * block + rows % block]
        return found

    def serving(self) -> dict[str, NDArray[Any]]:
        return {"parameters": self.uniques, "maps": self.map.words}
