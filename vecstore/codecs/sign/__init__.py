"""sign: one bit per dimension, and the mean of the values on its side of the threshold.

code_bytes  ceil(dim / 8), bit j % 8 of byte j // 8 for dimension j; scale=true: a float16 before it
error       not bounded; with the levels and thresholds that it has, each value takes the nearer level
            (center=true), so the squared error is the least for one bit per dimension
shared      8 dim bytes; scale=true: 12 dim
source      two-level quantizer with optimal levels, Max 1960, doi:10.1109/TIT.1960.1057548, section IV;
            levels and thresholds alternate as in Lloyd 1982, doi:10.1109/TIT.1982.1056489
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Codec, Codes, Rows
from vecstore.codecs.bitscan import BitScan, HammingScan, bit_weights
from vecstore.codecs.parts import require
from vecstore.codecs.scan import PulledScan, ScaledScan, Scan
from vecstore.codecs.sign import levels as learn
from vecstore.codecs.transforms.center import offsets
from vecstore.errors import InputError, SpecError
from vecstore.kernels import bits

_SCALE_BYTES = 2


@dataclass(frozen=True, eq=False)
class Sign(Codec):
    """One bit per dimension: which of two levels is nearer, or with center=false the sign."""

    name: ClassVar[str] = "sign"
    dim: int
    center: bool
    scale: bool
    levels: NDArray[np.float32]  # (2, dim): the value of bit 0 and of bit 1
    mean: NDArray[np.float32]  # (dim,), what a row's scale stretches from; (0,) without scales

    def __post_init__(self) -> None:
        require(self.levels, (2, self.dim), np.float32)
        require(self.mean, (self.dim if self.scale else 0,), np.float32)

    @classmethod
    def fit(
        cls,
        sample: Rows,
        *,
        seed: int = 0,
        center: bool | None = None,
        scale: bool | str | None = None,
        bytes: int | None = None,
    ) -> Self:
        """center: bits tell which level is nearer (true) or the sign (false), by default as keeps more of the
        sample's neighbours. scale: true gives each row a factor, two bytes; auto does so where that keeps
        more neighbours than as many bits do. bytes: the row's size, which tells scale."""
        dim = sample.shape[1]
        if scale not in (None, True, False, "auto"):
            raise SpecError(f"sign has scale={scale}; expected true, false or auto")
        if bytes is not None:
            plain = (dim + 7) // 8
            if bytes not in (plain, plain + _SCALE_BYTES) or scale not in (None, "auto", bytes > plain):
                raise SpecError(
                    f"sign cannot make rows of {bytes} bytes from {dim} dimensions; it makes {plain}, and "
                    f"{plain + _SCALE_BYTES} with scale=true"
                )
            scale = bytes > plain
        if not len(sample):
            raise InputError("sign is fitted on rows, and there are none")
        center, scaled = learn.choose(sample, center, None if scale == "auto" else bool(scale), seed)
        levels, mean = learn.fit_levels(learn.subsample(sample, seed), center)
        return cls(
            dim=dim, center=center, scale=scaled, levels=levels, mean=mean if scaled else mean[:0].copy()
        )

    @property
    def code_bytes(self) -> int:
        """One bit per dimension, and the scale."""
        return self.side_bytes + (self.dim + 7) // 8

    @property
    def side_bytes(self) -> int:
        """The scale, as float16."""
        return _SCALE_BYTES if self.scale else 0

    @cached_property
    def thresholds(self) -> NDArray[np.float32]:
        """(dim,); values above it get a 1."""
        if not self.center:
            return np.zeros(self.dim, np.float32)
        return learn.middle(self.levels)

    @cached_property
    def ball(self) -> tuple[Rows, float]:
        """The corners of the box of levels."""
        half = (self.levels[1] - self.levels[0]).astype(np.float64) / 2
        return learn.middle(self.levels), float(np.linalg.norm(half))

    def leading(self, dims: int) -> Self:
        """Every eighth, without scales, which are of whole rows."""
        if self.scale:
            raise SpecError("sign with scale=true has a scale for each whole row, so its codes have no tiers")
        if dims % 8:
            raise SpecError(f"{dims} dimensions of one bit end inside a byte; take a multiple of 8")
        return replace(self, dim=dims, levels=self.levels[:, :dims].copy())

    def _saturated(self, rows: Rows, codes: Codes) -> NDArray[np.bool_]:
        """With scales, rows whose scale is the last one."""
        if not self.scale:
            return super()._saturated(rows, codes)
        return np.asarray(np.abs(self._factors(codes)) >= learn.END)

    def _bits(self, rows: Rows) -> Codes:
        return np.packbits(rows > self.thresholds, axis=1, bitorder="little")

    def _encode(self, rows: Rows, codes: Codes) -> None:
        codes[:, self.side_bytes :] = self._bits(rows)
        if self.scale:
            near = np.empty(rows.shape, np.float32)
            bits.choose(np.ascontiguousarray(codes[:, self.side_bytes :]), self.levels, near)
            codes[:, : self.side_bytes] = learn.scales(rows - self.mean, near - self.mean).view(np.uint8)

    def _decode(self, codes: Codes, rows: Rows) -> None:
        bits.choose(np.ascontiguousarray(codes[:, self.side_bytes :]), self.levels, rows)
        if self.scale:
            rows -= self.mean
            rows *= self._factors(codes)[:, None]
            rows += self.mean

    def _factors(self, codes: Codes) -> Rows:
        """The scales (n,), zero for bytes that are none."""
        held = np.ascontiguousarray(codes[:, : self.side_bytes]).view("<f2")[:, 0].astype(np.float32)
        return np.where(np.isfinite(held), held, np.float32(0))

    def scan(self, codes: Codes) -> Scan:
        """A weight for each bit: what it adds to the inner product."""
        base = self.mean if self.scale else np.zeros(self.dim, np.float32)
        step = self.levels[1] - self.levels[0]
        low = self.levels[0] - base
        width = self.code_bytes - self.side_bytes

        def weigh(queries: Rows) -> tuple[Rows, NDArray[np.float64]]:
            return bit_weights(queries * step, width), offsets(queries, low)

        scan = BitScan(codes[:, self.side_bytes :], [width], weigh)
        if not self.scale:
            return scan
        # What the levels add stretches with the row, what the mean adds does not.
        scaled = ScaledScan(scan, self._factors(codes))
        return PulledScan(scaled, lambda queries: (queries, offsets(queries, base)))

    def scan_symmetric(self, codes: Codes) -> Scan:
        """Dimensions less twice those in which the bits differ; scales do not count."""
        return HammingScan(codes[:, self.side_bytes :], self.dim, self._bits)
