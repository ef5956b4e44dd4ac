"""Inner products and exact scores against numpy in float64, on every instruction set."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from vecstore.kernels import isa, scores

ON_EACH = """
import runpy, sys
found = runpy.run_path(sys.argv[1])
for dim in (1, 3, 16, 17, 24, 100):
    found["check_dots"](dim)
"""


def check_dots(dim):
    """Every product against float64; and none depends on what else is in the call."""
    rng = np.random.default_rng(dim)
    rows = rng.standard_normal((23, dim)).astype(np.float32)
    queries = rng.standard_normal((9, dim)).astype(np.float32)
    out = np.empty((9, 23), np.float32)
    scores.dots(rows, scores.pack(queries), out)
    wanted = queries.astype(np.float64) @ rows.T.astype(np.float64)
    assert np.allclose(out, wanted, rtol=0, atol=1e-5 * dim)
    for first, last in ((0, 1), (2, 7), (8, 9)):
        for start, stop in ((0, 1), (4, 11), (22, 23)):
            part = np.empty((last - first, stop - start), np.float32)
            scores.dots(rows[start:stop], scores.pack(queries[first:last]), part)
            assert np.array_equal(part, out[first:last, start:stop])


@pytest.mark.parametrize("dim", [1, 2, 7, 15, 16, 31, 33, 96, 300])
def test_dots_are_inner_products(dim):
    check_dots(dim)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="vector instructions exist only in compiled code")
def test_dots_are_inner_products_on_every_instruction_set():
    for name in isa.available():
        env = {**os.environ, "VECSTORE_ISA": name}
        done = subprocess.run(
            [sys.executable, "-c", ON_EACH, __file__], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dim", [1, 7, 8, 20])
def test_exact_scores_are_those_of_float64(dim):
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((3, dim)).astype(np.float32)
    rows = rng.standard_normal((12, dim)).astype(np.float32)
    wide, wide_rows = queries.astype(np.float64), rows.astype(np.float64).reshape(3, 4, dim)
    products = np.einsum("jd,jcd->jc", wide, wide_rows)
    lengths = np.linalg.norm(wide, axis=1)[:, None] * np.linalg.norm(wide_rows, axis=2)
    gaps = np.square(wide[:, None] - wide_rows).sum(axis=2)
    for metric, wanted in enumerate((products, products / lengths, -gaps, products / lengths - 1)):
        out = np.empty((3, 4), np.float32)
        scores.exact(rows, queries, metric, out)
        assert np.allclose(out, wanted, rtol=1e-6, atol=1e-7)
    lengths = np.empty(12)
    scores.squares(rows, lengths)
    assert np.allclose(lengths, np.square(rows.astype(np.float64)).sum(axis=1))
    scores.along(rows, queries[0], lengths)
    assert np.allclose(lengths, rows.astype(np.float64) @ queries[0], rtol=1e-9, atol=1e-12)
    scores.gaps(rows, queries[0], lengths)
    assert np.allclose(lengths, np.square(rows.astype(np.float64) - queries[0]).sum(axis=1))


def test_the_cosine_of_nothing_is_zero():
    rows, queries = np.zeros((2, 3), np.float32), np.ones((1, 3), np.float32)
    out = np.empty((1, 2), np.float32)
    scores.exact(rows, queries, 1, out)
    assert not out.any()


def test_cosines_near_one_are_told_apart_by_what_they_are_less():
    rng = np.random.default_rng(0)
    rows = (1000 + rng.standard_normal((8, 20))).astype(np.float32)
    queries = (1000 + rng.standard_normal((1, 20))).astype(np.float32)
    out = np.empty((1, 8), np.float32)
    scores.exact(rows, queries, scores.LESS_ONE, out)
    units = [x.astype(np.float64) / np.linalg.norm(x.astype(np.float64)) for x in (queries[0], *rows)]
    wanted = [-np.square(units[0] - unit).sum() / 2 for unit in units[1:]]
    assert np.allclose(out[0], wanted, rtol=1e-5, atol=0)


def test_a_score_that_is_no_number_is_the_worst():
    rows, queries = np.full((2, 3), np.nan, np.float32), np.ones((1, 3), np.float32)
    for metric in range(4):
        out = np.empty((1, 2), np.float32)
        scores.exact(rows, queries, metric, out)
        assert (out == -np.inf).all()
