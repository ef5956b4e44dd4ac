"""How much decoded rows differ from the rows: squared error, recall, distance to the limit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows

_QUERIES = 128  # scored at a time, so that the scores of a set stay small


def relative_mse(rows: Rows, back: Rows) -> float:
    """sum |x - x'|^2 / sum |x - mean|^2, rows and back (n, dim)."""
    error = np.square(rows - back, dtype=np.float64).sum()
    spread = np.square(rows - rows.mean(axis=0, dtype=np.float64)).sum()
    return float(error / spread) if spread > 0 else float(error > 0)


def recall(rows: Rows, back: Rows, queries: Rows, metric: str, k: int = 10) -> float:
    """Share of the true k nearest rows that are among the k nearest decoded rows, exact scans of both."""
    k = min(k, len(rows))
    true = nearest(rows, queries, metric, k)
    found = nearest(back, queries, metric, k)
    hits = [len(np.intersect1d(a, b)) for a, b in zip(true, found, strict=True)]
    return float(np.sum(hits) / (k * len(queries)))


def nearest(rows: Rows, queries: Rows, metric: str, k: int) -> NDArray[np.int64]:
    """(q, k) numbers of the nearest rows, in no order; metric l2, cosine or ip."""
    bias = np.zeros(len(rows), np.float32)
    if metric == "l2":
        bias = np.float32(-0.5) * np.square(rows).sum(axis=1, dtype=np.float32)
    elif metric == "cosine":
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = np.divide(rows, np.where(norms > 0, norms, 1), dtype=np.float32)
    found = []
    for start in range(0, len(queries), _QUERIES):
        scores = queries[start : start + _QUERIES] @ rows.T + bias
        found.append(np.argpartition(-scores, k - 1, axis=1)[:, :k])
    return np.concatenate(found)


def gap_db(rows: Rows, loss: float, bits_per_dim: float) -> float | None:
    """Decibels between loss and the least one for a Gaussian source of the rows' covariance at this rate.

    Reverse water-filling: Cover and Thomas 2006, theorem 10.3.3. Below zero where the rows have structure
    beyond their covariance. None where there are too few rows to know the covariance, or nothing is lost.
    """
    n, dim = rows.shape
    if n < 4 * dim or loss <= 1e-12:
        return None
    values = np.linalg.eigvalsh(np.cov(rows, rowvar=False, dtype=np.float64)).clip(1e-12)
    low, high = np.log(values.min()) - 2 * bits_per_dim * dim, np.log(values.max())
    for _ in range(200):
        level = (low + high) / 2
        bits = np.maximum(0, np.log(values) - level).sum() / (2 * np.log(2) * dim)
        low, high = (level, high) if bits > bits_per_dim else (low, level)
    least = float(np.minimum(values, np.exp(high)).sum() / values.sum())
    return float(10 * np.log10(loss / least)) if least > 0 else None
