"""Rows and centroids as whole numbers against numpy."""

import numpy as np
import pytest

from vecstore.kernels import bytedots, levels

F32 = np.float32


def plain_levels(row):
    """Whole numbers and their step: the largest is 127, or 32639 if far larger than others or one of few."""
    largest = np.abs(row).max(initial=0)
    even = row.size >= 32 and largest**2 <= 25 * np.square(row, dtype=np.float64).mean()
    step = F32(largest / F32(127 if even else 32_639))
    if step < 2e-38:
        return np.zeros(row.size), F32(0), even
    return np.rint(row * F32(F32(1) / step)).astype(np.float64), step, even


def make_rows(dim):
    rows = np.random.default_rng(dim).standard_normal((9, dim)).astype(F32)
    rows[1], rows[2], rows[3] = 0, 1e-39, 1e17
    rows[4] *= F32(1e-3)
    rows[4, -1] = 50
    return rows


@pytest.mark.parametrize("dim", [1, 3, 4, 31, 32, 37, 128])
def test_rows_are_the_nearest_whole_numbers(dim):
    rows = make_rows(dim)
    made, scales, offsets, coarse = levels.of_rows(rows)
    for i, row in enumerate(rows):
        wholes, step, even = plain_levels(row)
        bytes_ = made[i].astype(np.float64).reshape(-1, 2, 4)
        found = bytes_[:, 0] if even else 256 * bytes_[:, 0] + bytes_[:, 1]
        assert coarse[i] == even and np.array_equal(found.ravel()[:dim], wholes)
        assert not made[i].reshape(-1, 2, 4)[:, 1].any() or not even
        assert not found.ravel()[dim:].any()
        assert scales[i] == (step / F32(256) if even else step)
        assert offsets[i] == F32(-128 * wholes.sum()) * step


@pytest.mark.parametrize(("k", "dim"), [(1, 1), (5, 3), (70, 16), (256, 40)])
def test_products_are_those_of_what_was_rounded(k, dim):
    rng = np.random.default_rng(k)
    rows, centroids = make_rows(dim), rng.standard_normal((k, dim)).astype(F32)
    centroids[0] = 0
    blocks, steps, rounded = levels.of_centroids(centroids)
    out = np.empty((len(rows), k), F32)
    bytedots.dots(blocks, 0, levels.of_rows(rows), out)
    assert steps[0] == 0 and (np.abs(rounded - centroids) <= steps[:, None] * 0.501).all()
    held = np.array([wholes * np.float64(step) for wholes, step, _ in map(plain_levels, rows)])
    sizes = np.abs(held).max(axis=1, keepdims=True) * dim * 128 * 1e-6
    wanted = held @ (rounded / np.where(steps > 0, steps, 1)[:, None]).T
    assert (np.abs(out - wanted) <= sizes).all()


def test_rows_of_many_dimensions_stay_inside_32_bits():
    rows = np.ones((2, 3 * bytedots.MOST_DIMS), F32)
    blocks, steps, rounded = levels.of_centroids(rows)
    out = np.empty((2, 2), F32)
    bytedots.dots(blocks, 0, levels.of_rows(rows), out)
    assert np.allclose(out * steps, rows.shape[1], rtol=1e-5) and np.allclose(rounded, 1)
