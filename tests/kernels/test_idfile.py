import numpy as np
import pytest
from numba.core import config

from vecstore.kernels import gather, idfile
from vecstore.kernels.idmap import FREE

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="reads addresses")


def place(segment, row):
    return (segment << gather.ROW_BITS) | row


def test_numbers_are_put_in_place_of_others():
    places = np.array([place(4, 7), FREE, place(2, 0)])
    idfile.renumber(places, np.array([-1, -1, 0, -1, 5]))
    assert places.tolist() == [place(5, 7), FREE, place(0, 0)]


def test_a_search_begins_anywhere_with_the_same_chance():
    homes = np.empty(100_000, np.int64)
    idfile.homes(np.arange(100_000, dtype=np.uint64).reshape(-1, 1), 40, homes)
    assert not (homes % idfile.BUCKET).any()
    assert np.abs(np.bincount(homes // idfile.BUCKET, minlength=10) - 10_000).max() < 500
