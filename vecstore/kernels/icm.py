"""Local search for codes whose centroids are added up: conditional modes, iterated from perturbed codes.

Martinez, Clement, Hoos, Little 2016, "Revisiting additive quantization", ECCV, section 3. Halved and without
|x|^2, the squared distance of a row x to a sum of centroids is a cost for each of them, |c|^2 / 2 - <c, x>,
and a product <c, d> for each two. A step gives one codebook the centroid that is best beside all others.
Costs and products are whole numbers here, of steps of the largest product, so that sums are the same in any
order; products have two bytes, since reading them is what takes the time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.beams import cross
from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I16 = NDArray[np.int16]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
_LARGEST_PRODUCT = 32_767
_LARGEST_COST = 1 << 29  # sums of one cost and 256 products stay inside int32


def pair_up(books: F32) -> tuple[I16, float]:
    """Inner products of the centroids of books (m, k, d), and the step that they are counted in.

    Products (m, m, k, k): [u, t, a, b] is of centroid b of codebook u with centroid a of codebook t, zero
    where u is t.
    """
    m, k, _ = books.shape
    crossed = cross(books)
    step = max(float(np.abs(crossed).max(initial=0)) / _LARGEST_PRODUCT, float(np.finfo(np.float32).tiny))
    products = np.zeros((m, m, k, k), np.int16)
    for u in range(m):
        for t in range(u):
            rounded = np.rint(crossed[u * (u - 1) // 2 + t] / np.float32(step))
            products[u, t] = rounded
            products[t, u] = rounded.T
    return products, step


def count_costs(costs: F32, step: float) -> I32:
    """Costs of any shape, changed, in whole steps; beyond 2^29 they count as that."""
    with np.errstate(over="ignore"):
        costs /= np.float32(step)
    np.rint(costs, out=costs)
    np.clip(costs, -_LARGEST_COST, _LARGEST_COST, out=costs)
    return costs.astype(np.int32)


@kernel
def search(costs: I32, products: I16, moves: U8, codes: U8) -> None:
    """codes[i] = the least of total costs that conditional modes reach from codes[i] and from perturbed ones.

    costs (n, m, k) and products (m, m, k, k), in the same steps; moves (iterations, p, 2): the codebooks and
    centroids that are set, the same for all rows, before conditional modes settle once more; what they
    reach is kept where it costs less. codes (n, m), each below k, changed.
    """
    n, m, k = costs.shape
    here, kept, totals = np.empty(m, np.int64), np.empty(m, np.int64), np.empty(k, np.int32)
    for i in range(n):
        for u in range(m):
            kept[u] = codes[i, u]
        _settle(costs[i], products, kept, totals)
        least = _cost(costs[i], products, kept)
        for move in range(moves.shape[0]):
            here[:] = kept
            for p in range(moves.shape[1]):
                here[moves[move, p, 0]] = moves[move, p, 1]
            _settle(costs[i], products, here, totals)
            found = _cost(costs[i], products, here)
            if found < least:
                least = found
                kept[:] = here
        for u in range(m):
            codes[i, u] = kept[u]


@kernel
def _settle(costs: I32, products: I16, codes: I64, totals: I32) -> None:
    """Conditional modes, codebook after codebook, until none changes.

    costs (m, k) of one row; codes (m,), changed; totals (k,) is scratch. Of equal centroids the present one
    stays, else the first is taken.
    """
    m = codes.size
    u, settled = 0, 0
    while settled < m:
        _total(costs[u], products[u], codes, totals)
        best = _first_least(totals)
        settled += 1
        if totals[best] < totals[codes[u]]:
            codes[u] = best
            settled = 1
        u = u + 1 if u + 1 < m else 0


@kernel
def _cost(costs: I32, products: I16, codes: I64) -> np.int64:
    """The total cost of codes (m,): of each, and of each two."""
    total = np.int64(0)
    for u in range(codes.size):
        total += costs[u, codes[u]]
        for t in range(u):
            total += products[u, t, codes[t], codes[u]]
    return total


@kernel
def _total(costs: I32, products: I16, codes: I64, totals: I32) -> None:
    """totals[c] = costs[c] + the sum over t of products[t, codes[t], c].

    costs (k,) and products (m, k, k) of one codebook, codes (m,), totals (k,), written.
    """
    m = codes.size
    for c in range(totals.size):
        totals[c] = costs[c]
    for t in range(0, m - 3, 4):  # four at a time: the totals are loaded and stored less often
        p, q = products[t, codes[t]], products[t + 1, codes[t + 1]]
        r, s = products[t + 2, codes[t + 2]], products[t + 3, codes[t + 3]]
        for c in range(totals.size):
            totals[c] += np.int32(p[c]) + np.int32(q[c]) + np.int32(r[c]) + np.int32(s[c])
    for t in range(m - m % 4, m):
        p = products[t, codes[t]]
        for c in range(totals.size):
            totals[c] += np.int32(p[c])


@kernel
def _first_least(totals: I32) -> np.int32:
    """The first place of the least total: two passes, each of which becomes vectors."""
    least = totals[0]
    for c in range(totals.size):
        least = min(least, totals[c])
    place = np.int32(totals.size)
    for c in range(totals.size):
        place = min(place, np.int32(c) if totals[c] == least else np.int32(totals.size))
    return place


@kernel
def keep_nearer(rows: F32, books: F32, before: U8, codes: U8) -> None:
    """codes[i] = before[i] where that sum of centroids is nearer to rows[i].

    rows (n, d), books (m, k, d), before and codes (n, m), the last changed.
    """
    gaps = np.empty(rows.shape[1], np.float32)
    for i in range(rows.shape[0]):
        same = True
        for t in range(codes.shape[1]):
            same &= codes[i, t] == before[i, t]
        if not same and _distance(rows[i], books, before[i], gaps) < _distance(
            rows[i], books, codes[i], gaps
        ):
            codes[i] = before[i]


@kernel
def _distance(row: F32, books: F32, codes: U8, gaps: F32) -> np.float64:
    """|row - the sum over t of books[t, codes[t]]|^2; gaps (d,) is scratch."""
    for j in range(gaps.size):
        gaps[j] = row[j]
    for t in range(codes.size):
        centroid = books[t, codes[t]]
        for j in range(gaps.size):
            gaps[j] -= centroid[j]
    total = np.float64(0)
    for j in range(gaps.size):
        total += np.float64(gaps[j]) * np.float64(gaps[j])
    return total
