"""whiten: turns rows onto their principal axes and scales each axis to unit variance.

side_bytes  0
inverse     exact up to rounding. An axis whose variance is below `floor` times the largest is scaled as if it
            had that much, so its variance comes out below one and its rounding is not blown up
shared      4 dim (dim + 2) bytes
source      PCA whitening in Kessy, Lewin, Strimmer 2018, doi:10.1080/00031305.2016.1277159
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import LARGEST, Codes, Rows, Transform, unsound
from vecstore.codecs.parts import require
from vecstore.codecs.transforms.center import mean_row, offsets
from vecstore.codecs.transforms.pca import product, spectrum, with_fixed_signs
from vecstore.errors import SpecError

_LEAST_SCALE = 1e-20  # so that rows as small as float32 has them do not become infinite
_ROUNDING = 2.0**-22  # of values beside the largest one: below this, variance is what rounding left


@dataclass(frozen=True, eq=False)
class Whiten(Transform):
    """Transform: principal axes scaled to unit variance; floor= least variance, as a share of the largest."""

    name: ClassVar[str] = "whiten"
    learns: ClassVar[bool] = True
    dim: int
    floor: float
    mean: NDArray[np.float32]  # (dim,)
    axes: NDArray[np.float32]  # (dim, dim), orthonormal columns, by falling variance
    scales: NDArray[np.float32]  # (dim,), > 0: what one is in the direction of each axis

    def __post_init__(self) -> None:
        require(self.mean, (self.dim,), np.float32)
        require(self.axes, (self.dim, self.dim), np.float32)
        require(self.scales, (self.dim,), np.float32)
        if not (self.scales >= _LEAST_SCALE / 2).all() or not _is_share(self.floor):
            raise ValueError(f"whiten has scales from {self.scales.min():g} and floor={self.floor}")

    @classmethod
    def fit(cls, sample: Rows, *, seed: int = 0, floor: float = 1e-4) -> Self:
        """floor: least variance of an axis, as a share of the largest, above 0 and at most 1."""
        if not _is_share(floor):
            raise SpecError(f"whiten has floor={floor}; expected more than 0 and at most 1")
        mean = mean_row(sample)
        values, vectors = spectrum(sample, mean)
        rounding = _ROUNDING * float(np.abs(sample).max(initial=0.0))
        deviations = np.sqrt(np.maximum(values, floor * max(float(values[0]), 0.0)))
        if deviations[0] <= rounding:  # rows that are all equal: nothing to scale by
            deviations[:] = 1.0
        scales = np.maximum(deviations, max(rounding, _LEAST_SCALE)).astype(np.float32)
        return cls(dim=sample.shape[1], floor=floor, mean=mean, axes=with_fixed_signs(vectors), scales=scales)

    @property
    def dim_out(self) -> int:
        """As wide as what it takes."""
        return self.dim

    def safe_size(self, rest: float) -> float:
        """The mean adds to a row, and all of its length can lie on the axis that is scaled up most."""
        least = min(float(self.scales.min()), 1.0)
        return float(min(rest, LARGEST) * least / np.sqrt(self.dim) - np.abs(self.mean).max())

    def refused(self, rows: Rows) -> NDArray[np.bool_]:
        """Also rows that are too large when scaled, whatever stands behind."""
        bad = super().refused(rows)
        inside = self.apply(np.where(bad[:, None], np.float32(0), rows), np.empty((len(rows), 0), np.uint8))
        return bad | unsound(inside, LARGEST)

    @cached_property
    def _forward(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.axes / self.scales)

    @cached_property
    def _back(self) -> NDArray[np.float32]:
        return np.ascontiguousarray((self.axes * self.scales).T)

    def apply(self, rows: Rows, side: Codes) -> Rows:
        """(rows - mean) @ axes / scales."""
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused
            return product(rows - self.mean, self._forward)

    def invert(self, rows: Rows, side: Codes) -> Rows:
        """(rows * scales) @ axes.T + mean."""
        return product(rows, self._back) + self.mean

    def pull(self, queries: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """<q, axes (scales row) + mean> = <scales (axes.T q), row> + <q, mean>."""
        return product(queries, np.ascontiguousarray(self._back.T)), offsets(queries, self.mean)


def _is_share(floor: float) -> bool:
    return math.isfinite(floor) and 0 < floor <= 1
