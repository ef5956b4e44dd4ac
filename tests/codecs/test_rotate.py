"""rotate against the papers' product of matrices in plain numpy."""

import numpy as np
import pytest

import vecstore as vs


def hadamard(width):
    matrix = np.ones((1, 1))
    while len(matrix) < width:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix / np.sqrt(width)


def plain_rotation(transform):
    """Ailon and Chazelle 2009, section 2: H D, random signs and then the normalised Hadamard matrix; here
    four times, on the first and the last 2**k dimensions in turn."""
    dim = transform.dim
    width = 1 << (dim.bit_length() - 1)
    whole = np.eye(dim)
    for number, packed in enumerate(transform.signs):
        signs = np.where(np.unpackbits(packed, count=dim, bitorder="little") == 1, -1, 1)
        mixed, first = np.eye(dim), 0 if number % 2 == 0 else dim - width
        mixed[first : first + width, first : first + width] = hadamard(width)
        whole = mixed @ np.diag(signs) @ whole
    return whole


@pytest.mark.parametrize("dim", [1, 2, 7, 64, 100])
def test_rows_are_turned_by_signs_and_hadamard_matrices(dim):
    rows = np.random.default_rng(0).standard_normal((50, dim)).astype(np.float32)
    transform = vs.fit("rotate+f32", rows, seed=3).transforms[0]
    turned = transform.apply(rows, np.empty((50, 0), np.uint8))
    assert np.allclose(turned, rows @ plain_rotation(transform).T, atol=1e-5)
