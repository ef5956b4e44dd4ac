"""Beam search and sums of centroids against plain twins."""

import numba
import numpy as np
import pytest

from vecstore.kernels import beams, bytedots, levels
from vecstore.kernels.product import split

pytestmark = pytest.mark.skipif(
    numba.config.DISABLE_JIT, reason="vector instructions exist only in compiled code"
)

F32 = np.float32


def make(n, stages, k, dim, seed=0):
    rng = np.random.default_rng(seed)
    books = rng.standard_normal((stages, k, dim)).astype(F32) * F32(0.6) ** np.arange(stages)[:, None, None]
    return books.astype(F32), rng.standard_normal((n, dim)).astype(F32)


def fma(a, b, c):
    """Rounded once: the product of two float32 fits a float64, and these sums are not near a tie of it."""
    return F32(np.float64(a) * np.float64(b) + np.float64(c))


def products_of(rows, stage):
    """(n, o, runs of k) of rows (n, o, d)."""
    out = np.zeros((len(rows), rows.shape[1], stage.terms.shape[1]), F32)
    weights = levels.of_rows(np.ascontiguousarray(rows.reshape(-1, rows.shape[2])))
    bytedots.dots(stage.blocks, 0, weights, out.reshape(-1, out.shape[2]))
    return out


def search(rows, errors, books, beam):
    """Paths (n, b, 1 + s) and errors (n, b) by `beams.extend`, stage by stage, and the products."""
    sums, count, products = beams.begin(errors, beam), errors.shape[1], []
    stages = [beams.Stage.after(books[:t], book) for t, book in enumerate(books)]
    for stage in stages:
        products.append(products_of(rows, stage))
        count = beams.extend(products[-1], stage, sums, count)
    return sums[0][:, :count, : 1 + len(books)], sums[1][:, :count], stages, products


def plain_search(products, errors, stages, beam):
    """The same for one row: all continuations, sorted, `beam` of them kept; products (o, k) of each stage."""
    paths = [((origin,), error) for origin, error in enumerate(errors)]
    for stage, found in zip(stages, products, strict=True):
        halves, steps, scales = stage.terms[:, : stage.k]
        bases = fma(-steps, found[:, : stage.k], halves)
        longer = []
        for path, error in paths:
            entries = sum(stage.tables[t, code, : stage.k].astype(int) for t, code in enumerate(path[1:]))
            totals = fma(entries, scales, bases[path[0]] + error)
            longer += [((*path, c), total) for c, total in enumerate(totals)]
        paths = sorted(longer, key=lambda found: found[1])[:beam]
    return paths


@pytest.mark.parametrize(
    ("stages", "k", "beam"),
    [(1, 5, 3), (2, 40, 5), (6, 33, 4), (3, 64, 1), (3, 2, 7), (4, 1, 3), (3, 70, 20), (16, 130, 5)],
)
def test_search_is_the_plain_one_bit_for_bit(stages, k, beam):
    books, rows = make(20, stages, k, 9)
    paths, errors, ready, products = search(rows[:, None], np.zeros((20, 1), F32), books, beam)
    for i in range(20):
        wanted = plain_search([found[i] for found in products], np.zeros(1, F32), ready, beam)
        assert paths[i].tolist() == [list(path) for path, _ in wanted]
        assert np.array_equal(errors[i], np.array([error for _, error in wanted], F32))


def test_search_goes_on_from_several_origins():
    books, rows = make(45, 2, 30, 8)
    rows, errors = rows.reshape(15, 3, 8), np.random.default_rng(1).standard_normal((15, 3)).astype(F32)
    paths, found, ready, products = search(rows, errors, books, 4)
    for i in range(15):
        wanted = plain_search([held[i] for held in products], errors[i], ready, 4)
        assert paths[i].tolist() == [list(path) for path, _ in wanted]
        assert np.array_equal(found[i], np.array([error for _, error in wanted], F32))


