import numpy as np

import vecstore as vs


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
