"""prefix against the definition."""

import numpy as np

import vecstore as vs


def test_the_first_dimensions_are_kept_and_the_others_come_back_as_zero():
    """Kusupati et al. 2022, section 3: z[1:m], the first m coordinates, are a representation themselves."""
    rows = np.random.default_rng(0).standard_normal((40, 10)).astype(np.float32)
    codec = vs.fit("prefix:dim=4+f32", rows)
    codes = codec.encode(rows)
    assert np.array_equal(codes.view("<f4"), rows[:, :4])
    assert np.array_equal(codec.decode(codes), np.where(np.arange(10) < 4, rows, 0))
