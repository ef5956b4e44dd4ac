import numpy as np
import pytest

from vecstore.bench import limit


def test_white_rows_lose_a_quarter_for_each_bit():
    for bits in (0.0, 0.5, 1.0, 3.0):
        assert limit.least_loss(np.ones(8), 8 * bits) == pytest.approx(4.0**-bits)


def test_the_least_loss_is_that_of_the_water_level_which_takes_the_bits():
    values = np.arange(1, 40) ** -1.5
    for level in (0.9, 0.1, 0.004, 1e-4):
        bits = np.maximum(0, np.log2(values / level)).sum() / 2
        wanted = np.minimum(values, level).sum() / values.sum()
        assert limit.least_loss(values, bits) == pytest.approx(wanted)


def test_dimensions_that_do_not_vary_cost_no_bits():
    assert limit.least_loss(np.array([1.0, 1.0, 0.0, 1e-18]), 4) == pytest.approx(4.0**-2)


def test_the_gap_of_white_rows_at_the_bound_is_zero_decibels():
    white = np.random.default_rng(0).standard_normal((40_000, 4), dtype=np.float32)
    values = limit.spectrum(white)
    assert limit.gap_db(values, 2**-4.0, 8.0) == pytest.approx(0, abs=0.05)
    assert limit.gap_db(values, 2 * 2**-4.0, 8.0) == pytest.approx(3.01, abs=0.05)


def test_there_is_no_gap_where_the_covariance_is_unknown_or_nothing_was_lost():
    rows = np.random.default_rng(0).standard_normal((31, 8), dtype=np.float32)
    assert limit.spectrum(rows) is None
    assert limit.spectrum(np.ones((100, 8), np.float32)) is None
    assert limit.gap_db(None, 0.1, 8.0) is None
    assert limit.gap_db(np.ones(8), 0.0, 8.0) is None
    assert limit.gap_db(np.ones(8), None, 8.0) is None


def test_the_curve_falls():
    losses = limit.curve(np.arange(1, 40) ** -1.5, [1.0, 2.0, 4.0, 8.0])
    assert sorted(losses, reverse=True) == losses
    assert losses[0] == limit.least_loss(np.arange(1, 40) ** -1.5, 8.0)
