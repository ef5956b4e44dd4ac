"""Trials while a codec is fitted: how many nearest neighbours are kept of rows that it was not fitted on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows
from vecstore.codecs.transforms.center import mean_row
from vecstore.codecs.transforms.pca import product

_NEAREST = 10


class Trial:
    """Rows to learn from, and other rows to decode, among which the true neighbours of queries are known."""

    def __init__(self, fit_rows: Rows, rows: Rows, queries: int) -> None:
        """queries: how many of the rows, the first ones, look for their neighbours among the others; 0: each
        looks for its own."""
        self.fit_rows, self.rows = fit_rows, np.ascontiguousarray(rows[queries:])
        self._mean = mean_row(self.rows)
        self._queries = (rows[:queries] if queries else rows) - self._mean
        self._itself = not queries
        self._true = self._nearest(self.rows)

    def shares(self, decoded: Rows) -> NDArray[np.float64]:
        """(queries,): the share of the true neighbours that are among the nearest of `rows`, decoded."""
        found = self._nearest(decoded)
        hits = (found[:, :, None] == self._true[:, None, :]).any(axis=2)
        share: NDArray[np.float64] = hits.mean(axis=1)
        return share

    def _nearest(self, rows: Rows) -> NDArray[np.int64]:
        """Row numbers (queries, k) of the nearest rows by distance, in no order."""
        rows = rows - self._mean  # so that float32 is enough for the products
        lengths = np.square(rows, dtype=np.float64).sum(axis=1)
        far = lengths / 2 - product(self._queries, np.ascontiguousarray(rows.T))
        if self._itself:
            np.fill_diagonal(far, np.inf)
        nearest: NDArray[np.int64] = np.argpartition(far, _NEAREST - 1, axis=1)[:, :_NEAREST]
        return nearest
