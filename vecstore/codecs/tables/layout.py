"""What a table is made of, before it exists: stores of rows, and how vectors of each field come from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.addresses import Address
from vecstore.codecs.tables.combine import Combiner
from vecstore.codecs.tables.learners import Learner
from vecstore.codecs.tables.optimizers import Optimizer
from vecstore.codecs.tables.rows import Plan
from vecstore.errors import BudgetError
from vecstore.ledger import TableLedger


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
