"""hadamard: rows rotated at random, then the best scalar quantizer of a normal variable; no training.

code_bytes  2 + ceil(bits dim / 8): the row's scale as float16, then bits for each dimension, from the lowest
            bit of each byte up
error       squared, about D |x - mean|^2 whatever the data, D = .3634, .1175, .0345, .0095 for 1 to 4 bits
            with scale=mse, and D / (1 - D) with scale=unbiased; rows some 256 times longer than all of the
            sample come back shorter
shared      dim / 2 bytes of signs, 4 dim of the mean (center=true), 2 * 2**bits of levels
source      quantizer: Max 1960, doi:10.1109/TIT.1960.1057548; random rotation before it and the unbiased
            scale: Vargaftik et al. 2022 (EDEN), arXiv:2108.08842, section 3; Zandieh et al. 2025
            (TurboQuant), arXiv:2504.19874, section 3.1, without the second stage of section 3.2

The scale |y|^2 / <y, l> (unbiased; y the rotated row, l its levels) makes <q, decoded> right on average over
rotations, so that inner products are not drawn towards zero: the default. <y, l> / |l|^2 (mse) has the least
squared error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Codes, Rows
from vecstore.codecs.parts import require
from vecstore.codecs.rotated import SCALE_BYTES, Rotated, choose_bits, learn
from vecstore.kernels import cells

_WIDTHS = (1, 2, 3, 4)
_SCALES = ("unbiased", "mse")


@dataclass(frozen=True, eq=False)
class Hadamard(Rotated):
    """Rotated scalar quantization without training: 1 to 4 bits per dimension, and a scale for each row."""

    name: ClassVar[str] = "hadamard"
    scale: str
    positive: NDArray[np.float32]  # (2**bits / 2,), the levels above zero; those below mirror them

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits not in _WIDTHS or self.scale not in _SCALES:
            raise ValueError(f"hadamard has bits={self.bits}, scale={self.scale!r}")
        require(self.positive, (2 ** (self.bits - 1),), np.float32)
        if not (0 < self.positive[0] and (np.diff(self.positive) > 0).all() and self.positive[-1] < 100):
            raise ValueError(f"hadamard has levels {self.positive}; expected ascending ones above zero")

    @classmethod
    def fit(
        cls,
        sample: Rows,
        *,
        seed: int = 0,
        bits: int | None = None,
        bytes: int | None = None,
        center: bool = True,
        scale: Literal["unbiased", "mse"] = "unbiased",
    ) -> Self:
        """bits: 1 to 4 (default). bytes: the row's size instead. center: whether the sample's mean is taken
        off. scale: right inner products on average (unbiased), or the least squared error (mse)."""
        bits = choose_bits(cls.name, sample.shape[1], (bits, bytes), _WIDTHS, SCALE_BYTES)
        positive = np.array(normal_levels(2 ** (bits - 1)), np.float32)
        return cls(**learn(sample, seed, center), bits=bits, scale=scale, positive=positive)

    @cached_property
    def levels(self) -> NDArray[np.float32]:
        """The value of each cell, (2**bits,), ascending."""
        return np.concatenate([-self.positive[::-1], self.positive])

    def _encode(self, rows: Rows, codes: Codes) -> None:
        sums = np.empty((len(rows), 3))
        cells.nearest(rows, self.turning, self.positive, codes, sums)
        square, both, own = sums.T
        top, bottom = (square, both) if self.scale == "unbiased" else (both, own)
        self._store_scales(top / np.where(both > 0, bottom, np.inf), codes)


@lru_cache
def normal_levels(half: int) -> tuple[float, ...]:
    """The levels above zero of the quantizer of 2 * half cells with the least error for a normal variable.

    Each cell's level is the mean inside it and each edge the middle between two levels: both in turn, until
    nothing changes.
    """
    levels = [(m + 0.5) * 2 / half for m in range(half)]
    while True:
        edges = [0.0, *((a + b) / 2 for a, b in pairwise(levels)), math.inf]
        found = [_mean_between(a, b) for a, b in pairwise(edges)]
        if max(abs(a - b) for a, b in zip(found, levels, strict=True)) < 1e-13:
            return tuple(found)
        levels = found


def _mean_between(low: float, high: float) -> float:
    """The mean of a normal variable that is known to lie between low and high."""
    density = math.exp(-low * low / 2) - math.exp(-high * high / 2)
    share = math.erfc(low / math.sqrt(2)) - math.erfc(high / math.sqrt(2))
    return math.sqrt(2 / math.pi) * density / share
