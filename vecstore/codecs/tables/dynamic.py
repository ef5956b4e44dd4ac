"""Rows for ids without a vocabulary: who is admitted, and who is given up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.addresses import Address, Hashed
from vecstore.codecs.tables.learners import Learner, Lesson
from vecstore.kernels.dynamicids import NOWHERE, find_ids, take_rows
from vecstore.kernels.tablehash import mix_all

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

POLICIES = ("lru", "lfu", "norm", "ttl")
_WINDOW = 128


@dataclass
class DynamicIds(Learner):
    """The ids of a field that have rows 0 .. rows - 1 of a store; others have one of the shared rows behind.

    An id is admitted when it has come `admit` times (by a count that others may share, so perhaps early), and
    each time with a `chance`. It begins with its shared row. Where its window is full, the row is taken that
    came least lately (`lru`), least often (`lfu`), or whose values are least (`norm`), but none of this
    update; with `ttl` only rows that did not come for so many updates. `gone` has the ids that lost theirs.
    """

    name: str
    rows: int
    store: int
    shared: Hashed
    policy: str = "lru"
    admit: int = 1
    chance: float = 1.0
    ttl: int = 0
    gone: list[I64] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._kept: dict[str, NDArray[Any]] | None = None

    def parts(self) -> dict[str, int]:
        counters = 4 * self.rows if self.admit > 1 else 0
        return {"maps": 12 * self.rows, "training": 4 * self.rows + counters}

    def arrays(self) -> dict[str, NDArray[Any]]:
        if self._kept is None:
            self._kept = {
                "maps.ids": np.zeros(self.rows, np.int64),
                "maps.lasts": np.zeros(self.rows, np.uint32),
                "training.counts": np.zeros(self.rows, np.uint32),
            }
            if self.admit > 1:
                self._kept["training.comings"] = np.zeros(4 * self.rows, np.uint8)
        return self._kept

    def find(self, keys: I64) -> I64:
        """The row of each id, or NOWHERE."""
        kept, out = self.arrays(), np.empty(len(keys), np.int64)
        find_ids(keys, kept["maps.ids"], kept["maps.lasts"], _WINDOW, out)
        return out

    def evicted(self) -> I64:
        """The ids that lost their rows since this was last asked."""
        found = np.concatenate(self.gone) if self.gone else np.empty(0, np.int64)
        self.gone.clear()
        return found

    def learn(self, lesson: Lesson) -> None:
        if self.name not in lesson.keys:
            return
        keys, kept, store = lesson.keys[self.name], self.arrays(), lesson.stores[self.store]
        lasts, counts = kept["maps.lasts"], kept["training.counts"]
        worths = np.zeros(self.rows, np.float32)
        if self.policy == "lfu":
            worths = counts.astype(np.float32)
        elif self.policy == "norm":
            worths = np.sqrt((store.gather(np.arange(self.rows)[:, None])[:, 0] ** 2).sum(1))
        else:
            worths = lasts.astype(np.float32)
        since = max(lesson.updates - self.ttl, 0) if self.policy == "ttl" else lesson.updates
        fresh = np.empty((len(keys), 4), np.int64)
        found = take_rows(
            keys, self._admitted(keys, lesson), (kept["maps.ids"], lasts, counts, worths),
            (lesson.updates, _WINDOW, since), fresh,
        )  # fmt: skip
        if found:
            fresh = fresh[:found]
            self.gone.append(fresh[fresh[:, 2] == 1, 3].copy())
            rows, from_shared = fresh[:, 1], self.shared(keys[fresh[:, 0]])[:, 0]
            store.write(rows, store.gather(from_shared)[:, 0], lesson.seed)
            store.state[rows] = store.state[from_shared[:, 0]]

    def _admitted(self, keys: I64, lesson: Lesson) -> NDArray[np.bool_]:
        """Which ids may have a row now."""
        out = np.ones(len(keys), np.bool_)
        if self.admit > 1:
            comings = self.arrays()["training.comings"]
            hashed = np.empty(len(keys), np.uint64)
            mix_all(keys.view(np.uint64), self.shared.salts[0, 0], hashed)
            places = (hashed % np.uint64(len(comings))).astype(np.int64)
            more = np.bincount(places, minlength=len(comings))
            comings[...] = np.minimum(comings + more, 255).astype(np.uint8)
            out &= comings[places] >= self.admit
        if self.chance < 1:
            drawn = np.empty(len(keys), np.uint64)
            mix_all(keys.view(np.uint64), np.uint64(lesson.seed), drawn)
            out &= (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53 < self.chance
        return out

    def finish(self) -> None:
        kept = self.arrays()
        self._kept = {name: array for name, array in kept.items() if name.startswith("maps")}


@dataclass
class Given(Address):
    """The row that an id was given, else its shared row."""

    seeded = True
    learner: DynamicIds

    def __call__(self, keys: I64) -> I64:
        rows = self.learner.find(keys).reshape(-1, 1, 1)
        return np.where(rows == NOWHERE, self.learner.shared(keys), rows)
