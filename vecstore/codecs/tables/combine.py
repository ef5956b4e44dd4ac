"""From rows to the vector of an id, forward and backward, where that is more than a sum side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

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

    seeded: ClassVar[bool] = False  # whether the table's seed decides

    def inputs(self, keys: NDArray[np.int64]) -> list[F32]:
        """Parts that come of the ids (n,) themselves, behind those of terms; they have no gradient."""
        return []

    def between(self, shared: Sequence[F32]) -> int:
        """How many values it makes on the way from an id's parts to its vector, their inputs counted in."""
        return 0

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


@dataclass(frozen=True)
class TensorTrain(Combiner):
    """Of three terms' rows, read as matrices (d1, r), (r, d2 r), (r, d3), the product over all r.

    Yin et al. 2021, arXiv:2101.11714, section 3.1, equation 3.
    """

    dims: tuple[int, int, int]
    rank: int

    def _cores(self, parts: Sequence[F32]) -> tuple[F32, F32, F32]:
        n, r, (a, b, c) = len(parts[0]), self.rank, self.dims
        return parts[0].reshape(n, a, r), parts[1].reshape(n, r, b * r), parts[2].reshape(n, r, c)

    def forward(self, parts: Sequence[F32], shared: Sequence[F32]) -> F32:
        first, second, third = self._cores(parts)
        n, (a, b, c) = len(first), self.dims
        left = np.einsum("nar,nrs->nas", first, second).reshape(n, a * b, self.rank)
        vectors: F32 = np.einsum("npr,nrc->npc", left, third).reshape(n, a * b * c)
        return vectors

    def backward(
        self, parts: Sequence[F32], shared: Sequence[F32], gradient: F32
    ) -> tuple[list[F32], list[F32]]:
        first, second, third = self._cores(parts)
        n, (a, b, c) = len(first), self.dims
        left = np.einsum("nar,nrs->nas", first, second).reshape(n, a * b, self.rank)
        slope = gradient.reshape(n, a * b, c)
        back = np.einsum("npc,nrc->npr", slope, third).reshape(n, a, b * self.rank)
        slopes = [
            np.einsum("nas,nrs->nar", back, second),
            np.einsum("nar,nas->nrs", first, back),
            np.einsum("npr,npc->nrc", left, slope),
        ]
        return [slope.reshape(part.shape) for slope, part in zip(slopes, parts, strict=True)], []
