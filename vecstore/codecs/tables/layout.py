"""What a table is made of, before it exists: stores of rows, and how vectors of each field come from them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.addresses import Address
from vecstore.codecs.tables.combine import Combiner
from vecstore.codecs.tables.ids import Batch
from vecstore.codecs.tables.learners import Learner
from vecstore.codecs.tables.optimizers import Optimizer
from vecstore.codecs.tables.rows import MAX_ROWS, Plan, Room
from vecstore.errors import BudgetError, InputError, SpecError
from vecstore.kernels.tablehash import first_outside
from vecstore.ledger import TableLedger

FIRSTS = ("mean", "drawn")  # what rows of new ids begin as


@dataclass(frozen=True)
class Field:
    """A field as it was asked for: so many ids, vectors of `dim` values, and how often each id comes."""

    name: str
    cardinality: int
    dim: int
    frequencies: NDArray[np.float64] | None = None  # (cardinality,)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Ids, those that come most often first; without frequencies as they are numbered."""
        self.check_few()
        if self.frequencies is None:
            return np.arange(self.cardinality)
        return np.argsort(-self.frequencies, kind="stable")

    def check_few(self) -> None:
        """BudgetError for more ids than a store has rows, where something is kept for each id."""
        if self.cardinality >= 1 << 32:
            raise BudgetError(
                f"field {self.name!r} has {self.cardinality:,} ids, and this method has something of its own "
                "for each; take one that hashes"
            )


@dataclass(frozen=True)
class Term:
    """Addresses in one store."""

    address: Address
    store: int


@dataclass(frozen=True)
class Branch:
    """How the vectors of a field come about.

    Without a combiner they are sums over terms and probes, chunks side by side. shared: stores whose rows,
    all of them, are matrices for the combiner.
    """

    field: Field
    terms: tuple[Term, ...]
    combiner: Combiner | None = None
    shared: tuple[int, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether ids are numbers below the cardinality."""
        return any(term.address.closed for term in self.terms)


@dataclass
class Layout:
    """The whole table."""

    stores: list[Plan] = field(default_factory=list)
    branches: dict[str, Branch] = field(default_factory=dict)
    learners: list[Learner] = field(default_factory=list)

    def rooms(self, fields: Mapping[str, int]) -> list[Room]:
        """What stores have to gain, in order, before fields {name: number of ids} have more of them.

        BudgetError for more rows than a store addresses, SpecError where a method takes no more ids.
        """
        found: list[Room] = []
        places: list[tuple[int, int, int]] = []  # store, row, rows in front of it, as stores are now
        plans = list(self.stores)
        for name, count in fields.items():
            branch = self.branches[name]
            for term in branch.terms:
                since, at, more = term.address.needs(branch.field.cardinality, count)
                if not more:
                    continue
                before = sum(rows for store, row, rows in places if store == term.store and row <= since)
                places.append((term.store, at, more))
                plan = plans[term.store] = plans[term.store].grown(at + before, more)
                if plan.count > MAX_ROWS:
                    raise BudgetError(f"{plan.count:,} rows are more than a store addresses, {MAX_ROWS:,}")
                found.append(Room(term.store, plan, since + before, at + before, more))
        return found

    def grow(self, fields: Mapping[str, int], rooms: Sequence[Room]) -> None:
        """Fields {name: number of ids} have so many ids from now on, for which stores have these `rooms`."""
        for room in rooms:
            self.stores[room.store] = room.plan
            for branch in self.branches.values():
                for term in branch.terms:
                    if term.store == room.store:
                        term.address.shift(room.at, room.count)
        for name, count in fields.items():
            branch = self.branches[name]
            for term in branch.terms:
                term.address.grow(count)
            for learner in self.learners:
                learner.grow(name, count)
            field = Field(name, count, branch.field.dim)
            self.branches[name] = dataclasses.replace(branch, field=field)

    def add(self, plan: Plan) -> int:
        """The number of a new store."""
        self.stores.append(plan)
        return len(self.stores) - 1

    @property
    def addresses(self) -> dict[str, Address]:
        """All addresses, by the names that their maps are saved under."""
        return {
            f"{name}.{at}": term.address
            for name, branch in self.branches.items()
            for at, term in enumerate(branch.terms)
        }

    @property
    def seeded(self) -> bool:
        """Whether rows depend on the table's seed beyond how they began."""
        combiners = [branch.combiner for branch in self.branches.values()]
        return any(part is not None and part.seeded for part in (*self.addresses.values(), *combiners))

    def ledger(self, optimizer: Optimizer, plans: Sequence[Plan] | None = None) -> TableLedger:
        """The bytes that the table will have, at most; or has, with the plans of its stores as they are."""
        parts: Counter[str] = Counter(seeds=8 if self.seeded else 0)
        for plan in self.stores if plans is None else plans:
            parts.update(plan.parts())
            parts["optimizer"] += 4 * plan.count * optimizer.state_width(plan.width)
        for address in self.addresses.values():
            parts["maps"] += address.map_bytes
        for learner in self.learners:
            parts.update(learner.parts())
        return TableLedger(**parts)


def check_growth(now: Mapping[str, int], wanted: Any, first: str) -> dict[str, int]:
    """Fields that are to have more ids than `now`; SpecError for what cannot be."""
    if first not in FIRSTS:
        raise SpecError(f"first={first!r}; expected one of {', '.join(FIRSTS)}")
    if not isinstance(wanted, Mapping):
        raise SpecError(f"fields={wanted!r}; expected {{name: number of ids}}")
    for name, count in wanted.items():
        if name not in now:
            raise SpecError(f"there is no field {name!r}; this table has {', '.join(now)}")
        if not isinstance(count, int | np.integer) or not now[name] <= count < 1 << 63:
            raise SpecError(f"field {name!r} has {now[name]} ids; it cannot have {count!r}, only more")
    return {name: int(count) for name, count in wanted.items() if count > now[name]}


def check_ids(field: Field, batch: Batch) -> None:
    """InputError for the first id that is not one of 0 to cardinality - 1."""
    if batch.hashed:
        raise InputError(
            f"field {field.name!r} is given strings; this method has a row number for each id: expected "
            f"integers from 0 to {field.cardinality - 1}"
        )
    at = first_outside(batch.keys, field.cardinality)
    if at >= 0:
        raise InputError(
            f"field {field.name!r}: id {batch.keys[at]} at position {at} is outside its vocabulary, "
            f"0 to {field.cardinality - 1}"
        )
