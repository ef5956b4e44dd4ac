"""How much decoded rows differ from the rows: squared error, inner products, recall."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows

KS = (1, 10, 100)
_QUERIES = 128  # scored at a time, so that the scores of a set stay small


def relative_mse(rows: Rows, back: Rows) -> float:
    """sum |x - x'|^2 / sum |x - mean|^2, rows and back (n, dim)."""
    error = np.square(rows - back, dtype=np.float64).sum()
    spread = np.square(rows - rows.mean(axis=0, dtype=np.float64)).sum()
    return float(error / spread) if spread > 0 else float(error > 0)


def inner_products(rows: Rows, back: Rows, queries: Rows) -> tuple[float | None, float | None]:
    """Error and slope of <q, x'> as an estimate of <q, x>, over all pairs of queries and rows.

    The error is dim E[<q, x - x'>^2 / (|q|^2 |x|^2)], which for errors of no preferred direction is the
    share of |x|^2 that was lost, whatever the dimension. The slope is that of the line through the estimates
    against the products, both over |q| |x|: one where nothing shrinks. None where there is nothing to divide
    by.
    """
    norms = np.linalg.norm(rows, axis=1)
    units = queries / np.linalg.norm(queries, axis=1, keepdims=True).clip(1e-30)
    rows, back = (part[norms > 0] / norms[norms > 0, None] for part in (rows, back))
    count = len(rows) * len(queries)
    if not count:
        return None, None
    sums = np.zeros(4)  # of products, of errors, of their squares, of their products with each other
    squares = 0.0
    for start in range(0, len(units), _QUERIES):
        part = units[start : start + _QUERIES]
        true = (part @ rows.T).astype(np.float64)
        lost = (part @ (rows - back).T).astype(np.float64)
        sums += true.sum(), lost.sum(), np.vdot(true, true), np.vdot(true, lost)
        squares += float(np.vdot(lost, lost))
    mean_true, mean_lost, square, both = sums / count
    variance = square - mean_true**2
    slope = 1 - (both - mean_true * mean_lost) / variance if variance > 1e-12 else None
    return rows.shape[1] * squares / count, None if slope is None else float(slope)


def recalls(
    rows: Rows, found: NDArray[np.int64], queries: Rows, metric: str, ks: Sequence[int] = KS
) -> dict[int, NDArray[np.float64] | None]:
    """For each k, of each query: the share (q,) of the first k found rows that are among the true k nearest.

    found (q, m): rows' numbers, best first; negative where a search found nothing. A row as near as the k-th
    nearest counts, so that of equal rows it does not matter which is found. None where there are no more than
    k rows to choose from, or fewer were found.
    """
    fits = [k for k in ks if k < len(rows) and k <= found.shape[1]]
    shares = {k: np.empty(len(queries)) for k in fits}
    for start, scores in _scores(rows, queries, metric):
        here = found[start : start + len(scores)]
        reached = np.take_along_axis(scores, here.clip(0), axis=1)
        reached[here < 0] = -np.inf
        for k, share in shares.items():
            least = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
            share[start : start + len(scores)] = (reached[:, :k] >= least).mean(axis=1)
    return {k: shares.get(k) for k in ks}


def with_error(shares: NDArray[np.float64]) -> tuple[float, float]:
    """The mean of queries' shares (q,) and its standard error, the queries being a sample."""
    spread = shares.std(ddof=1) if len(shares) > 1 else 0.0
    return float(shares.mean()), float(spread / np.sqrt(len(shares)))


def nearest(rows: Rows, queries: Rows, metric: str, k: int) -> NDArray[np.int64]:
    """(q, k) numbers of the nearest rows, best first; metric l2, cosine or ip."""
    k = min(k, len(rows))
    found = []
    for _, scores in _scores(rows, queries, metric):
        first = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, first, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(first, order, axis=1))
    return np.concatenate(found)


def _scores(rows: Rows, queries: Rows, metric: str) -> Iterator[tuple[int, Rows]]:
    """Scores (q, n) of some queries at a time, with the number of the first of them; larger is nearer."""
    bias = np.zeros(len(rows), np.float32)
    if metric == "l2":
        # Of rows far from zero the squares would lose what they differ by.
        middle = rows.mean(axis=0, dtype=np.float64)
        rows, queries = ((part - middle).astype(np.float32) for part in (rows, queries))
        bias = np.float32(-0.5) * np.square(rows).sum(axis=1, dtype=np.float32)
    elif metric == "cosine":
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = np.divide(rows, np.where(norms > 0, norms, 1), dtype=np.float32)
    for start in range(0, len(queries), _QUERIES):
        yield start, queries[start : start + _QUERIES] @ rows.T + bias
