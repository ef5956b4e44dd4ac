"""Inner products with small whole numbers against numpy, on every instruction set."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from vecstore.kernels import bytedots, isa

ON_EACH = """
import runpy, sys
found = runpy.run_path(sys.argv[1])
print([found["check"](halves, width) for halves in (1, 2) for width in (1, 3, 4, 9, 64)])
"""


def plain_codes(codes, halves):
    """(n, width) bytes as whole numbers, one for each dimension."""
    if halves == 1:
        return codes.astype(np.float64)
    return np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1).astype(np.float64)


def check(halves, width):
    """Every product against float64, in blocks and parts of them; returns the bytes of the scores."""
    rng = np.random.default_rng(width)
    codes = rng.integers(0, 256, (200, width), dtype=np.uint8)
    codes[0], codes[1] = 255, 0
    weights = rng.standard_normal((12, width * halves)).astype(np.float32)
    weights[1], weights[2] = 0, 1e-44
    weights[3] = weights[3] * 1e6
    weights[4, 1:] *= 1e-3
    offsets = rng.standard_normal(12)
    wanted = weights.astype(np.float64) @ plain_codes(codes, halves).T + offsets[:, None]
    blocks, folded = (
        bytedots.lay_out(codes),
        bytedots.fold(weights, offsets, halves, 255 if halves == 1 else 15),
    )
    out = np.empty((12, 200), np.float32)
    bytedots.dots(blocks, 0, folded, out)
    levels = np.where(folded[3], 127, 32_639)
    sizes = np.abs(weights).max(axis=1)[:, None] * (255 if halves == 1 else 15) / 2 * width * halves
    sizes /= 1.9 * levels[:, None]
    if width * halves > 40:
        assert folded[3].tolist() == [True] * 4 + [False] + [True] * 7
    assert (np.abs(out - wanted) <= sizes + 1e-6 * (1 + np.abs(wanted))).all()
    for start, stop in ((0, 64), (64, 200), (128, 130)):
        for first, last in ((0, 1), (1, 4), (3, 12), (5, 11)):
            part = np.empty((last - first, stop - start), np.float32)
            some = tuple(held[first:last] for held in folded)
            bytedots.dots(blocks, start // 64, some, part)
            assert np.array_equal(part, out[first:last, start:stop])
    return out.tobytes().hex()


@pytest.mark.parametrize("halves", [1, 2])
@pytest.mark.parametrize("width", [1, 2, 4, 7, 48, 100])
def test_sums_of_products_are_those_of_float64(halves, width):
    check(halves, width)


@pytest.mark.parametrize("halves", [1, 2])
def test_the_plain_loops_agree_with_the_definition(halves, monkeypatch):
    monkeypatch.setattr(bytedots, "ISA", "scalar")
    check(halves, 9)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="vector instructions exist only in compiled code")
def test_every_instruction_set_gives_the_same_scores():
    outputs = set()
    names = [*isa.available(), *(["avx512-vnni-vbmi"] if "vnni" in isa.FEATURES else [])]
    for name in names:
        env = {**os.environ, "VECSTORE_ISA": name}
        done = subprocess.run(
            [sys.executable, "-c", ON_EACH, __file__], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    assert len(outputs) == 1


def test_blocks_hold_four_bytes_of_each_row():
    codes = np.arange(70 * 6, dtype=np.uint64).astype(np.uint8).reshape(70, 6)
    blocks = bytedots.lay_out(codes)
    assert blocks.shape == (2, 2, 64, 4)
    back = blocks.transpose(0, 2, 1, 3).reshape(128, 8)
    assert np.array_equal(back[:70, :6], codes) and not back[70:].any() and not back[:, 6:].any()
    whole = np.arange(128 * 8, dtype=np.uint64).astype(np.uint8).reshape(128, 8)
    assert np.array_equal(bytedots.lay_out(whole).transpose(0, 2, 1, 3).reshape(128, 8), whole)
