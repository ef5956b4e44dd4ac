"""What makes keys of scores, and scores of keys: lengths of rows and of queries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows
from vecstore.kernels import scores, top

HOW = {"ip": top.AS_THEY_ARE, "cosine": top.TIMES, "l2": top.PLUS}  # a score becomes a key by its row's term


def turn(keys: Rows, terms: Rows, how: int) -> None:
    """Scores (q, n) become keys by terms that fit them, in place."""
    if how == top.TIMES:
        keys *= terms
    elif how == top.PLUS:
        keys += terms


def over_length(keys: Rows, queries: Rows) -> Rows:
    """keys / |query|; of a query of length zero, zero."""
    found: Rows = (keys * inverse_lengths(queries)[:, None]).astype(np.float32)
    return found


def inverse_lengths(queries: Rows) -> NDArray[np.float64]:
    """1 / |query|, (q,), or zero."""
    squares = np.empty(len(queries))
    scores.squares(queries, squares)
    with np.errstate(divide="ignore"):
        return np.where(squares > 0, squares**-0.5, 0.0)


def as_scores(keys: Rows, queries: Rows, metric: str, middle: Rows | None) -> Rows:
    """Scores (q, n) by a metric of a scan's keys; those of distances, made with a middle, are negative."""
    if metric == "cosine":
        return over_length(keys, queries)
    if metric == "ip":
        return keys.copy()
    lengths, own = np.empty(len(queries)), np.zeros(1)
    scores.squares(queries, lengths)
    if middle is not None:
        scores.squares(middle[None], own)
    found: Rows = (2 * keys - (lengths - own)[:, None]).astype(np.float32)
    return found
