"""The search for codes: a beam's codes, and what conditional modes make of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.residual.coding import Search
from vecstore.kernels import beams, icm
from vecstore.kernels.matmul import matmul

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_ROWS = 128  # at a time, so that their costs stay in the cache


class LocalSearch(Search):
    """Codebooks (m, k, d) and moves (iters, changes, 2) made ready; immutable.

    Rows, and each codebook, are taken less the means of centroids, so that products are small numbers.
    """

    def __init__(self, books: F32, beam: int, moves: U8) -> None:
        super().__init__(books, beam)
        means = books.mean(axis=1, dtype=np.float64)
        self._shift = means.sum(axis=0).astype(np.float32)
        self._books = (books - means[:, None]).astype(np.float32)
        flat = self._books.reshape(-1, books.shape[2])
        self._columns = np.ascontiguousarray(flat.T)
        self._halves = beams.half_lengths(flat)
        self._products, self._step = icm.pair_up(self._books)
        self._moves = moves

    def encode(self, rows: F32, codes: U8) -> None:
        """codes (n, m) of rows (n, d), written; no farther from the row than those of the beam."""
        super().encode(rows, codes)
        m, k, _ = self._books.shape
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS] - self._shift
            found = codes[start : start + _ROWS]
            before = found.copy()
            costs = np.empty((len(part), m * k), np.float32)
            matmul(part, self._columns, costs)
            np.subtract(self._halves, costs, out=costs)
            icm.search(
                icm.count_costs(costs, self._step).reshape(-1, m, k), self._products, self._moves, found
            )
            # Whole steps are coarse where some centroids are very far out.
            icm.keep_nearer(part, self._books, before, found)
