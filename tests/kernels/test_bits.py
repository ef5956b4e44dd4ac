import numpy as np
import pytest

from vecstore.kernels.bits import cell_sums, choose, planes, split_sums


@pytest.mark.parametrize("dim", [1, 7, 8, 15, 16, 17, 100, 384, 4097])
def test_each_bit_chooses_its_level(dim):
    rng = np.random.default_rng(dim)
    codes = rng.integers(0, 256, (33, (dim + 7) // 8), dtype=np.uint8)
    levels = rng.standard_normal((2, dim)).astype(np.float32)
    rows = np.full((33, dim), np.nan, np.float32)
    choose(codes, levels, rows)
    bits = np.unpackbits(codes, axis=1, count=dim, bitorder="little")
    assert np.array_equal(rows, np.where(bits, levels[1], levels[0]))


def test_sums_are_those_below_and_above_the_threshold():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 9)).astype(np.float32)
    rows[:, 3] = 0
    weights = rng.random(500)
    thresholds = np.linspace(-1, 1, 9, dtype=np.float32)
    thresholds[3] = 0
    sums = np.full((4, 9), np.nan)
    split_sums(rows, weights, thresholds, sums)
    above = rows > thresholds
    want = [weights @ ~above, weights @ (rows * ~above), weights @ above, weights @ (rows * above)]
    assert np.allclose(sums, want)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_cells_are_those_of_residual_signs(bits):
    rng = np.random.default_rng(bits)
    values = rng.standard_normal((200, 5)).astype(np.float32)
    weights = rng.random(200)
    steps = np.concatenate([np.full((1, 5), 0.1), 2.0 ** -np.arange(1, bits)[:, None] * np.ones(5)])
    steps = steps.astype(np.float32)
    counts, sums = np.full((2**bits, 5), np.nan), np.full((2**bits, 5), np.nan)
    cell_sums(values, weights, steps, counts, sums)
    rest, cells = values - steps[0], np.zeros(values.shape, int)
    for t in range(bits):
        above = rest > 0
        cells = 2 * cells + above
        if t + 1 < bits:
            rest = rest - np.where(above, steps[t + 1], -steps[t + 1])
    for cell in range(2**bits):
        here = cells == cell
        assert np.allclose(counts[cell], weights @ here)
        assert np.allclose(sums[cell], weights @ (here * values))


@pytest.mark.parametrize("planes_", [1, 3])
@pytest.mark.parametrize("dim", [1, 8, 15, 16, 100, 384])
def test_planes_are_the_signs_of_what_those_before_left(dim, planes_):
    rng = np.random.default_rng(dim)
    values, steps = rng.standard_normal((33, dim)), rng.random((planes_, dim))
    values, steps = values.astype(np.float32), steps.astype(np.float32)
    width = (dim + 7) // 8
    wide = np.full((33, planes_ * width + 3), 255, np.uint8)
    codes = wide[:, 3:]
    planes(values, steps, codes)
    left = values - steps[0]
    for t in range(planes_):
        above = left > 0
        own = codes[:, t * width : (t + 1) * width]
        assert np.array_equal(own, np.packbits(above, axis=1, bitorder="little"))
        left -= np.where(above, steps[min(t + 1, planes_ - 1)], -steps[min(t + 1, planes_ - 1)])
    assert (wide[:, :3] == 255).all()
