"""Beam search and sums of centroids against plain twins."""

import numba
import numpy as np
import pytest

from vecstore.kernels import beams
from vecstore.kernels.product import split

pytestmark = pytest.mark.skipif(
    numba.config.DISABLE_JIT, reason="vector instructions exist only in compiled code"
)

F32 = np.float32


def make(n, stages, k, dim, seed=0):
    rng = np.random.default_rng(seed)
    books = rng.standard_normal((stages, k, dim)).astype(F32) * F32(0.6) ** np.arange(stages)[:, None, None]
    books = books.astype(F32)
    rows = rng.standard_normal((n, dim)).astype(F32)
    flat = books.reshape(-1, dim)
    costs = (beams.half_lengths(flat) - rows @ flat.T).reshape(n, 1, stages, k)
    return books, rows, np.ascontiguousarray(costs)


def add(values):
    """Float32 sums as the kernel makes them: four tables at a time, then one by one."""
    total, rest = values[0], values[1:]
    while len(rest) > 3:
        total = F32(total + F32(F32(rest[0] + rest[1]) + F32(rest[2] + rest[3])))
        rest = rest[4:]
    for value in rest:
        total = F32(total + value)
    return total


def plain_search(costs, errors, crossed, beam):
    """`beams.search` for one row: all continuations, sorted, the first `beam` kept."""
    origins, stages, k = costs.shape
    paths = [((origin,), errors[origin]) for origin in range(origins)]
    for s in range(stages):
        longer = []
        for path, error in paths:
            for c in range(k):
                tables = [crossed[s * (s - 1) // 2 + t, path[t + 1], c] for t in range(s)]
                longer.append(((*path, c), add([F32(error + costs[path[0], s, c]), *tables])))
        paths = sorted(longer, key=lambda found: found[1])[:beam]
    return paths


@pytest.mark.parametrize(
    ("stages", "k", "beam"), [(1, 5, 3), (2, 40, 5), (6, 33, 4), (3, 64, 1), (3, 2, 7), (4, 1, 3)]
)
def test_search_is_the_plain_one_bit_for_bit(stages, k, beam):
    books, _, costs = make(20, stages, k, 9)
    crossed, errors = beams.cross(books), np.zeros((20, 1), F32)
    codes, origins, found = beams.search(costs, errors, crossed, beam)
    for i in range(20):
        wanted = plain_search(costs[i], errors[i], crossed, beam)
        assert codes.shape[1] == len(wanted)
        assert codes[i].tolist() == [list(path[1:]) for path, _ in wanted]
        assert origins[i].tolist() == [path[0] for path, _ in wanted]
        assert np.array_equal(found[i], np.array([error for _, error in wanted], F32))


def test_search_goes_on_from_several_origins():
    rng = np.random.default_rng(1)
    books, _, _ = make(1, 2, 30, 8)
    costs, errors = rng.standard_normal((15, 3, 2, 30)).astype(F32), rng.standard_normal((15, 3)).astype(F32)
    codes, origins, found = beams.search(costs, errors, beams.cross(books), 4)
    for i in range(15):
        wanted = plain_search(costs[i], errors[i], beams.cross(books), 4)
        assert [(o, *c) for o, c in zip(origins[i], codes[i].tolist(), strict=True)] == [p for p, _ in wanted]
        assert np.array_equal(found[i], np.array([error for _, error in wanted], F32))


def test_errors_are_halves_of_squared_distances():
    books, rows, costs = make(30, 4, 50, 12)
    codes, _, found = beams.search(costs, np.zeros((30, 1), F32), beams.cross(books), 6)
    sums = sum(books[s, codes[:, :, s]] for s in range(4)).astype(np.float64)
    wanted = np.square(rows[:, None] - sums).sum(2) - np.square(rows, dtype=np.float64).sum(1)[:, None]
    assert np.allclose(2 * found, wanted, atol=1e-4)


def test_costs_that_are_no_numbers_still_give_codes():
    books, _, costs = make(3, 3, 40, 5)
    for bad in (np.nan, np.inf, -np.inf):
        codes, origins, _ = beams.search(
            np.full_like(costs, bad), np.zeros((3, 1), F32), beams.cross(books), 4
        )
        assert codes.max(initial=0) < 40 and (origins == 0).all()


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
