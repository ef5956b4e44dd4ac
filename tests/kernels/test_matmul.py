"""The matrix product against numpy, bit for bit against its definition, on every instruction set."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from vecstore.kernels import isa
from vecstore.kernels.matmul import _matmul_plain, matmul
from vecstore.kernels.simd import _fma_exact

SHAPES = [(1, 5, 7), (5, 1, 1), (6, 8, 64), (7, 33, 130), (40, 20, 65), (33, 9, 31), (100, 24, 100)]
DIGEST = f"""
import hashlib
import numpy as np
from vecstore.kernels.matmul import matmul

rng = np.random.default_rng(0)
digest = hashlib.sha256()
for n, a, b in {SHAPES}:
    rows, matrix = rng.standard_normal((n, a), np.float32), rng.standard_normal((a, b), np.float32)
    out = np.empty((n, b), np.float32)
    matmul(rows, matrix, out)
    digest.update(out.tobytes())
print(digest.hexdigest())
"""


def drawn(n, a, b):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, a), np.float32), rng.standard_normal((a, b), np.float32)


def multiplied(rows, matrix, kernel=matmul):
    out = np.full((len(rows) + 1, matrix.shape[1]), 7, np.float32)
    kernel(rows, matrix, out[:-1])
    assert (out[-1] == 7).all()
    return out[:-1]


def plain_matmul(rows, matrix):
    """One fma chain per output, in the order of the matrix' rows."""
    out = np.zeros((len(rows), matrix.shape[1]), np.float32)
    for index in np.ndindex(out.shape):
        for value, weight in zip(rows[index[0]], matrix[:, index[1]], strict=True):
            out[index] = _fma_exact(value, weight, out[index])
    return out


@pytest.mark.parametrize("n, a, b", SHAPES)
def test_an_output_is_one_chain_of_fma(n, a, b):
    rows, matrix = drawn(n, a, b)
    found = multiplied(rows, matrix)
    assert np.allclose(found, rows.astype(np.float64) @ matrix, rtol=1e-5, atol=1e-5)
    assert np.array_equal(found, multiplied(rows, matrix, _matmul_plain))
    if n * a * b < 10_000:
        assert np.array_equal(found, plain_matmul(rows, matrix))


def test_a_row_does_not_depend_on_its_batch():
    rows, matrix = drawn(71, 12, 70)
    whole = multiplied(rows, matrix)
    for size in (1, 5, 6, 7, 32, 50):
        parts = [multiplied(rows[i : i + size], matrix) for i in range(0, 71, size)]
        assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("n, a, b", [(0, 4, 4), (4, 4, 0), (3, 0, 5)])
def test_empty_sides_are_no_work(n, a, b):
    assert not multiplied(*drawn(n, a, b)).any()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="vector instructions exist only in compiled code")
def test_every_instruction_set_gives_the_same_bytes():
    digests = set()
    for name in isa.available():
        env = {**os.environ, "VECSTORE_ISA": name}
        done = subprocess.run([sys.executable, "-c", DIGEST], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1
