"""sq: scalar quantization, an even grid per dimension.

code_bytes  bits=8: dim; bits=6: ceil(6 dim / 8), four codes in three bytes, little-endian;
            bits=4: ceil(dim / 2), the lower nibble first
error       <= step / 2 per value inside the fitted range; beyond it the distance to the range
source      uniform quantizer with optimal overload, Max 1960, doi:10.1109/TIT.1960.1057548, section V;
            the refit of the grid to its cells alternates as in Lloyd 1982, doi:10.1109/TIT.1982.1056489
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Codec, Codes, Rows
from vecstore.codecs.parts import require
from vecstore.codecs.transforms.center import mean_row
from vecstore.errors import SpecError
from vecstore.kernels import scalar

_WIDTHS = (8, 6, 4)
# Shares of the rows cut off on either side that the automatic choice tries, dimension by dimension.
_CLIPS = (0.0, 0.0002, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06)
_FIT_ROWS = 16384
_ROUNDS = 3
_USUAL = 4.0  # rows beyond this many times the median squared distance to the mean count less


@dataclass(frozen=True, eq=False)
class Sq(Codec):
    """Scalar quantization per dimension: 8, 6 or 4 bits on an even grid, tails clipped."""

    name: ClassVar[str] = "sq"
    dim: int
    bits: int
    clip: float | None
    low: NDArray[np.float32]  # (dim,), the value of code 0
    step: NDArray[np.float32]  # (dim,), >= 0

    def __post_init__(self) -> None:
        if self.bits not in _WIDTHS:
            raise ValueError(f"sq has bits={self.bits}; expected one of {_WIDTHS}")
        require(self.low, (self.dim,), np.float32)
        require(self.step, (self.dim,), np.float32)

    @classmethod
    def fit(
        cls,
        sample: Rows,
        *,
        seed: int = 0,
        bits: int | None = None,
        bytes: int | None = None,
        clip: float | None = None,
    ) -> Self:
        """bits: 8 (default), 6 or 4. bytes: the row's size instead. clip: the share of rows beyond the grid
        on either side, 0 <= clip < 0.5; by default each dimension takes the share with the least error."""
        dim = sample.shape[1]
        bits = _bits(dim, bits, bytes)
        if clip is not None and not 0 <= clip < 0.5:
            raise SpecError(f"sq has clip={clip}; expected a share from 0 to below 0.5")
        rows = sample
        if len(rows) > _FIT_ROWS:
            chosen = np.random.default_rng(seed).choice(len(rows), _FIT_ROWS, replace=False)
            rows = rows[np.sort(chosen)]
        ordered = np.sort(rows, axis=0)
        if clip is not None:
            low, step = _grid(ordered, clip, bits)
        else:
            low, step = _best_grid(rows, ordered, bits)
        return cls(dim=dim, bits=bits, clip=clip, low=low.astype(np.float32), step=step.astype(np.float32))

    @property
    def code_bytes(self) -> int:
        """bits per value, whole bytes per row."""
        return _code_bytes(self.dim, self.bits)

    def _encode(self, rows: Rows, codes: Codes) -> None:
        if self.bits == 8:
            scalar.quantize(rows, self.low, _inverse(self.step), np.float32(255), codes)
            return
        values = np.empty(rows.shape, np.uint8)
        scalar.quantize(rows, self.low, _inverse(self.step), np.float32(2**self.bits - 1), values)
        (scalar.pack4 if self.bits == 4 else scalar.pack6)(values, codes)

    def _decode(self, codes: Codes, rows: Rows) -> None:
        if self.bits == 4:
            scalar.dequantize4(codes, self.low, self.step, rows)
            return
        if self.bits == 6:
            values = np.empty(rows.shape, np.uint8)
            scalar.unpack6(codes, values)
            codes = values
        scalar.dequantize(codes, self.low, self.step, rows)


def _code_bytes(dim: int, bits: int) -> int:
    return (dim * bits + 7) // 8


def _bits(dim: int, bits: int | None, size: int | None) -> int:
    if size is not None:
        fitting = [width for width in _WIDTHS if _code_bytes(dim, width) == size]
        if not fitting or bits not in (None, *fitting):
            sizes = ", ".join(f"{_code_bytes(dim, width)} (bits={width})" for width in _WIDTHS)
            raise SpecError(f"sq cannot make rows of {size} bytes from {dim} dimensions; it makes {sizes}")
        return fitting[0] if bits is None else bits
    bits = 8 if bits is None else bits
    if bits not in _WIDTHS:
        raise SpecError(f"sq has bits={bits}; expected 8, 6 or 4")
    return bits


def _inverse(step: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(step > 0, 1 / step, 0).astype(np.float32)
    # The step of nearly constant values can be denormal; its inverse must stay finite.
    return np.minimum(inverse, np.finfo(np.float32).max)


def _grid(ordered: Rows, clip: float, bits: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """low and step (dim,) of the grid between the clip and 1 - clip quantiles; ordered (n, dim) is sorted."""
    if len(ordered) == 0:
        return np.zeros(ordered.shape[1]), np.zeros(ordered.shape[1])
    cut = int(clip * (len(ordered) - 1))
    low = ordered[cut].astype(np.float64)
    high = ordered[len(ordered) - 1 - cut].astype(np.float64)
    return low, (high - low) / (2**bits - 1)


def _best_grid(rows: Rows, ordered: Rows, bits: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The grid per dimension with the least squared error over all clips, each refitted to its cells."""
    weights = _weights(rows)
    best_low, best_step = _grid(ordered, 0.0, bits)
    best = np.full(rows.shape[1], np.inf)
    for clip in _CLIPS:
        low, step = _grid(ordered, clip, bits)
        for _ in range(_ROUNDS):
            error, new_low, new_step = _refit(rows, weights, (low, step), bits)
            better = error < best
            best = np.where(better, error, best)
            best_low, best_step = np.where(better, low, best_low), np.where(better, step, best_step)
            low, step = new_low, new_step
    return best_low, best_step


def _weights(rows: Rows) -> NDArray[np.float64]:
    """1 for usual rows, less for rows far from the mean: else a few giants would stretch every grid until
    all other rows fell into one cell of it."""
    distance = np.square(rows - mean_row(rows), dtype=np.float64).sum(axis=1)
    usual = _USUAL * float(np.median(distance)) if len(rows) else 0.0
    return np.where(distance > usual, usual / np.where(distance > 0, distance, 1.0), 1.0)


def _refit(
    rows: Rows,
    weights: NDArray[np.float64],
    grid: tuple[NDArray[np.float64], NDArray[np.float64]],
    bits: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The grid's squared error per dimension, and the line through the cells' means as the next grid."""
    low, step = (part.astype(np.float32) for part in grid)
    sums = np.empty((6, rows.shape[1]))
    scalar.grid_sums(rows, weights, np.stack([low, _inverse(step), step]), np.float32(2**bits - 1), sums)
    error, weight, code, square, value, both = sums
    n = np.where(weight > 0, weight, 1.0)
    spread = square - code * code / n
    slope = both - code * value / n
    usable = (spread > 1e-9 * square) & (slope > 0)
    new_step = np.where(usable, slope / np.where(usable, spread, 1), grid[1])
    return error, value / n - new_step * code / n, new_step
