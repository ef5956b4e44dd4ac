import math

import numpy as np
import pytest

from vecstore.kernels.finite import largest, within


def test_the_largest_size_is_found_wherever_it_stands():
    rows = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    for place in ((0, 0), (6, 4), (3, 2)):
        for value in (-123.5, 1e38, -np.finfo(np.float32).max):
            bent = rows.copy()
            bent[place] = value
            assert largest(bent) == np.float32(abs(value))


@pytest.mark.parametrize(
    "bad", [np.nan, np.uint32(0xFFC00001).view(np.float32), np.uint32(0x7F800001).view(np.float32)]
)
def test_nan_is_larger_than_infinity(bad):
    rows = np.full((7, 5), -np.inf, np.float32)
    assert largest(rows) == math.inf
    rows[3, 2] = bad
    assert math.isnan(largest(rows))


def test_no_rows_have_size_zero():
    assert largest(np.empty((0, 3), np.float32)) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.5, -2.5])
def test_values_are_within_a_size_unless_one_is_not(bad):
    rows = np.random.default_rng(0).uniform(-2, 2, (7, 5)).astype(np.float32)
    rows[0, 0] = -2
    assert within(rows, 2.0)
    for place in ((0, 0), (6, 4), (3, 2)):
        bent = rows.copy()
        bent[place] = bad
        assert not within(bent, 2.0)
    assert within(rows[:0], 0.0)
