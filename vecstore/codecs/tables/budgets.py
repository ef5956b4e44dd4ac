"""Knobs of a method so that its table has no more bytes than a budget, and hardly fewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vecstore.codecs.tables.shapes import Knob
from vecstore.errors import BudgetError
from vecstore.ledger import parse_budget

_HALVINGS = 64


def bytes_of(budget: str, rows: int, values: int) -> int:
    """A budget in bytes for so many rows, with so many values in all, four bytes each.

    BudgetError for a text that is no budget.
    """
    bound = parse_budget(budget)
    if bound.unit == "total":
        return int(bound.amount)
    if bound.unit == "row":
        return int(bound.amount * rows)
    return int(bound.amount * values / 8) if bound.unit == "dim" else int(bound.amount * values * 4)


def solve(knobs: Sequence[Knob], cost: Callable[[Sequence[int]], int], bound: int, name: str) -> list[int]:
    """The values of knobs whose cost is as near to `bound` bytes as they can be, and not above.

    All grow together, each at its share; what is then left goes to one after the other, the largest shares
    first. BudgetError names the least feasible budget.
    """

    def at(turn: float) -> list[int]:
        return [min(knob.high, max(knob.low, int(turn * knob.share))) for knob in knobs]

    least = cost(at(0.0))
    if least > bound:
        raise BudgetError(
            f"{name} cannot be kept within {bound:,} bytes; the least budget for it is {least:,} B"
        )
    low, high = 0.0, max((knob.high / knob.share for knob in knobs), default=0.0) + 1
    if cost(at(high)) <= bound:
        return at(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(at(middle)) <= bound else (low, middle)
    found = at(low)
    order = sorted(range(len(knobs)), key=lambda place: -knobs[place].share)
    grown = True
    while grown:
        grown = False
        for place in order:
            step = _climb(found, place, knobs[place].high, lambda values: cost(values) <= bound)
            grown |= step > 0
            found[place] += step
    return found


def _climb(values: list[int], place: int, high: int, fits: Callable[[Sequence[int]], bool]) -> int:
    """How far one value may grow alone, by steps that double and then halve."""
    best, step = 0, 1
    trial = list(values)
    while step:
        trial[place] = values[place] + best + step
        if trial[place] <= high and fits(trial):
            best, step = best + step, step * 2
        else:
            step //= 2
    return best
