"""Inner products of rows of cells against numpy, on every instruction set."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from vecstore.kernels import bytedots, isa, lookup, nibbles, top
from vecstore.kernels.cellpicks import lay_out, nearest, pack, pick, push, tables_of_signs, tabulate

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
        factors = rng.random(n).astype(np.float32)
        held = lay_out(codes), width, tabulate(levels), factors
        constants = rng.standard_normal(3)
        pick(held, numbers, pack(queries, bits, width), constants, out)
        rows = (levels[cells].astype(np.float64) * factors[:, None])[numbers]
        wanted = (rows * queries[:, None]).sum(axis=2)
        wanted[1, 4] = 0
        assert np.allclose(out, wanted + constants[:, None], rtol=1e-5, atol=1e-5 * dim**0.5)


@pytest.mark.parametrize("dim", [1, 8, 24, 100, 133])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_products_are_those_of_levels(bits, dim):
    check_pick(bits, dim)


def test_tables_hold_what_signs_add():
    queries = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    values = np.empty((2, 4, 16), np.float32)
    tables_of_signs(queries, 0.5, 2.0, values)
    padded = np.pad(queries, ((0, 0), (0, 10))).reshape(2, 4, 4)
    signs = 2 * (np.arange(16)[:, None] >> np.arange(4) & 1) - 1
    wanted = (padded[:, :, None] * signs).sum(axis=3)
    wanted[:, 0] += (0.5 * np.linalg.norm(queries, axis=1) + 2 * np.abs(queries).max(axis=1))[:, None]
    assert np.allclose(values, wanted, atol=1e-5)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="without compiling there is one instruction set")
@pytest.mark.parametrize("name", [name for name in isa.available() if name != isa.ISA])
def test_every_instruction_set_multiplies(name):
    subprocess.run(
        [sys.executable, "-c", ON_EACH, __file__], env={**os.environ, "VECSTORE_ISA": name}, check=True
    )


@pytest.mark.skipif(numba.config.DISABLE_JIT or not nibbles.USABLE, reason="needs instructions of VBMI")
@pytest.mark.parametrize("how", [top.AS_THEY_ARE, top.TIMES, top.PLUS])
@pytest.mark.parametrize("count", [1, 5])
def test_rows_get_in_by_the_lesser_of_bound_and_product(count, how):
    rng = np.random.default_rng(count)
    n, dim = 9000, 40
    codes = rng.integers(0, 256, (n, 20), dtype=np.uint8)
    signs = np.packbits(rng.random((n, dim)) < 0.5, axis=1)
    stretches, factors, terms = rng.random((3, n)).astype(np.float32) + np.float32(0.5)
    queries, values = rng.standard_normal((count, dim)), rng.standard_normal((count, 10, 16))
    packed, constants = pack(queries.astype(np.float32), 4, 20), rng.standard_normal(count)
    layout = nibbles.layout(10)
    book, steps, offsets = lookup.make_tables(values.astype(np.float32), np.array([0, 10]), layout)
    tables, blocks = (book, steps, offsets + np.float32(2)), bytedots.lay_out(signs)
    cells = lay_out(codes), 20, tabulate(np.sort(rng.standard_normal(16)).astype(np.float32)), factors
    for start, stop in ((0, n), (8192, 8210), (64, 9000)):
        bounds = np.empty((count, stop - start), np.float32)
        nibbles.add(blocks, start // 64, tables, bounds, np.empty(64, np.float32))
        bounds = bounds * stretches[start:stop] + constants.astype(np.float32)[:, None]
        products = np.empty(bounds.shape)
        pick(cells, np.tile(np.arange(start, stop), (count, 1)), packed, constants, products)
        keys = [bounds, products.astype(np.float32)]
        part = terms[start:stop]
        if how != top.AS_THEY_ARE:
            keys = [key * part if how == top.TIMES else key + part for key in keys]
        for wanted in (np.empty(0, np.bool_), rng.random(stop - start) < 0.3):
            heap = top.empty_heap(count, 7)
            by = part if how != top.AS_THEY_ARE else part[:0], how, wanted
            push((blocks, stretches), cells, (tables, packed, constants), (start, stop, start + 3), by, heap)
            top.sort(heap)
            least = np.minimum(*keys)
            if wanted.size:
                least[:, ~wanted] = -np.inf
            order = np.argsort(-least, axis=1, kind="stable")[:, : min(7, (least[0] > -np.inf).sum())]
            assert np.array_equal(heap[1][:, : order.shape[1]], order + start + 3)
            assert np.array_equal(heap[0][:, : order.shape[1]], np.take_along_axis(least, order, axis=1))


@pytest.mark.skipif(numba.config.DISABLE_JIT or not nibbles.USABLE, reason="needs instructions of VBMI")
@pytest.mark.parametrize("how", [top.AS_THEY_ARE, top.TIMES])
@pytest.mark.parametrize("count", [1, 5])
def test_a_search_at_once_is_one_in_steps(count, how):
    n, dim, k, picked, rng = 9000, 36, 4, 6, np.random.default_rng(count)
    codes, levels = rng.integers(0, 256, (n, 18), dtype=np.uint8), np.sort(rng.standard_normal(16))
    stretches, factors, terms = rng.random((3, n)).astype(np.float32) + np.float32(0.5)
    turned, constants = rng.standard_normal((count, dim)).astype(np.float32), rng.standard_normal(count)
    cells = lay_out(codes), 18, tabulate(levels.astype(np.float32)), factors
    layout, values = nibbles.layout(10), np.empty((count, 10, 16), np.float32)
    tables_of_signs(turned, 0.1, 0.2, values)
    tables, packed = lookup.make_tables(values, np.array([0, 10]), layout), pack(turned, 4, 18)
    bits = bytedots.lay_out(np.packbits(rng.random((n, dim)) < 0.5, axis=1)), stretches
    for wanted in (np.empty(0, np.bool_), rng.random(n) < 0.3):
        for lengths in (np.empty(0), rng.random(count)):
            by = terms[: 0 if how == top.AS_THEY_ARE else None], how, wanted
            heap, products = top.empty_heap(count, picked), np.empty((count, picked))
            push(bits, cells, (tables, packed, constants), (0, n, 0), by, heap)
            pick(cells, heap[1], packed, constants, products)
            keys = (products * (terms[heap[1]] if how == top.TIMES else 1)).astype(np.float32)
            if lengths.size:
                keys = (keys * lengths[:, None]).astype(np.float32)
            best = np.lexsort((heap[1], -keys))[:, :k]
            found = np.empty((count, k), np.float32), np.empty((count, k), np.int64)
            asked = turned, constants, (0.1, 0.2), layout[0]
            nearest(bits, cells, asked, (by, lengths), (4, picked), found)
            assert np.array_equal(found[0], np.take_along_axis(keys, best, axis=1))
            assert np.array_equal(found[1], np.take_along_axis(heap[1], best, axis=1))
