"""prefix: keeps the first dimensions.

side_bytes  0
inverse     least squares: the dimensions cut off come back as zero
source      Kusupati et al. 2022, Matryoshka representation learning, arXiv:2205.13147, section 3
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import LARGEST, Codes, Rows, Transform
from vecstore.errors import SpecError


@dataclass(frozen=True, eq=False)
class Prefix(Transform):
    """Transform: keeps the first dim= dimensions (Matryoshka cut); the others come back as zero."""

    name: ClassVar[str] = "prefix"
    dim: int
    kept: int

    def __post_init__(self) -> None:
        if not 1 <= self.kept <= self.dim:
            raise ValueError(f"prefix keeps {self.kept} of {self.dim} dimensions")

    @classmethod
    def fit(cls, sample: Rows, *, seed: int = 0, dim: int | None = None) -> Self:
        """dim: how many dimensions are kept, 1 to the width of the rows."""
        if dim is None:
            raise SpecError("prefix needs the number of dimensions to keep, as in 'prefix:dim=64+f16'")
        if not 1 <= dim <= sample.shape[1]:
            raise SpecError(f"prefix has dim={dim}; the rows have {sample.shape[1]}, so 1 to that")
        return cls(dim=sample.shape[1], kept=dim)

    def options(self) -> dict[str, int | float | bool | str]:
        """The spec's `dim` is the number kept."""
        return {"dim": self.kept}

    @property
    def dim_out(self) -> int:
        """The number kept."""
        return self.kept

    def safe_size(self, rest: float) -> float:
        """What is kept is as large as it was."""
        return min(rest, LARGEST)

    def apply(self, rows: Rows, side: Codes) -> Rows:
        """The first columns."""
        return np.ascontiguousarray(rows[:, : self.kept])

    def invert(self, rows: Rows, side: Codes) -> Rows:
        """The first columns, zeros behind."""
        back = np.zeros((len(rows), self.dim), np.float32)
        back[:, : self.kept] = rows
        return back

    def pull(self, queries: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """<q, (row, 0)> = <first part of q, row>."""
        return np.ascontiguousarray(queries[:, : self.kept]), np.zeros(len(queries))
