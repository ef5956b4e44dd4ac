"""Sums of entries of tables of 16 against numpy."""

import numba
import numpy as np
import pytest

from vecstore.kernels import bytedots, lookup, nibbles, top

pytestmark = pytest.mark.skipif(
    numba.config.DISABLE_JIT or not nibbles.USABLE, reason="needs AVX-512 VBMI and VNNI"
)


def plain_sums(codes, tables):
    """The definition of `add`, in float64; codes (n, m)."""
    book, steps, offsets = (part.astype(np.float64) for part in tables)
    return offsets[:, None] + steps * book[:, np.arange(codes.shape[1]), codes].sum(axis=2)


def make(n, m, count, seed):
    """Codes, two to a byte and apart, and tables as they are and as `add` reads them."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (n, -(-m // 2)), dtype=np.uint8)
    wide = np.stack([codes & 15, codes >> 4], axis=2).reshape(n, -1)[:, :m]
    values, starts = rng.standard_normal((count, m, 16)).astype(np.float32), np.array([0, m])
    tables, laid = (lookup.make_tables(values, starts, layout) for layout in (None, nibbles.layout(m)))
    return bytedots.lay_out(codes), wide, tables, laid


@pytest.mark.parametrize("m", [1, 2, 7, 8, 9, 96, 400])
def test_entries_are_added(m):
    for n in (1, 64, 65, 300):
        blocks, wide, tables, laid = make(n, m, 9, m)
        wanted, found = plain_sums(wide, tables), np.empty(64, np.float32)
        for start, stop in ((0, n), (n // 2 // 64 * 64, n)):
            out = np.empty((9, stop - start), np.float32)
            nibbles.add(blocks, start // 64, laid, out, found)
            assert np.allclose(out, wanted[:, start:stop], rtol=1e-6, atol=1e-3)
            for first, last in ((0, 1), (3, 9)):
                part = np.empty((last - first, stop - start), np.float32)
                nibbles.add(blocks, start // 64, tuple(held[first:last] for held in laid), part, found)
                assert np.array_equal(part, out[first:last])


@pytest.mark.parametrize("how", [top.AS_THEY_ARE, top.TIMES, top.PLUS])
@pytest.mark.parametrize("count", [1, 3, 200])
def test_the_best_are_pushed_as_their_sums_would_be(count, how):
    n, rng = 9000, np.random.default_rng(count)
    blocks, _, _, laid = make(n, 6, count, count)
    for start, stop in ((0, n), (8192, n), (64, 65)):
        terms = rng.random(stop - start).astype(np.float32)[: 0 if how == top.AS_THEY_ARE else None]
        for wanted in (np.empty(0, np.bool_), rng.random(stop - start) < 0.3):
            sums = np.empty((count, stop - start), np.float32)
            nibbles.add(blocks, start // 64, laid, sums, np.empty(64, np.float32))
            found, expected = top.empty_heap(count, 7), top.empty_heap(count, 7)
            nibbles.push(blocks, laid, (start, stop, start + 5), (terms, how, wanted), found)
            top.push(sums, terms, how, wanted, start + 5, expected)
            for heap in (found, expected):
                top.sort(heap)
            assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("how", [top.AS_THEY_ARE, top.TIMES])
@pytest.mark.parametrize("count", [1, 5])
def test_a_search_at_once_is_one_in_steps(count, how):
    n, m, k, picked, rng = 700, 6, 4, 20, np.random.default_rng(count)
    blocks, _, _, laid = make(n, m, count, count)
    values = rng.standard_normal((count, m, 16)).astype(np.float32)
    terms = rng.random(n).astype(np.float32)[: 0 if how == top.AS_THEY_ARE else None]
    for wanted in (np.empty(0, np.bool_), rng.random(n) < 0.3):
        for lengths in (np.empty(0), rng.random(count)):
            heap, exact = top.empty_heap(count, picked), np.empty((count, picked))
            nibbles.push(blocks, laid, (0, n, 0), (terms, how, wanted), heap)
            lookup.pick(blocks.transpose(0, 1, 3, 2), heap[1], values, exact)
            keys = (exact * (terms[heap[1]] if terms.size else 1)).astype(np.float32)
            if lengths.size:
                keys = (keys * lengths[:, None]).astype(np.float32)
            best = np.lexsort((heap[1], -keys))[:, :k]
            found = np.empty((count, k), np.float32), np.empty((count, k), np.int64)
            nibbles.nearest(blocks, (laid, values), ((terms, how, wanted), lengths), (n, picked), found)
            assert np.array_equal(found[0], np.take_along_axis(keys, best, axis=1))
            assert np.array_equal(found[1], np.take_along_axis(heap[1], best, axis=1))
