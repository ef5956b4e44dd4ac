"""k-means by Lloyd's iteration with long steps, the same centroids for a seed on every machine.

Lloyd 1982, doi:10.1109/TIT.1982.1056489; begun by k-means++ (Arthur, Vassilvitskii 2007, section 2.2) on
a subsample. A step goes STEP times as far as the mean (Lee, Baek, Sung 1997, "A modified K-means
algorithm for vector quantizer design"), which still lowers the error because STEP < 2, and the first
steps look at a quarter of the points: 12 passes then do what took 25. Distances are those of
`product.assign`, sums are float64 in the order of the points, so nothing depends on the instruction set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.isa import ISA, LANES
from vecstore.kernels.jit import kernel
from vecstore.kernels.nearest import BLOCK, assign_plain, assign_vectors
from vecstore.kernels.simd import empty_floats
from vecstore.kernels.threads import spread

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
ITERATIONS = 12  # over all points
WARM_UP = 8  # over a quarter of them, before
STEP = 1.8
SEED_POINTS = 32  # points per centroid that k-means++ looks at


def train(points: F32, k: int, *, iterations: int = ITERATIONS, seed: int = 0) -> F32:
    """Centroids (k, d) float32 of points (n, d) float32, C-contiguous, finite, n >= 1; 1 <= k <= 256.

    A centroid is the mean of the points that were nearest to the one before; one that is left without a
    point goes to the point that is farthest from its own. With fewer distinct points than k,
    every distinct point is a centroid and the rest repeat some of them. Ends early when no point changes
    its centroid.
    """
    n, d = points.shape
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    centroids = np.empty((k, d), np.float32)
    _seed(np.ascontiguousarray(points[order[: SEED_POINTS * k]].T), rng.random(k), centroids)
    if n // 4 >= SEED_POINTS * k and iterations:
        improve(points[np.sort(order[: n // 4])], centroids, WARM_UP, WARM_UP)
    improve(points, centroids, iterations, iterations - 2)
    return centroids


def improve(points: F32, centroids: F32, iterations: int, long: int) -> None:
    """Lloyd's iterations on `centroids` in place, the first `long` of them with long steps."""
    (n, d), k = points.shape, len(centroids)
    book = empty_floats(-(-k // BLOCK) * BLOCK * d)
    book[:] = np.inf  # what stands beyond k, no point is near to
    starts, codes = np.array([0, d]), np.empty((2, n, 1), np.uint8)
    sums, counts = np.zeros((k, d)), np.zeros(k, np.int64)
    scratch, found = empty_floats(d * LANES), empty_floats(2 * LANES)
    iteration = 0
    while iteration < iterations:
        iteration, settled = _improve(
            points,
            centroids,
            iteration,
            iterations,
            long,
            (starts, book, codes, sums, counts, scratch, found),
        )
        if settled or iteration == iterations:
            return
        # Some centroids have no point, which is rare.
        codes_now, codes_before = codes[iteration % 2], codes[(iteration + 1) % 2]
        same = iteration > 0 and np.array_equal(codes_now, codes_before)
        settled = not _fill_empty(points, codes_now, centroids, sums, counts) and same
        move(centroids, sums, counts, 1 if settled or iteration >= long else STEP)
        if settled:
            return
        iteration += 1


def add_up(points: F32, codes: U8, centroids: F32, sums: F64, counts: I64) -> bool:
    """sums (k, d) of the points with each of codes (n, 1) and their counts (k,), zeros before, written.

    Centroids that have no point get one each of those farthest from theirs, and codes tell so; returns
    whether there were such points.
    """
    sum_up(points, codes, sums, counts)
    return not counts.all() and _fill_empty(points, codes, centroids, sums, counts)


def move(centroids: F32, sums: F64, counts: I64, step: float) -> None:
    """Takes centroids `step` times as far as the means; those without points repeat one that has many."""
    filled = counts > 0
    centroids[filled] = (1 - step) * centroids[filled] + step * (sums[filled] / counts[filled, None])
    centroids[~filled] = centroids[counts.argmax()]


def train_product(rows: F32, starts: I64, k: int, *, iterations: int = ITERATIONS, seed: int = 0) -> F32:
    """Centroids (k, dim) for product quantization: `train` in each subspace starts[j]:starts[j+1].

    rows (n, dim) float32. Subspace j is seeded with (seed, j), so it may be trained alone or on a thread.
    """
    centroids = np.empty((k, rows.shape[1]), np.float32)

    def work(first: int, last: int) -> None:
        for j in range(first, last):
            part = slice(starts[j], starts[j + 1])
            points = np.ascontiguousarray(rows[:, part])
            subseed = int(np.random.SeedSequence((seed, j)).generate_state(1)[0])
            centroids[:, part] = train(points, k, iterations=iterations, seed=subseed)

    spread(len(starts) - 1, 1, work)
    return centroids


def split(points: F32, k: int) -> F32:
    """Means (k, d) of parts of points (n, d), n >= 1: the part of the largest sum of squared distances is cut
    in two where its widest dimension has its mean, until there are k parts.

    Where there are fewer distinct points, the rest repeat the first. Su, Dy 2007, "In search of deterministic
    methods for initializing k-means and Gaussian mixture clustering", Var-Part.
    """
    n, d = points.shape
    means, order, bounds = np.zeros((k, d)), np.arange(n), np.zeros((k, 2), np.int64)
    count = _split(points, order, bounds, means)
    means[count:] = means[0]
    return means.astype(np.float32)


@kernel
def _split(points: F32, order: I64, bounds: I64, means: F64) -> int:
    """`split`; order (n,): the points' numbers, sorted by part; bounds (k, 2): where a part begins and
    ends in it. Returns how many parts there are."""
    k = means.shape[0]
    spreads, widest = np.zeros(k), np.zeros(k, np.int64)
    bounds[0, 1] = order.size
    spreads[0], widest[0] = _measure(points, order, means[0])
    count = 1
    while count < k:
        part = np.argmax(spreads)
        if spreads[part] <= 0:
            break
        begin, end, t = bounds[part, 0], bounds[part, 1], widest[part]
        low, high = begin, end
        while low < high:
            if points[order[low], t] <= means[part, t]:
                low += 1
            else:
                high -= 1
                order[low], order[high] = order[high], order[low]
        if low == begin or low == end:  # The mean was rounded to the largest value
            spreads[part] = 0
            continue
        bounds[part, 1], bounds[count, 0], bounds[count, 1] = low, low, end
        spreads[part], widest[part] = _measure(points, order[begin:low], means[part])
        spreads[count], widest[count] = _measure(points, order[low:end], means[count])
        count += 1
    return count


@kernel
def _measure(points: F32, chosen: I64, mean: F64) -> tuple[float, int]:
    """The sum of squared distances from the mean, which is written, and the dimension that adds most."""
    mean[:] = 0
    for i in chosen:
        for t in range(mean.size):
            mean[t] += points[i, t]
    mean /= chosen.size
    squares = np.zeros(mean.size)
    for i in chosen:
        for t in range(mean.size):
            squares[t] += (points[i, t] - mean[t]) ** 2
    return squares.sum(), int(np.argmax(squares))


@kernel
def sum_up(points: F32, codes: U8, sums: F64, counts: I64) -> None:
    """sums[codes[i]] += points[i], counts[codes[i]] += 1; points (n, d), codes (n, 1)."""
    for i in range(points.shape[0]):
        c = codes[i, 0]
        counts[c] += 1
        for t in range(points.shape[1]):
            sums[c, t] += points[i, t]


@kernel
def _assign_plain(points: F32, book: F32, starts: I64, codes: U8, scratch: F32, found: F32) -> None:
    """`product.assign` by plain loops."""
    assign_plain(points, book, starts, codes)


_assign = _assign_plain if ISA == "scalar" else assign_vectors


@kernel
def _improve(
    points: F32,
    centroids: F32,
    iteration: int,
    iterations: int,
    long: int,
    held: tuple[I64, F32, U8, F64, I64, F32, F32],
) -> tuple[int, bool]:
    """`improve` from this iteration on, until no point changes its centroid, or one has no point.

    Returns the iteration and whether it was settled. held: starts and book of `assign`; codes (2, n, 1),
    those of this iteration and of the one before by turns; sums (k, d), counts (k,), of the last assignment;
    scratch.
    """
    starts, book, codes, sums, counts, scratch, found = held
    k, d = centroids.shape
    while iteration < iterations:
        for c in range(k):
            for t in range(d):
                book[(c // BLOCK * d + t) * BLOCK + c % BLOCK] = centroids[c, t]
        now, before = codes[iteration % 2], codes[(iteration + 1) % 2]
        _assign(points, book, starts, now, scratch, found)
        settled = iteration > 0
        for i in range(now.shape[0]):
            if now[i, 0] != before[i, 0]:
                settled = False
                break
        sums[:] = 0.0
        counts[:] = 0
        sum_up(points, now, sums, counts)
        for c in range(k):
            if counts[c] == 0:
                return iteration, False
        step = 1.0 if settled or iteration >= long else STEP
        for c in range(k):
            for t in range(d):  # rounded as `move` does
                kept = np.float64(np.float32(1 - step) * centroids[c, t])
                centroids[c, t] = np.float32(kept + step * (sums[c, t] / counts[c]))
        if settled:
            return iteration, True
        iteration += 1
    return iteration, False


@kernel
def _distances(points: F32, codes: U8, centroids: F32, distances: F64) -> None:
    """distances[i] = ||points[i] - centroids[codes[i]]||^2, in float64."""
    for i in range(points.shape[0]):
        distance = 0.0
        for t in range(points.shape[1]):
            gap = np.float64(points[i, t]) - np.float64(centroids[codes[i, 0], t])
            distance += gap * gap
        distances[i] = distance


def _fill_empty(points: F32, codes: U8, centroids: F32, sums: F64, counts: I64) -> bool:
    """Moves the centroids that have no point to the farthest points, one each; False if none is far.

    Changes all but points. Of equal points only one is taken.
    """
    distances = np.empty(len(points))
    _distances(points, codes, centroids, distances)
    empty = np.flatnonzero(counts == 0)
    farthest = np.argsort(-distances, kind="stable")[: 8 * len(empty)]
    farthest = farthest[distances[farthest] > 0]
    _, distinct = np.unique(points[farthest], axis=0, return_index=True)
    for c, i in zip(empty, farthest[np.sort(distinct)], strict=False):
        sums[codes[i, 0]] -= points[i]
        counts[codes[i, 0]] -= 1
        centroids[c] = sums[c] = points[i]
        counts[c] = 1
        codes[i, 0] = c
    return len(farthest) > 0


@kernel
def _seed(columns: F32, draws: F64, centroids: F32) -> None:
    """centroids[c] = a point drawn in proportion to its squared distance from the nearest of centroids[:c].

    columns (d, n), the points; draws (k,) uniform in [0, 1); centroids (k, d), written. Where all distances
    are zero a centroid repeats a point.
    """
    d, n = columns.shape
    nearest = np.full(n, np.float32(np.inf))
    distances = np.empty(n, np.float32)
    chosen = int(draws[0] * n)
    for c in range(centroids.shape[0]):
        distances[:] = np.float32(0)
        for t in range(d):
            value = columns[t, chosen]
            centroids[c, t] = value
            for i in range(n):  # over points, so that the loop becomes vectors
                gap = columns[t, i] - value
                distances[i] += gap * gap
        total = 0.0
        for i in range(n):
            nearest[i] = min(nearest[i], distances[i])
            total += nearest[i]
        if c + 1 < centroids.shape[0]:
            left = draws[c + 1] * total
            for i in range(n):
                left -= nearest[i]
                if nearest[i] > 0:
                    chosen = i
                    if left < 0:
                        break
