"""Product quantization kernels against numpy, on every instruction set."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from vecstore.kernels import isa, nearest, product
from vecstore.kernels.simd import _fma_exact

DIGEST = """
import hashlib
import numpy as np
from vecstore.kernels import product

rng = np.random.default_rng(0)
digest = hashlib.sha256()
for dim, m, k in ((12, 3, 256), (11, 4, 256), (64, 2, 256), (17, 1, 200), (8, 8, 3), (24, 3, 16), (9, 4, 16)):
    starts = np.linspace(0, dim, m + 1).astype(np.int64)
    rows = rng.standard_normal((101, dim), dtype=np.float32)
    # Few different values, so that equal distances are common.
    rows[:50] = np.rint(rows[:50])
    centroids = np.rint(2 * rng.standard_normal((k, dim), dtype=np.float32)) / np.float32(2)
    centroids[k // 2 :] += rng.standard_normal((k - k // 2, dim), dtype=np.float32)
    codes = np.empty((101, m), np.uint8)
    product.assign(rows, product.lay_out(centroids, starts), starts, codes)
    out = np.empty_like(rows)
    product.decode(codes, centroids, starts, out)
    assert codes.max() < k
    digest.update(codes.tobytes() + out.tobytes())
print(digest.hexdigest())
"""


def even_or_ragged(dim, m):
    return np.linspace(0, dim, m + 1).astype(np.int64)


def plain_assign(rows, centroids, starts):
    """Nearest centroid by squared differences summed dimension by dimension, the first of equal ones."""
    codes = np.empty((len(rows), len(starts) - 1), np.uint8)
    for i, row in enumerate(rows):
        for j in range(len(starts) - 1):
            distances = np.zeros(len(centroids), np.float32)
            for t in range(starts[j], starts[j + 1]):
                gaps = row[t] - centroids[:, t]
                distances = np.array([_fma_exact(g, g, d) for g, d in zip(gaps, distances, strict=True)])
            codes[i, j] = np.argmin(distances)
    return codes


def plain_decode(codes, centroids, starts):
    parts = [centroids[codes[:, j], starts[j] : starts[j + 1]] for j in range(codes.shape[1])]
    return np.concatenate(parts, axis=1)


def assigned(rows, centroids, starts):
    codes = np.full((len(rows), len(starts) - 1), 255, np.uint8)
    product.assign(rows, product.lay_out(centroids, starts), starts, codes)
    return codes


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 13, 16, 32])
@pytest.mark.parametrize("k", [256, 16, 1, 40])
def test_a_code_is_the_nearest_centroid(width, k):
    rng = np.random.default_rng(width)
    starts = even_or_ragged(2 * width, 2)
    rows = np.rint(2 * rng.standard_normal((19, 2 * width), dtype=np.float32)) / np.float32(2)
    centroids = np.rint(2 * rng.standard_normal((k, 2 * width), dtype=np.float32)) / np.float32(2)
    rows[10:] += rng.standard_normal((9, 2 * width), dtype=np.float32)
    assert np.array_equal(assigned(rows, centroids, starts), plain_assign(rows, centroids, starts))


def test_the_plain_loops_agree_with_the_definition():
    rng = np.random.default_rng(0)
    starts = even_or_ragged(7, 3)
    rows, centroids = rng.standard_normal((9, 7), dtype=np.float32), rng.standard_normal((20, 7), np.float32)
    codes = np.empty((9, 3), np.uint8)
    nearest.assign_plain(rows, product.lay_out(centroids, starts), starts, codes)
    assert np.array_equal(codes, plain_assign(rows, centroids, starts))
    out = np.empty_like(rows)
    product._decode_plain(codes % 16, centroids[:16], starts, out)
    assert np.array_equal(out, plain_decode(codes % 16, centroids, starts))


def test_of_equal_centroids_the_first_is_taken():
    rows = np.zeros((40, 4), np.float32)
    centroids = np.ones((256, 4), np.float32)
    assert not assigned(rows, centroids, even_or_ragged(4, 1)).any()


def test_codes_do_not_depend_on_the_batch():
    rng = np.random.default_rng(0)
    dim, starts = 13, even_or_ragged(13, 3)
    rows, centroids = rng.standard_normal((2, 120, dim), dtype=np.float32)
    whole = assigned(rows, centroids, starts)
    for size in (1, 3, 16, 17, 100):
        parts = [assigned(rows[i : i + size], centroids, starts) for i in range(0, 120, size)]
        assert np.array_equal(np.concatenate(parts), whole)


def test_distances_beyond_float32_give_a_code_inside_the_book():
    rows = np.full((20, 8), 3e38, np.float32)
    with np.errstate(over="ignore"):
        assert not assigned(rows, -rows[:5], even_or_ragged(8, 2)).any()


def test_no_rows_are_no_work():
    starts = even_or_ragged(8, 2)
    centroids = np.zeros((256, 8), np.float32)
    assert assigned(np.empty((0, 8), np.float32), centroids, starts).shape == (0, 2)
    product.decode(np.empty((0, 2), np.uint8), centroids, starts, np.empty((0, 8), np.float32))


@pytest.mark.parametrize(
    "dim, m", [(12, 3), (24, 3), (32, 2), (64, 2), (96, 2), (33, 2), (7, 3), (19, 5), (3, 3)]
)
@pytest.mark.parametrize("k", [256, 16, 100])
def test_decoding_puts_the_centroids_side_by_side(dim, m, k):
    rng = np.random.default_rng(dim)
    starts = even_or_ragged(dim, m)
    centroids = rng.standard_normal((k, dim), dtype=np.float32)
    codes = rng.integers(0, k, (37, m), dtype=np.uint8)
    out = np.empty((39, dim), np.float32)
    out[37:] = 7
    product.decode(codes, centroids, starts, out[:37])
    assert np.array_equal(out[:37], plain_decode(codes, centroids, starts))
    assert (out[37:] == 7).all()


@pytest.mark.parametrize("dim, m", [(12, 3), (384, 96), (64, 8), (96, 1), (9, 3), (17, 4)])
@pytest.mark.parametrize("shift", [0, 1, 4])
def test_decoding_past_the_cache_gives_the_same(dim, m, shift):
    rng = np.random.default_rng(dim)
    starts = even_or_ragged(dim, m)
    centroids = rng.standard_normal((256, dim), dtype=np.float32)
    codes = rng.integers(0, 256, (37, m), dtype=np.uint8)
    held = np.full(37 * dim + 32, 7, np.float32)  # rows that begin on a line of the cache, or do not
    out = held[shift : shift + 37 * dim].reshape(37, dim)
    product.decode(codes, centroids, starts, out, past=True)
    assert np.array_equal(out, plain_decode(codes, centroids, starts))
    assert (held[shift + 37 * dim :] == 7).all() and (held[:shift] == 7).all()


@pytest.mark.parametrize("k", [1, 3, 16, 100])
def test_a_code_beyond_the_book_reads_inside_it(k):
    starts = even_or_ragged(8, 2)
    centroids = np.arange(k * 8, dtype=np.float32).reshape(k, 8)
    out = np.empty((128, 8), np.float32)
    product.decode(np.arange(256, dtype=np.uint8).reshape(128, 2), centroids, starts, out)
    assert np.isin(out, centroids).all()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="vector instructions exist only in compiled code")
def test_every_instruction_set_gives_the_same_bytes():
    digests = set()
    for name in isa.available():
        env = {**os.environ, "VECSTORE_ISA": name}
        done = subprocess.run([sys.executable, "-c", DIGEST], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


@pytest.mark.parametrize("k", [1, 2, 3, 100, 128, 200, 256])
def test_inside_names_the_centroid_that_any_code_decodes_to(k):
    centroids = np.arange(k, dtype=np.float32)[:, None]
    rows = np.empty((256, 1), np.float32)
    product.decode(np.arange(256, dtype=np.uint8)[:, None], centroids, np.array([0, 1]), rows)
    assert np.array_equal(rows[:, 0], product.inside(k, 256))
