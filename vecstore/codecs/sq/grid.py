"""The choice of sq's grids: which range of values each dimension's codes cover."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows
from vecstore.codecs.transforms.center import mean_row
from vecstore.kernels import scalar

# What the automatic choice tries: the share of rows cut off on either side, and the widening after it.
_CLIPS = (0.0002, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06)
_RANGES = [(0.0, widen) for widen in (2.2, 1.6, 1.3, 1.15, 1.05, 1.0)] + [(clip, 1.0) for clip in _CLIPS]
_POOLED_ROWS = 2048  # with fewer rows one choice for all dimensions
_USUAL = 4.0  # rows beyond this many times the median squared distance to the mean count less

Grid = tuple[NDArray[np.float64], NDArray[np.float64]]  # low and step, (dim,) each


def inverse(step: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / step; 0 for a step of 0, whose codes are all 0."""
    with np.errstate(divide="ignore", over="ignore"):
        turned = np.where(step > 0, 1 / step, 0).astype(np.float32)
    # The step of nearly constant values can be denormal; its inverse must stay finite.
    return np.minimum(turned, np.finfo(np.float32).max)


def quantile_grid(ordered: Rows, clip: float, bits: int, widen: float = 1.0) -> Grid:
    """The grid between the clip and 1 - clip quantiles, widened about its middle; ordered (n, dim) sorted."""
    if len(ordered) == 0:
        return np.zeros(ordered.shape[1]), np.zeros(ordered.shape[1])
    cut = int(clip * (len(ordered) - 1))
    low = ordered[cut].astype(np.float64)
    high = ordered[len(ordered) - 1 - cut].astype(np.float64)
    margin = (widen - 1) * (high - low) / 2
    return low - margin, (high - low + 2 * margin) / (2**bits - 1)


def best_grid(rows: Rows, bits: int) -> Grid:
    """The grid per dimension that loses least on rows that it was not fitted on."""
    if len(rows) == 0:
        return np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    weights = _weights(rows)
    halves = [(rows[at::2], weights[at::2]) for at in (0, 1)]
    errors = np.zeros((len(_RANGES), rows.shape[1]))
    for (fit_rows, fit_weights), (test_rows, test_weights) in (halves, halves[::-1]):
        ordered = np.sort(fit_rows, axis=0)
        for at, (clip, widen) in enumerate(_RANGES):
            grid = _refit(fit_rows, fit_weights, quantile_grid(ordered, clip, bits, widen), bits)
            errors[at] += _sums(test_rows, test_weights, grid, bits)[0]
    if len(rows) < _POOLED_ROWS:  # Too few rows to tell for each dimension alone.
        spread = rows.var(axis=0, dtype=np.float64)
        errors[:] = (errors / np.where(spread > 0, spread, 1)).sum(axis=1, keepdims=True)
    best = errors.argmin(axis=0)
    ordered = np.sort(rows, axis=0)
    grids = [quantile_grid(ordered, clip, bits, widen) for clip, widen in _RANGES]
    low, step = (np.choose(best, [grid[part] for grid in grids]) for part in (0, 1))
    return _refit(rows, weights, (low, step), bits)


def _weights(rows: Rows) -> NDArray[np.float64]:
    """1 for usual rows, less for rows far from the mean: else a few giants would stretch every grid until
    all other rows fell into one cell of it."""
    distance = np.square(rows - mean_row(rows), dtype=np.float64).sum(axis=1)
    usual = _USUAL * float(np.median(distance))
    return np.where(distance > usual, usual / np.where(distance > 0, distance, 1.0), 1.0)


def _refit(rows: Rows, weights: NDArray[np.float64], grid: Grid, bits: int) -> Grid:
    """The line through the means of the grid's cells, which loses less with the same codes."""
    _, weight, code, square, value, both = _sums(rows, weights, grid, bits)
    n = np.where(weight > 0, weight, 1.0)
    spread = square - code * code / n
    slope = both - code * value / n
    usable = (spread > 1e-9 * square) & (slope > 0)
    step = np.where(usable, slope / np.where(usable, spread, 1), grid[1])
    return np.where(usable, value / n - step * code / n, grid[0]), step


def _sums(rows: Rows, weights: NDArray[np.float64], grid: Grid, bits: int) -> NDArray[np.float64]:
    """`scalar.grid_sums`: squared error, weight, codes, their squares, values, products; (6, dim)."""
    low, step = (part.astype(np.float32) for part in grid)
    sums = np.empty((6, rows.shape[1]))
    top = np.float32(2**bits - 1)
    scalar.grid_sums(rows, weights, np.stack([low, inverse(step), step]), top, sums)
    return sums
