"""The closest codewords against an exact search, on every instruction set."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from vecstore.kernels import cells, grid, isa
from vecstore.kernels.hadamard import rotate

ON_EACH = """
import hashlib, runpy, sys
found = runpy.run_path(sys.argv[1])
digest = hashlib.sha256()
for dim in (3, 24, 100):
    for bits in (2, 4, 8):
        digest.update(b"".join(part.tobytes() for part in found["check_closest"](dim, bits)))
print(digest.hexdigest())
"""


def largest_cosine(row, top):
    """The best of the codewords at every factor at which a value changes its cell, one after the other."""
    sizes = np.abs(row).astype(np.float64)
    factors = np.arange(1, top + 1) / np.where(sizes > 0, sizes, 1e-300)[:, None]
    order = np.argsort(factors.ravel(), kind="stable")
    dims, steps = order // top, order % top + 1
    both = np.cumsum(np.concatenate([[sizes.sum() / 2], sizes[dims]]))
    own = np.cumsum(np.concatenate([[len(row) / 4], 2.0 * steps]))
    return (both / np.sqrt(own)).max() / np.linalg.norm(sizes)


NOTHING = np.zeros(0, np.float32)


def check_closest(dim, bits, n=19):
    rng = np.random.default_rng(dim)
    rows = (rng.standard_normal((n, dim)) * rng.lognormal(size=(n, 1))).astype(np.float32)
    signs = np.where(rng.random((4, dim)) < 0.5, -1, 1).astype(np.float32)
    codes = np.full((n, 1 + cells.width(dim, bits)), 99, np.uint8)
    sums = np.full((n, 3), np.nan)
    mean = rng.standard_normal(dim).astype(np.float32)
    grid.closest(rows, (mean, signs), bits, codes, sums)
    found = np.empty((n, dim), np.uint8)
    cells.unpack(codes, bits, found)
    turned = rows - mean
    rotate(turned, signs, True)
    levels = found - (2**bits - 1) / 2
    turned = turned.astype(np.float64)
    wanted = [np.square(turned).sum(1), (turned * levels).sum(1), np.square(levels).sum(1)]
    assert np.allclose(sums, np.transpose(wanted), rtol=1e-12)
    best = [largest_cosine(row, 2 ** (bits - 1) - 1) for row in turned]
    short = np.array(best) - sums[:, 1] / np.sqrt(sums[:, 0] * sums[:, 2])
    assert short.min() > -1e-12 and short.mean() < 1e-4 and short.max() < 3e-3
    assert (codes[:, 0] == 99).all()
    return codes, sums


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 24])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
def test_the_codeword_points_almost_as_the_best_one_does(dim, bits):
    check_closest(dim, bits, n=7)


def test_rows_of_zeros_and_of_one_value_have_codewords():
    rows = np.zeros((3, 40), np.float32)
    rows[1, 7] = 5
    signs = np.ones((4, 40), np.float32)
    codes, sums = np.empty((3, 20), np.uint8), np.empty((3, 3))
    grid.closest(rows, (NOTHING, signs), 4, codes, sums)
    assert np.isfinite(sums).all() and (sums[[0, 2], :2] == 0).all()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="too slow as Python")
@pytest.mark.parametrize(("bits", "most"), [(2, 1e-3), (3, 1e-3), (4, 1e-3), (6, 5e-3), (8, 0.03)])
def test_little_more_than_the_least_is_lost(bits, most):
    for dim in (96, 384):
        rows = np.random.default_rng(dim).standard_normal((64, dim)).astype(np.float32)
        codes, sums = np.empty((64, cells.width(dim, bits)), np.uint8), np.empty((64, 3))
        signs = np.ones((0, dim), np.float32)
        grid.closest(rows, (NOTHING, signs), bits, codes, sums)
        best = np.array([largest_cosine(row, 2 ** (bits - 1) - 1) for row in rows])
        lost = 1 - sums[:, 1] ** 2 / (sums[:, 0] * sums[:, 2])
        assert lost.mean() / (1 - best**2).mean() - 1 < most


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="vector instructions exist only in compiled code")
def test_every_instruction_set_gives_the_same_bytes():
    digests = set()
    for name in isa.available():
        env = {**os.environ, "VECSTORE_ISA": name}
        done = subprocess.run(
            [sys.executable, "-c", ON_EACH, __file__], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1
