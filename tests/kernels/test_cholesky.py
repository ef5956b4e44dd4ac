import numpy as np
import pytest

from vecstore.kernels.cholesky import solve


@pytest.mark.parametrize(("k", "d"), [(1, 1), (2, 5), (7, 3), (40, 64)])
def test_a_solution_is_numpy_s(k, d):
    rng = np.random.default_rng(k)
    half = rng.standard_normal((k, k + 3))
    gram, right = half @ half.T, rng.standard_normal((k, d))
    found = right.copy()
    solve(gram.copy(), found)
    assert np.allclose(gram @ found, right, atol=1e-8)
    assert np.allclose(found, np.linalg.solve(gram, right), rtol=1e-6, atol=1e-8)
