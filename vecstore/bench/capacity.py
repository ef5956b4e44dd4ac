"""LIMIT-bits: how many pairs of documents can still be the two best of some query once a codec has kept them.

Weller et al. 2025, arXiv:2508.21038: of n documents, a dimension and a number of bits allow but so many sets
of two to be what a query finds first. Here documents and queries are free vectors, which no model ties down:
they are learned so that each query of the paper's small set, 46 documents and 1,000 of their 1,035 pairs,
finds its two documents. What a codec then loses of these 1,000 sets is its own doing. Queries stay float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from vecstore import registry
from vecstore.codecs.base import Codec, Rows
from vecstore.errors import SpecError
from vecstore.search.searcher import Searcher

DOCUMENTS, SETS = 46, 1000
_STEPS, _RATE, _TEMPERATURE = 500, 0.03, 0.1  # of Adam, on the loss of InfoNCE
_FIT_ROWS = 4096

# Of unit rows (n, dim): where these lie as documents, and what turns slopes there into slopes of theirs.
Placed = Callable[[Rows], tuple[Rows, Callable[[Rows], Rows]]]


@dataclass(frozen=True)
class Capacity:
    """What a codec keeps of the sets: `sets` of `of` whole ones, and the share of single documents."""

    spec: str
    dim: int
    code_bytes: int
    sets: int
    of: int  # those that float32 finds
    recall_at_2: float

    @property
    def share(self) -> float:
        """Of the sets that float32 finds."""
        return self.sets / max(self.of, 1)


def capacity(spec: str, dim: int, *, seed: int = 0) -> Capacity:
    """How many sets of free vectors of `dim` dimensions survive a codec that is fitted on random unit rows.

    A set survives if the query's two best rows, by the codec's own scan, are its two. Raises SpecError for a
    spec without a fixed size, and what `fit` raises.
    """
    documents, queries = free_vectors(dim, seed)
    codec = registry.fit(spec, sample(dim, seed), seed=seed)
    if not isinstance(codec, Codec):
        raise SpecError(f"{spec} works by blocks of rows, of which there is no scan; it loses nothing")
    found = Searcher.of(codec, codec.encode(documents)).search(queries, 2, metric="ip")[0]
    return Capacity(spec, dim, codec.code_bytes, *survivors(documents, queries, found))


def survivors(documents: Rows, queries: Rows, found: NDArray[np.int64]) -> tuple[int, int, float]:
    """Whole sets that a search found (q, 2), those that float32 finds, and the share of documents found."""
    true = _kept(np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :2]).all(axis=1)
    kept = _kept(found)
    return int((kept.all(axis=1) & true).sum()), int(true.sum()), float(kept.mean())


def sample(dim: int, seed: int = 0) -> Rows:
    """Random unit rows, that codecs are fitted on."""
    return _unit_rows(np.random.default_rng(seed + 1), _FIT_ROWS, dim)


def pairs() -> NDArray[np.int64]:
    """(SETS, 2) the documents of each query, ascending: the paper's, which are the first ones in order."""
    return np.array(list(islice(combinations(range(DOCUMENTS), 2), SETS)), np.int64)


@lru_cache(maxsize=8)
def free_vectors(dim: int, seed: int = 0) -> tuple[Rows, Rows]:
    """Unit rows of documents (DOCUMENTS, dim) and queries (SETS, dim), learned together."""
    return learned(dim, seed, lambda rows: (rows, lambda slopes: slopes))


def learned(dim: int, seed: int, placed: Placed) -> tuple[Rows, Rows]:
    """Unit rows that give documents (DOCUMENTS, dim) when they are placed, and queries (SETS, dim), which are
    learned so that each finds its two documents by inner products."""
    rng = np.random.default_rng(seed)
    rows = [_unit_rows(rng, count, dim) for count in (DOCUMENTS, SETS)]
    target = np.zeros((SETS, DOCUMENTS), np.float32)
    np.put_along_axis(target, pairs(), 0.5, axis=1)
    first, second = ([np.zeros_like(part) for part in rows] for _ in range(2))
    for step in range(1, _STEPS + 1):
        documents, back = placed(rows[0])
        scores = rows[1] @ documents.T / _TEMPERATURE
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        slope = (shares / shares.sum(axis=1, keepdims=True) - target) / SETS
        for at, slopes in enumerate((back(slope.T @ rows[1]), slope @ documents)):
            first[at] += np.float32(0.1) * (slopes - first[at])
            second[at] += np.float32(0.001) * (np.square(slopes) - second[at])
            mean, square = first[at] / (1 - 0.9**step), second[at] / (1 - 0.999**step)
            rows[at] = _unit(rows[at] - np.float32(_RATE) * mean / (np.sqrt(square) + np.float32(1e-9)))
    return rows[0], rows[1]


def _kept(found: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each of a query's two documents is among the two found (q, 2)."""
    return np.asarray((pairs()[:, :, None] == found[:, None, :]).any(axis=2))


def _unit_rows(rng: np.random.Generator, count: int, dim: int) -> Rows:
    return _unit(rng.standard_normal((count, dim), dtype=np.float32))


def _unit(rows: Rows) -> Rows:
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)
