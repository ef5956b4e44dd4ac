import numpy as np

import vecstore as vs


def make_rows(n, dim):
    rng = np.random.default_rng(0)
    return (rng.standard_normal((n, dim)) * (1 + np.arange(dim)) + 3).astype(np.float32)


def test_pq_is_the_nearest_centroid_of_each_subspace():
    rows = make_rows(600, 10)
    codec = vs.fit("pq:m=3", rows)
    assert codec.starts.tolist() == [0, 4, 7, 10]
    codes = codec.encode(rows)
    for j, (a, b) in enumerate(zip(codec.starts[:-1], codec.starts[1:], strict=True)):
        gaps = rows[:, None, a:b].astype(np.float64) - codec.centroids[None, :, a:b]
        distances = np.square(gaps).sum(2)
        chosen = distances[np.arange(len(rows)), codes[:, j]]
        assert (chosen <= distances.min(1) * (1 + 1e-6) + 1e-9).all()


def test_many_rows_decode_as_few_do():
    rows = np.random.default_rng(0).standard_normal((700, 64)).astype(np.float32)
    for spec in ("pq:m=16", "pq:m=16,bits=4"):
        codec = vs.fit(spec, rows)
        codes = np.random.default_rng(1).integers(0, 256, (40_000, codec.code_bytes), np.uint8)
        many = codec.decode(codes)  # more than 8 MB
        assert np.array_equal(many[-500:], codec.decode(codes[-500:]))
        assert np.array_equal(many[:500], codec.decode(codes[:500]))
