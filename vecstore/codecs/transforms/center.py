"""center: subtracts the mean row.

side_bytes  0
inverse     exact up to one rounding
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import LARGEST, Codes, Rows, Transform
from vecstore.codecs.parts import require
from vecstore.kernels import scores


@dataclass(frozen=True, eq=False)
class Center(Transform):
    """Transform: subtracts the sample's mean."""

    name: ClassVar[str] = "center"
    dim: int
    mean: NDArray[np.float32]  # (dim,)

    def __post_init__(self) -> None:
        require(self.mean, (self.dim,), np.float32)

    @classmethod
    def fit(cls, sample: Rows, *, seed: int = 0) -> Self:
        """Takes the mean; of no rows it is zero."""
        return cls(dim=sample.shape[1], mean=mean_row(sample))

    @property
    def dim_out(self) -> int:
        """As wide as what it takes."""
        return self.dim

    def safe_size(self, rest: float) -> float:
        """The mean adds to what comes out."""
        return min(rest, LARGEST) - float(np.abs(self.mean).max())

    def apply(self, rows: Rows, side: Codes) -> Rows:
        """rows - mean."""
        return rows - self.mean

    def invert(self, rows: Rows, side: Codes) -> Rows:
        """rows + mean."""
        return rows + self.mean

    def pull(self, queries: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """<q, row + mean> = <q, row> + <q, mean>."""
        return queries, offsets(queries, self.mean)


def mean_row(sample: Rows) -> NDArray[np.float32]:
    """The mean of sample (n, dim), summed in float64; zeros for no rows."""
    total = sample.sum(axis=0, dtype=np.float64)
    return np.asarray(total / max(len(sample), 1), np.float32)


def offsets(queries: Rows, mean: Rows) -> NDArray[np.float64]:
    """<query, mean> of queries (q, dim), in float64; each the same whatever the others are, unlike BLAS's."""
    found = np.empty(len(queries))
    scores.along(np.ascontiguousarray(queries), mean, found)
    return found
