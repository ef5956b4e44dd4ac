"""Members of families that a budget holds, fitted: what is learned is as large as it turns out to be."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from vecstore.codecs.base import Array, Codec
from vecstore.errors import BudgetError
from vecstore.planner.families import FAMILIES, Family
from vecstore.planner.room import Room
from vecstore.registry import fit

# Names, shapes and padding around a codec's arrays: at least, and what is surely enough.
_LEAST_STATE_BYTES, STATE_BYTES = 256, 1792
_FEW = 32  # sizes that are tried one by one: of prq some need less than the next smaller


@dataclass(frozen=True)
class Member:
    """A member of a family; need: what it takes of the budget, in its unit, as far as is known."""

    family: Family
    spec: str
    code_bytes: int
    shared: int
    need: float


class Candidates:
    """Of each family the largest member that a room holds."""

    def __init__(self, room: Room, seed: int = 0, families: Sequence[Family] | None = None) -> None:
        """families: by default those that plans are made of."""
        self._room, self._seed = room, seed
        self._extra: dict[Family, int] = {}  # bytes of state that the estimate lacks
        self._grown = set[Family]()  # those that a larger member was tried of
        self._families = families or FAMILIES

    def listed(self) -> list[Member]:
        """One of each family that has any, those that need the most first."""
        found = [one for family in self._families if (one := self.largest(family)) is not None]
        return sorted(found, key=lambda one: -one.need)

    def largest(self, family: Family) -> Member | None:
        """What the room may hold, as far as is known of the state that its members learn."""
        dim, extra = self._room.dim, self._extra.get(family, _LEAST_STATE_BYTES)
        sizes = family.tried(dim)

        def keeps(size: int) -> bool:
            _, code_bytes, state = family.member(dim, size)
            return self._room.keeps(code_bytes, state + extra)

        if len(sizes) <= _FEW:
            at = next((at for at, size in enumerate(sizes) if keeps(size)), len(sizes))
        else:
            at = bisect_left(sizes, True, key=keeps)
        if at == len(sizes):
            return None
        spec, code_bytes, state = family.member(dim, sizes[at])
        return Member(family, spec, code_bytes, state + extra, self._room.need(code_bytes, state + extra))

    def fitted(self, family: Family, rows: Array) -> Codec | None:
        """Fits the largest member that the room holds then; None if there is none.

        Where one turns out to be too large, the next is smaller by what it learned beyond the estimate; where
        it learned less, a larger one is tried, once.
        """
        while (found := self.largest(family)) is not None:
            codec = fit(found.spec, rows, seed=self._seed)
            if self._room.holds(codec):
                assert isinstance(codec, Codec)
                if not self._may_grow(found, codec.ledger(0).shared):
                    return codec
                continue
            self.too_large(found, codec.ledger(0).shared if isinstance(codec, Codec) else 0)
        return None

    def spec(self, family: Family) -> str:
        """Of what was fitted."""
        found = self.largest(family)
        return found.spec if found else ""

    def _may_grow(self, found: Member, shared: int) -> bool:
        """Whether a larger member may fit as well, where one learned less than was estimated."""
        if shared >= found.shared or found.family in self._grown:
            return False
        self._grown.add(found.family)
        known = self._extra.get(found.family, _LEAST_STATE_BYTES)
        self._extra[found.family] = known + shared - found.shared
        larger = self.largest(found.family)
        return larger is not None and larger.spec != found.spec

    def too_large(self, found: Member, shared: int) -> None:
        """Says what a candidate turned out to need, so that the largest of its family is smaller."""
        known = self._extra.get(found.family, _LEAST_STATE_BYTES)
        self._extra[found.family] = known + max(shared - found.shared, abs(known) // 4, 64)


def infeasible(room: Room) -> BudgetError:
    """The error that says the least budget that any family has a member for."""
    needs = []
    for family in FAMILIES:
        if sizes := family.tried(room.dim):
            _, code_bytes, state = family.member(room.dim, sizes[-1])
            needs.append(room.need(code_bytes, state + STATE_BYTES))
    least = min(needs)
    if room.budget.unit == "total":
        text = f"{math.ceil(least)}B"
    else:
        # Rounded up in the third digit, so that what is printed is enough.
        least *= 100 if room.budget.unit == "share" else 1
        digit = 10.0 ** (math.floor(math.log10(least)) - 2)
        unit = {"share": "%", "row": "B/row", "dim": "bit/dim"}[room.budget.unit]
        text = f"{math.ceil(least / digit) * digit:.12g}{unit}"
    rows = "rows" if room.rows is None else f"{room.rows} rows"
    return BudgetError(
        f"budget {room.budget.text!r} holds no codec for {rows} of {room.dim} dimensions; the least is {text}"
    )
