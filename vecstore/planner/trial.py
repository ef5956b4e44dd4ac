"""What a codec keeps, measured on a part of the sample that it was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Array, Codec, as_float32
from vecstore.codecs.plain import F32
from vecstore.search.searcher import Searcher
from vecstore.stream.measure import Loss
from vecstore.stream.sample import RUN_ROWS

FIT_ROWS = 16_384  # fitted on, per candidate
BASE_ROWS, QUERY_ROWS = 4096, 512  # searched, and searched for
_NEAREST = 10
_LEAST_ROWS = 256  # measured on; of fewer the nearest are chance, and the error alone counts
# Two candidates closer than this cannot be told apart by so many queries; of them the smaller error counts.
_ALIKE = 0.004


@dataclass(frozen=True)
class Kept:
    """recall: share of the ten nearest rows found, 0 where not measured; relative_mse: of what is decoded."""

    recall: float
    relative_mse: float


class Trial:
    """Rows to fit candidates on, other rows to search, and others again to search for."""

    def __init__(self, rows: Array, metric: str, seed: int) -> None:
        """rows: the sample (n, dim), none of which a codec refuses."""
        order = np.random.default_rng(seed).permutation(-(-len(rows) // RUN_ROWS))
        runs = (BASE_ROWS + QUERY_ROWS) // RUN_ROWS
        tested = min(runs, len(order) // 4)
        if tested == 0:
            self.rows, base = rows, as_float32(rows)
        else:
            self.rows = _runs(rows, order[tested : tested + FIT_ROWS // RUN_ROWS])
            base = as_float32(_runs(rows, np.random.default_rng(seed + 1).permutation(order[:tested])))
        queries = min(QUERY_ROWS, len(base) // 4) if len(base) >= _LEAST_ROWS else 0
        # Shuffled runs: the rows searched for are not neighbours of those searched.
        self._queries, self._base = base[:queries], base[queries:]
        self._metric = metric
        self._nearest = self._search(F32(self._base.shape[1]))

    def measure(self, codec: Codec) -> Kept:
        """What the codec keeps of the rows searched."""
        loss = Loss(codec)
        loss.add(self._base)
        if not len(self._queries):
            return Kept(0.0, loss.relative_mse)
        pairs = zip(self._nearest, self._search(codec), strict=True)
        hits = sum(len(np.intersect1d(true, found)) for true, found in pairs)
        return Kept(hits / self._nearest.size, loss.relative_mse)

    def _search(self, codec: Codec) -> NDArray[np.int64]:
        if not len(self._queries):
            return np.empty((0, 0), np.int64)
        searcher = Searcher.of(codec, codec.encode(self._base))
        return searcher.search(self._queries, _NEAREST, metric=self._metric)[0]


def best(found: dict[str, Kept]) -> str:
    """The spec that keeps the most: by recall, and among those that it cannot tell apart by error."""
    most = max(kept.recall for kept in found.values())
    alike = {spec: kept for spec, kept in found.items() if kept.recall >= most - _ALIKE}
    return min(alike, key=lambda spec: alike[spec].relative_mse)


def _runs(rows: Array, runs: NDArray[np.int64]) -> Array:
    """The rows of these runs, run after run."""
    numbers = (runs[:, None] * RUN_ROWS + np.arange(RUN_ROWS)).reshape(-1)
    chosen: Array = rows[numbers[numbers < len(rows)]]
    return chosen
