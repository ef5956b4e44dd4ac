"""Inner products of rows of cells against numpy, on every instruction set."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from vecstore.kernels import isa
from vecstore.kernels.cellpicks import lay_out, pack, pick, sizes, tabulate

ON_EACH = """
import runpy, sys
found = runpy.run_path(sys.argv[1])
for bits in (1, 2, 4):
    for dim in (1, 24, 133):
        found["check_pick"](bits, dim)
"""


def check_pick(bits, dim):
    rng = np.random.default_rng(dim)
    levels = np.sort(rng.standard_normal(2**bits)).astype(np.float32)
    width = -(-dim * bits // 8)
    queries = rng.standard_normal((3, dim)).astype(np.float32)
    for n in (1, 40):
        codes = rng.integers(0, 256, (n, width), dtype=np.uint8)
        cells = np.unpackbits(codes, axis=1, bitorder="little").reshape(n, -1, bits)
        cells = (cells << np.arange(bits, dtype=np.uint8)).sum(axis=2)[:, :dim]
        numbers = rng.integers(0, n, (3, 7))
        numbers[1, 4] = -1
        out = np.full((3, 7), np.nan)
        pick(lay_out(codes), width, numbers, tabulate(levels), pack(queries, bits, width), out)
        rows = levels[cells].astype(np.float64)[numbers]
        wanted = (rows * queries[:, None]).sum(axis=2)
        wanted[1, 4] = 0
        assert np.allclose(out, wanted, rtol=1e-5, atol=1e-5 * dim**0.5)


@pytest.mark.parametrize("dim", [1, 8, 24, 100, 133])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_products_are_those_of_levels(bits, dim):
    check_pick(bits, dim)


def test_sizes_of_queries():
    queries = np.array([[3, -4, 0], [0, 0, 0]], np.float32)
    out = np.empty((2, 3))
    sizes(queries, out)
    assert out.tolist() == [[-1, 5, 4], [0, 0, 0]]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="without compiling there is one instruction set")
@pytest.mark.parametrize("name", [name for name in isa.available() if name != isa.ISA])
def test_every_instruction_set_multiplies(name):
    subprocess.run(
        [sys.executable, "-c", ON_EACH, __file__], env={**os.environ, "VECSTORE_ISA": name}, check=True
    )
