"""A trainable table: ids of fields to rows, and gradients of rows into it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.combining import combine, jobs_of
from vecstore.codecs.tables.deltas import Saved
from vecstore.codecs.tables.dynamic import DynamicIds, Keeper
from vecstore.codecs.tables.evolving import EvolvedStore, evolve
from vecstore.codecs.tables.ids import NO_OFFSETS, Bags, Batch, check_fields, numbers
from vecstore.codecs.tables.layout import Branch, Layout, check_growth, check_ids
from vecstore.codecs.tables.learners import Lesson
from vecstore.codecs.tables.optimizers import Optimizer, check_rate
from vecstore.codecs.tables.rows import Job, sum_bags
from vecstore.codecs.tables.state import Setup, TableState, save
from vecstore.codecs.tables.twice import TwiceStore
from vecstore.errors import FormatError, InputError, ShapeError, SpecError
from vecstore.kernels.finite import largest
from vecstore.kernels.tablehash import sequence
from vecstore.ledger import TableLedger

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass
class Seen:
    """A lookup of one field, as its gradients need it."""

    table: Table
    batch: Batch
    rows: F32  # (bags, dim), what came out
    addresses: list[I64]  # of each term
    moves: int  # of rows, before
    parts: list[F32]  # what each term gave, for a combiner, unless that is too much to keep


class Table:
    """Rows of ids, by field, that are learned where they lie."""

    def __init__(self, setup: Setup, layout: Layout) -> None:
        self.setup = setup
        self.layout = layout
        self.optimizer = Optimizer.named(setup.optimizer)
        self.updates = 0
        self.finished = False
        seeds = np.empty(len(layout.stores), np.uint64)
        sequence(np.uint64(setup.seed), seeds)
        self.stores = [
            plan.new(self.optimizer, int(seed)) for plan, seed in zip(layout.stores, seeds, strict=True)
        ]
        for learner in layout.learners:
            learner.begin()
        self._grown = 0  # how often rows have gone elsewhere since there were more ids
        self.saved: Saved | None = None  # the last file that it was saved as or read from
        self._seen: dict[str, Seen] | None = None

    @property
    def fields(self) -> dict[str, int]:
        """How many ids each field has."""
        return {name: count for name, count, _ in self.setup.fields}

    def lookup(self, batch: Mapping[str, Bags]) -> dict[str, F32]:
        """{field: (n, dim) float32}, the rows of ids (n,), or sums of rows of bags.

        batch: {field: ids}, or {field: (ids, offsets)} or {field: (ids, offsets, weights)}, offsets (bags +
        1,) from 0 to the number of ids; ids (n, k) are n bags of k. Ids are integers, or strings where the
        method hashes. InputError and ShapeError name field and position, SpecError an unknown field.
        """
        self._seen = self.trace(batch)
        return {field: seen.rows for field, seen in self._seen.items()}

    def update(self, gradients: Mapping[str, Any], lr: float) -> None:
        """One step of the optimizer by the gradients of the last lookup's rows, {field: (n, dim)}.

        Gradients of one row are summed first, then it takes one step. InputError if there was no lookup since
        the last update, or where a gradient is no number; ShapeError for another shape; nothing is
        changed then.
        """
        if self._seen is None and not self.finished:
            raise InputError("there was no lookup since the last update; gradients are of a lookup's rows")
        self.apply(self._seen or {}, gradients, lr)
        self._seen = None

    def trace(self, batch: Mapping[str, Bags | Batch]) -> dict[str, Seen]:
        """A lookup that `apply` takes back later; several may be under way. A Batch is taken as it is."""
        check_fields("a lookup", batch)
        return {field: self._look(field, given) for field, given in batch.items()}

    def apply(self, seen: Mapping[str, Seen], gradients: Mapping[str, Any], lr: float) -> None:
        """As `update`, for a lookup of `trace`."""
        if self.finished:
            raise InputError("this table is finished; it takes no more gradients")
        check_fields("an update", gradients)
        check_rate(lr)
        checked, jobs = self._jobs(seen, gradients)
        if self.saved is not None:
            self.saved.note(self.state())
        self.updates += 1
        seeds = np.empty(len(self.stores), np.uint64)
        sequence(np.uint64(self.setup.seed) ^ np.uint64(self.updates), seeds)
        for store, given in jobs.items():
            self.stores[store].step(given, self.optimizer, lr, self.updates, int(seeds[store]))
        if self.layout.learners:
            self._learn(seen, checked, int(seeds[0]))

    def update_steps(self, gradients: Mapping[str, Any]) -> None:
        """The second pass of `alpt` with second=True: steps learn from the gradients of a lookup of the same
        ids after `update`. InputError for other ids, SpecError for other tables; nothing is changed then."""
        if not all(isinstance(store, TwiceStore) for store in self.stores):
            raise SpecError("steps learn by a second pass in tables of 'alpt' with second=True alone")
        if self._seen is None:
            raise InputError("there was no lookup since the last update; gradients are of a lookup's rows")
        check_fields("an update", gradients)
        _, jobs = self._jobs(self._seen, gradients)
        stores = {at: store for at, store in enumerate(self.stores) if isinstance(store, TwiceStore)}
        for at, given in jobs.items():
            stores[at].check_waiting(given)
        for at, given in jobs.items():
            stores[at].learn_steps(given, self.setup.seed ^ (self.updates << 32) ^ at)
        self._seen = None

    def ledger(self) -> TableLedger:
        """The bytes of everything that `arrays` holds."""
        found = self.layout.ledger(self.optimizer, [store.plan for store in self.stores])
        return dataclasses.replace(found, optimizer=0, training=0) if self.finished else found

    def finish(self) -> None:
        """Training is over: methods that prune or code do so now, and what only training needs is let go."""
        for store in self.stores:
            store.finish()
        for learner in self.layout.learners:
            learner.finish()
        self.finished = True
        self.saved = None
        self._seen = None

    def grow(self, fields: Mapping[str, int], *, first: str = "mean") -> TableLedger:
        """Fields {name: number of ids} have more ids from now on; the bytes that the table has then.

        Rows of known ids stay as they are. first: new ones begin as the 'mean' of their field's, or 'drawn'
        as those of a new table; the optimizer has kept nothing of them. Where ids share rows, new ones share
        them, too, and the table stays as large as it was; docs/tables.md has what each method does. What
        becomes larger is there twice meanwhile. SpecError for fewer ids, or for `pep`, which takes no more,
        InputError once it is finished, BudgetError for too many rows to address; it is as it was then.
        """
        if self.finished:
            raise InputError("this table is finished; it takes no more ids")
        now = check_growth(self.fields, fields, first)
        rooms = self.layout.rooms(now)
        stores = list(self.stores)
        for room in rooms:
            how = dataclasses.replace(room, first=first, seed=self.setup.seed ^ (self.updates << 32))
            stores[room.store] = stores[room.store].grown(how)
        self.layout.grow(now, rooms)
        self.stores, self.setup, self.saved = stores, self.setup.grown({**self.fields, **now}), None
        self._grown += 1
        return self.ledger()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, `part of the ledger.what`: views, not copies."""
        found: dict[str, NDArray[Any]] = {}
        for at, store in enumerate(self.stores):
            for name, array in store.kept().items():
                part, _, what = name.partition(".")
                found[f"{part}.{at}.{what}".rstrip(".")] = array
        for name, address in self.layout.addresses.items():
            found |= {f"maps.{name}.{key}": array for key, array in address.arrays().items()}
        for at, learner in enumerate(self.layout.learners):
            for name, array in learner.arrays().items():
                part, _, what = name.partition(".")
                found[f"{part}.learner{at}.{what}".rstrip(".")] = array
        if self.layout.seeded:
            found["seeds"] = np.array([self.setup.seed], np.uint64)
        return found

    def state(self) -> TableState:
        """What `save` writes: the setup, counters, and views of all arrays."""
        return TableState(self.setup, self.updates, self.finished, self.arrays())

    def restore(self, state: TableState) -> None:
        """Takes over what `state` of an equal table gave; FormatError for one of another make, which changes
        nothing."""
        state.fits(self.setup, state.arrays())
        undo = []
        for at, learner in enumerate(self.layout.learners):
            mine = {key.replace(f"learner{at}.", ""): array for key, array in state.arrays().items()}
            undo.append(learner.fit(mine, self.stores))
        try:
            ends = ("optimizer.", "training.") if state.finished else ()
            state.fits(self.setup, {k: a for k, a in self.arrays().items() if not k.startswith(ends)})
        except FormatError:
            for back in undo:
                back()
            raise
        if state.finished and not self.finished:
            self.finish()
        self.updates = state.updates
        kept = self.arrays()
        for name, array in state.arrays().items():
            kept[name][...] = array
        self.saved = None
        self._seen = None

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        since: str | os.PathLike[str] | None = None,
        force: bool = False,
    ) -> None:
        """Writes everything to one file that appears whole or not at all; `vs.table_open` reads it.

        since: the file that this table was last saved as or read from; then only what has changed since is
        written, and `vs.table_open(first, *deltas)` reads all of them. InputError for any other file, or
        after `grow` or `finish`. ConflictError if `path` exists, unless force.
        """
        if since is None:
            self.saved = Saved(save(self.state(), path, force=force))
            return
        if self.saved is None:
            raise InputError(
                f"what has changed since {os.fspath(since)} is not known: this table was neither saved nor "
                "read from a file, or has been finished or has grown since; save the whole table"
            )
        self.saved = Saved(save(self.saved.delta(self.state(), since), path, force=force))

    def evicted(self) -> dict[str, I64]:
        """The ids that lost their rows since this was last asked, by field; of `dynamic` tables."""
        learners = [learner for learner in self.layout.learners if isinstance(learner, DynamicIds)]
        return {learner.name: learner.evicted() for learner in learners}

    def listed(self, field: str) -> I64 | None:
        """The ids of a field that have rows of their own, ascending (n,), where it has no vocabulary.

        None where it has one, 0 to cardinality - 1: always but for `dynamic` tables that have met other ids,
        or whose cardinality is beyond 2**32.
        """
        found = [learner.listed(field) for learner in self.layout.learners]
        ids, count = (
            next((ids for ids in found if ids is not None), None),
            self.branch(field).field.cardinality,
        )
        inside = ids is None or not len(ids) or 0 <= ids[0] <= ids[-1] < count
        return None if inside and count <= 1 << 32 else ids

    def scores(self, field: str, ids: I64) -> F32 | None:
        """What ids (n,) are worth, (n,), to methods that go by it (dynamic, cafe, adaembed), else None."""
        found = [learner.scores(field, ids, self.stores) for learner in self.layout.learners]
        return next((scores for scores in found if scores is not None), None)

    def spill(self, field: str, keeper: Keeper | None) -> None:
        """Rows that ids of a `dynamic` table's field lose go to a keeper, and come back with their ids.

        keeper: put(ids (n,), rows (n, bytes) uint8) and get(ids) -> (which it has (n,), rows); it is not part
        of what is saved. SpecError for a field that has no such rows.
        """
        learners = [learner for learner in self.layout.learners if isinstance(learner, DynamicIds)]
        mine = [learner for learner in learners if learner.name == field]
        if not mine:
            raise SpecError(f"field {field!r} gives up no rows; only those of 'dynamic' tables do")
        mine[0].keeper = keeper

    def evolve(self, score: Callable[[], float], *, generations: int = 30, seed: int = 0) -> float:
        """Finds the width of each field with which `score` is best, and gives that score.

        For `optembed` with widths='searched', once it is trained. score: called some twenty times a
        generation; what it looks up, of ids for validation, are rows as they would be kept inside the budget.
        Widths stay after it, and updates go on with them. SpecError for another table, InputError for one
        that is finished, or where a score is no number.
        """
        stores = [store for store in self.stores if isinstance(store, EvolvedStore)]
        if not stores:
            raise SpecError(
                f"this {self.setup.method!r} table searches no widths; optembed does, with widths='searched'"
            )
        if self.finished:
            raise InputError("this table is finished; its widths stay")
        if not isinstance(generations, int) or generations < 1:
            raise SpecError(f"generations={generations!r}; expected a whole number from 1")
        if self.saved is not None:
            self.saved.note(self.state())
        return evolve(stores[0], score, generations, seed)

    @property
    def grows(self) -> bool:
        """Whether arrays become longer."""
        return any(learner.grows for learner in self.layout.learners)

    @property
    def _moves(self) -> int:
        return self._grown + sum(learner.moves for learner in self.layout.learners)

    def branch(self, field: str) -> Branch:
        """How a field is composed; SpecError for one that is not there."""
        if field not in self.layout.branches:
            raise SpecError(f"there is no field {field!r}; this table has {', '.join(self.layout.branches)}")
        return self.layout.branches[field]

    def _look(self, field: str, given: Bags | Batch) -> Seen:
        branch = self.branch(field)
        batch = given if isinstance(given, Batch) else Batch.of(field, given, empty=self.setup.empty_bags)
        if branch.closed:
            check_ids(branch.field, batch)
        if not len(batch.keys):
            return Seen(self, batch, np.zeros((batch.bags, branch.field.dim), np.float32), [], 0, [])
        addresses = [term.address(batch.keys) for term in branch.terms]
        rows = np.empty((batch.bags, branch.field.dim), np.float32)
        if branch.combiner is None:
            for at, term in enumerate(branch.terms):
                self.stores[term.store].pool(addresses[at], batch, rows, adds=at > 0)
            return Seen(self, batch, rows, addresses, self._moves, [])
        vectors, parts = combine(branch, self.stores, batch.keys, addresses)
        if len(batch.offsets) or len(batch.weights):
            sum_bags(vectors, batch, rows)
        else:
            rows = vectors
        return Seen(self, batch, rows, addresses, self._moves, parts)

    def _jobs(
        self, seen: Mapping[str, Seen], gradients: Mapping[str, Any]
    ) -> tuple[dict[str, F32], dict[int, list[Job]]]:
        """Gradients, checked, and what they are for stores."""
        checked = {field: self._gradient(field, seen, given) for field, given in gradients.items()}
        jobs: dict[int, list[Job]] = {}
        for field, gradient in checked.items():
            for store, job in self._back(self.layout.branches[field], seen[field], gradient):
                jobs.setdefault(store, []).append(job)
        return checked, jobs

    def _learn(self, seen: Mapping[str, Seen], gradients: Mapping[str, F32], seed: int) -> None:
        """Tells learners what an update was."""
        keys = {field: seen[field].batch.keys for field in gradients}
        lengths = {
            field: np.sqrt((seen[field].batch.each(gradient, field) ** 2).sum(1))
            for field, gradient in gradients.items()
        }
        lesson = Lesson(keys, lengths, self.stores, self.updates, seed)
        for learner in self.layout.learners:
            learner.learn(lesson)

    def _gradient(self, field: str, seen: Mapping[str, Seen], given: Any) -> F32:
        if field not in seen:
            raise InputError(f"there is a gradient for field {field!r}, which was not looked up")
        if seen[field].table is not self:
            raise InputError(f"there is a gradient for field {field!r} of a lookup in another table")
        gradient = numbers(f"the gradient of field {field!r} is", given)
        if gradient.shape != seen[field].rows.shape:
            raise ShapeError(
                f"the gradient of field {field!r} is {gradient.shape}; its rows were {seen[field].rows.shape}"
            )
        if gradient.size and not np.isfinite(largest(gradient)):
            row, column = np.argwhere(~np.isfinite(gradient))[0]
            raise InputError(
                f"the gradient of field {field!r} is {gradient[row, column]} at row {row}, value {column}; "
                "nothing was changed"
            )
        return gradient

    def _back(self, branch: Branch, seen: Seen, gradient: F32) -> list[tuple[int, Job]]:
        """The gradients of stores of the gradient of a field's rows."""
        batch, offsets = seen.batch, seen.batch.offsets
        if not len(batch.keys):
            return []
        if branch.closed:
            check_ids(branch.field, batch)  # again: the caller's array may hold others by now
        if seen.moves != self._moves:
            seen.addresses = [term.address(batch.keys) for term in branch.terms]
        if len(batch.weights) or (branch.combiner is not None and len(offsets)):
            gradient = batch.each(gradient, branch.field.name)
            offsets = NO_OFFSETS
        if branch.combiner is None:
            return [
                (term.store, Job(addresses, offsets, gradient))
                for term, addresses in zip(branch.terms, seen.addresses, strict=True)
            ]
        return jobs_of(branch, self.stores, batch.keys, seen.addresses, seen.parts, gradient)
