"""What a codec keeps, measured with queries that it was not fitted on, among rows as they will be searched.

Where the sample is most of the collection, its rows are searched, those that a codec was fitted on, too: so
will they be. Of nine tenths of the rows the ninth is as near as the tenth of all, so recall is of the nine
nearest then: of ten it would be that of a smaller collection, where more are found. Where it is a small part,
or nobody knows, the rows that are held from the codec are searched alone, since a codec keeps more of rows
that it was fitted on than it will of others. Among these few, near rows are farther away than in the
collection, and codecs that tell clusters apart find more of them than those that tell rows apart; so how well
scores order each query's nearest rows counts there, not how many of them are found. Errors are of held rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Array, Codec, Rows, as_float32
from vecstore.codecs.plain import F32
from vecstore.kernels import scores
from vecstore.search import METRICS, Searcher
from vecstore.stream.sample import RUN_ROWS

FIT_ROWS = 16_384  # fitted on, per candidate
TEST_ROWS, QUERIES = 4608, 1024  # held from them, at most; those of them that are searched for
_SHARE = 8  # one of so many rows is held: codecs that learn much are worth more with the rows of all
_LEAST_ROWS = 256  # held, if they are a quarter; and searched: fewer have no rows that are near
_NEAREST = 20
_FOUND = 10  # of recall
_QUERIES = 64  # scored at a time
_GROUPS = 256  # at most: rows whose errors are added up

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Kept:
    """What a codec keeps of a field, by query and by group of rows, so that it can be drawn again.

    orders: correlation of scores with true ones among each query's nearest rows; shares: of its nearest, what
    share a search finds; both (q,), empty where not measured. errors: squared, summed over each group of
    held rows (g,). spread: squared distances to the mean, all in all.
    """

    orders: NDArray[np.float32]
    shares: NDArray[np.float32]
    errors: F64
    spread: float

    @property
    def order(self) -> float:
        """The mean over queries; 0 where not measured."""
        return float(self.orders.mean(dtype=np.float64)) if len(self.orders) else 0.0

    @property
    def recall(self) -> float | None:
        """Of the ten nearest of all rows, the share that is found; None where not measured."""
        return float(self.shares.mean(dtype=np.float64)) if len(self.shares) else None

    @property
    def relative_mse(self) -> float:
        """Of what is decoded."""
        error = float(self.errors.sum())
        if error == 0:
            return 0.0
        return error / self.spread if self.spread > 0 else float("inf")


class Field:
    """Rows to measure on, the first of which are searched for among all of them."""

    def __init__(
        self,
        rows: Array,
        numbers: NDArray[np.int64],
        metric: str,
        held: int | None = None,
        found: int = _FOUND,
        queries: int = QUERIES,
    ) -> None:
        """rows (n, dim), with their numbers in the sample, which say what belongs to one run of rows; held:
        how many of them, the first, codecs are not fitted on; by default all. found: of how many nearest rows
        recall is, 1 to _FOUND. queries: how many are searched for, at most."""
        self.held = len(rows) if held is None else held
        self._found = found
        self.rows = as_float32(rows)
        self.metric = metric
        self._code = METRICS.index(metric)
        self.queries = self.rows[: min(queries, self.held) if len(rows) >= _LEAST_ROWS - RUN_ROWS else 0]
        self._runs = numbers // RUN_ROWS
        if len(self.queries):
            self._near = self._nearest()
            near = self._scores(self.rows, self._near)
            self._true, self._least = _centred(near), near[:, found - 1 : found]
        alone = self.rows[: self.held]
        means = alone.mean(axis=0, dtype=np.float64)
        self._spreads = self._grouped(np.square(alone - means).sum(axis=1))

    @property
    def spreads(self) -> F64:
        """Squared distances to the mean, summed over each group of rows (g,)."""
        return self._spreads

    @property
    def query_runs(self) -> NDArray[np.int64]:
        """The number of the run that each query (q,) is of, from zero."""
        return np.unique(self._runs[: len(self.queries)], return_inverse=True)[1].reshape(-1)

    def measure(self, codec: Codec) -> Kept:
        """What the codec keeps of the rows."""
        codes = codec.encode(self.rows)
        back = codec.decode(codes)
        lost = self.rows[: self.held].astype(np.float64) - back[: self.held]
        errors = self._grouped(np.square(lost).sum(axis=1))
        spread = float(self._spreads.sum())
        if not len(self.queries):
            return Kept(np.empty(0, np.float32), np.empty(0, np.float32), errors, spread)
        found = _centred(self._scores(back, self._near))
        both = (found * self._true).sum(axis=1)
        lengths = np.sqrt(np.square(found).sum(axis=1) * np.square(self._true).sum(axis=1))
        orders = np.divide(both, lengths, where=lengths > 0, out=both * 0)
        return Kept(orders.astype(np.float32), self._shares(Searcher.of(codec, codes)), errors, spread)

    def _shares(self, searcher: Searcher) -> NDArray[np.float32]:
        """What share (q,) of as many rows found as recall is of are as near as the nearest."""
        found = searcher.search(self.queries, self._found + RUN_ROWS, metric=self.metric)[0]
        near = self._scores(self.rows, self._others(found, self._found)) >= self._least
        return np.asarray(near.mean(axis=1), np.float32)

    def _nearest(self) -> NDArray[np.int64]:
        """Numbers (q, k) of the nearest rows of other runs: rows of one run may belong together."""
        codec = F32(self.rows.shape[1])
        searcher = Searcher.of(codec, codec.encode(self.rows))
        found = searcher.search(self.queries, _NEAREST + RUN_ROWS, metric=self.metric)[0]
        return self._others(found, _NEAREST)

    def _others(self, found: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Of what was found the first rows (q, count) of other runs."""
        own = self._runs[found] == self._runs[: len(found), None]
        return np.take_along_axis(found, np.argsort(own, axis=1, kind="stable")[:, :count], axis=1)

    def _scores(self, rows: Rows, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (q, k) of these of the rows."""
        keys = np.empty(numbers.shape, np.float32)
        for start in range(0, len(keys), _QUERIES):
            part = slice(start, start + _QUERIES)
            near = np.ascontiguousarray(rows[numbers[part].reshape(-1)], np.float32)
            scores.exact(near, self.queries[part], self._code, keys[part])
        return keys

    def _grouped(self, values: F64) -> F64:
        """(g,) sums of the values (n,) of held rows, those of one run in one group."""
        _, runs = np.unique(self._runs[: len(values)], return_inverse=True)
        groups = min(_GROUPS, int(runs.max(initial=-1)) + 1)
        return np.bincount(runs.reshape(-1) % max(groups, 1), values, groups).astype(np.float64)


def _centred(keys: NDArray[np.float32]) -> F64:
    """Scores (q, k) less each query's mean."""
    found = keys.astype(np.float64)
    found -= found.mean(axis=1, keepdims=True)
    return found


class Trial:
    """Rows to fit candidates on, and a field of other rows to measure them on.

    by_recall: whether the one who finds the most is the best; else it is the one who orders near rows best.
    """

    def __init__(self, rows: Array, metric: str, seed: int, *, total: int | None = None) -> None:
        """rows: the sample (n, dim), none of which a codec refuses; total: of how many rows it is most, or
        None."""
        self.by_recall, self._total = total is not None, total
        order = np.random.default_rng(seed).permutation(-(-len(rows) // RUN_ROWS))
        least = min(_LEAST_ROWS // RUN_ROWS, len(order) // 4)
        tested = max(least, min(TEST_ROWS // RUN_ROWS, len(order) // _SHARE))
        if tested == 0:
            self._fitted, numbers = np.arange(len(rows)), np.arange(len(rows))
        else:
            self._fitted = _rows_of(order[tested : tested + FIT_ROWS // RUN_ROWS], len(rows))
            numbers = _rows_of(np.random.default_rng(seed + 1).permutation(order[:tested]), len(rows))
        self.rows = rows[self._fitted]
        self._held, self._all = numbers, rows
        self._looks: dict[tuple[int, int, int], Field] = {}
        self.field = self._field(len(self._fitted) if tested else 0, TEST_ROWS, QUERIES, metric)

    def _field(self, fitted: int, held: int, queries: int, metric: str) -> Field:
        """Of held rows and of those to fit on, where they count, at most so many."""
        first = self._held[:held]
        numbers = np.concatenate([first, self._fitted[: fitted if self.by_recall else 0]])
        share = len(numbers) / self._total if self._total else 1.0
        found = min(max(round(_FOUND * share), 1), _FOUND)
        return Field(self._all[numbers], numbers, metric, len(first), found, queries)

    def look(self, fitted: int, held: int, queries: int) -> Field:
        """A smaller field, for a first look at candidates: at most so many rows to fit on, held rows, and
        queries; where rows to fit on do not count, as many held ones for them."""
        fitted, held = (fitted, held) if self.by_recall else (0, held + fitted)
        if len(self.field.rows) <= len(self._held[:held]) + fitted:
            return self.field  # whose nearest rows are known
        asked = fitted, held, queries
        if asked not in self._looks:
            self._looks[asked] = self._field(*asked, self.field.metric)
        return self._looks[asked]

    def measure(self, codec: Codec) -> Kept:
        """What the codec keeps of the rows measured on."""
        return self.field.measure(codec)


def _rows_of(runs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The numbers of the rows of these runs, run after run."""
    numbers = (runs[:, None] * RUN_ROWS + np.arange(RUN_ROWS)).reshape(-1)
    return numbers[numbers < count]
