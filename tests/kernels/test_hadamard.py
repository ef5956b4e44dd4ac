import numpy as np
import pytest

from vecstore.kernels.hadamard import hadamard, rotate, rotate_back


def plain_matrix(d):
    matrix = np.ones((1, 1))
    while len(matrix) < d:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix / np.sqrt(d)


@pytest.mark.parametrize("d", [1, 2, 4, 32, 128])
def test_hadamard_is_its_matrix(d):
    row = np.random.default_rng(d).standard_normal(d).astype(np.float32)
    want = plain_matrix(d) @ row
    hadamard(row)
    assert np.allclose(row, want, atol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3, 5, 31, 48, 100, 384])
def test_a_rotation_is_orthogonal_comes_back_and_mixes_all_dimensions(d):
    rng = np.random.default_rng(d)
    signs = np.where(rng.random((4, d)) < 0.5, -1, 1).astype(np.float32)
    turned = np.eye(d, dtype=np.float32)
    rotate(turned, signs)
    assert np.allclose(turned @ turned.T, np.eye(d), atol=1e-5)
    rotate_back(turned, signs)
    assert np.allclose(turned, np.eye(d), atol=1e-5)
    if d >= 31:
        rotate(turned, signs)
        assert np.abs(turned).max() < 0.8
