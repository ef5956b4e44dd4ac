"""k-means: the error it reaches, the corners of its input, the same result everywhere."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from vecstore.kernels import isa, kmeans, product

SIZE = 300 if numba.config.DISABLE_JIT else 3000
DIGEST = """
import hashlib
import numpy as np
from vecstore.kernels import kmeans

rng = np.random.default_rng(0)
rows = rng.standard_normal((3000, 9), dtype=np.float32)
rows[:200] = rows[0]
starts = np.array([0, 4, 7, 9])
print(hashlib.sha256(kmeans.train_product(rows, starts, 20, seed=5).tobytes()).hexdigest())
"""


def error(points, centroids):
    gaps = points[:, None].astype(np.float64) - centroids[None]
    return (gaps**2).sum(axis=2).min(axis=1).mean()


def plain_kmeans(points, k, iterations, seed):
    """Lloyd's iteration from k random points."""
    rng = np.random.default_rng(seed)
    centroids = points[rng.choice(len(points), k, replace=False)].astype(np.float64)
    for _ in range(iterations):
        codes = ((points[:, None] - centroids[None]) ** 2).sum(axis=2).argmin(axis=1)
        for c in range(k):
            if (codes == c).any():
                centroids[c] = points[codes == c].mean(axis=0)
    return centroids


def plain_improve(points, centroids, iterations, long):
    """`kmeans.improve`, step by step."""
    (n, d), k = points.shape, len(centroids)
    starts, before = np.array([0, d]), None
    for iteration in range(iterations):
        codes = np.empty((n, 1), np.uint8)
        product.assign(points, product.lay_out(centroids, starts), starts, codes)
        settled = before is not None and np.array_equal(codes, before)
        sums, counts = np.zeros((k, d)), np.zeros(k, np.int64)
        settled &= not kmeans.add_up(points, codes, centroids, sums, counts)
        kmeans.move(centroids, sums, counts, 1 if settled or iteration >= long else kmeans.STEP)
        if settled:
            break
        before = codes


@pytest.mark.parametrize(("k", "d"), [(1, 1), (2, 3), (5, 1), (16, 4), (17, 2), (60, 7), (256, 3)])
@pytest.mark.parametrize("kind", ["spread", "clusters", "few distinct", "far"])
def test_an_improvement_is_what_its_steps_make(k, d, kind):
    rng = np.random.default_rng(k)
    points = rng.standard_normal((SIZE, d), dtype=np.float32)
    if kind == "clusters":
        points = points / 50 + rng.standard_normal((k, d), dtype=np.float32)[rng.integers(0, k, SIZE)]
    elif kind == "few distinct":
        points = points[rng.integers(0, max(1, k - 2), SIZE)]
    begun = points[rng.choice(SIZE, k, replace=False)]
    if kind == "far":  # centroids that no point is near to
        begun[::3] += 100
    for iterations, long in ((12, 10), (8, 8), (1, 0), (30, 0)):
        ours, plain = begun.copy(), begun.copy()
        kmeans.improve(points, ours, iterations, long)
        plain_improve(points, plain, iterations, long)
        assert np.array_equal(ours, plain)


@pytest.mark.parametrize("spread", [1.0, 0.2])
def test_the_error_is_no_worse_than_twice_the_passes_of_the_plain_iteration(spread):
    rng = np.random.default_rng(0)
    points = spread * rng.standard_normal((SIZE, 4), dtype=np.float32)
    points += rng.standard_normal((40, 4), dtype=np.float32)[rng.integers(0, 40, SIZE)]
    plain = np.mean([error(points, plain_kmeans(points, 24, 25, seed)) for seed in range(3)])
    ours = np.mean([error(points, kmeans.train(points, 24, seed=seed)) for seed in range(3)])
    assert ours <= 1.01 * plain


