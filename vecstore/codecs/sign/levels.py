"""What sign learns: the levels of its bits, and by trial on held-out rows what is worth having."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows
from vecstore.codecs.transforms.center import mean_row
from vecstore.codecs.trial import Trial
from vecstore.kernels import bits

_FIT_ROWS = 16384
_ROUNDS = 30  # of levels and thresholds; the error settles within four on all sets of the benchmarks
_LEAST_ROWS = 512  # with fewer the trial would tell nothing
_TRIAL_ROWS, _TRIAL_QUERIES = 4096, 256
_MEDIAN_ROWS = 2048
_USUAL = 16.0  # rows beyond this many times the median squared distance to the median row count less
_NEAR = 0.75  # the share of rows that count in full whatever their distance
_SCALE_BITS = 16
END = 65504.0  # float16's largest


def subsample(sample: Rows, seed: int) -> Rows:
    """At most as many rows as the levels are learned from."""
    if len(sample) <= _FIT_ROWS:
        return sample
    chosen = np.random.default_rng(seed).choice(len(sample), _FIT_ROWS, replace=False)
    return np.ascontiguousarray(sample[np.sort(chosen)])


def middle(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(dim,): halfway between the levels (2, dim)."""
    found: NDArray[np.float32] = (levels[0] + levels[1]) * np.float32(0.5)
    return found


def fit_levels(rows: Rows, center: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Levels (2, dim), the mean of the values on either side, and the mean of all (dim,).

    center: thresholds move to the middle of the levels, and again; else they are zero. Rows that are far
    longer than usual count less: a few giants would take a level for themselves.
    """
    weights = usual_weights(rows)
    mean = np.asarray(np.average(rows, axis=0, weights=weights), np.float32)
    threshold = mean if center else np.zeros_like(mean)
    levels = _split(rows, weights, threshold, mean)
    for _ in range(_ROUNDS if center else 0):
        before, levels = levels, _split(rows, weights, middle(levels), mean)
        if np.array_equal(before, levels):
            break
    return levels, mean


def usual_weights(rows: Rows) -> NDArray[np.float64]:
    """1 for usual rows, less for those that are far from the median row."""
    median = np.median(rows[:: -(-len(rows) // _MEDIAN_ROWS)], axis=0)
    distance = np.square(rows - median, dtype=np.float64).sum(axis=1)
    # Where most rows are the same one (zeros for what was never embedded), they are the median row, and do
    # not tell how far from it the others usually are.
    apart = distance[distance > 0]
    if not len(apart):
        return np.ones(len(rows))
    usual = max(_USUAL * float(np.median(apart)), float(np.quantile(apart, _NEAR)))
    weights: NDArray[np.float64] = usual / np.maximum(distance, usual)
    return weights


def split_means(rows: Rows, threshold: NDArray[np.float32]) -> NDArray[np.float32]:
    """The means (2, dim) of the values up to the threshold and of those above it."""
    return _split(rows, np.ones(len(rows)), threshold, mean_row(rows))


def _split(
    rows: Rows, weights: NDArray[np.float64], threshold: NDArray[np.float32], mean: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The means below and above the threshold; the mean of all where there is nothing."""
    sums = np.empty((4, rows.shape[1]))
    bits.split_sums(rows, weights, threshold, sums)
    held = sums[0::2]
    found = sums[1::2] / np.where(held > 0, held, 1)
    return np.where(held > 0, found, mean).astype(np.float32)


def scales(rows: Rows, near: Rows) -> NDArray[np.float16]:
    """(n, 1): the s that minimises |row - s near|^2, as float16."""
    both = np.multiply(rows, near, dtype=np.float64).sum(axis=1)
    own = np.square(near, dtype=np.float64).sum(axis=1)
    found = both / np.where(own > 0, own, 1)
    rounded: NDArray[np.float16] = np.clip(found, -END, END).astype("<f2")[:, None]
    return rounded


def choose(sample: Rows, center: bool | None, scale: bool | None, seed: int) -> tuple[bool, bool]:
    """center and scale as given or, of those that are None, as half of the sample tells on the other half.

    The measure is the share of a row's nearest neighbours that are the nearest decoded ones, by squared
    distance. A difference below two standard errors is none, and then the smaller error or code is taken.
    """
    dim = sample.shape[1]
    known = center is not None and scale is not None
    trial = None if known else halves(sample, seed)
    if trial is None:
        return center is None or center, scale or False
    fit_rows, rows = trial.fit_rows, trial.rows
    if center is None:
        shares = [trial.shares(_decoded(rows, fit_levels(fit_rows, way)[0], way)) for way in (True, False)]
        center = not clearly(shares[1] - shares[0], 0.0)
    if scale is None:
        scale = False
        if dim > 2 * _SCALE_BITS:  # with fewer, scales would be half of the code
            levels, mean = fit_levels(fit_rows, center)
            near = _decoded(rows, levels, center) - mean
            plain = trial.shares(near + mean)
            scaled = trial.shares(near * scales(rows - mean, near).astype(np.float32) + mean)
            # As many bits are taken away elsewhere: what they were worth, the scales must be worth, too.
            fewer = near.copy()
            fewer[:, np.linspace(0, dim - 1, _SCALE_BITS).astype(np.int64)] = 0
            worth = float((plain - trial.shares(fewer + mean)).mean())
            scale = clearly(scaled - plain, max(worth, 0.0))
    return center, scale


def clearly(gains: NDArray[np.float64], least: float) -> bool:
    """Whether the mean of the gains is beyond `least` by more than two standard errors."""
    return bool(gains.mean() - 2 * gains.std() / np.sqrt(len(gains)) > least)


def _decoded(rows: Rows, levels: NDArray[np.float32], center: bool) -> Rows:
    above = rows > (middle(levels) if center else np.float32(0))
    found: Rows = np.where(above, levels[1], levels[0])
    return found


def halves(sample: Rows, seed: int) -> Trial | None:
    """A trial with one half of a sample on the other; None for too few rows to tell anything."""
    if len(sample) < _LEAST_ROWS:
        return None
    order = np.random.default_rng(seed).permutation(len(sample))
    half = len(sample) // 2
    rows = sample[order[half:][:_TRIAL_ROWS]]
    queries = min(_TRIAL_QUERIES, len(rows) // 4)
    return Trial(np.ascontiguousarray(sample[np.sort(order[:half][:_FIT_ROWS])]), rows, queries)
