"""Rows for ids without a vocabulary: who is admitted, and who is given up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.addresses import Address, Hashed
from vecstore.codecs.tables.learners import Learner, Lesson
from vecstore.codecs.tables.optimizers import Optimizer
from vecstore.codecs.tables.rows import RowsPlan, RowStore, Store
from vecstore.errors import SpecError
from vecstore.kernels.dynamicids import NOWHERE, find_ids, place_ids, take_rows
from vecstore.kernels.tablehash import mix_all

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

POLICIES = ("lru", "lfu", "norm", "ttl")
FIRSTS = ("shared", "mean", "zero")
_WINDOW = 128
_MEAN_ROWS = 1024  # that a mean is taken of
_NORM_ROWS = 8192  # at once


class Keeper(Protocol):
    """Where rows go that a table gives up, and come back from: bytes by id."""

    def put(self, ids: I64, rows: U8) -> None:
        """Keeps rows (n, bytes) of ids (n,), which take the place of older ones."""

    def get(self, ids: I64) -> tuple[NDArray[np.bool_], U8]:
        """Which of the ids (n,) it has, and their rows (n, bytes), of any bytes for the others."""


@dataclass(frozen=True)
class Rules:
    """Who gets a row, who loses one, and what a new one begins as."""

    policy: str = "lru"
    admit: int = 1
    chance: float = 1.0
    ttl: int = 0
    first: str = "shared"

    def __post_init__(self) -> None:
        for name, choices in (("policy", POLICIES), ("first", FIRSTS)):
            if getattr(self, name) not in choices:
                raise SpecError(f"{name}={getattr(self, name)!r}; expected one of {', '.join(choices)}")


@dataclass(frozen=True)
class GrowingRows(RowsPlan):
    """Rows up to `count`, of which `start` are there at first."""

    start: int = 0

    def new(self, optimizer: Optimizer, seed: int) -> RowStore:
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(RowsPlan)}
        return RowStore.new(RowsPlan(**{**fields, "count": self.start}), optimizer, seed)


@dataclass
class DynamicIds(Learner):
    """The ids of a field that have rows 0 .. rows - 1 of a store; others have one of the shared rows behind.

    An id is admitted when it has come `admit` times (by a count that others may share, so perhaps early), and
    each time with a `chance`. It begins with its shared row, the mean of up to 1,024 rows that are in use, or
    zeros, and what the optimizer keeps likewise; or with what a keeper has of it. Where its window is full,
    the row is taken that came least lately (`lru`), least often (`lfu`), or whose values are least (`norm`),
    but none of this update; with `ttl` only rows that did not come for so many updates. `gone` has the ids
    that lost theirs. Once `begin` was called there are `start` rows; before a batch would fill more than
    three quarters of them they become twice as many, at most `most`.
    """

    name: str
    rows: int
    store: int
    shared: Hashed
    rules: Rules
    start: int = 0  # 0: all rows at once
    gone: list[I64] = field(default_factory=list)
    keeper: Keeper | None = None

    def __post_init__(self) -> None:
        self.most, self._moves = self.rows, 0
        self._kept: dict[str, NDArray[Any]] | None = None

    @property
    def grows(self) -> bool:
        return self.start > 0

    @property
    def moves(self) -> int:
        return self._moves

    def begin(self) -> None:
        if self.grows:
            self.rows = self.shared.first = min(self.start, self.most)

    def parts(self) -> dict[str, int]:
        counters = 4 * self.most if self.rules.admit > 1 else 0
        return {"maps": 12 * self.rows, "training": 4 * self.rows + counters}

    def arrays(self) -> dict[str, NDArray[Any]]:
        if self._kept is None:
            self._kept = {
                "maps.ids": np.zeros(self.rows, np.int64),
                "maps.lasts": np.zeros(self.rows, np.uint32),
                "training.counts": np.zeros(self.rows, np.uint32),
            }
            if self.rules.admit > 1:
                self._kept["training.comings"] = np.zeros(4 * self.most, np.uint8)
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

    def listed(self, name: str) -> I64 | None:
        kept = self.arrays()
        return np.sort(kept["maps.ids"][kept["maps.lasts"] > 0]) if name == self.name else None

    def scores(self, name: str, keys: I64, stores: Sequence[Store]) -> F32 | None:
        store = stores[self.store]
        if name != self.name or (self.rules.policy == "lfu" and "training.counts" not in self.arrays()):
            return None
        assert isinstance(store, RowStore)
        rows = self.find(keys)
        there = rows != NOWHERE
        return np.where(there, self._worths(store, np.where(there, rows, 0)), np.float32(0))

    def learn(self, lesson: Lesson) -> None:
        if self.name not in lesson.keys:
            return
        keys, store = lesson.keys[self.name], _rows_of(lesson, self.store)
        admitted = self._admitted(keys, lesson)
        if self.rows < self.most:
            self._make_room(keys[admitted], store)
        kept = self.arrays()
        lasts, counts = kept["maps.lasts"], kept["training.counts"]
        rules = self.rules
        since = max(lesson.updates - rules.ttl, 0) if rules.policy == "ttl" else lesson.updates
        fresh, worths = np.empty((len(keys), 4), np.int64), self._worths(store, slice(None))
        found = take_rows(
            keys, admitted, (kept["maps.ids"], lasts, counts, worths),
            (lesson.updates, _WINDOW, since), fresh,
        )  # fmt: skip
        if found:
            self._fill(keys[fresh[:found, 0]], fresh[:found], store, lesson.seed)

    def _worths(self, store: RowStore, rows: I64 | slice) -> F32:
        """What rows (n,) are worth keeping for, (n,)."""
        if self.rules.policy == "norm":
            all_of = np.arange(self.rows)[rows]
            out = np.empty(len(all_of), np.float32)
            for start in range(0, len(all_of), _NORM_ROWS):  # all rows would be a copy of the table
                some = slice(start, start + _NORM_ROWS)
                out[some] = np.sqrt((store.gather(all_of[some, None])[:, 0] ** 2).sum(1))
            return out
        which = "training.counts" if self.rules.policy == "lfu" else "maps.lasts"
        return self.arrays()[which][rows].astype(np.float32)

    def _fill(self, keys: I64, fresh: I64, store: RowStore, seed: int) -> None:
        """New rows, as `take_rows` names them, begin; the ids that had them are gone."""
        rows, lost = fresh[:, 1], fresh[:, 2] == 1
        gone = fresh[lost, 3].copy()
        self.gone.append(gone)
        try:
            if self.keeper is not None and len(gone):
                self.keeper.put(gone, store.packed(rows[lost]))
        finally:  # ids have their rows by now: if the keeper fails, at least not those of others
            self._begin(keys, rows, store, seed)
        if self.keeper is not None:
            there, packed = self.keeper.get(keys)
            if there.any():
                store.unpack(rows[there], packed[there])

    def _begin(self, keys: I64, rows: I64, store: RowStore, seed: int) -> None:
        shared = self.shared(keys)[:, 0]
        if self.rules.first == "shared":
            store.write(rows, store.gather(shared)[:, 0], seed)
            store.state[rows] = store.state[shared[:, 0]]
        else:
            values, state = self._first(rows, store)
            store.write(rows, np.repeat(values[None], len(rows), 0), seed)
            store.state[rows] = state

    def _first(self, fresh: I64, store: RowStore) -> tuple[F32, F32]:
        """What new rows begin as, and their state: zeros, or means of rows in use."""
        width = store.plan.width
        used = np.setdiff1d(np.flatnonzero(self.arrays()["maps.lasts"]), fresh)
        if self.rules.first == "zero" or not len(used):
            return np.zeros(width, np.float32), np.zeros(store.state.shape[1], np.float32)
        some = used[:: -(-len(used) // _MEAN_ROWS)]
        values = store.gather(some[:, None])[:, 0].mean(0, dtype=np.float64)
        return values.astype(np.float32), store.state[some].mean(0, dtype=np.float64).astype(np.float32)

    def _make_room(self, keys: I64, store: RowStore) -> None:
        """More rows, before ids that are new and admitted fill more than three quarters of them."""
        used = np.flatnonzero(self.arrays()["maps.lasts"])
        needed = len(used) + len(np.unique(keys[self.find(keys) == NOWHERE]))
        rows = self.rows
        while rows < self.most and 4 * needed > 3 * rows:
            rows = min(2 * rows, self.most)
        if rows == self.rows:
            return
        old, before = self.arrays(), self.rows
        places = np.empty(len(used), np.int64)
        place_ids(old["maps.ids"][used], rows, _WINDOW, np.zeros(rows, np.bool_), places)
        went = places != NOWHERE  # a window that is full at this load is as good as never seen
        if not went.all():
            self.gone.append(old["maps.ids"][used[~went]])
        used, places = used[went], places[went]
        self._resize(rows)
        for name, array in self.arrays().items():
            if len(old[name]) == before and name != "training.comings":
                array[places] = old[name][used]
            else:
                array[...] = old[name]
        others = np.arange(store.plan.count - before)  # the shared rows
        store.move(rows + len(others), np.r_[used, before + others], np.r_[places, rows + others])
        self._moves += 1

    def _resize(self, rows: int) -> None:
        self.rows = self.shared.first = rows
        self._kept = None

    def fit(self, arrays: Mapping[str, NDArray[Any]], stores: Sequence[Store]) -> Callable[[], None]:
        rows, store = len(arrays.get("maps.ids", ())), stores[self.store]
        assert isinstance(store, RowStore)
        before = (self.rows, self._moves, self._kept, store.plan, store.data, store.state)

        def undo() -> None:
            self.rows, self._moves, self._kept, store.plan, store.data, store.state = before
            self.shared.first = self.rows

        if self.grows and min(self.start, self.most) <= rows <= self.most and rows != self.rows:
            nothing = np.empty(0, np.int64)
            store.move(store.plan.count - self.rows + rows, nothing, nothing)
            self._resize(rows)
            self._moves += 1
        return undo

    def _admitted(self, keys: I64, lesson: Lesson) -> NDArray[np.bool_]:
        """Which ids may have a row now."""
        out = np.ones(len(keys), np.bool_)
        if self.rules.admit > 1:
            comings = self.arrays()["training.comings"]
            hashed = np.empty(len(keys), np.uint64)
            mix_all(keys.view(np.uint64), self.shared.salts[0, 0], hashed)
            places = (hashed % np.uint64(len(comings))).astype(np.int64)
            more = np.bincount(places, minlength=len(comings))
            comings[...] = np.minimum(comings + more, 255).astype(np.uint8)
            out &= comings[places] >= self.rules.admit
        if self.rules.chance < 1:
            drawn = np.empty(len(keys), np.uint64)
            mix_all(keys.view(np.uint64), np.uint64(lesson.seed), drawn)
            out &= (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53 < self.rules.chance
        return out

    def finish(self) -> None:
        kept = self.arrays()
        self._kept = {name: array for name, array in kept.items() if name.startswith("maps")}


def _rows_of(lesson: Lesson, store: int) -> RowStore:
    found = lesson.stores[store]
    assert isinstance(found, RowStore)
    return found


@dataclass
class Given(Address):
    """The row that an id was given, else its shared row."""

    seeded = True
    learner: DynamicIds

    def __call__(self, keys: I64) -> I64:
        rows = self.learner.find(keys).reshape(-1, 1, 1)
        return np.where(rows == NOWHERE, self.learner.shared(keys), rows)