def test_clusters_that_stand_apart_are_found_exactly():
    rng = np.random.default_rng(0)
    centres = 100 * rng.standard_normal((10, 3)).astype(np.float32)
    points = np.repeat(centres, 30, axis=0) + rng.standard_normal((300, 3)).astype(np.float32)
    found = kmeans.train(points, 10)
    means = points.reshape(10, 30, 3).mean(axis=1, dtype=np.float64)
    nearest = ((means[:, None] - found[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert sorted(nearest) == list(range(10))
    assert np.allclose(found[nearest], means, rtol=0, atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 15, 16])
def test_of_too_few_points_each_is_a_centroid(n):
    points = np.random.default_rng(n).standard_normal((n, 3), dtype=np.float32)
    centroids = kmeans.train(points, 16)
    assert {tuple(row) for row in centroids} == {tuple(row) for row in points}


def test_of_too_few_distinct_points_each_is_a_centroid():
    rng = np.random.default_rng(0)
    distinct = rng.standard_normal((12, 5), dtype=np.float32)
    points = distinct[rng.integers(0, 12, 500)]
    centroids = kmeans.train(points, 16)
    assert {tuple(row) for row in centroids} == {tuple(row) for row in distinct}


def test_rare_points_that_the_start_did_not_see_get_their_centroids():
    points = np.zeros((SIZE, 2), np.float32)
    points[:5] = np.arange(1, 11, dtype=np.float32).reshape(5, 2)
    assert error(points, kmeans.train(points, 8)) == 0


def test_an_empty_centroid_moves_to_the_farthest_point():
    points = np.array([[0], [1], [9], [9]], np.float32)
    codes = np.zeros((4, 1), np.uint8)
    centroids = np.array([[1], [50], [60]], np.float32)
    sums, counts = np.array([[19.0], [0], [0]]), np.array([4, 0, 0])
    assert kmeans._fill_empty(points, codes, centroids, sums, counts)
    assert codes.ravel().tolist() == [2, 0, 1, 0] and counts.tolist() == [2, 1, 1]
    assert centroids.ravel().tolist() == [1, 9, 0] and sums.ravel().tolist() == [10, 9, 0]


def test_a_seed_gives_one_result_and_another_seed_another():
    points = np.random.default_rng(0).standard_normal((SIZE, 4), dtype=np.float32)
    first = kmeans.train(points, 9, seed=1)
    assert np.array_equal(first, kmeans.train(points, 9, seed=1))
    assert not np.array_equal(first, kmeans.train(points, 9, seed=2))


def test_subspaces_are_trained_apart():
    rows = np.random.default_rng(0).standard_normal((SIZE, 7), dtype=np.float32)
    starts = np.array([0, 3, 5, 7])
    whole = kmeans.train_product(rows, starts, 6, seed=3)
    assert whole.shape == (6, 7) and whole.dtype == np.float32
    changed = rows.copy()
    changed[:, 5:] += 1
    again = kmeans.train_product(changed, starts, 6, seed=3)
    assert np.array_equal(again[:, :5], whole[:, :5])


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="vector instructions exist only in compiled code")
def test_every_instruction_set_gives_the_same_bytes():
    digests = set()
    for name in isa.available():
        env = {**os.environ, "VECSTORE_ISA": name}
        done = subprocess.run([sys.executable, "-c", DIGEST], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


def plain_split(points, k):
    """The widest part is cut at the mean of its widest dimension, again and again."""
    parts = [points.astype(np.float64)]
    while len(parts) < k:
        spreads = [((part - part.mean(0)) ** 2).sum(0) for part in parts]
        widest = int(np.argmax([spread.sum() for spread in spreads]))
        part, t = parts[widest], int(np.argmax(spreads[widest]))
        low = part[:, t] <= part[:, t].mean()
        if low.all():
            break
        parts[widest] = part[low]
        parts.append(part[~low])
    return np.array([part.mean(0) for part in parts])


@pytest.mark.parametrize(("n", "d", "k"), [(200, 3, 20), (40, 1, 40), (1, 2, 1), (90, 5, 17)])
def test_parts_are_cut_where_they_are_widest(n, d, k):
    points = np.random.default_rng(n).standard_normal((n, d)).astype(np.float32)
    assert np.allclose(kmeans.split(points, k), plain_split(points, k), rtol=1e-5, atol=1e-6)


def test_of_few_distinct_points_each_is_a_part_and_the_rest_repeat_the_first():
    points = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    found = kmeans.split(points.repeat(9, axis=0), 10)
    assert {tuple(row) for row in found.round(5)} == {tuple(row) for row in points.round(5)}
    assert (found[6:] == found[0]).all()
