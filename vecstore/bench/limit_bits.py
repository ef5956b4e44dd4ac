"""LIMIT-bits: how many top-2 sets of LIMIT-small a codec leaves whole, in the shape of a collection's rows.

LIMIT-small (Weller et al. 2025, arXiv:2508.21038, section 5) has 46 documents and 1,000 queries, each of
which has two of them as its answer, no two queries the same two. Free vectors are fitted to that (section 4:
InfoNCE, Adam), documents under the mean and covariance of the collection, so that its codec is asked for what
it was fitted for; then queries stay as they are, and documents go through the codec.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows

DOCUMENTS, QUERIES = 46, 1000
_STEPS, _RATE, _TEMPERATURE = 200, 0.05, 0.1
_BETAS, _TINY = (0.9, 0.999), 1e-8

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Survived:
    """documents, queries: of the task. exact: top-2 sets that the free vectors have right before the codec.
    kept: those of them that it leaves whole. halves: share of their documents that stay in the first two."""

    documents: int
    queries: int
    exact: int
    kept: int
    halves: float


class _Adam:
    """Steps of Adam (Kingma, Ba 2015, algorithm 1) for one array, in place."""

    def __init__(self, values: F64) -> None:
        self._values = values
        self._first, self._second = np.zeros_like(values), np.zeros_like(values)
        self._steps = 0

    def step(self, slope: F64, rate: float) -> None:
        self._steps += 1
        for held, beta, new in ((self._first, _BETAS[0], slope), (self._second, _BETAS[1], slope**2)):
            held *= beta
            held += (1 - beta) * new
        first, second = (
            held / (1 - beta**self._steps)
            for held, beta in zip((self._first, self._second), _BETAS, strict=True)
        )
        self._values -= rate * first / (np.sqrt(second) + _TINY)


def survived(rows: Rows, metric: str, coded: Callable[[Rows], Rows], *, seed: int = 0) -> Survived:
    """What a codec keeps. rows (n, dim): of the collection, for mean and covariance. metric: cosine; of any
    other products count. coded: documents (46, dim) -> the rows that come back."""
    pairs = np.array(list(islice(combinations(range(DOCUMENTS), 2), QUERIES)))
    documents, queries = free_vectors(rows, metric, pairs, seed)
    given = documents.astype(np.float32)
    before, after = (_best(queries, part.astype(np.float64), metric) for part in (given, coded(given)))
    exact = (before == pairs).all(axis=1)
    hits = (after[:, :, None] == pairs[:, None, :]).any(axis=1)
    halves = float(hits[exact].mean()) if exact.any() else float("nan")
    return Survived(DOCUMENTS, QUERIES, int(exact.sum()), int((hits.all(axis=1) & exact).sum()), halves)


def free_vectors(rows: Rows, metric: str, pairs: I64, seed: int) -> tuple[F64, F64]:
    """Documents (46, dim) of the rows' mean, covariance and, under cosine, length; and queries (n, dim)."""
    mean = rows.mean(axis=0, dtype=np.float64)
    values, axes = np.linalg.eigh(np.atleast_2d(np.cov(rows, rowvar=False, dtype=np.float64)))
    spread = np.sqrt(values.clip(0)) * axes  # of a normal variable, a row
    size = np.sqrt(values.clip(0).sum()) or 1.0
    rng = np.random.default_rng(seed)
    inner = rng.standard_normal((DOCUMENTS, rows.shape[1]))
    queries = rng.standard_normal((len(pairs), rows.shape[1]))
    steps = _Adam(inner), _Adam(queries)
    wanted = np.zeros((len(pairs), DOCUMENTS))
    np.put_along_axis(wanted, pairs, 0.5, axis=1)
    for step in range(_STEPS):
        _onto_sphere(inner, np.sqrt(rows.shape[1]))
        _onto_sphere(queries, 1.0)
        documents = mean + inner @ spread.T
        lengths = np.linalg.norm(documents, axis=1, keepdims=True) if metric == "cosine" else np.ones((1, 1))
        scaled = documents / np.where(lengths > 0, lengths, 1)
        unit = size / float(np.median(lengths))
        scores = (queries @ (scaled - scaled.mean(axis=0)).T) / (unit * _TEMPERATURE)
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        slopes = (odds / odds.sum(axis=1, keepdims=True) - wanted) / (unit * _TEMPERATURE)
        back = slopes.T @ queries
        if metric == "cosine":
            back = (back - scaled * (back * scaled).sum(axis=1, keepdims=True)) / lengths
        rate = _RATE * (1 - step / _STEPS)
        steps[0].step(back @ spread, rate)
        steps[1].step(slopes @ scaled, rate / np.sqrt(rows.shape[1]))
    _onto_sphere(inner, np.sqrt(rows.shape[1]))
    return mean + inner @ spread.T, queries


def _onto_sphere(vectors: F64, radius: float) -> None:
    vectors *= radius / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-30)


def _best(queries: F64, documents: F64, metric: str) -> I64:
    """The two best documents of each query (n, 2), their numbers ascending."""
    if metric == "cosine":
        documents = documents / np.linalg.norm(documents, axis=1, keepdims=True).clip(1e-30)
    order = np.argsort(-(queries @ documents.T), axis=1, kind="stable")
    return np.sort(order[:, :2], axis=1)
