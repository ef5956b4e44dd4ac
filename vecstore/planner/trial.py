"""What a codec keeps, measured on a part of the sample that it was not fitted on.

A collection is larger than what can be searched here, so its queries' nearest rows lie closer together than
those found among a few thousand. Counting how many of these are found again favours codecs that tell far rows
from near ones over those that tell near ones apart. So it is measured how well scores order the nearest rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Array, Codec, Rows, as_float32
from vecstore.codecs.plain import F32
from vecstore.kernels import scores
from vecstore.search.searcher import METRICS, Searcher
from vecstore.stream.measure import Loss
from vecstore.stream.sample import RUN_ROWS

FIT_ROWS = 16_384  # fitted on, per candidate
TEST_ROWS, QUERIES = 4608, 1024  # measured on, at most; searched for among them
_SHARE = 8  # one of so many rows is measured on: codecs that learn much are worth more with the rows of all
_LEAST_ROWS = 256  # measured on, if they are a quarter; fewer have no rows that are near
_NEAREST = 20
_QUERIES = 64  # scored at a time


@dataclass(frozen=True)
class Kept:
    """order: correlation of scores with true ones among a query's nearest rows, the mean over queries; 0
    where not measured. relative_mse: of what is decoded."""

    order: float
    relative_mse: float


class Trial:
    """Rows to fit candidates on, and other rows, some of which are searched for among all of them."""

    def __init__(self, rows: Array, metric: str, seed: int) -> None:
        """rows: the sample (n, dim), none of which a codec refuses."""
        order = np.random.default_rng(seed).permutation(-(-len(rows) // RUN_ROWS))
        least = min(_LEAST_ROWS // RUN_ROWS, len(order) // 4)
        tested = max(least, min(TEST_ROWS // RUN_ROWS, len(order) // _SHARE))
        if tested == 0:
            self.rows, numbers = rows, np.arange(len(rows))
        else:
            self.rows = rows[_rows_of(order[tested : tested + FIT_ROWS // RUN_ROWS], len(rows))]
            numbers = _rows_of(np.random.default_rng(seed + 1).permutation(order[:tested]), len(rows))
        self._base = as_float32(rows[numbers])
        self._metric = METRICS.index(metric)
        self._queries = self._base[: QUERIES if len(numbers) >= _LEAST_ROWS - RUN_ROWS else 0]
        if len(self._queries):
            self._near = self._nearest(numbers // RUN_ROWS, metric)
            self._true = self._centred(self._base)

    def measure(self, codec: Codec) -> Kept:
        """What the codec keeps of the rows measured on."""
        back = codec.decode(codec.encode(self._base))
        loss = Loss(codec)
        loss.compare(self._base, back)
        if not len(self._queries):
            return Kept(0.0, loss.relative_mse)
        found = self._centred(back)
        both = (found * self._true).sum(axis=1)
        lengths = np.sqrt(np.square(found).sum(axis=1) * np.square(self._true).sum(axis=1))
        return Kept(
            float(np.divide(both, lengths, where=lengths > 0, out=both * 0).mean()), loss.relative_mse
        )

    def _nearest(self, runs: NDArray[np.int64], metric: str) -> NDArray[np.int64]:
        """Numbers (q, k) of the nearest rows of other runs: rows of one run may belong together."""
        codec = F32(self._base.shape[1])
        searcher = Searcher.of(codec, codec.encode(self._base))
        found = searcher.search(self._queries, _NEAREST + RUN_ROWS, metric=metric)[0]
        own = runs[found] == runs[: len(found), None]
        return np.take_along_axis(found, np.argsort(own, axis=1, kind="stable")[:, :_NEAREST], axis=1)

    def _centred(self, rows: Rows) -> NDArray[np.float64]:
        """Scores (q, k) of the nearest rows, less each query's mean."""
        keys = np.empty(self._near.shape, np.float32)
        for start in range(0, len(keys), _QUERIES):
            part = slice(start, start + _QUERIES)
            near = np.ascontiguousarray(rows[self._near[part].reshape(-1)], np.float32)
            scores.exact(near, self._queries[part], self._metric, keys[part])
        found = keys.astype(np.float64)
        found -= found.mean(axis=1, keepdims=True)
        return found


def best(found: dict[str, Kept]) -> str:
    """The spec that keeps the order best; where that was not measured, the one with the smallest error."""
    return max(found, key=lambda spec: (found[spec].order, -found[spec].relative_mse))


def _rows_of(runs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The numbers of the rows of these runs, run after run."""
    numbers = (runs[:, None] * RUN_ROWS + np.arange(RUN_ROWS)).reshape(-1)
    return numbers[numbers < count]
