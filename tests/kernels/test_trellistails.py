"""What words that lie row by row add to a score, and can add at most, against windows cut out one by one."""

import numpy as np
import pytest
from test_trellisdots import values_of

from vecstore.kernels import bytedots, trellisdots, trellistails

pytestmark = pytest.mark.skipif(
    not trellisdots.usable(64), reason="this machine has no AVX-512 with VBMI and VNNI"
)
ROWS = 70


def groups_of(rng, sizes, each):
    """Groups (g, 2) with the first bits of their windows, and controls."""
    places = [(w, rng.integers(0, 8 * size, 8)) for w, size in enumerate(sizes) for _ in range(each)]
    groups = np.array([(w, rng.integers(3)) for w, _ in places], np.int64)
    controls = [int.from_bytes(bytes(at.tolist()), "little") for _, at in places]
    return places, groups, np.array(controls, np.uint64)


def make(states, sizes, queries, factors=()):
    """Tails and queries, what their tables hold (n, g * 8), weights (q, g * 8) as bytes, and units."""
    rng = np.random.default_rng(sum(sizes) + states)
    tables = rng.integers(0, 256, (3, states)).astype(np.uint8)
    codes = rng.integers(0, 256, (ROWS, sum(sizes))).astype(np.uint8)
    places, groups, controls = groups_of(rng, sizes, 3)
    windows = trellisdots.plan(groups, controls, tables)
    weights = rng.standard_normal((queries, 8 * len(groups))).astype(np.float32)
    folded = bytedots.fold(weights, np.zeros(queries), 1, 256, weights.shape[1])
    units = rng.random(8 * len(groups)) + 0.5
    words = trellistails.lay_out(codes, np.array(sizes))
    own = np.array(factors, np.float32)
    tails, numbers = trellistails.tails(words, windows, units.reshape(-1, 8), own)
    packed = trellistails.pack(folded, folded, units, numbers)
    values = np.array([values_of(row, sizes, tables, places, groups).reshape(-1) for row in codes])
    return tails, packed, values, folded[0][:, :, 0, 0].reshape(queries, -1).astype(np.int64), units


@pytest.mark.parametrize("states", trellisdots.STATES)
@pytest.mark.parametrize("sizes", [[1], [8, 5], [2, 3, 7], [8] * 9 + [6]])
def test_sums_are_those_of_windows_and_tables(states, sizes):
    tails, packed, values, weights, _ = make(states, sizes, 3)
    plan, width = trellistails.plan_of(tails), 8 * len(sizes)
    at, step = address_of(tails.words), packed.tails.shape[1] * 64
    for j in range(3):
        own = address_of(packed.tails) + j * step
        sums = [trellistails.sum_tail(at + i * width, plan, own) for i in range(ROWS)]
        assert np.array_equal(sums, values @ weights[j])
        assert packed.middles[j] == 128 * weights[j].sum()


def address_of(array):
    return array.ctypes.data


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("sizes", [[1], [8, 5], [8] * 9])
def test_tails_add_no_more_than_they_can(sizes, scaled):
    factors = np.random.default_rng(1).random(ROWS if scaled else 0).astype(np.float32)
    tails, packed, values, weights, units = make(256, sizes, 4, factors)
    exact = np.linalg.norm((values - 128) * units, axis=1) * (factors if scaled else 1)
    assert np.allclose(tails.lengths, exact, rtol=1e-5) and (tails.lengths >= exact).all()
    added = packed.steps[:, None] * (weights @ (values - 128).T) * (factors if scaled else 1)
    assert (np.abs(added) <= packed.reaches[:, None] * tails.lengths).all()
