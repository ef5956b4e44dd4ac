"""Codebooks trained stage by stage, each on what the beam of the stages before it leaves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.residual.coding import Chapter, Sums
from vecstore.codecs.transforms.center import mean_row
from vecstore.codecs.transforms.pca import principal_axes, product
from vecstore.kernels import kmeans

F32 = NDArray[np.float32]

CENTROIDS = 256
_BYTES = 1 << 27  # of the rows times the beam
_POINTS = 65_536  # that a codebook is learned from
_NOTHING = 1e-10  # of the rows' squared lengths
_STEPS = 10  # from one axis to all of them, each the same number of times as many
_PASSES, _LAST = 6, 10  # of k-means at each step, and over all axes


def train(rows: F32, stages: int, beam: int, seed: tuple[int, ...]) -> F32:
    """Codebooks (stages, k, d) of rows (n, d), n >= 1; k is 256, or the number of rows."""
    rng = np.random.default_rng(seed)
    most = max(_POINTS // beam, _BYTES // (4 * beam * rows.shape[1]))
    mean = mean_row(rows)
    rows = rows[np.sort(rng.permutation(len(rows))[:most])] - mean
    k = min(CENTROIDS, len(rows))
    books = np.zeros((stages, k, rows.shape[1]), np.float32)
    rest, errors = rows[:, None], np.zeros((len(rows), 1), np.float32)
    spread = np.square(rows, dtype=np.float64).sum()
    for stage in range(stages):
        points = np.ascontiguousarray(rest.reshape(-1, rows.shape[1]))
        if len(points) > _POINTS:
            points = points[np.sort(rng.permutation(len(points))[:_POINTS])]
        subseed = int(np.random.SeedSequence((*seed, stage)).generate_state(1)[0])
        books[stage] = cluster(points, k, subseed)
        if stage + 1 < stages:
            chapter, sums = Chapter(books[stage : stage + 1]), Sums(rest, errors, beam)
            sums.extend(chapter.stages[0])
            rest, errors = chapter.rest(sums), sums.errors
            if np.square(rest[:, 0], dtype=np.float64).sum() <= _NOTHING * spread:
                break  # Each row is a sum already; from here on the centroids stay zero.
    books[0] += mean
    return books


def cluster(points: F32, k: int, seed: int) -> F32:
    """Centroids (k, d) of points (n, d): k-means on a few principal axes, from there on more of them.

    What is left of rows is spread alike in all directions, and k-means++ begins it with outliers. From few
    axes on, centroids divide the directions of most variance first, and fit unseen rows better.
    """
    dim = points.shape[1]
    mean = mean_row(points)
    axes = principal_axes(points, mean, dim)
    turned = product(points - mean, axes)
    widths = sorted({round(dim ** (step / _STEPS)) for step in range(1, _STEPS + 1)})
    centroids = kmeans.train(np.ascontiguousarray(turned[:, : widths[0]]), k, seed=seed)
    for width in widths[1:]:
        before, centroids = centroids, np.zeros((k, width), np.float32)
        centroids[:, : before.shape[1]] = before
        passes = _PASSES if width < dim else _LAST
        kmeans.improve(np.ascontiguousarray(turned[:, :width]), centroids, passes, passes - 2)
    found = centroids.astype(np.float64) @ axes.T.astype(np.float64) + mean
    return found.astype(np.float32)
