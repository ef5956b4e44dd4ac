"""rotate: a random rotation that costs d log d steps and a few bits per dimension.

side_bytes  0
inverse     exact up to rounding
shared      2 rounds x 2 sign flips, one bit per dimension each
source      Ailon and Chazelle 2009, doi:10.1137/060673096, section 2 (random signs, then a Hadamard
            transform); for widths that are no power of two the transform covers the first and then
            the last 2**floor(log2 d) dimensions, which overlap, so that all of them mix
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import LARGEST, Codes, Rows, Transform
from vecstore.codecs.parts import require
from vecstore.kernels.hadamard import rotate

_PASSES = 4  # flips and transforms, alternating between the first and the last dimensions


@dataclass(frozen=True, eq=False)
class Rotate(Transform):
    """Transform: a random rotation (signs and Hadamard transforms)."""

    name: ClassVar[str] = "rotate"
    dim: int
    signs: NDArray[np.uint8]  # (passes, ceil(dim / 8)), bit j of a pass: dimension j changes its sign

    def __post_init__(self) -> None:
        require(self.signs, (None, (self.dim + 7) // 8), np.uint8)

    @classmethod
    def fit(cls, sample: Rows, *, seed: int = 0) -> Self:
        """Draws the signs from the seed; the sample gives the width alone."""
        dim = sample.shape[1]
        return cls(dim=dim, signs=draw_signs(dim, seed))

    @property
    def dim_out(self) -> int:
        """As wide as what it takes."""
        return self.dim

    def safe_size(self, rest: float) -> float:
        """A rotation can turn all of a row's length onto one axis."""
        return float(min(rest, LARGEST) / np.sqrt(self.dim))

    @cached_property
    def _factors(self) -> NDArray[np.float32]:
        return factors(self.signs, self.dim)

    def apply(self, rows: Rows, side: Codes) -> Rows:
        """Flips and transforms, in order."""
        turned = rows.copy()
        rotate(turned, self._factors, True)
        return turned

    def invert(self, rows: Rows, side: Codes) -> Rows:
        """Transforms and flips, backwards."""
        turned = rows.copy()
        rotate(turned, self._factors, False)
        return turned

    def pull(self, queries: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """A rotation keeps inner products: <q, back(row)> = <rotate(q), row>."""
        return self.apply(queries, np.empty((len(queries), 0), np.uint8)), np.zeros(len(queries))


def draw_signs(dim: int, seed: int) -> NDArray[np.uint8]:
    """Random signs of a rotation, (passes, ceil(dim / 8))."""
    return np.random.default_rng(seed).integers(0, 256, (_PASSES, (dim + 7) // 8), dtype=np.uint8)


def factors(signs: NDArray[np.uint8], dim: int) -> NDArray[np.float32]:
    """Signs as -1 and +1, (passes, dim), as the kernels take them."""
    bits = np.unpackbits(signs, axis=1, count=dim, bitorder="little")
    return np.where(bits == 1, np.float32(-1), np.float32(1))
