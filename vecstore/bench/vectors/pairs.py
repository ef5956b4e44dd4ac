"""Capacity: of the sets of two documents that free vectors tell apart, how many survive (LIMIT-bits)."""

from __future__ import annotations

from vecstore.bench import capacity
from vecstore.bench.process import Record
from vecstore.bench.vectors.sets import VectorSet
from vecstore.bench.vectors.stored import Stored


def applies(data: VectorSet) -> bool:
    """To free vectors."""
    return data.pairs is not None


def measure(stored: Stored) -> Record:
    """limit_sets of limit_sets_float32 whole sets, recall_at_2."""
    data = stored.data
    sets, of, recall = capacity.survivors(data.base, data.queries, stored.search(data.queries, 2))
    return {"limit_sets": sets, "limit_sets_float32": of, "recall_at_2": recall}
