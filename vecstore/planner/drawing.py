"""What draws of other queries and rows would have shown: intervals, and what cannot be told apart.

Bootstrap: Efron 1979, doi:10.1214/aos/1176344552. Runs of rows are drawn, not rows, since rows of one run may
belong together; all candidates are drawn with the same ones, so that what is hard for all of them does not
count. An interval is that of the mean over as many other queries or rows: two draws differ, that of what was
measured on and that of what is measured then. The best of several candidates seems better than it is for
having been chosen: in each draw one is chosen anew, and what it comes to with the queries that were not drawn
is the middle of the interval (Tsamardinos et al. 2018, Machine Learning 107, doi:10.1007/s10994-018-5714-4,
section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecstore.planner.trial import F64, Kept

_DRAWS = 1000
_INSIDE = (2.5, 97.5)  # percent

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Drawn:
    """What was measured on: runs (q,), the number of the run that each query is of, and spreads (g,), squared
    distances to the mean, summed over each group of rows."""

    runs: NDArray[np.int64]
    spreads: F64


class Draws:
    """How often each run of queries, and each group of rows, comes in each draw."""

    def __init__(self, drawn: Drawn, seed: int, by_recall: bool = False) -> None:
        """by_recall: whether a trial ranks by recall, not by the order of near rows."""
        self._by_recall = by_recall
        self._runs, self._spreads = drawn.runs, drawn.spreads
        rng = np.random.default_rng(seed)
        self._sizes = np.bincount(drawn.runs).astype(np.float64)
        self._queries = _counts(rng, len(self._sizes)), _counts(rng, len(self._sizes))
        self._groups = _counts(rng, len(drawn.spreads)), _counts(rng, len(drawn.spreads))

    def recall(self, kept: Kept, among: Sequence[Kept] = ()) -> Interval | None:
        """Of recall at ten of as many other queries; None where it was not measured.

        among: what it was chosen from as the best, if it was.
        """
        if not len(kept.shares):
            return None
        first, second = (self._means(kept.shares, at) for at in (0, 1))
        true = (
            self._other_recall(kept, among) if len(among) > 1 else float(kept.shares.mean(dtype=np.float64))
        )
        low, high = _interval(true + second - first)
        return max(low, 0.0), min(high, 1.0)

    def _other_recall(self, kept: Kept, among: Sequence[Kept]) -> float:
        """What the best of several comes to with queries that it was not chosen by.

        In each draw one is chosen by the queries that come, and measured on those that do not."""
        chosen = np.argmax([self._worth(one) for one in among], axis=0)
        others = (self._queries[0] == 0).astype(np.float64)
        found = np.stack([np.bincount(self._runs, one.shares, len(self._sizes)) for one in among])
        count = float((others @ self._sizes).sum())
        return float((others * found[chosen]).sum() / count if count else kept.shares.mean())

    def relative_mse(self, kept: Kept) -> Interval:
        """Of the relative error of as many other rows."""
        first, second = (self._error(kept, at) for at in (0, 1))
        low, high = _interval(kept.relative_mse + second - first)
        return max(low, 0.0), high

    def tied(self, first: Kept, other: Kept) -> bool:
        """Whether draws differ in which of the two keeps more, by what candidates are ranked by."""
        low, high = _interval(self._worth(first) - self._worth(other))
        return low <= 0 <= high

    def _worth(self, kept: Kept) -> F64:
        """What candidates are ranked by, in each draw of what was measured on."""
        if not len(kept.shares):
            return -self._error(kept, 0)
        return self._means(kept.shares if self._by_recall else kept.orders, 0)

    def _means(self, values: NDArray[np.number], at: int) -> F64:
        """Of values (q,) of queries, in each draw."""
        counts = self._queries[at]
        found: F64 = counts @ np.bincount(self._runs, values, len(self._sizes)) / (counts @ self._sizes)
        return found

    def _error(self, kept: Kept, at: int) -> F64:
        errors, spreads = self._groups[at] @ kept.errors, self._groups[at] @ self._spreads
        return np.divide(errors, spreads, where=spreads > 0, out=errors * 0)


def _counts(rng: np.random.Generator, count: int) -> F64:
    """(draws, count): how often each comes."""
    if not count:
        return np.empty((_DRAWS, 0))
    return rng.multinomial(count, np.full(count, 1 / count), _DRAWS).astype(np.float64)


def _interval(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, _INSIDE)
    return float(low), float(high)
