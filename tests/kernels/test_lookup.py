"""Sums of table entries against numpy, on every instruction set."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from vecstore.kernels import bytedots, isa, lookup
from vecstore.kernels.bitsums import lay_out

ON_EACH = """
import runpy, sys
found = runpy.run_path(sys.argv[1])
print([found["check"](starts) for starts in ([0, 1], [0, 5], [0, 256], [0, 256, 300])])
"""


def plain_sums(codes, starts, tables):
    """The definition of `add_entries`, in float64."""
    book, steps, offsets = (part.astype(np.float64) for part in tables)
    total = np.repeat(offsets[:, None], len(codes), axis=1)
    for s in range(len(starts) - 1):
        for t in range(starts[s], starts[s + 1]):
            total += steps[:, s, None] * book[:, t, codes[:, t]]
    return total


def check(starts):
    """Sums of random entries, and of the largest there can be; returns the bytes of the scores."""
    rng = np.random.default_rng(0)
    starts = np.array(starts)
    m = int(starts[-1])
    outputs = b""
    for n in (1, 64, 65, 600):
        codes = rng.integers(0, 256, (n, m), dtype=np.uint8)
        tables = lookup.make_tables(rng.standard_normal((3, m, 256)).astype(np.float32), starts)
        tables[0][0] = 255
        wanted, blocks = plain_sums(codes, starts, tables), lay_out(codes)
        for start, stop in ((0, n), (n // 2 // 64 * 64, n)):
            out = np.full((3, stop - start), np.nan, np.float32)
            lookup.add_entries(blocks, start // 64, starts, tables, out)
            assert np.allclose(out, wanted[:, start:stop], rtol=1e-6, atol=1e-3)
            outputs += out.tobytes()
    return outputs.hex()


@pytest.mark.parametrize("starts", [[0, 1], [0, 2], [0, 48], [0, 256], [0, 256, 257]])
def test_sums_are_those_of_single_entries(starts):
    check(starts)


def test_the_plain_loops_agree_with_the_definition(monkeypatch):
    monkeypatch.setattr(lookup, "VECTORS", False)
    check([0, 6])


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="vector instructions exist only in compiled code")
def test_every_instruction_set_gives_the_same_scores():
    outputs = set()
    names = [*isa.available(), *(["avx512-vbmi"] if "vbmi" in isa.FEATURES else [])]
    for name in names:
        env = {**os.environ, "VECSTORE_ISA": name}
        done = subprocess.run(
            [sys.executable, "-c", ON_EACH, __file__], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    assert len(outputs) == 1


def test_tables_are_rounded_in_the_step_of_the_widest():
    values = np.random.default_rng(0).standard_normal((2, 7, 256)).astype(np.float32)
    values[1] = 3
    book, steps, offsets = lookup.make_tables(values, np.array([0, 4, 7]))
    assert np.allclose(offsets, values.min(axis=2).sum(axis=1), rtol=1e-5)
    wide = np.ptp(values, axis=2)
    assert np.allclose(steps, np.stack([wide[:, :4].max(1), wide[:, 4:].max(1)], axis=1) / 255)
    back = np.repeat(steps, [4, 3], axis=1)[:, :, None] * book + values.min(axis=2, keepdims=True)
    assert np.abs(back - values).max() <= 0.51 * steps.max()


@pytest.mark.parametrize("starts", [[0, 4, 8], [0, 3, 5, 7]])
def test_values_are_products_with_centroids(starts):
    rng = np.random.default_rng(0)
    queries, centroids = rng.standard_normal((3, starts[-1])), rng.standard_normal((16, starts[-1]))
    values = np.empty((3, len(starts) - 1, 16), np.float32)
    columns = np.ascontiguousarray(centroids.T, np.float32)
    lookup.centroid_products(queries.astype(np.float32), columns, np.array(starts), values)
    for at in range(len(starts) - 1):
        part = slice(starts[at], starts[at + 1])
        assert np.allclose(values[:, at], queries[:, part] @ centroids[:, part].T, atol=1e-5)


@pytest.mark.parametrize("k", [16, 256])
@pytest.mark.parametrize("m", [2, 6, 8, 14])
@pytest.mark.parametrize("layout", [lay_out, bytedots.lay_out])
def test_sums_of_picked_rows_are_those_of_single_entries(k, m, layout):
    rng = np.random.default_rng(m)
    codes = rng.integers(0, 256, (150, -(-m // 2) if k == 16 else m), dtype=np.uint8)
    wide = codes if k == 256 else np.stack([codes & 15, codes >> 4], axis=2).reshape(150, -1)[:, :m]
    values = rng.standard_normal((2, m, k)).astype(np.float32)
    numbers = np.array([[0, 64, 149], [149, 3, 3]])
    blocks = layout(codes) if layout is bytedots.lay_out else layout(codes)[..., None]
    out = np.empty((2, 3))
    lookup.pick(blocks.transpose(0, 1, 3, 2), numbers, values, out)
    wanted = [[sum(values[j, np.arange(m), wide[i]].astype(float)) for i in numbers[j]] for j in (0, 1)]
    assert np.allclose(out, wanted, rtol=1e-12, atol=1e-12)
