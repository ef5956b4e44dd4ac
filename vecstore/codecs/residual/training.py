"""Codebooks trained stage by stage, each on what the beam of the stages before it leaves.

All of it happens along the rows' principal axes, which are found once.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.residual.coding import Sums
from vecstore.codecs.transforms.center import mean_row
from vecstore.codecs.transforms.pca import principal_axes, product
from vecstore.kernels import beams, kmeans, levels
from vecstore.kernels.bytedots import Weights
from vecstore.kernels.threads import spread

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

CENTROIDS = 256
_BYTES = 1 << 27  # of the rows times the beam
_LEAST_ROWS = 13_000
_POINTS, _VALUES = 65_536, 1 << 23  # that a codebook is learned from, at most
_PART_POINTS, _PART_VALUES = 16_384, 1 << 22  # that one pass looks at
_LAST_VALUES, _LAST_MOST = 5 << 22, 10  # that the last passes look at together, and how many they are
_LITTLE, _NOTHING = 1e-2, 1e-10  # of the rows' squared lengths
_AXES, _GROWTH = 2, 1.8  # the first axes, and how many times as many come next
_ROWS = 1024  # of which the nearest centroids are found at once
_REPEATS = 1.3  # times the noise of as many independent points: several are what is left of one row
_SOME = 4096  # points that tell how widely they are spread


def train(rows: F32, stages: int, beam: int, seed: tuple[int, ...]) -> F32:
    """Codebooks (stages, k, d) of rows (n, d), n >= 1; k is 256, or the number of rows."""
    rng, dim = np.random.default_rng(seed), rows.shape[1]
    most = max(_LEAST_ROWS, _BYTES // (4 * beam * dim))
    rows = rows[np.sort(rng.permutation(len(rows))[:most])]
    mean = mean_row(rows)
    axes = principal_axes(rows, mean, dim)
    rows = product(rows - mean, axes)
    k = min(CENTROIDS, len(rows))
    books = np.zeros((stages, k, dim), np.float32)
    sums = Sums(rows[:, None], np.zeros((len(rows), 1), np.float32), beam)
    lengths = np.square(rows, dtype=np.float64).sum(axis=1)
    for stage in range(stages):
        first = stage - stage % beams.STAGES
        if stage == first > 0:
            sums = Sums(sums.rest(books[first - beams.STAGES : first]), sums.errors, beam)
        if is_done(sums, books[first:stage], lengths):
            break  # From here on the centroids stay zero.
        # Later codebooks are worth less, and there may be many.
        books[stage] = cluster(some(sums, books[first:stage], rng), k, max(1, 3 - stage // 8))
        if stage + 1 < stages:
            sums.extend(beams.Stage.after(books[first:stage], books[stage]))
    turned = product(books.reshape(-1, dim), np.ascontiguousarray(axes.T)).reshape(books.shape)
    turned[0] += mean
    return turned


def is_done(sums: Sums, books: F32, lengths: F64) -> bool:
    """Whether the best sums leave next to nothing of rows of these squared lengths (n,)."""
    spread = lengths.sum()
    if (lengths + 2 * sums.errors[:, 0]).sum() > _LITTLE * spread:  # so much these errors are sure to tell
        return False
    left = sums.some(books, np.arange(len(lengths)), np.zeros(len(lengths), np.int64))
    return bool(np.square(left, dtype=np.float64).sum() <= _NOTHING * spread)


def some(sums: Sums, books: F32, rng: np.random.Generator) -> F32:
    """What the best sums of rows leave, (p, d) in random order; as many of each row as there is room for."""
    n, found = sums.errors.shape
    most = min(_POINTS, max(CENTROIDS, _VALUES // books.shape[2]))
    taken = min(found, max(1, most // n))
    places = rng.permutation(n * taken)[:most]
    return sums.some(books, places // taken, places % taken)


def cluster(points: F32, k: int, passes: int) -> F32:
    """Centroids (k, d) of points (n, d) in random order, along principal axes: k-means on the first, from
    there on more of them, each time `passes` passes over parts of the points; then some over all of them.

    What is left of rows is spread alike in all directions, and among so many of them k-means would be begun
    with outliers. From few axes on, centroids divide the directions of most variance first, and fit unseen
    rows better.
    """
    n, dim = points.shape
    size = max(CENTROIDS, min(_PART_POINTS, _PART_VALUES // dim))
    size, at = -(-n // -(-n // size)), 0  # parts of equal sizes
    width = min(dim, _AXES)
    centroids = kmeans.split(np.ascontiguousarray(points[:size, :width]), k)
    while width < dim:
        for again in range(passes, 0, -1):
            part = np.ascontiguousarray(points[at : at + size, :width])
            at = at + size if at + size < n else 0
            sums = means(part, levels.of_rows(part), centroids)
            kmeans.move(centroids, *sums, kmeans.STEP if again > 1 else 1)
        width = min(dim, math.ceil(width * _GROWTH))
        centroids = np.concatenate([centroids, np.zeros((k, width - centroids.shape[1]), np.float32)], axis=1)
    weights = levels.of_rows(points)
    for again in range(min(_LAST_MOST, max(2, _LAST_VALUES // points.size)) - 1, 0, -1):
        kmeans.move(centroids, *means(points, weights, centroids), kmeans.STEP if again > 1 else 1)
    return shrunk(points, *means(points, weights, centroids))


def means(points: F32, weights: Weights, centroids: F32) -> tuple[F64, I64]:
    """Sums (k, d) and counts (k,) of the points (n, d) that are nearest to each of centroids (k, d); weights:
    the points by `levels.of_rows`."""
    stage = beams.Stage.after(centroids[None][:0], centroids)
    codes = np.empty((len(points), 1), np.uint8)

    def work(start: int, stop: int) -> None:
        beams.nearest(beams.products(weights, stage, start, stop), stage, codes[start:stop])

    spread(len(points), _ROWS, work)
    sums, counts = np.zeros(centroids.shape), np.zeros(len(centroids), np.int64)
    kmeans.add_up(points, codes, centroids, sums, counts)
    return sums, counts


def shrunk(points: F32, sums: F64, counts: I64) -> F32:
    """The means (k, d) times the share of their variance that is not noise, axis by axis.

    Noise is the variance within, divided by the number of points. A centroid that lies farther out than the
    others is taken to be right about that.
    """
    weights = np.maximum(counts, 1)[:, None]
    found, n, k = sums / weights, len(points), len(counts)
    total = np.square(points[:_SOME], dtype=np.float64).mean(axis=0)
    between = (weights * found**2).sum(axis=0) / n
    noise = np.maximum(total - between, 0) * (_REPEATS * n / max(1, n - k)) / weights
    signal = np.maximum((weights * (found**2 - noise)).sum(axis=0) / n, 0)
    usual = (signal + noise).sum(axis=1, keepdims=True)
    far = np.square(found).sum(axis=1, keepdims=True) / np.where(usual > 0, usual, 1)
    signal = signal * np.maximum(far, 1)
    share = np.divide(signal, signal + noise, where=signal > 0, out=np.zeros_like(found))
    return np.asarray(found * share, np.float32)
