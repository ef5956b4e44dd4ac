"""Nearest neighbours: recall of what float32 finds, and nDCG of what people judged to be relevant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.bench.process import Record
from vecstore.bench.quality import KS, recalls, with_error
from vecstore.bench.vectors.sets import VectorSet
from vecstore.bench.vectors.stored import Stored

_JUDGED = 10


def applies(data: VectorSet) -> bool:
    """Where there are queries, and rows enough to choose from."""
    return len(data.queries) > 0 and len(data.base) > max(KS)


def measure(stored: Stored) -> Record:
    """recall_at_k with its standard error over queries; ndcg_at_10."""
    data = stored.data
    order = stored.search(data.queries, max(KS))
    found: Record = {}
    for k, shares in recalls(data.base, order, data.queries, data.metric).items():
        mean, error = (None, None) if shares is None else with_error(shares)
        found |= {f"recall_at_{k}": mean, f"recall_at_{k}_error": error}
    if data.relevant:
        gains = [ndcg(order[query], rows) for query, rows in data.relevant.items() if query < len(order)]
        found["ndcg_at_10"], found["ndcg_at_10_error"] = with_error(np.array(gains))
    return found


def ndcg(order: NDArray[np.int64], relevant: frozenset[int]) -> float:
    """sum over the first ten, r-th at 1 / log2(r + 1), of those that are relevant, over the best such sum."""
    worth = 1 / np.log2(np.arange(2, _JUDGED + 2))
    hit = np.array([int(row) in relevant for row in order[:_JUDGED]])
    return float((worth[: len(hit)] * hit).sum() / worth[: len(relevant)].sum())
