"""normalize: scales each row to unit length.

side_bytes  2: the norm as float16, relative to the sample's largest norm; 0 with keep=false
inverse     relative error of the norm <= 2**-11; rows some 256 times longer than all of the sample come back
            shorter; with keep=false every row gets length one
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import LARGEST, Codes, Rows, Transform

_LARGEST = 2.0**8  # where the sample's largest norm is put in float16, which ends at 65,504
_END = 65504.0  # the last norm, which stands for all that are larger


@dataclass(frozen=True, eq=False)
class Normalize(Transform):
    """Transform: scales rows to unit length; keeps each norm as float16 (keep=false: forgets it)."""

    name: ClassVar[str] = "normalize"
    dim: int
    keep: bool
    scale: float  # a power of two: stored norm = norm * scale

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"normalize has scale={self.scale}; expected a positive number")

    @classmethod
    def fit(cls, sample: Rows, *, seed: int = 0, keep: bool = True) -> Self:
        """keep: whether the norm is stored, so that `invert` gives it back."""
        largest = float(row_norms(sample).max(initial=0.0))
        scale = 2.0 ** (math.floor(math.log2(_LARGEST / largest)) if largest > 0 else 0)
        return cls(dim=sample.shape[1], keep=keep, scale=scale)

    @property
    def dim_out(self) -> int:
        """As wide as what it takes."""
        return self.dim

    @property
    def side_bytes(self) -> int:
        """One float16."""
        return 2 if self.keep else 0

    def safe_size(self, rest: float) -> float:
        """What comes out is at most one."""
        return LARGEST if rest >= 1 else 0.0

    def saturated(self, side: Codes) -> NDArray[np.bool_]:
        """Rows with the last norm; their direction is kept."""
        if not self.keep:
            return super().saturated(side)
        return np.asarray(side.view("<f2")[:, 0] >= _END)

    def apply(self, rows: Rows, side: Codes) -> Rows:
        """rows / |rows|; a zero row stays zero."""
        norms = row_norms(rows)
        if self.keep:
            side.view("<f2")[:, 0] = np.minimum(norms * self.scale, _END)
        safe = np.where(norms > 0, norms, 1.0)
        return (rows / safe[:, None]).astype(np.float32)

    def invert(self, rows: Rows, side: Codes) -> Rows:
        """rows scaled to their stored norm, or to unit length."""
        rows = np.nan_to_num(rows, copy=False)  # No row that was encoded is not finite; any bytes may be.
        return (rows * self._factors(rows, side)[:, None]).astype(np.float32)

    def factors(self, rows: Rows, side: Codes) -> Rows:
        """Stored norm by own norm."""
        return self._factors(rows, side).astype(np.float32)

    def _factors(self, rows: Rows, side: Codes) -> NDArray[np.float64]:
        norms = row_norms(rows)
        wanted: NDArray[np.float64] = np.ones(len(rows))
        if self.keep:
            stored = side.view("<f2")[:, 0].astype(np.float64)
            wanted = np.where(np.isfinite(stored), stored, 0.0) / self.scale
        # The codec between rounds the unit row, so its own length is taken out first.
        return np.where(norms > 0, wanted / np.where(norms > 0, norms, 1.0), 0.0)


def row_norms(rows: Rows) -> NDArray[np.float64]:
    """The length of each row, in float64; of an infinite or NaN row whatever it comes to."""
    with np.errstate(invalid="ignore", over="ignore"):
        norms: NDArray[np.float64] = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1))
        return norms
