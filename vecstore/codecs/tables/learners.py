"""What a table learns besides its rows: which ids have rows of their own, after each update."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.addresses import Address
from vecstore.codecs.tables.rows import Store, put_in
from vecstore.kernels.hotsketch import CELLS, NO_SLOT, find_slots, observe
from vecstore.kernels.radix import NONE
from vecstore.kernels.tablehash import mix_all

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


@dataclass(frozen=True)
class Lesson:
    """What an update tells: of each field the ids, and the length of each id's gradient (n,)."""

    keys: Mapping[str, I64]
    lengths: Mapping[str, F32]
    stores: Sequence[Store]
    updates: int
    seed: int


class Learner:
    """Part of a table that changes after each update."""

    def parts(self) -> dict[str, int]:
        """Bytes by part of the ledger."""
        raise NotImplementedError

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All it keeps, by `part` or `part.what`."""
        raise NotImplementedError

    def learn(self, lesson: Lesson) -> None:
        """After an update."""
        raise NotImplementedError

    def finish(self) -> None:
        """Training is over: what only that needs is let go."""

    def listed(self, name: str) -> I64 | None:
        """The ids of a field that have rows, ascending, where only it knows them."""
        return None

    def scores(self, name: str, keys: I64, stores: Sequence[Store]) -> F32 | None:
        """What a field's ids (n,) are worth to it, (n,), where it goes by that and still has it."""
        return None

    @property
    def grows(self) -> bool:
        """Whether arrays may become longer."""
        return False

    @property
    def moves(self) -> int:
        """How often rows have gone elsewhere, so that addresses of before mean others."""
        return 0

    def grow(self, name: str, count: int) -> None:
        """A field has so many ids from now on."""

    def begin(self) -> None:
        """Before the first lookup: a learner that grows becomes small."""

    def fit(self, arrays: Mapping[str, NDArray[Any]], stores: Sequence[Store]) -> Callable[[], None]:
        """Takes the sizes of arrays that are to be taken over, where it grows; gives what undoes that."""
        return lambda: None


@dataclass
class Sketch(Learner):
    """Ids that matter have rows of their own in store `hot`; the others' rows are in store `cold`.

    An id's score grows by the length of its gradient over the batch's mean one; at `threshold` it gets a row,
    which begins as the sum of those that it shared. Scores fade once they are ten times what all rows need.
    """

    buckets: int
    rows: int
    hot: int
    cold: int
    threshold: float
    shared: dict[str, Address] = field(default_factory=dict)  # addresses in the cold store, by field
    salts: dict[str, np.uint64] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._kept: dict[str, NDArray[Any]] | None = None

    def parts(self) -> dict[str, int]:
        return {"sketches": 12 * CELLS * self.buckets}

    def arrays(self) -> dict[str, NDArray[Any]]:
        if self._kept is None:
            shape = (self.buckets, CELLS)
            self._kept = {
                "sketches.marks": np.zeros(shape, np.uint32),
                "sketches.scores": np.zeros(shape, np.float32),
                "sketches.slots": np.full(shape, NO_SLOT, np.int32),
            }
        return self._kept

    def hashes(self, name: str, keys: I64) -> U64:
        """Hashes of a field's ids."""
        out = np.empty(len(keys), np.uint64)
        mix_all(keys.view(np.uint64), self.salts[name], out)
        return out

    def slots(self, name: str, keys: I64) -> I64:
        """The row of each id that has one, else NO_SLOT."""
        kept, out = self.arrays(), np.empty(len(keys), np.int64)
        find_slots(self.hashes(name, keys), kept["sketches.marks"], kept["sketches.slots"], out)
        return out

    def scores(self, name: str, keys: I64, stores: Sequence[Store]) -> F32 | None:
        kept, out = self.arrays(), np.empty(len(keys), np.int64)
        scores = kept["sketches.scores"].reshape(-1)
        cells = np.arange(scores.size, dtype=np.int32).reshape(-1, CELLS)
        find_slots(self.hashes(name, keys), kept["sketches.marks"], cells, out)
        return np.where(out == NO_SLOT, np.float32(0), scores[out])

    def learn(self, lesson: Lesson) -> None:
        kept = self.arrays()
        marks, scores, slots = kept["sketches.marks"], kept["sketches.scores"], kept["sketches.slots"]
        total = sum(float(lengths.sum(dtype=np.float64)) for lengths in lesson.lengths.values())
        count = sum(len(lengths) for lengths in lesson.lengths.values())
        if total == 0:
            return
        for name, keys in lesson.keys.items():
            used = np.zeros(self.rows, np.bool_)
            used[slots[slots >= 0]] = True
            free = np.flatnonzero(~used)[::-1].astype(np.int32)
            weights = lesson.lengths[name] * np.float32(count / total)
            taken = np.empty((len(keys), 2), np.int64)
            found = observe(
                self.hashes(name, keys),
                weights,
                (marks, scores, slots),
                np.float32(self.threshold),
                free,
                taken,
            )
            if found:
                self._promote(lesson, self.shared[name](keys[taken[:found, 0]]), taken[:found, 1])
        if scores.sum(dtype=np.float64) > 10 * self.rows * self.threshold:
            scores *= np.float32(0.99)
            slots[scores < self.threshold] = NO_SLOT

    def _promote(self, lesson: Lesson, addresses: I64, rows: I64) -> None:
        """New rows begin as what their ids had in the cold store, and so does what the optimizer keeps."""
        hot, cold = lesson.stores[self.hot], lesson.stores[self.cold]
        count, chunks, probes = addresses.shape
        values = cold.gather(addresses.reshape(count, -1)).reshape(count, chunks, probes, -1).sum(2)
        hot.write(rows, values.reshape(count, -1), lesson.seed)
        if hot.state.shape[1] == 0:
            return
        state = cold.state[addresses[:, :, 0]]
        if hot.state.shape[1] == 1:
            hot.state[rows] = state.mean(1)
            return
        width = cold.plan.width
        by_part = state.reshape(count, chunks, -1, width).transpose(0, 2, 1, 3)
        hot.state[rows] = by_part.reshape(count, -1)


