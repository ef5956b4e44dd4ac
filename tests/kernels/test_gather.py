import numpy as np
import pytest
from numba.core import config

from vecstore.kernels import gather

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="reads addresses")
ROWS, SHIFT = 300, 5


class Part:
    """Rows in batches that lie apart, in any order."""

    def __init__(self, width, seed):
        rng = np.random.default_rng(seed)
        batches = -(-ROWS // (1 << SHIFT))
        size = (1 << SHIFT) * width
        self.file = rng.integers(0, 256, batches * (size + 1000), dtype=np.uint8)
        self.starts = rng.permutation(batches) * (size + 1000) + 13
        self.verified = np.ones(len(self.file) // (1 << gather.PAGE_BITS) + 1, np.bool_)
        self.places = np.stack([self.file.ctypes.data + self.starts, self.starts], axis=1)
        self.width = width

    def facts(self):
        return [self.places.ctypes.data, SHIFT, self.verified.ctypes.data, ROWS, 0]

    def code(self, row):
        start = self.starts[row >> SHIFT] + (row & ((1 << SHIFT) - 1)) * self.width
        return self.file[start : start + self.width]


@pytest.mark.parametrize("width", [1, 7, 16, 17, 48, 63, 64, 65, 96, 128, 2500])
def test_codes_come_from_all_over(width):
    parts = [Part(width, seed) for seed in range(3)]
    table = np.array([part.facts() for part in parts])
    rng = np.random.default_rng(9)
    numbers, rows = rng.integers(0, 3, 500), rng.integers(0, ROWS, 500)
    places = (numbers << gather.ROW_BITS) | rows
    out, todo = np.empty((500, width), np.uint8), np.empty(500, np.int64)
    assert gather.gather(places, table, out, todo) == 0
    twin = np.stack([parts[number].code(row) for number, row in zip(numbers, rows, strict=True)])
    assert np.array_equal(out, twin)


def test_what_is_not_open_known_or_verified_is_left():
    part = Part(2500, 0)
    table = np.array([part.facts(), [0, SHIFT, 0, ROWS, 0]])
    part.places[3, 0] = 0
    part.verified[part.starts[5] >> gather.PAGE_BITS] = False
    rows = np.arange(ROWS)
    out, todo = np.empty((ROWS, 2500), np.uint8), np.empty(ROWS, np.int64)
    count = gather.gather(rows, table, out, todo)
    left = set(todo[:count].tolist())
    for row in rows.tolist():
        start = part.starts[row >> SHIFT] + (row & 31) * 2500
        pages = range(start >> gather.PAGE_BITS, ((start + 2499) >> gather.PAGE_BITS) + 1)
        assert (row in left) == (row >> SHIFT == 3 or not part.verified[list(pages)].all())
        assert row in left or np.array_equal(out[row], part.code(row))
    strange = np.array([ROWS, (1 << gather.ROW_BITS) | 1, (2 << gather.ROW_BITS) | 1, -1, -(1 << 50)])
    assert gather.gather(strange, table, out[:5], todo) == 5


def test_nothing_is_gathered_of_nothing():
    nothing = np.empty(0, np.int64)
    assert gather.gather(nothing, np.empty((0, 5), np.int64), np.empty((0, 3), np.uint8), nothing) == 0


def test_parts_that_have_a_place_are_marked():
    marks = np.zeros(4, np.bool_)
    gather.mark(np.array([(2 << gather.ROW_BITS) | 5, 7, (2 << gather.ROW_BITS) | 1]), marks)
    assert marks.tolist() == [True, False, True, False]
