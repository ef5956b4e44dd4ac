"""From rows to the vector of an id, forward and backward, where that is more than a sum side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.matmul import matmul

F32 = NDArray[np.float32]


def product(rows: F32, matrix: F32) -> F32:
    """rows (n, a) times matrix (a, b), the same bits for a row in any batch."""
    out = np.empty((len(rows), matrix.shape[1]), np.float32)
    matmul(np.ascontiguousarray(rows), np.ascontiguousarray(matrix), out)
    return out


class Combiner:
    """Vectors (n, d) of rows that each term gave, (n, k, w), and of small matrices that all ids share."""

    def forward(self, parts: Sequence[F32], shared: Sequence[F32]) -> F32:
        raise NotImplementedError

    def backward(
        self, parts: Sequence[F32], shared: Sequence[F32], gradient: F32
    ) -> tuple[list[F32], list[F32]]:
        """The gradients of parts and of shared, in their shapes, of that of the vectors (n, d)."""
        raise NotImplementedError


class Product(Combiner):
    """The product, value by value, of the k rows of the only term.

    Shi et al. 2020, arXiv:1909.02107, section 3.1.
    """

    def forward(self, parts: Sequence[F32], shared: Sequence[F32]) -> F32:
        out = parts[0][:, 0].copy()
        for k in range(1, parts[0].shape[1]):
            out *= parts[0][:, k]
        return out

    def backward(
        self, parts: Sequence[F32], shared: Sequence[F32], gradient: F32
    ) -> tuple[list[F32], list[F32]]:
        rows = parts[0]
        out = np.repeat(gradient[:, None], rows.shape[1], axis=1)
        for k in range(rows.shape[1]):
            for other in range(rows.shape[1]):
                if other != k:
                    out[:, k] *= rows[:, other]
        return [out], []


class Weighted(Combiner):
    """The sum of the first term's k rows, each times a weight, a value of the second's row.

    A third term, if there is one, is a value that is added to all. Svenstrup et al. 2017, arXiv:1709.03933,
    section 3; with one row MEmCom, Pansare et al. 2022, arXiv:2203.10135, section 3.2.
    """

    def forward(self, parts: Sequence[F32], shared: Sequence[F32]) -> F32:
        rows, weights = parts[0], parts[1][:, 0]
        out = rows[:, 0] * weights[:, :1]
        for k in range(1, rows.shape[1]):
            out += rows[:, k] * weights[:, k : k + 1]
        return out + parts[2][:, 0] if len(parts) > 2 else out

    def backward(
        self, parts: Sequence[F32], shared: Sequence[F32], gradient: F32
    ) -> tuple[list[F32], list[F32]]:
        rows, weights = parts[0], parts[1][:, 0]
        slopes = np.empty_like(parts[1])
        for k in range(rows.shape[1]):
            slopes[:, 0, k] = (rows[:, k] * gradient).sum(1)
        found = [gradient[:, None] * weights[:, :, None], slopes]
        return [*found, gradient.sum(1).reshape(-1, 1, 1)] if len(parts) > 2 else found, []


class Projected(Combiner):
    """The only term's row (r) times a matrix (r, d) of the field: a table of rank r.

    Ginart et al. 2021, arXiv:1909.11810, section 3.1.
    """

    def forward(self, parts: Sequence[F32], shared: Sequence[F32]) -> F32:
        return product(parts[0][:, 0], shared[0])

    def backward(
        self, parts: Sequence[F32], shared: Sequence[F32], gradient: F32
    ) -> tuple[list[F32], list[F32]]:
        rows = product(gradient, shared[0].T)
        return [rows[:, None]], [product(parts[0][:, 0].T, gradient)]
