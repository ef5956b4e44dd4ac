import numpy as np

from vecstore.codecs.tables.bitmaps import Bitmap, bitmap_bytes


def test_members_are_numbered_in_order_and_others_have_no_number():
    rng = np.random.default_rng(0)
    for places in (1, 63, 64, 512, 513, 3000):
        for share in (0.0, 0.03, 0.5, 1.0):
            members = rng.random(places) < share
            made = Bitmap.of(members)
            expected = np.where(members, np.cumsum(members) - 1, -1)
            assert np.array_equal(made.ranks_of(np.arange(places)), expected)
            assert sum(array.nbytes for array in made.arrays().values()) == bitmap_bytes(places)