def test_of_equal_sums_the_earlier_one_and_the_smaller_code_come_first():
    books, rows = make(12, 3, 50, 6)
    books[:, 20:40] = books[:, :20]
    paths, _, ready, products = search(rows[:, None], np.zeros((12, 1), F32), books, 9)
    for i in range(12):
        wanted = plain_search([found[i] for found in products], np.zeros(1, F32), ready, 9)
        assert paths[i].tolist() == [list(path) for path, _ in wanted]


def test_errors_are_halves_of_squared_distances():
    books, rows = make(30, 4, 50, 12)
    paths, found, _, _ = search(rows[:, None], np.zeros((30, 1), F32), books, 6)
    sums = sum(books[s, paths[:, :, 1 + s]] for s in range(4)).astype(np.float64)
    wanted = np.square(rows[:, None] - sums).sum(2) - np.square(rows, dtype=np.float64).sum(1)[:, None]
    assert np.allclose(2 * found, wanted, atol=0.2)  # levels are 1 / 127 of a row's largest value


def test_tables_are_the_products_with_what_the_centroids_were_rounded_to():
    books, _ = make(1, 4, 60, 10)
    stage = beams.Stage.after(books[:3], books[3])
    rounded = levels.of_centroids(books[3])[2].astype(np.float64)
    crossed = books[:3].astype(np.float64) @ rounded.T
    tables = stage.tables[:, :, :60].astype(np.int64)
    assert (np.abs(tables * stage.terms[2, :60].astype(np.float64) - crossed) <= stage.terms[2, :60]).all()
    assert 32_000 < np.abs(tables).max(axis=1).sum(axis=0).max() <= 32_767
    assert (stage.terms[0, 60:] == np.inf).all() and stage.terms.shape[1] == 64


def test_products_that_are_no_numbers_still_give_codes():
    books, _ = make(3, 3, 40, 5)
    for bad in (np.nan, np.inf, -np.inf):
        sums, count = beams.begin(np.zeros((3, 1), F32), 4), 1
        for t, book in enumerate(books):
            stage = beams.Stage.after(books[:t], book)
            count = beams.extend(np.full((3, 1, 64), bad, F32), stage, sums, count)
        assert sums[0][:, :, 1:].max(initial=0) < 40 and (sums[0][:, :, 0] < 1).all()


def test_products_of_pairs_of_centroids():
    books, _ = make(1, 3, 7, 5)
    crossed = beams.cross(books)
    for place, (t, u) in enumerate([(0, 1), (0, 2), (1, 2)]):
        assert np.allclose(crossed[place], books[t] @ books[u].T, atol=1e-5)


@pytest.mark.parametrize(("dim", "blocks", "m"), [(7, 1, 3), (7, 3, 8), (64, 2, 4), (5, 5, 5)])
def test_sums_of_centroids(dim, blocks, m):
    rng = np.random.default_rng(2)
    books = rng.standard_normal((-(-m // blocks), 256, dim)).astype(F32)
    codes = rng.integers(0, 256, (50, m), dtype=np.uint8)
    starts, out = split(dim, blocks), np.empty((50, dim), F32)
    beams.add_up(codes, books, starts, out)
    for j in range(blocks):
        part = slice(starts[j], starts[j + 1])
        wanted = np.zeros((50, starts[j + 1] - starts[j]), F32)
        for t, place in enumerate(range(j, m, blocks)):
            wanted = wanted + books[t, codes[:, place], part]
        assert np.array_equal(out[:, part], wanted)


@pytest.mark.parametrize(("k", "dim"), [(1, 3), (70, 5), (256, 20)])
def test_the_nearest_centroid_is_the_first_of_the_least_total(k, dim):
    books, rows = make(300, 1, k, dim)
    books[0, k // 2 :] = books[0, : k - k // 2]
    stage = beams.Stage.after(books[:0], books[0])
    products = beams.products(levels.of_rows(rows), stage, 0, 300)
    codes = np.empty((300, 1), np.uint8)
    beams.nearest(products, stage, codes)
    halves, steps, _ = stage.terms[:, :k]
    assert np.array_equal(codes[:, 0], fma(-steps, products[:, :k], halves).argmin(axis=1))
