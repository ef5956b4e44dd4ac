"""itq: principal axes, a rotation that brings rows near the corners of a cube, and one bit per axis.

code_bytes  ceil(bits / 8), bit j % 8 of byte j // 8 for axis j
error       not bounded; decoding gives each bit the mean of the values on its side, and turns back
shared      4 dim (bits + 1) + 8 bits bytes
source      Gong, Lazebnik 2011, doi:10.1109/CVPR.2011.5995432, section 2.2 (the rotation minimises
            |B - VR|, B = sign(VR), by Procrustes and signs in turn)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import LARGEST, Codec, Codes, Rows
from vecstore.codecs.bitscan import BitScan, HammingScan, bit_weights
from vecstore.codecs.parts import require
from vecstore.codecs.scan import Scan
from vecstore.codecs.sign.levels import split_means, subsample
from vecstore.codecs.transforms.center import mean_row, offsets
from vecstore.codecs.transforms.pca import principal_axes, product
from vecstore.errors import InputError, SpecError
from vecstore.kernels.bits import choose

_ROUNDS = 50  # as in section 3 of the paper


@dataclass(frozen=True, eq=False)
class Itq(Codec):
    """Iterative quantization: bits= signs along principal axes, turned towards the corners of a cube."""

    name: ClassVar[str] = "itq"
    learns: ClassVar[bool] = True
    dim: int
    bits: int
    mean: NDArray[np.float32]  # (dim,)
    axes: NDArray[np.float32]  # (dim, bits), orthonormal columns
    levels: NDArray[np.float32]  # (2, bits): the value of bit 0 and of bit 1

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= self.dim:
            raise ValueError(f"itq has bits={self.bits} of {self.dim} dimensions")
        require(self.mean, (self.dim,), np.float32)
        require(self.axes, (self.dim, self.bits), np.float32)
        require(self.levels, (2, self.bits), np.float32)

    @classmethod
    def fit(cls, sample: Rows, *, seed: int = 0, bits: int | None = None, bytes: int | None = None) -> Self:
        """bits: length of the code, 1 to the width of the rows; by default that. bytes: the row's size
        instead; what it has beyond the width stays zero."""
        dim = sample.shape[1]
        bits = _bits(dim, bits, bytes)
        if not len(sample):
            raise InputError("itq is fitted on rows, and there are none")
        mean = mean_row(sample)
        rows = subsample(sample, seed)
        main = principal_axes(sample, mean, bits)
        axes = (main @ turn(product(rows - mean, main), seed)).astype(np.float32)
        turned = product(rows - mean, axes)
        levels = split_means(turned, np.zeros(bits, np.float32))
        return cls(dim=dim, bits=bits, mean=mean, axes=axes, levels=levels)

    @property
    def code_bytes(self) -> int:
        """One bit per axis."""
        return (self.bits + 7) // 8

    @property
    def safe_size(self) -> float:
        """All of a row's length can lie on one axis."""
        return float(LARGEST / np.sqrt(self.dim) - np.abs(self.mean).max())

    @cached_property
    def ball(self) -> tuple[Rows, float]:
        """The farther level of each axis."""
        return self.mean, float(np.linalg.norm(np.abs(self.levels).max(axis=0).astype(np.float64)))

    @cached_property
    def _back(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.axes.T)

    def _encode(self, rows: Rows, codes: Codes) -> None:
        codes[:] = np.packbits(product(rows - self.mean, self.axes) > 0, axis=1, bitorder="little")

    def _decode(self, codes: Codes, rows: Rows) -> None:
        values = np.empty((len(codes), self.bits), np.float32)
        choose(codes, self.levels, values)
        rows[:] = product(values, self._back) + self.mean

    def scan(self, codes: Codes) -> Scan:
        """A weight for each bit: what it adds to the inner product."""
        step = self.levels[1] - self.levels[0]

        def weigh(queries: Rows) -> tuple[Rows, NDArray[np.float64]]:
            turned = product(queries, self.axes)
            fixed = offsets(queries, self.mean) + offsets(turned, self.levels[0])
            return bit_weights(turned * step, self.code_bytes), fixed

        return BitScan(codes, [self.code_bytes], weigh)

    def scan_symmetric(self, codes: Codes) -> Scan:
        """Bits less twice those that differ."""
        return HammingScan(codes, self.bits, self.encode)


def turn(rows: Rows, seed: int) -> NDArray[np.float64]:
    """The rotation (b, b) that brings rows (n, b), centred, nearest to their own signs."""
    bits = rows.shape[1]
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((bits, bits)))[0]
    for _ in range(_ROUNDS):
        corners = np.where(rows @ rotation.astype(np.float32) > 0, np.float32(1), np.float32(-1))
        left, _, right = np.linalg.svd((corners.T @ rows).astype(np.float64))
        rotation = (left @ right).T
    found: NDArray[np.float64] = rotation
    return found


def _bits(dim: int, bits: int | None, size: int | None) -> int:
    if size is not None:
        held = min(8 * size, dim) if bits is None else bits
        if (held + 7) // 8 != size:
            raise SpecError(
                f"itq has bytes={size}"
                + (f" and bits={bits}, which do not agree" if bits else "")
                + f"; {dim} dimensions give codes of 1 to {(dim + 7) // 8} bytes"
            )
        bits = held
    bits = dim if bits is None else bits
    if not 1 <= bits <= dim:
        raise SpecError(f"itq has bits={bits}; the rows have {dim} dimensions, so 1 to that")
    return bits
