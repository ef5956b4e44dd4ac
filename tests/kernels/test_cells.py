"""Cells of rotated rows against numpy, on every instruction set."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from vecstore.kernels import cells, isa
from vecstore.kernels.hadamard import rotate

ON_EACH = """
import hashlib, runpy, sys
found = runpy.run_path(sys.argv[1])
digest = hashlib.sha256()
for dim in (1, 3, 24, 100):
    for bits in (1, 2, 3, 4):
        digest.update(b"".join(part.tobytes() for part in found["check_nearest"](dim, bits)))
print(digest.hexdigest())
"""


def make(dim, n=37):
    rng = np.random.default_rng(dim)
    rows = (rng.standard_normal((n, dim)) * rng.lognormal(size=(n, 1))).astype(np.float32)
    rows[3] = 0
    signs = np.where(rng.random((4, dim)) < 0.5, -1, 1).astype(np.float32)
    return rows, signs


def total(values):
    """The sum over a row, from the first dimension to the last."""
    return np.add.accumulate(values, axis=1)[:, -1]


def plain_nearest(rows, turning, levels):
    """The nearest level of each rotated and scaled value, and the sums."""
    mean, signs = turning
    turned = rows - mean if len(mean) else rows.copy()
    rotate(turned, signs, True)
    squares = total(turned.astype(np.float64) ** 2)
    lengths = np.sqrt(squares)
    with np.errstate(divide="ignore"):
        inverse = np.where(lengths > 1e-30, np.sqrt(np.float64(rows.shape[1])) / lengths, 0)
    sizes = np.abs(turned * inverse.astype(np.float32)[:, None])
    place = (sizes[:, :, None] > (levels[:-1] + levels[1:]) / np.float32(2)).sum(2)
    near = levels[place].astype(np.float64)
    found = np.where(turned < 0, len(levels) - 1 - place, len(levels) + place)
    return found, np.stack([squares, total(np.abs(turned) * near), total(near * near)], axis=1)


def plain_pack(found, bits):
    """Cell after cell, lowest bits first."""
    single = (found[:, :, None] >> np.arange(bits)) & 1
    return np.packbits(single.reshape(len(found), -1).astype(np.uint8), axis=1, bitorder="little")


def check_nearest(dim, bits, centred=True):
    rows, signs = make(dim)
    mean = np.random.default_rng(bits).standard_normal(dim if centred else 0).astype(np.float32)
    levels = np.sort(np.random.default_rng(bits).random(2 ** (bits - 1)) * 2).astype(np.float32)
    codes = np.full((len(rows), 2 + cells.width(dim, bits)), 99, np.uint8)
    sums = np.full((len(rows), 3), np.nan)
    cells.nearest(rows, (mean, signs), levels, codes, sums)
    found, wanted = plain_nearest(rows, (mean, signs), levels)
    assert (codes[:, :2] == 99).all()
    assert np.array_equal(codes[:, 2:], plain_pack(found, bits))
    assert np.array_equal(sums, wanted)
    return codes, sums


@pytest.mark.parametrize("dim", [1, 3, 8, 20, 37])
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_a_cell_is_that_of_the_nearest_level(dim, bits):
    check_nearest(dim, bits)
    check_nearest(dim, bits, centred=False)


@pytest.mark.parametrize("bits", range(1, 9))
def test_decoding_is_levels_times_scale_rotated_back(bits):
    rows, signs = make(21)
    rng = np.random.default_rng(bits)
    levels, scales = rng.standard_normal(2**bits).astype(np.float32), rng.random(37).astype(np.float32)
    codes = rng.integers(0, 256, (37, 3 + cells.width(21, bits)), dtype=np.uint8)
    single = np.unpackbits(codes[:, 3:], axis=1, bitorder="little")[:, : 21 * bits].reshape(37, 21, bits)
    wanted = single @ (1 << np.arange(bits))
    found = np.empty((37, 21), np.uint8)
    cells.unpack(codes, bits, found)
    assert np.array_equal(found, wanted)
    cells.decode(codes, levels, scales, signs, rows)
    back = levels[wanted] * scales[:, None]
    rotate(back, signs, False)
    assert np.array_equal(rows, back)


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
