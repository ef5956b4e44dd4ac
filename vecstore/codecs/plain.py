"""Plain floating-point codecs: the values themselves, in 4 or 2 bytes each.

code_bytes  f32: 4 dim; f16, bf16: 2 dim; little-endian
error       f32: none, any bit pattern; f16: <= 2**-11 relative (2**-25 absolute below 2**-14);
            bf16: <= 2**-8 relative
source      IEEE 754-2019, binary32 and binary16; bfloat16: the upper half of binary32, ties to even
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Codec, Codes, Rows
from vecstore.codecs.scan import DecodedScan, Scan
from vecstore.kernels.half import from_float16, to_float16


@dataclass(frozen=True, eq=False)
class _Plain(Codec):
    dim: int
    stored: ClassVar[np.dtype[Any]]
    largest: ClassVar[float] = math.inf  # larger values would be rounded to infinity

    @classmethod
    def fit(cls, sample: Rows, *, seed: int = 0) -> Self:
        """Learns nothing but the width."""
        return cls(dim=sample.shape[1])

    @property
    def code_bytes(self) -> int:
        """One value after the other."""
        return self.dim * self.stored.itemsize

    @property
    def safe_size(self) -> float:
        """The largest value that is not rounded to infinity."""
        return self.largest

    def leading(self, dims: int) -> Self:
        """Any number of them."""
        return type(self)(dim=dims)

    def _encode(self, rows: Rows, codes: Codes) -> None:
        self._store(rows, codes.view(self.stored))

    def _store(self, rows: Rows, target: NDArray[Any]) -> None:
        target[:] = rows

    def _decode(self, codes: Codes, rows: Rows) -> None:
        rows[:] = codes.view(self.stored)


@dataclass(frozen=True, eq=False)
class F32(_Plain):
    """float32 as it is: bit for bit, NaN payloads included."""

    name: ClassVar[str] = "f32"
    stored: ClassVar[np.dtype[Any]] = np.dtype("<f4")
    keeps_nonfinite: ClassVar[bool] = True
    is_lossless: ClassVar[bool] = True

    def scan(self, codes: Codes) -> Scan:
        """The codes are the rows, so nothing is decoded."""
        return DecodedScan(codes, lambda part: np.ascontiguousarray(part).view(np.float32))


@dataclass(frozen=True, eq=False)
class F16(_Plain):
    """float16: 11 significant bits, values up to 65,504."""

    name: ClassVar[str] = "f16"
    stored: ClassVar[np.dtype[Any]] = np.dtype("<f2")
    largest: ClassVar[float] = 65519.0

    def _store(self, rows: Rows, target: NDArray[Any]) -> None:
        to_float16(rows, target)

    def _decode(self, codes: Codes, rows: Rows) -> None:
        from_float16(codes.view(self.stored), rows)


@dataclass(frozen=True, eq=False)
class BF16(_Plain):
    """bfloat16: 8 significant bits, the range of float32."""

    name: ClassVar[str] = "bf16"
    stored: ClassVar[np.dtype[Any]] = np.dtype(ml_dtypes.bfloat16)
    largest: ClassVar[float] = 3.3895e38
