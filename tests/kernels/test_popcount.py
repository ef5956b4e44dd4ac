"""Counts of bits that differ against numpy, on every instruction set."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from vecstore.kernels import isa, top
from vecstore.kernels.popcount import BLOCK, hamming, lay_out, pack, push

ON_EACH = """
import runpy, sys
found = runpy.run_path(sys.argv[1])
for dim in (7, 130, 2100):
    found["check_hamming"](dim)
"""


def plain_scores(codes, queries, dim):
    """dim - 2 Hamming distance of the first dim bits."""
    rows = np.unpackbits(codes, axis=1, count=dim, bitorder="little")
    wanted = np.unpackbits(queries, axis=1, count=dim, bitorder="little")
    return dim - 2 * (wanted[:, None] != rows[None]).sum(2)


def check_hamming(dim):
    rng = np.random.default_rng(dim)
    width = (dim + 7) // 8
    queries = rng.integers(0, 256, (3, width), dtype=np.uint8)
    packed = pack(queries, dim)
    for n in (1, 63, 64, 130):
        codes = rng.integers(0, 256, (n, width), dtype=np.uint8)
        codes[0] = ~queries[0]  # as far as can be: the largest counts
        before = codes.copy()
        blocks, wanted = lay_out(codes, dim), plain_scores(codes, queries, dim)
        assert np.array_equal(codes, before)
        for start in (0, n // 2 // BLOCK * BLOCK):
            out = np.full((3, n - start), np.nan, np.float32)
            hamming(blocks, start // BLOCK, packed, out)
            assert np.array_equal(out, wanted[:, start:])


@pytest.mark.parametrize("dim", [1, 7, 8, 63, 64, 100, 130, 384, 992, 1000, 4097])
def test_scores_are_those_of_single_bits(dim):
    check_hamming(dim)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="without compiling there is one instruction set")
@pytest.mark.parametrize("name", [name for name in isa.available() if name != isa.ISA])
def test_every_instruction_set_counts_the_same(name):
    subprocess.run(
        [sys.executable, "-c", ON_EACH, __file__], env={**os.environ, "VECSTORE_ISA": name}, check=True
    )


@pytest.mark.parametrize("count", [1, 3, 200])
def test_the_best_are_pushed_as_their_scores_would_be(count):
    rng = np.random.default_rng(count)
    codes, queries = rng.integers(0, 4, (9000, 5), np.uint8), rng.integers(0, 4, (count, 5), np.uint8)
    blocks, packed = lay_out(codes, 40), pack(queries, 40)
    for start, stop in ((0, 9000), (8192, 9000), (64, 65)):
        for wanted in (np.empty(0, np.bool_), rng.random(stop - start) < 0.3):
            scores = np.empty((count, stop - start), np.float32)
            hamming(blocks, start // BLOCK, packed, scores)
            found, expected = top.empty_heap(count, 7), top.empty_heap(count, 7)
            push(blocks, (start, stop, start + 5), packed, wanted, found)
            top.push(scores, np.empty(0, np.float32), top.AS_THEY_ARE, wanted, start + 5, expected)
            for heap in (found, expected):
                top.sort(heap)
            assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
