"""What makes keys of scores, and scores of keys: terms of rows, lengths of queries."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows
from vecstore.codecs.transforms.center import offsets
from vecstore.kernels import scores, top

NONE = np.empty(0, np.float32)
_TOWARDS = 0.1  # of a query's length


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


class Keys(NamedTuple):
    """How inner products of a scan become keys of a metric: the terms of its rows, and what is done by them.

    middle: what queries are taken from before the scan is asked (`Terms.apart`, `Terms.aslant`).
    """

    metric: str
    terms: Rows
    how: int
    middle: Rows | None = None

    @property
    def told(self) -> bool:
        """Whether they are scores but for the length of the query."""
        return self.how != top.PLUS

    @property
    def aslant(self) -> bool:
        """Whether they are of cosines, told from the middle's."""
        return self.metric == "cosine" and self.middle is not None

    def asked(self, queries: Rows) -> Rows:
        """Queries (q, dim) as the scan is asked them."""
        if self.middle is None:
            return queries
        if not self.aslant:
            return queries - self.middle
        return beside(queries, self.middle)

    def scores(self, keys: Rows, queries: Rows) -> Rows:
        """Scores (q, n) by the metric; those of distances are negative, those of keys `aslant` less one."""
        if self.metric == "ip":
            return keys.copy()
        if self.aslant:
            assert self.middle is not None
            own = shares(queries, self.middle) * inverse_lengths(queries)[:, None]
            less: Rows = (keys * own + (own * length(self.middle) - 1)).astype(np.float32)
            return less
        if self.metric == "cosine":
            return over_length(keys, queries)
        lengths, own = np.empty(len(queries)), np.zeros(1)
        scores.squares(queries, lengths)
        if self.middle is not None:
            scores.squares(self.middle[None], own)
        found: Rows = (2 * keys - (lengths - own)[:, None]).astype(np.float32)
        return found


def length(row: Rows) -> float:
    """Of one row (dim,), in float64."""
    return math.sqrt(offsets(row[None], row)[0])


def shares(queries: Rows, middle: Rows) -> NDArray[np.float64]:
    """How much of the middle queries have, (q, 1)."""
    return (offsets(queries, middle) / length(middle) ** 2)[:, None]


def beside(queries: Rows, middle: Rows) -> Rows:
    """What queries have beside the middle, (q, dim), for one share of it."""
    return (queries / shares(queries, middle) - middle).astype(np.float32)


def along(queries: Rows, middle: Rows) -> NDArray[np.bool_]:
    """Which queries (q,) point so much to where the middle lies that `Terms.aslant` orders rows for them."""
    towards = offsets(queries, middle) * inverse_lengths(queries)
    return towards > _TOWARDS * length(middle)
