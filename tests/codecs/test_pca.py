import numpy as np

import vecstore as vs


def make_rows(n, dim):
    rng = np.random.default_rng(0)
    return (rng.standard_normal((n, dim)) * (1 + np.arange(dim)) + 3).astype(np.float32)


def test_principal_axes_of_few_wide_rows_are_those_of_their_covariance():
    rows = make_rows(30, 200)
    chain = vs.fit("pca:dim=8+f32", rows)
    axes = chain.transforms[0].axes
    assert np.allclose(axes.T @ axes, np.eye(8), atol=1e-5)
    want = np.linalg.svd(rows - rows.mean(0))[2][:8]
    assert np.allclose(np.abs(np.sum(want * axes.T, axis=1)), 1, atol=1e-4)
    repeated = np.repeat(make_rows(2, 50), 5, axis=0)
    axes = vs.fit("pca:dim=8+f32", repeated).transforms[0].axes
    assert np.allclose(axes.T @ axes, np.eye(8), atol=1e-5)
