"""What a search is asked for, checked."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import LARGEST, Array, Rows, as_float32, check_rows
from vecstore.errors import InputError, ShapeError, SpecError
from vecstore.kernels.finite import within

METRICS = ("ip", "cosine", "l2")
ALL = np.empty(0, np.bool_)
_WHOLE = int | np.integer


def check_metric(metric: str) -> None:
    """SpecError unless it is one."""
    if metric not in METRICS:
        raise SpecError(f"metric is {metric!r}; expected one of {', '.join(METRICS)}")


def check_asked(k: int, metric: str, rerank: int) -> None:
    """SpecError unless a search can be by these."""
    check_metric(metric)
    for name, value, least in (("k", k, 1), ("rerank", rerank, 0)):
        if isinstance(value, bool) or not isinstance(value, _WHOLE) or value < least:
            raise SpecError(f"{name} is {value!r}; expected a whole number, {least} or more")


def check_mix(mix: float, symmetric: bool) -> None:
    """SpecError unless so much of a code's score can be added to that of a finer row."""
    if not isinstance(mix, int | float | np.number) or not 0 <= mix < math.inf:
        raise SpecError(f"mix is {mix!r}; expected a number, 0 or more")
    if mix and symmetric:
        raise SpecError("a symmetric search scores codes by another measure, which cannot be mixed in")


def check_queries(queries: Array, dim: int) -> Rows:
    """Queries (q, dim) in float32; ShapeError, and InputError for one that holds NaN or infinity."""
    rows = as_float32(check_rows(queries, dim))
    if not within(rows, LARGEST):
        with np.errstate(invalid="ignore"):
            query, place = np.argwhere(~(np.abs(rows) <= LARGEST))[0]
        value = rows[query, place]
        raise InputError(f"query {query} holds {value:g} in dimension {place}; expected numbers to 1e17")
    return rows


def check_mask(where: NDArray[np.bool_] | None, rows: int) -> tuple[NDArray[np.bool_], int]:
    """The rows that may be found, empty for all of them, and how many they are; ShapeError."""
    if where is None:
        return ALL, rows
    mask = np.asarray(where)
    if mask.dtype != np.bool_ or mask.shape != (rows,):
        raise ShapeError(f"where is {mask.dtype} {mask.shape}; expected bool ({rows},)")
    count = int(np.count_nonzero(mask))
    return (np.ascontiguousarray(mask) if count < rows else ALL), count
