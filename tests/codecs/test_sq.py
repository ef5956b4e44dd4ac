import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.sq import grid


def make_rows(n, dim):
    rng = np.random.default_rng(0)
    return (rng.standard_normal((n, dim)) * (1 + np.arange(dim)) + 3).astype(np.float32)


def test_heavy_tails_do_not_zero_whole_rows():
    rng = np.random.default_rng(0)
    rows = (rng.standard_t(2.1, (4000, 64)) * 0.1).astype(np.float32)
    codec = vs.fit("sq:bits=4", rows[:2000])
    back = codec.decode(codec.encode(rows))
    distinct = np.array([len(np.unique(row)) for row in np.round(back, 4)])
    assert distinct.min() > 8
    cosine = (rows * back).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(back, axis=1)
    assert np.median(cosine) > 0.95


def test_sq_bounds_the_error_inside_its_range():
    rows = make_rows(5000, 10)
    codec = vs.fit("sq:bits=8,clip=0.0", rows)
    back = codec.decode(codec.encode(rows))
    assert (np.abs(back - rows) <= codec.step / 2 * (1 + 1e-5) + 1e-6).all()


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_values_take_the_nearest_of_evenly_spaced_levels(bits):
    """Max 1960, section V: equal steps, thresholds halfway between levels, the end levels beyond."""
    rows = make_rows(3000, 11)
    codec = vs.fit(f"sq:bits={bits}", rows)
    back = codec.decode(codec.encode(rows)).astype(np.float64)
    levels = codec.low.astype(np.float64) + np.arange(2**bits)[:, None] * codec.step
    size = np.abs(levels).max(axis=0)
    for j in range(11):
        gaps = np.abs(rows[:, j, None] - levels[:, j])
        assert np.allclose(np.abs(back[:, j, None] - levels[:, j]).min(1), 0, atol=1e-6 * size[j])
        assert np.allclose(np.abs(rows[:, j] - back[:, j]), gaps.min(1), rtol=0, atol=1e-6 * size[j])


def test_a_grid_is_the_line_of_least_squares_through_its_cells():
    """Lloyd 1982, method I, of levels that are evenly spaced: with cells given, they err least."""
    rng = np.random.default_rng(0)
    rows, weights = rng.standard_normal((500, 5)).astype(np.float32), rng.random(500)
    low, step = np.full(5, -1.5), np.array([0.1, 0.2, 0.21, 0.3, 0.05])
    found = grid._refit(rows, weights, (low, step), 4)
    codes = np.clip(np.rint((rows - low) / step), 0, 15)
    for j in range(5):
        slope, start = np.polyfit(codes[:, j], rows[:, j].astype(np.float64), 1, w=np.sqrt(weights))
        assert np.allclose([found[0][j], found[1][j]], [start, slope], rtol=1e-6)
