import numpy as np
import pytest

from vecstore.kernels.hadamard import TILE, hadamard, rotate


def plain_matrix(d):
    matrix = np.ones((1, 1))
    while len(matrix) < d:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix / np.sqrt(d)


@pytest.mark.parametrize("d", [1, 2, 4, 32, 128])
def test_hadamard_is_its_matrix(d):
    tile = np.random.default_rng(d).standard_normal((d + 3, TILE)).astype(np.float32)
    want = tile.copy()
    want[2 : 2 + d] = plain_matrix(d) @ tile[2 : 2 + d]
    hadamard(tile, 2, d)
    assert np.allclose(tile, want, atol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3, 5, 31, 48, 100, 384])
def test_a_rotation_is_orthogonal_comes_back_and_mixes_all_dimensions(d):
    rng = np.random.default_rng(d)
    signs = np.where(rng.random((4, d)) < 0.5, -1, 1).astype(np.float32)
    turned = np.eye(d, dtype=np.float32)
    rotate(turned, signs, True)
    assert np.allclose(turned @ turned.T, np.eye(d), atol=1e-5)
    rotate(turned, signs, False)
    assert np.allclose(turned, np.eye(d), atol=1e-5)
    if d >= 31:
        rotate(turned, signs, True)
        assert np.abs(turned).max() < 0.8


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("d", [1, 15, 16, 20, 100, 384])
def test_a_row_is_turned_alike_in_any_company(d, forward):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((37, d)).astype(np.float32)
    signs = np.where(rng.random((4, d)) < 0.5, -1, 1).astype(np.float32)
    whole = rows.copy()
    rotate(whole, signs, forward)
    for first, last in ((0, 1), (15, 18), (16, 17), (33, 37)):
        few = rows[first:last].copy()
        rotate(few, signs, forward)
        assert np.array_equal(few, whole[first:last])
