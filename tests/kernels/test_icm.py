"""Conditional modes against their definition in plain numpy."""

import numpy as np
import pytest

from vecstore.kernels import beams, icm

F32 = np.float32


def make(n, m, k, dim, seed=0):
    """Rows, books, their costs and products in whole steps, and codes to begin with."""
    rng = np.random.default_rng(seed)
    books = rng.standard_normal((m, k, dim)).astype(F32)
    rows = (2 * rng.standard_normal((n, dim))).astype(F32)
    flat = books.reshape(-1, dim)
    products, step = icm.pair_up(books)
    costs = icm.count_costs((beams.half_lengths(flat) - rows @ flat.T).reshape(n, m, k), step)
    return rows, books, costs, products, rng.integers(0, k, (n, m)).astype(np.uint8)


def plain_totals(costs, products, codes, u):
    """What each centroid of codebook u costs beside the others' present ones."""
    return costs[u].astype(np.int64) + sum(
        products[u, t, codes[t]].astype(np.int64) for t in range(len(codes)) if t != u
    )


def plain_cost(costs, products, codes):
    m = len(codes)
    return sum(int(costs[u, codes[u]]) for u in range(m)) + sum(
        int(products[u, t, codes[t], codes[u]]) for u in range(m) for t in range(u)
    )


def plain_settle(costs, products, codes):
    """Each codebook in turn gets its best centroid, until a whole round changes nothing."""
    while True:
        before = list(codes)
        for u in range(len(codes)):
            totals = plain_totals(costs, products, codes, u)
            if totals.min() < totals[codes[u]]:
                codes[u] = int(totals.argmin())
        if codes == before:
            return codes


def plain_search(costs, products, moves, codes):
    """`icm.search` for one row."""
    kept = plain_settle(costs, products, [int(code) for code in codes])
    for move in moves:
        here = list(kept)
        for u, c in move:
            here[u] = int(c)
        here = plain_settle(costs, products, here)
        if plain_cost(costs, products, here) < plain_cost(costs, products, kept):
            kept = here
    return kept


@pytest.mark.parametrize(
    ("m", "k", "iterations"), [(1, 7, 2), (2, 40, 3), (5, 33, 6), (8, 64, 4), (9, 3, 5), (3, 256, 0)]
)
def test_search_is_the_plain_one(m, k, iterations):
    rng = np.random.default_rng(3)
    _, _, costs, products, codes = make(25, m, k, 11)
    moves = np.stack([rng.integers(0, m, (iterations, 2)), rng.integers(0, k, (iterations, 2))], axis=2)
    moves = moves.astype(np.uint8)
    wanted = [plain_search(costs[i], products, moves, codes[i]) for i in range(25)]
    icm.search(costs, products, moves, codes)
    assert codes.tolist() == wanted


def test_a_search_never_costs_more_and_more_of_it_costs_less():
    rows, books, costs, products, first = make(200, 6, 50, 10)
    moves = np.random.default_rng(4).integers(0, [6, 50], (16, 3, 2)).astype(np.uint8)
    before = [plain_cost(costs[i], products, first[i]) for i in range(200)]
    sums = []
    for iterations in (0, 4, 16):
        codes = first.copy()
        icm.search(costs, products, moves[:iterations], codes)
        found = [plain_cost(costs[i], products, codes[i]) for i in range(200)]
        assert all(a <= b for a, b in zip(found, before, strict=True))
        before = found
        sums.append(np.square(rows - sum(books[t, codes[:, t]] for t in range(6))).sum())
    assert sums[2] < sums[1] < sums[0]


def test_products_are_those_of_the_centroids_in_both_orders():
    _, books, _, products, _ = make(1, 4, 20, 7)
    wanted = np.einsum("ubd,tad->utab", books.astype(np.float64), books.astype(np.float64))
    step = icm.pair_up(books)[1]
    for u in range(4):
        assert not products[u, u].any()
        for t in range(4):
            assert t == u or np.abs(products[u, t] * step - wanted[u, t]).max() <= 0.51 * step


def test_costs_beyond_all_products_are_bounded_and_nothing_is_divided_by_zero():
    products, step = icm.pair_up(np.zeros((2, 3, 4), F32))
    assert step > 0 and not products.any()
    costs = icm.count_costs(np.array([1e30, -1e30, 0, 1.2, -2.7], F32), 1.0)
    assert costs.tolist() == [1 << 29, -(1 << 29), 0, 1, -3]


def test_the_nearer_of_two_sums_is_kept():
    rows, books, _, _, codes = make(300, 3, 20, 5)
    before = np.random.default_rng(9).integers(0, 20, (300, 3)).astype(np.uint8)
    before[::5] = codes[::5]
    gaps = [
        np.square(rows - sum(books[t, c[:, t]] for t in range(3)), dtype=np.float64).sum(axis=1)
        for c in (before, codes)
    ]
    wanted = np.where((gaps[0] < gaps[1])[:, None], before, codes)
    icm.keep_nearer(rows, books, before, codes)
    assert np.array_equal(codes, wanted)
