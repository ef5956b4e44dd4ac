"""What draws of other queries and rows would have shown: intervals, and what cannot be told apart.

Bootstrap: Efron 1979, doi:10.1214/aos/1176344552; all candidates are drawn with the same queries, so that
what is hard for all of them does not count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.planner.trial import F64, Kept

_DRAWS = 1000
_INSIDE = (2.5, 97.5)  # percent

Interval = tuple[float, float]


class Draws:
    """How often each of q queries and g groups of rows comes in each draw."""

    def __init__(self, queries: int, spreads: F64, seed: int, by_recall: bool = False) -> None:
        """spreads (g,): squared distances to the mean, summed over each group of rows. by_recall: whether a
        trial ranks by recall, not by the order of near rows."""
        self._by_recall = by_recall
        rng = np.random.default_rng(seed)
        self._queries = _counts(rng, queries)
        self._groups = _counts(rng, len(spreads))
        self._spreads = self._groups @ spreads

    def recall(self, kept: Kept) -> Interval | None:
        """Of recall at ten; None where it was not measured."""
        return _interval(self._queries @ kept.hits / 10) if len(kept.hits) else None

    def relative_mse(self, kept: Kept) -> Interval:
        """Of the relative error."""
        errors = self._groups @ kept.errors
        return _interval(np.divide(errors, self._spreads, where=self._spreads > 0, out=errors * 0))

    def tied(self, first: Kept, other: Kept) -> bool:
        """Whether draws differ in which of the two keeps more, by what candidates are ranked by."""
        if len(first.hits):
            one, two = (first.hits, other.hits) if self._by_recall else (first.orders, other.orders)
            gains = self._queries @ (one.astype(np.float64) - two)
        else:
            gains = self._groups @ (other.errors - first.errors)
        low, high = _interval(gains)
        return low <= 0 <= high


def _counts(rng: np.random.Generator, count: int) -> F64:
    """(draws, count) shares that sum to one."""
    if not count:
        return np.empty((_DRAWS, 0))
    return rng.multinomial(count, np.full(count, 1 / count), _DRAWS) / count


def _interval(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, _INSIDE)
    return float(low), float(high)
