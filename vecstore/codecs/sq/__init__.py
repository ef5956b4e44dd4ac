"""sq: scalar quantization, an even grid per dimension.

code_bytes  bits=8: dim; bits=6: ceil(6 dim / 8), four codes in three bytes, little-endian;
            bits=4: ceil(dim / 2), the lower nibble first
error       <= step / 2 per value inside the fitted range; beyond it the distance to the range
source      uniform quantizer with optimal overload, Max 1960, doi:10.1109/TIT.1960.1057548, section V;
            the refit of the grid to its cells alternates as in Lloyd 1982, doi:10.1109/TIT.1982.1056489
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Codec, Codes, Rows
from vecstore.codecs.gridscan import GridScan
from vecstore.codecs.parts import require
from vecstore.codecs.scan import Scan
from vecstore.codecs.sq.grid import best_grid, inverse, quantile_grid
from vecstore.errors import SpecError
from vecstore.kernels import scalar
from vecstore.kernels.bytedots import MOST_DIMS

_WIDTHS = (8, 6, 4)
_FIT_ROWS = 16384


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
        if clip is None:
            low, step = best_grid(rows, bits)
        else:
            low, step = quantile_grid(np.sort(rows, axis=0), clip, bits)
        return cls(dim=dim, bits=bits, clip=clip, low=low.astype(np.float32), step=step.astype(np.float32))

    @property
    def code_bytes(self) -> int:
        """bits per value, whole bytes per row."""
        return _code_bytes(self.dim, self.bits)

    @cached_property
    def ball(self) -> tuple[Rows, float]:
        """The box of the grids' ends."""
        half = self.step * np.float32((2**self.bits - 1) / 2)
        return self.low + half, float(np.linalg.norm(half.astype(np.float64)))

    def leading(self, dims: int) -> Self:
        """As many as end with a byte: any, every fourth (bits=6) or every second (bits=4)."""
        if dims * self.bits % 8:
            raise SpecError(
                f"{dims} dimensions of {self.bits} bits end inside a byte; "
                f"take a multiple of {4 if self.bits == 6 else 2}"
            )
        return replace(self, dim=dims, low=self.low[:dims].copy(), step=self.step[:dims].copy())

    def _encode(self, rows: Rows, codes: Codes) -> None:
        if self.bits == 8:
            scalar.quantize(rows, self.low, inverse(self.step), np.float32(255), codes)
            return
        values = np.empty(rows.shape, np.uint8)
        scalar.quantize(rows, self.low, inverse(self.step), np.float32(2**self.bits - 1), values)
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

    def scan(self, codes: Codes) -> Scan:
        """By products of whole numbers; 6-bit codes are spread to bytes for it."""
        if self.dim > MOST_DIMS:
            return super().scan(codes)
        if self.bits == 6:
            packed, codes = np.ascontiguousarray(codes), np.empty((len(codes), self.dim), np.uint8)
            scalar.unpack6(packed, codes)
        return GridScan(codes, self.low, self.step, self.bits)


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
