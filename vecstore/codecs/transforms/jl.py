"""jl: a very sparse random projection.

side_bytes  0
inverse     least squares with a ridge, a hundredth of the mean squared length of an output's entries, so
            that what a codec rounds between is not magnified where dim= nears the width; about dim / width
            of a row's square comes back, of the scaled transpose only dim / (dim + width)
shared      about 2.1 bytes per non-zero entry and 4 per output; 4.1 beyond 65,536 dimensions
source      Li, Hastie, Church 2006, doi:10.1145/1150402.1150436, section 2: entries are 0, or with the
            share `density` +-1 / sqrt(density); every output has one entry at least
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import LARGEST, Codes, Rows, Transform
from vecstore.codecs.parts import require
from vecstore.codecs.transforms.pca import product
from vecstore.errors import SpecError
from vecstore.kernels.cholesky import solve
from vecstore.kernels.sparse import csr_times_rows

_RIDGE = 0.01
_NARROW = 1 << 16  # up to here numbers of dimensions fit two bytes


@dataclass(frozen=True, eq=False)
class Jl(Transform):
    """Transform: a very sparse random projection onto dim= dimensions (density= share of non-zeros)."""

    name: ClassVar[str] = "jl"
    dim: int
    density: float
    starts: NDArray[np.uint32]  # (dim_out + 1,): where each output's entries begin
    inputs: NDArray[Any]  # (entries,) uint16 or, of many dimensions, uint32: which dimension is added
    signs: NDArray[np.uint8]  # (ceil(entries / 8),), bit e % 8 of byte e // 8: entry e is subtracted

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ValueError(f"jl has density={self.density}; expected a share beyond 0, up to 1")
        require(self.starts, (None,), np.uint32)
        require(self.inputs, (None,), np.uint16 if self.dim <= _NARROW else np.uint32)
        require(self.signs, ((len(self.inputs) + 7) // 8,), np.uint8)
        bounds = self.starts.astype(np.int64)
        if not 2 <= len(bounds) <= self.dim + 1 or bounds[0] != 0 or bounds[-1] != len(self.inputs):
            raise ValueError(f"jl has {len(bounds) - 1} outputs of {self.dim} dimensions, or loose entries")
        if (np.diff(bounds) < 1).any() or (self.inputs >= self.dim).any():
            raise ValueError("jl has an output without entries, or an entry of a dimension that is not there")

    @classmethod
    def fit(
        cls, sample: Rows, *, seed: int = 0, dim: int | None = None, density: float | None = None
    ) -> Self:
        """dim: how many dimensions come out, 1 to the width of the rows. density: share of entries that are
        not zero, 1 / sqrt(width) by default. The sample gives the width alone."""
        width = sample.shape[1]
        if dim is None:
            raise SpecError("jl needs the number of dimensions to make, as in 'jl:dim=64+sq'")
        if not 1 <= dim <= width:
            raise SpecError(f"jl has dim={dim}; the rows have {width}, so 1 to that")
        density = float(width**-0.5) if density is None else density
        if not 0 < density <= 1:
            raise SpecError(f"jl has density={density}; expected a share beyond 0, up to 1")
        rng = np.random.default_rng(seed)
        counts = np.maximum(rng.binomial(width, density, dim), 1)
        inputs = [np.sort(rng.choice(width, count, replace=False)) for count in counts]
        return cls(
            dim=width,
            density=density,
            starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32),
            inputs=np.concatenate(inputs).astype(np.uint16 if width <= _NARROW else np.uint32),
            signs=rng.integers(0, 256, (int(counts.sum()) + 7) // 8, dtype=np.uint8),
        )

    def options(self) -> dict[str, int | float | bool | str]:
        """The spec's `dim` is the number of outputs."""
        return {"dim": self.dim_out, "density": self.density}

    @property
    def dim_out(self) -> int:
        """The number of outputs."""
        return len(self.starts) - 1

    @property
    def _scale(self) -> float:
        """What makes squared lengths right on average."""
        return float((self.density * self.dim_out) ** -0.5)

    def safe_size(self, rest: float) -> float:
        """All entries of an output can add up."""
        most = float(np.diff(self.starts.astype(np.int64)).max()) * max(self._scale, 1.0)
        return min(rest, LARGEST) / most

    @cached_property
    def _matrix(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Starts, inputs and signs as the kernel takes them."""
        bits = np.unpackbits(self.signs, count=len(self.inputs), bitorder="little")
        weights = np.where(bits == 1, np.float32(-1), np.float32(1))
        return self.starts.astype(np.int64), self.inputs.astype(np.int64), weights

    def dense(self) -> NDArray[np.float64]:
        """The matrix (dim_out, dim), without its scale: -1, 0 and 1."""
        starts, inputs, weights = self._matrix
        found = np.zeros((self.dim_out, self.dim))
        np.add.at(found, (np.repeat(np.arange(self.dim_out), np.diff(starts)), inputs), weights)
        return found

    @cached_property
    def _back(self) -> Rows:
        """(dim_out, dim): rows of outputs times this are rows again."""
        matrix = self.dense()
        gram = matrix @ matrix.T  # whole numbers, so that no order of adding them makes a difference
        gram[np.diag_indices(self.dim_out)] += _RIDGE * np.trace(gram) / self.dim_out
        solve(gram, matrix)
        return (matrix / self._scale).astype(np.float32)

    @cached_property
    def _onto(self) -> Rows:
        return np.ascontiguousarray(self._back.T)

    def apply(self, rows: Rows, side: Codes) -> Rows:
        """Sums of a few dimensions, some of them subtracted."""
        starts, inputs, weights = self._matrix
        out = np.empty((self.dim_out, len(rows)), np.float32)
        csr_times_rows(starts, inputs, weights, np.ascontiguousarray(rows.T), out)
        return np.ascontiguousarray(out.T * np.float32(self._scale))

    def invert(self, rows: Rows, side: Codes) -> Rows:
        """The shortest rows, nearly, of which these are the projections."""
        return product(rows, self._back)

    def pull(self, queries: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """<q, back.T row> = <back q, row>."""
        return product(queries, self._onto), np.zeros(len(queries))