@dataclass
class HotRows(Address):
    """The row of an id that a sketch has given one, else NONE."""

    seeded = True
    sketch: Sketch
    name: str

    def __call__(self, keys: I64) -> I64:
        rows = self.sketch.slots(self.name, keys)
        return np.where(rows == NO_SLOT, NONE, rows).reshape(-1, 1, 1)


@dataclass
class ColdRows(Address):
    """The shared rows of an id that a sketch has given none of its own, else NONE."""

    seeded = True
    sketch: Sketch
    name: str

    def __call__(self, keys: I64) -> I64:
        found = self.sketch.shared[self.name](keys)
        found[self.sketch.slots(self.name, keys) != NO_SLOT] = NONE
        return found


@dataclass
class Important(Learner):
    """Of each field the ids with the largest scores have rows, others none: zeros.

    A score is a mean of lengths of gradients over time, scaled by the field's 95th percentile. Every `every`
    updates rows go to the best, if that moves more than a twentieth of them; new ones begin as zeros. Lai et
    al. 2023 (AdaEmbed), OSDI, sections 4.1 and 4.2.
    """

    counts: Mapping[str, int]  # ids, by field
    rows: int
    store: int
    every: int

    def __post_init__(self) -> None:
        self._kept: dict[str, NDArray[Any]] | None = None

    def parts(self) -> dict[str, int]:
        ids = sum(self.counts.values())
        return {"maps": 4 * ids, "training": 4 * ids}

    def arrays(self) -> dict[str, NDArray[Any]]:
        if self._kept is None:
            ids = sum(self.counts.values())
            rows = np.full(ids, NO_SLOT, np.int32)
            # As good as any before the first gradients: rows go to the first ids of each field in turn.
            order = np.concatenate([np.arange(count) / count for count in self.counts.values()])
            rows[np.argsort(order, kind="stable")[: self.rows]] = np.arange(min(self.rows, ids))
            self._kept = {"maps": rows, "training": np.zeros(ids, np.float32)}
        return self._kept

    def first(self, name: str) -> int:
        """Where a field's ids begin in the arrays."""
        names = list(self.counts)
        return sum(self.counts[other] for other in names[: names.index(name)])

    def scores(self, name: str, keys: I64, stores: Sequence[Store]) -> F32 | None:
        kept = self.arrays()
        return np.asarray(kept["training"][self.first(name) + keys]) if "training" in kept else None

    def learn(self, lesson: Lesson) -> None:
        kept = self.arrays()
        rows, scores = kept["maps"], kept["training"]
        for name, keys in lesson.keys.items():
            lengths = lesson.lengths[name]
            high = float(np.percentile(lengths, 95)) if len(lengths) else 0.0
            if high > 0:
                np.add.at(scores, self.first(name) + keys, lengths / np.float32(high))
        if lesson.updates % self.every:
            return
        best = np.zeros(len(rows), np.bool_)
        best[np.argsort(-scores, kind="stable")[: self.rows]] = True
        gone, new = np.flatnonzero((rows >= 0) & ~best), np.flatnonzero((rows < 0) & best)
        if 20 * len(gone) > self.rows:
            freed = rows[gone].astype(np.int64)
            rows[gone] = NO_SLOT
            rows[new] = freed
            store = lesson.stores[self.store]
            store.write(freed, np.zeros((len(freed), store.plan.width), np.float32), lesson.seed)
            store.state[freed] = 0
        scores *= np.float32(0.8)

    def grow(self, name: str, count: int) -> None:
        at, more = self.first(name) + self.counts[name], count - self.counts[name]
        begun = {"maps": NO_SLOT, "training": 0}
        self._kept = {key: put_in(array, at, more, begun[key]) for key, array in self.arrays().items()}
        self.counts = {**self.counts, name: count}

    def finish(self) -> None:
        self._kept = {"maps": self.arrays()["maps"]}


@dataclass
class Mapped(Address):
    """The row that a list of the best ids has given an id, else NONE."""

    closed = True
    learner: Important
    name: str

    def __call__(self, keys: I64) -> I64:
        first = self.learner.first(self.name)
        rows = self.learner.arrays()["maps"][first + keys].astype(np.int64)
        return np.where(rows == NO_SLOT, NONE, rows).reshape(-1, 1, 1)
