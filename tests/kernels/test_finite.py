import numpy as np
import pytest

from vecstore.kernels.finite import first_bad_row


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, np.uint32(0xFFC00001).view(np.float32)])
@pytest.mark.parametrize("place", [(0, 0), (6, 4), (3, 2)])
def test_the_first_bad_row_is_found(bad, place):
    rows = np.full((7, 5), np.finfo(np.float32).max, np.float32)
    rows[::2] *= -1
    assert first_bad_row(rows) == -1
    rows[place] = bad
    assert first_bad_row(rows) == place[0]


def test_no_rows_are_fine():
    assert first_bad_row(np.empty((0, 3), np.float32)) == -1
