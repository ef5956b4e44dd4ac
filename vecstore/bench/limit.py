"""The least error that any code of a size can have, for rows that are Gaussian with a given covariance.

Reverse water-filling: Cover and Thomas 2006, Elements of Information Theory, theorem 10.3.3. Of all sources
with a covariance the Gaussian one is the hardest, so rows with structure beyond it can be coded with less
error than this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows

_ROWS_PER_DIM = 4  # fewer, and the smallest eigenvalues of the sample's covariance are far too small
_NOTHING = 1e-15  # of the largest eigenvalue: what rounding leaves of a dimension that does not vary
_LEAST_LOSS = 1e-12  # below, what is measured is float32's rounding


def spectrum(rows: Rows) -> NDArray[np.float64] | None:
    """Eigenvalues (dim,) of the rows' covariance; None where there are too few rows to know it."""
    n, dim = rows.shape
    if n < _ROWS_PER_DIM * dim:
        return None
    covariance = np.atleast_2d(np.cov(rows, rowvar=False, dtype=np.float64))
    values: NDArray[np.float64] = np.linalg.eigvalsh(covariance).clip(0)
    return values if values.max() > 0 else None


def least_loss(values: NDArray[np.float64], bits_per_row: float) -> float:
    """sum of min(value, level) over the sum of values, at the level that takes this many bits.

    The level solves sum of max(0, log2(value / level)) / 2 = bits_per_row: with m values above it, its
    logarithm is the mean of theirs less 2 bits_per_row / m.
    """
    values = np.sort(values[values > values.max() * _NOTHING])[::-1]
    above = np.arange(1, len(values) + 1)
    levels = np.exp2((np.cumsum(np.log2(values)) - 2 * bits_per_row) / above)
    # The right m is the largest whose smallest value lies above the level that these m come to.
    level = levels[np.flatnonzero(values >= levels)[-1]]
    return float(np.minimum(values, level).sum() / values.sum())


def gap_db(values: NDArray[np.float64] | None, loss: float | None, bits_per_row: float) -> float | None:
    """Decibels between a relative MSE and the least one at this rate; below zero: less than the bound."""
    if values is None or loss is None or loss <= _LEAST_LOSS:
        return None
    return float(10 * np.log10(loss / least_loss(values, bits_per_row)))


def curve(values: NDArray[np.float64], sizes: Sequence[float]) -> list[float]:
    """The least relative MSE at each of these sizes in bytes a row."""
    return [least_loss(values, 8 * size) for size in sizes]
