"""rabitq: rows rotated at random, then the point of an even grid at the smallest angle; errors have bounds.

code_bytes  3 + ceil(bits dim / 8): the row's scale as float16, the sine of its angle in a byte, then bits for
            each dimension, from the lowest bit of each byte up
error       an inner product of the decoded row is right on average over rotations; `error_bounds` has the
            bound of each
shared      dim / 2 bytes of signs, 4 dim of the mean
source      Gao, Long 2024 (RaBitQ), arXiv:2405.12497, sections 3.1 to 3.3; several bits: Gao et al. 2024,
            arXiv:2409.09913, section 3. Departures: rows are compared with the sample's mean, not with
            centroids; the codeword is searched for as `kernels.grid` says; of the factors that the papers
            keep for each row, the scale |y|^2 / <y, l> and the angle between y and l suffice, where y is the
            rotated row and l its codeword
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Array, Codes, Rows, as_float32, check_rows
from vecstore.codecs.rotated import SCALE_BYTES, Rotated, choose_bits, learn
from vecstore.codecs.transforms.normalize import row_norms
from vecstore.errors import ShapeError, SpecError
from vecstore.kernels import cells, grid

_WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8)
_SINE = SCALE_BYTES  # where its byte is
_SHIFT = np.uint32(19)  # bits of a float32 that a sine is kept without
_LEAST = np.uint32((127 << 4) - 255)  # what is left of the smallest sine; 255 more is that of one
_RELATIVE, _ABSOLUTE = 2.0**-11, 2.0**-25  # errors of a float16, of which the larger counts


@dataclass(frozen=True, eq=False)
class Rabitq(Rotated):
    """RaBitQ: 1 to 8 bits per dimension after a random rotation, with a bound for each inner product."""

    name: ClassVar[str] = "rabitq"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits not in _WIDTHS:
            raise ValueError(f"rabitq has bits={self.bits}; expected 1 to 8")

    @classmethod
    def fit(
        cls,
        sample: Rows,
        *,
        seed: int = 0,
        bits: int | None = None,
        bytes: int | None = None,
        center: bool = True,
    ) -> Self:
        """bits: 1 (default) to 8. bytes: the row's size instead. center: whether the sample's mean is taken
        off first."""
        bits = 1 if bits is None and bytes is None else bits
        bits = choose_bits(cls.name, sample.shape[1], (bits, bytes), _WIDTHS, SCALE_BYTES + 1)
        return cls(**learn(sample, seed, center), bits=bits)

    @property
    def side_bytes(self) -> int:
        """The scale, and a byte for the angle."""
        return SCALE_BYTES + 1

    @cached_property
    def levels(self) -> NDArray[np.float32]:
        """The value of each cell, (2**bits,): halves of odd numbers."""
        return np.arange(2**self.bits, dtype=np.float32) - np.float32((2**self.bits - 1) / 2)

    def _encode(self, rows: Rows, codes: Codes) -> None:
        sums = np.empty((len(rows), 3))
        if self.bits == 1:
            cells.nearest(rows, self.turning, self.levels[1:], codes, sums)
        else:
            grid.closest(rows, self.turning, self.bits, codes, sums)
        square, both, own = sums.T
        self._store_scales(square / np.where(both > 0, both, np.inf), codes)
        cosine = both * both / np.where(both > 0, square * own, 1.0)
        codes[:, _SINE] = _narrow(np.sqrt(np.maximum(1.0 - cosine, 0.0)))

    def error_bounds(self, codes: Codes, queries: Array, *, epsilon: float = 1.9) -> Rows:
        """How far <query, decoded row> is from <query, row>, at most, with high probability: (queries, n).

        The error of row i is a vector at right angles to it, in a direction that the rotation made random, of
        length |decoded - mean| * sine: its inner product with a query q is nearly normal, with deviation
        |q| length / sqrt(dim - 1). The bound is epsilon deviations, and what rounding the scale adds. 1.9 is
        that of the paper and holds for 19 of 20 pairs; 3 holds for all but one of 370.
        """
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != self.code_bytes:
            raise ShapeError(f"codes are {codes.dtype} {codes.shape}; expected uint8 (n, {self.code_bytes})")
        if not epsilon > 0:
            raise SpecError(f"epsilon is {epsilon}; expected a positive number")
        found = np.empty((len(codes), self.dim), np.uint8)
        cells.unpack(np.ascontiguousarray(codes), self.bits, found)
        own = row_norms(self.levels[found])
        scales = np.abs(self.scales(codes).astype(np.float64))
        rounding = np.maximum(_RELATIVE * scales, _ABSOLUTE / self.stretch)
        random = epsilon * scales * _widen(codes[:, _SINE]) / np.sqrt(max(self.dim - 1, 1))
        lengths = row_norms(as_float32(check_rows(queries, self.dim)))
        bounds: NDArray[np.float64] = np.multiply.outer(lengths, own * (random + rounding))
        return bounds.astype(np.float32)


def _narrow(sines: NDArray[np.float64]) -> Codes:
    """A byte for each sine (n,): four bits of exponent, four of mantissa, rounded up."""
    held = (sines.astype(np.float32).view(np.uint32) + ((1 << _SHIFT) - np.uint32(1))) >> _SHIFT
    found: NDArray[np.uint32] = np.clip(held, _LEAST, _LEAST + np.uint32(255)) - _LEAST
    return found.astype(np.uint8)


def _widen(held: Codes) -> NDArray[np.float32]:
    """The sines of bytes."""
    found: NDArray[np.float32] = ((held.astype(np.uint32) + _LEAST) << _SHIFT).view(np.float32)
    return found
