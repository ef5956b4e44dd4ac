"""relative: the cosine of a row with each of some rows of the sample, the anchors.

Rows of two models, or of one model twice trained, have nearly the same cosines with the same anchors, so that
they can be compared though the rows themselves cannot.

side_bytes  0
inverse     least squares: the shortest row with these cosines, which is the row's projection onto the span of
            the anchors, at the mean length of the sample. What is lost: each row's own length (`normalize` in
            front keeps it), and what no anchor spans, all of it from `anchors` >= dim on where the sample has
            that many directions. A codec behind rounds cosines, which anchors that are nearly alike blow up
shared      8 anchors dim bytes: the anchors, and the matrix that goes back
source      Moschella et al. 2023, Relative representations enable zero-shot latent space communication,
            arXiv:2209.15430, section 3; anchors drawn evenly
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import LARGEST, Codes, Rows, Transform
from vecstore.codecs.parts import MAX_DIM, require
from vecstore.codecs.transforms.normalize import row_norms
from vecstore.codecs.transforms.pca import product
from vecstore.errors import InputError, SpecError

_SINGULAR = 1e-4  # of the largest singular value: directions below are not gone back to


@dataclass(frozen=True, eq=False)
class Relative(Transform):
    """Transform: cosines with anchors= rows of the sample, drawn by the seed; comparable between models."""

    name: ClassVar[str] = "relative"
    dim: int
    wanted: int  # the anchors asked for, of which the sample may hold fewer
    anchors: NDArray[np.float32]  # (anchors, dim), unit rows
    back: NDArray[np.float32]  # (anchors, dim): cosines @ back is the row again

    def __post_init__(self) -> None:
        require(self.anchors, (None, self.dim), np.float32)
        require(self.back, self.anchors.shape, np.float32)
        if not 1 <= len(self.anchors) <= self.wanted <= MAX_DIM:
            raise ValueError(f"relative has {len(self.anchors)} anchors of {self.wanted}")

    @classmethod
    def fit(cls, sample: Rows, *, seed: int = 0, anchors: int | None = None) -> Self:
        """anchors: how many; by default as many as the rows have dimensions. Of fewer different rows in the
        sample each is one."""
        dim = sample.shape[1]
        wanted = dim if anchors is None else anchors
        if not 1 <= wanted <= MAX_DIM:
            raise SpecError(f"relative has anchors={wanted}; expected 1 to {MAX_DIM}")
        if not len(sample):
            raise InputError("relative is fitted on rows, and there are none")
        norms = row_norms(sample)
        directed = np.flatnonzero(norms > 0)
        order = np.random.default_rng(seed).permutation(directed)
        units = _distinct(_unit(sample[order], norms[order]), wanted)
        if not len(units):  # zero rows only: cosines of zero, and zero rows back
            units = np.zeros((1, dim), np.float32)
        length = float(norms[directed].mean()) if len(directed) else 0.0
        back = np.linalg.pinv(units.astype(np.float64), rcond=_SINGULAR).T * length
        return cls(dim=dim, wanted=wanted, anchors=units, back=np.ascontiguousarray(back, np.float32))

    def options(self) -> dict[str, int | float | bool | str]:
        """The spec's `anchors` is the number asked for."""
        return {"anchors": self.wanted}

    @property
    def dim_out(self) -> int:
        """The number of anchors."""
        return len(self.anchors)

    def safe_size(self, rest: float) -> float:
        """Whatever a row's length, what comes out is at most one."""
        return LARGEST if rest >= 1 else 0.0

    @cached_property
    def _columns(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.anchors.T)

    @cached_property
    def _back_columns(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.back.T)

    def apply(self, rows: Rows, side: Codes) -> Rows:
        """<row, anchor> / |row|; of a zero row zeros."""
        cosines = product(_unit(rows, row_norms(rows)), self._columns)
        return np.clip(cosines, -1, 1, out=cosines)

    def invert(self, rows: Rows, side: Codes) -> Rows:
        """cosines @ back."""
        return product(rows, self.back)

    def pull(self, queries: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """<q, cosines @ back> = <back q, cosines>."""
        return product(queries, self._back_columns), np.zeros(len(queries))


def _unit(rows: Rows, norms: NDArray[np.float64]) -> Rows:
    """rows at length one; a zero row stays zero."""
    return (rows / np.where(norms > 0, norms, 1.0)[:, None]).astype(np.float32)


def _distinct(units: Rows, wanted: int) -> Rows:
    """The first `wanted` rows of which none is another again, in order."""
    bits = np.ascontiguousarray(units).view(np.dtype((np.void, 4 * units.shape[1]))).ravel()
    first = np.unique(bits, return_index=True)[1]
    return units[np.sort(first)[:wanted]]
