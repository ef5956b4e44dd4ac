"""pca: turns rows onto their principal axes, keeps the first ones.

side_bytes  0
inverse     least squares (exact up to rounding where all axes are kept)
source      Pearson 1901, doi:10.1080/14786440109462720; eigenvectors of the sample's covariance
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from vecstore.codecs.base import LARGEST, Codes, Rows, Transform
from vecstore.codecs.parts import require
from vecstore.codecs.transforms.center import mean_row, offsets
from vecstore.errors import SpecError
from vecstore.kernels.matmul import matmul


@dataclass(frozen=True, eq=False)
class Pca(Transform):
    """Transform: principal axes, the first dim= of them (all by default)."""

    name: ClassVar[str] = "pca"
    learns: ClassVar[bool] = True
    dim: int
    mean: NDArray[np.float32]  # (dim,)
    axes: NDArray[np.float32]  # (dim, kept), orthonormal columns, by falling variance

    def __post_init__(self) -> None:
        require(self.mean, (self.dim,), np.float32)
        require(self.axes, (self.dim, None), np.float32)
        if not 1 <= self.axes.shape[1] <= self.dim:
            raise ValueError(f"pca has {self.axes.shape[1]} axes in {self.dim} dimensions")

    @classmethod
    def fit(cls, sample: Rows, *, seed: int = 0, dim: int | None = None) -> Self:
        """dim: how many axes are kept, 1 to the width of the rows; by default all."""
        width = sample.shape[1]
        kept = width if dim is None else dim
        if not 1 <= kept <= width:
            raise SpecError(f"pca has dim={dim}; the rows have {width}, so 1 to that")
        mean = mean_row(sample)
        return cls(dim=width, mean=mean, axes=principal_axes(sample, mean, kept))

    def options(self) -> dict[str, int | float | bool | str]:
        """The spec's `dim` is the number of axes."""
        return {"dim": self.dim_out}

    @property
    def dim_out(self) -> int:
        """The number of axes."""
        return int(self.axes.shape[1])

    def safe_size(self, rest: float) -> float:
        """The mean adds to a row, and all of its length can lie on one axis."""
        return float(min(rest, LARGEST) / np.sqrt(self.dim) - np.abs(self.mean).max())

    @cached_property
    def _back(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.axes.T)

    def apply(self, rows: Rows, side: Codes) -> Rows:
        """(rows - mean) @ axes."""
        return product(rows - self.mean, self.axes)

    def invert(self, rows: Rows, side: Codes) -> Rows:
        """rows @ axes.T + mean."""
        return product(rows, self._back) + self.mean

    def pull(self, queries: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """<q, axes row + mean> = <axes.T q, row> + <q, mean>."""
        return product(queries, self.axes), offsets(queries, self.mean)


def principal_axes(sample: Rows, mean: NDArray[np.float32], kept: int) -> NDArray[np.float32]:
    """The first `kept` principal axes (dim, kept) of the sample about its mean, by falling variance."""
    width = sample.shape[1]
    vectors = (_of_few_rows if kept < len(sample) < width else _of_many_rows)(sample, mean, kept)
    return with_fixed_signs(vectors)


def _of_many_rows(sample: Rows, mean: NDArray[np.float32], kept: int) -> NDArray[np.float64]:
    """The first eigenvectors (dim, kept) of the covariance."""
    return spectrum(sample, mean)[1][:, :kept]


Spectrum = tuple[NDArray[np.float64], NDArray[np.float64]]
_known: ContextVar[dict[bytes, Spectrum] | None] = ContextVar("spectra", default=None)


@contextmanager
def spectra_kept() -> Iterator[None]:
    """Inside, the spectrum of a sample is found once: many codecs are fitted on the same rows there."""
    before = _known.set({})
    try:
        yield
    finally:
        _known.reset(before)


def spectrum(sample: Rows, mean: NDArray[np.float32]) -> Spectrum:
    """Eigenvalues (dim,) of the sample's covariance, falling, and its eigenvectors, (dim, dim) columns."""
    if (known := _known.get()) is None:
        return _spectrum(sample, mean)
    # By what they hold: arrays change, and others come to stand where one was.
    key = b"".join(xxhash.xxh3_128_digest(np.ascontiguousarray(part).data) for part in (sample, mean))
    if key not in known:
        known[key] = _spectrum(sample, mean)
    return known[key]


def _spectrum(sample: Rows, mean: NDArray[np.float32]) -> Spectrum:
    covariance = np.zeros((sample.shape[1], sample.shape[1]))
    for start in range(0, len(sample), 8192):  # float64 of a few rows at a time, not of the whole
        centred = sample[start : start + 8192].astype(np.float64) - mean
        covariance += centred.T @ centred
    values, vectors = np.linalg.eigh(covariance)
    return values[::-1] / max(len(sample), 1), vectors[:, ::-1]


def _of_few_rows(sample: Rows, mean: NDArray[np.float32], kept: int) -> NDArray[np.float64]:
    """The same from the inner products of the rows, of which there are fewer than dimensions."""
    centred = sample.astype(np.float64) - mean
    weights = np.linalg.eigh(centred @ centred.T)[1][:, ::-1][:, :kept]
    # Orthonormal also where rows repeat each other and leave directions open.
    first: NDArray[np.float64] = np.linalg.qr(centred.T @ weights)[0]
    return first


def with_fixed_signs(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Eigenvectors with their largest component positive: their sign is arbitrary, axes are to be equal."""
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    return np.ascontiguousarray(vectors * signs, dtype=np.float32)


def product(rows: Rows, matrix: NDArray[np.float32]) -> Rows:
    """rows (n, a) @ matrix (a, b); a row's result does not depend on its neighbours or the machine."""
    out = np.empty((len(rows), matrix.shape[1]), np.float32)
    matmul(np.ascontiguousarray(rows), matrix, out)
    return out
