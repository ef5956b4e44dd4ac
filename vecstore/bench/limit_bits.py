"""LIMIT-bits of a collection: how many pairs of documents that have its shape its codec keeps apart.

As `capacity.py`, but documents lie under the mean and covariance of the collection's rows, and have length
one where cosine is its metric: so its codec, as it is, is asked for what it was fitted for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vecstore.bench import capacity
from vecstore.codecs.base import Codec, Rows
from vecstore.search.searcher import Searcher


@dataclass(frozen=True)
class Survived:
    """documents, queries: of the task. exact: sets of two that float32 rows find. kept: those of them that
    codes find. recall_at_2: share of all documents that codes find."""

    documents: int
    queries: int
    exact: int
    kept: int
    recall_at_2: float


class Shape:
    """Places unit rows under the mean and covariance of rows (n, dim); unit: and then at length one.

    Places are given from the mean and in units of the spread, so that scores have the size that the learning
    expects of them; `rows_of` gives the rows themselves.
    """

    def __init__(self, rows: Rows, *, unit: bool) -> None:
        values, axes = np.linalg.eigh(np.atleast_2d(np.cov(rows, rowvar=False, dtype=np.float64)))
        deviations = np.sqrt(values.clip(0))
        self._size = float(np.linalg.norm(deviations)) or 1.0
        self._mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._spread = (deviations * axes * np.sqrt(rows.shape[1])).astype(np.float32)
        self._unit = unit

    def rows_of(self, inner: Rows) -> Rows:
        """Rows (n, dim) of the collection's kind for unit rows."""
        found: Rows = self._mean + inner @ self._spread.T
        return found / _lengths(found) if self._unit else found

    def placed(self, inner: Rows) -> tuple[Rows, Callable[[Rows], Rows]]:
        """As `capacity.Placed`."""
        rows = self._mean + inner @ self._spread.T
        if not self._unit:
            scale = np.float32(1 / self._size)
            return (rows - self._mean) * scale, lambda slopes: slopes @ self._spread * scale
        lengths = _lengths(rows)
        turned = rows / lengths
        scale = np.float32(np.median(lengths) / self._size)

        def back(slopes: Rows) -> Rows:
            inward = turned * (slopes * turned).sum(axis=1, keepdims=True)
            found: Rows = (slopes - inward) / lengths @ self._spread * scale
            return found

        return (turned - turned.mean(axis=0)) * scale, back


def survived(rows: Rows, metric: str, codec: Codec | None, *, seed: int = 0) -> Survived:
    """What a codec keeps; None: one that loses nothing. rows (n, dim): of the collection, which say its
    shape. metric: cosine; of any other, inner products count."""
    cosine = metric == "cosine"
    shape = Shape(rows, unit=cosine)
    inner, queries = capacity.learned(rows.shape[1], seed, shape.placed)
    documents = shape.rows_of(inner)
    if codec is None:
        found = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :2]
    else:
        searcher = Searcher.of(codec, codec.encode(documents))
        found = searcher.search(queries, 2, metric="cosine" if cosine else "ip")[0]
    kept, exact, recall = capacity.survivors(documents, queries, found)
    return Survived(len(documents), len(queries), exact, kept, recall)


def _lengths(rows: Rows) -> Rows:
    found: Rows = np.linalg.norm(rows, axis=1, keepdims=True).clip(np.float32(1e-30))
    return found
