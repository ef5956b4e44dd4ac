"""What the codecs of rotated rows share: one scalar quantizer for all dimensions, and a scale for each row.

A row less the mean is rotated at random, so that its values are spread like those of a normal variable
whatever the data; each becomes the number of a cell. A row's code is its side data, float16 scale first, and
then its cells. Decoding is scale * R' levels[cells] + mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import LARGEST, Codec, Codes, Rows
from vecstore.codecs.levelscan import scan_cells
from vecstore.codecs.parts import require
from vecstore.codecs.scan import Scan
from vecstore.codecs.transforms.center import mean_row, offsets
from vecstore.codecs.transforms.normalize import row_norms
from vecstore.codecs.transforms.rotate import draw_signs, factors
from vecstore.errors import SpecError
from vecstore.kernels import cells
from vecstore.kernels.bytedots import MOST_DIMS
from vecstore.kernels.hadamard import rotate

SCALE_BYTES = 2
_USUAL = 2.0**8  # where the scale of the sample's longest row is put in float16
_END = 65504.0
_FEW = 8  # with fewer dimensions the errors of whole numbers do not average out
_EXPONENT = np.uint16(0x7C00)  # all of these bits: infinite or NaN


@dataclass(frozen=True, eq=False)
class Rotated(Codec):
    """Rotation, cells, and a scale for each row. Adds to `Codec`: `levels`, `name`, `fit` and `_encode`."""

    dim: int
    bits: int
    center: bool
    stretch: float  # a power of two: stored scale = scale * stretch
    signs: NDArray[np.uint8]  # as in `rotate`
    mean: NDArray[np.float32]  # (dim,); (0,) with center=false

    def __post_init__(self) -> None:
        require(self.signs, (None, (self.dim + 7) // 8), np.uint8)
        require(self.mean, (self.dim if self.center else 0,), np.float32)
        if not 2.0**-64 <= self.stretch <= 2.0**300:
            raise ValueError(f"{self.name} has stretch={self.stretch}; expected 2**-64 to 2**300")

    @property
    def levels(self) -> NDArray[np.float32]:
        """The value of each cell, (2**bits,), ascending."""
        raise NotImplementedError

    @property
    def code_bytes(self) -> int:
        """bits per dimension in whole bytes, and the side data."""
        return self.side_bytes + cells.width(self.dim, self.bits)

    @property
    def side_bytes(self) -> int:
        """The scale, as float16."""
        return SCALE_BYTES

    @property
    def safe_size(self) -> float:
        """The mean adds to a row, and all of its length can lie on one dimension."""
        return float(LARGEST / math.sqrt(self.dim) - np.abs(self.mean).max(initial=0.0))

    @cached_property
    def _factors(self) -> NDArray[np.float32]:
        return factors(self.signs, self.dim)

    @property
    def turning(self) -> cells.Turning:
        """What kernels take off a row and how they rotate it."""
        return self.mean, self._factors

    def scales(self, codes: Codes) -> Rows:
        """The scales (n,); zero for bytes that are none."""
        held = np.ascontiguousarray(codes[:, :SCALE_BYTES]).view("<u2")[:, 0]
        held = np.where(held & _EXPONENT == _EXPONENT, np.uint16(0), held)
        return (held.view(np.float16).astype(np.float64) / self.stretch).astype(np.float32)

    def _store_scales(self, scales: NDArray[np.float64], codes: Codes) -> None:
        """The last scale stands for all that is longer: some 256 times as long as all rows of the sample."""
        stored = np.minimum(scales * self.stretch, _END).astype("<f2")
        codes[:, :SCALE_BYTES] = stored.view(np.uint8).reshape(-1, SCALE_BYTES)

    def _saturated(self, rows: Rows, codes: Codes) -> NDArray[np.bool_]:
        """Rows with the last scale; their direction is kept."""
        return np.asarray(np.abs(self.scales(codes)) >= np.float32(_END / self.stretch))

    def _decode(self, codes: Codes, rows: Rows) -> None:
        cells.decode(codes, self.levels, self.scales(codes), self._factors, rows)
        if self.center:
            rows += self.mean

    def scan(self, codes: Codes) -> Scan:
        """By bounds from halves of cells; of more than four bits by products of whole numbers."""
        if not _FEW <= self.dim <= MOST_DIMS:
            return super().scan(codes)
        return scan_cells(codes[:, self.side_bytes :], self.dim, self.levels, self.scales(codes), self._pull)

    def _pull(self, queries: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """Queries rotated, and what the mean adds."""
        turned = queries.copy()
        rotate(turned, self._factors, True)
        return turned, offsets(queries, self.mean) if self.center else np.zeros(len(queries))


def learn(sample: Rows, seed: int, center: bool) -> dict[str, Any]:
    """dim, center, stretch, signs and mean of a codec for rows like those of sample."""
    dim = sample.shape[1]
    mean = mean_row(sample) if center else np.zeros(0, np.float32)
    longest = float(row_norms(sample - mean if center else sample).max(initial=0.0))
    longest = longest or float(row_norms(sample).max(initial=0.0))  # All rows may be alike.
    stretch = 2.0 ** math.floor(math.log2(_USUAL * math.sqrt(dim) / longest)) if longest > 0 else _USUAL
    return {
        "dim": dim, "center": center, "stretch": stretch, "signs": draw_signs(dim, seed), "mean": mean,
    }  # fmt: skip


def choose_bits(
    name: str, dim: int, given: tuple[int | None, int | None], widths: Sequence[int], side: int
) -> int:
    """The bits per dimension from the options bits and bytes, 4 without either; SpecError if impossible."""
    bits, size = given
    if size is not None:
        fitting = [bits for bits in widths if side + cells.width(dim, bits) == size]
        if not fitting or bits not in (None, *fitting):
            sizes = ", ".join(f"{side + cells.width(dim, bits)} (bits={bits})" for bits in widths)
            raise SpecError(
                f"{name} cannot make rows of {size} bytes from {dim} dimensions; it makes {sizes}"
            )
        return fitting[-1] if bits is None else bits
    if bits is None:
        return 4
    if bits not in widths:
        raise SpecError(f"{name} has bits={bits}; expected {widths[0]} to {widths[-1]}")
    return bits
