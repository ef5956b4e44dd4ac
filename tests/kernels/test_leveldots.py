"""Products of levels and rounded weights against numpy, on every instruction set."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from vecstore.kernels import isa
from vecstore.kernels.leveldots import BLOCK, dots, fold, lay_out, round_levels

ON_EACH = """
import hashlib, runpy, sys
found = runpy.run_path(sys.argv[1])
digest = hashlib.sha256()
for dim in (1, 7, 24, 100):
    digest.update(found["check_dots"](dim).tobytes())
print(digest.hexdigest())
"""


def plain_dots(codes, book, weights):
    """The definition of `dots`: whole sums, then one rounding after the other."""
    made, scales, offsets = weights
    flat = made.transpose(0, 1, 3, 2).reshape(len(made), -1).astype(np.int64)
    nibbles = np.zeros((len(codes), flat.shape[1]), np.int64)
    nibbles[:, : 2 * codes.shape[1] : 2] = codes & 15
    nibbles[:, 1 : 2 * codes.shape[1] : 2] = codes >> 4
    sums = (flat @ book[nibbles].T.astype(np.int64)).astype(np.float32).astype(np.float64)
    return sums * scales[:, None] + offsets[:, None]


def check_dots(dim):
    rng = np.random.default_rng(dim)
    book = round_levels(np.sort(rng.standard_normal(16)).astype(np.float32))
    queries = rng.standard_normal((3, dim)).astype(np.float32)
    queries[1] = 0
    weights = fold(queries, book)
    results = []
    for n in (1, 63, 64, 130):
        codes = rng.integers(0, 256, (n, (dim + 1) // 2), dtype=np.uint8)
        blocks = lay_out(codes)
        for start in (0, n // 2 // BLOCK * BLOCK):
            out = np.full((3, n - start), np.nan, np.float32)
            dots(blocks, start // BLOCK, book[0], weights, out)
            assert np.allclose(out, plain_dots(codes, book[0], weights)[:, start:], rtol=1e-6, atol=1e-6)
            results.append(out.ravel())
    return np.concatenate(results)


@pytest.mark.parametrize("dim", [1, 2, 7, 8, 9, 24, 100])
def test_sums_are_those_of_single_products(dim):
    check_dots(dim)


def test_scores_are_near_the_inner_products():
    rng = np.random.default_rng(0)
    levels = np.sort(rng.standard_normal(16)).astype(np.float32)
    cells = rng.integers(0, 16, (300, 384))
    codes = (cells[:, ::2] | cells[:, 1::2] << 4).astype(np.uint8)
    queries = rng.standard_normal((4, 384)).astype(np.float32)
    book = round_levels(levels)
    out = np.empty((4, 300), np.float32)
    dots(lay_out(codes), 0, book[0], fold(queries, book), out)
    wanted = queries @ levels[cells].T
    assert np.abs(out - wanted).std() < 0.01 * wanted.std()


def test_levels_all_alike_and_few_levels_are_taken():
    assert round_levels(np.zeros(1, np.float32))[1:] == (0.0, 1.0)
    book, least, step = round_levels(np.array([-2, 0, 1], np.float32))
    assert np.allclose(least + step * book[:3], [-2, 0, 1], atol=step / 2)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="vector instructions exist only in compiled code")
def test_every_instruction_set_gives_equal_scores():
    digests = set()
    for name in (*isa.available(), *(["avx512-vnni"] if "avx512" in isa.available() else [])):
        env = {**os.environ, "VECSTORE_ISA": name}
        done = subprocess.run(
            [sys.executable, "-c", ON_EACH, __file__], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1
