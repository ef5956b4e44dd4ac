"""Filtered search: recall among rows that match, from one in ten thousand of them to half.

The protocol is that of Iff et al. 2025, arXiv:2507.21989 (FANNS): filters of equality, of a range, and of
membership in a set of tags, at several selectivities. Attributes are drawn here: equality and membership
know nothing of the rows, the range is of a projection of them, so that what matches lies together.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vecstore.bench.process import Record
from vecstore.bench.quality import recalls
from vecstore.bench.vectors.sets import VectorSet
from vecstore.bench.vectors.stored import Stored
from vecstore.codecs.base import Rows

SELECTIVITIES = (0.0001, 0.001, 0.01, 0.1, 0.5)
_K = 10
_FILTERS, _QUERIES = 8, 160  # filters of a kind and selectivity, and queries, shared out among them
_LEAST_ROWS = 1000

Mask = NDArray[np.bool_]


def applies(data: VectorSet) -> bool:
    """Where there are queries, and rows enough to filter."""
    return len(data.queries) > 0 and len(data.base) >= _LEAST_ROWS


def measure(stored: Stored) -> Record:
    """filtered_recall_at_10: {kind: {selectivity: recall}} of the ten nearest that match, or all if fewer."""
    rng = np.random.default_rng(stored.seed)
    kinds = _kinds(stored.data.base, rng)
    return {
        "filtered_recall_at_10": {
            kind: {
                f"{share:g}": _recall(stored, [make(share) for _ in range(_FILTERS)])
                for share in SELECTIVITIES
            }
            for kind, make in kinds.items()
        }
    }


def _kinds(rows: Rows, rng: np.random.Generator) -> dict[str, Callable[[float], Mask]]:
    """What draws a filter of a selectivity."""
    n, dim = rows.shape
    values = rng.permutation(n)
    place = np.empty(n, np.int64)
    place[np.argsort(rows @ rng.standard_normal(dim, dtype=np.float32), kind="stable")] = np.arange(n)

    def count(share: float) -> int:
        return max(1, int(share * n + 0.5))

    def equality(share: float) -> Mask:
        return np.asarray(values // count(share) == rng.integers(n // count(share)))

    def within(share: float) -> Mask:
        start = rng.integers(n - count(share) + 1)
        return np.asarray((place >= start) & (place < start + count(share)))

    def membership(share: float) -> Mask:
        """Rows of one of three tags, each of which rows have by chance."""
        tags = rng.random((3, n)) < 1 - (1 - share) ** (1 / 3)
        return np.asarray(tags.any(axis=0))

    return {"equality": equality, "range": within, "membership": membership}


def _recall(stored: Stored, masks: list[Mask]) -> float | None:
    """The mean over queries; of filters that nothing matches there is none."""
    data = stored.data
    queries = data.queries[:_QUERIES]
    shares: list[float] = []
    for at, mask in enumerate(masks):
        asked, numbers = queries[at::_FILTERS], np.flatnonzero(mask)
        if not len(asked) or not len(numbers):
            continue
        found = stored.search_of(asked, _K, mask)
        if found.shape[1] != min(_K, len(numbers)) or not mask[found].all():
            raise ArithmeticError("a search gave rows that do not match, or fewer than match")
        places = np.searchsorted(numbers, found)
        known = recalls(data.base[numbers], places, asked, data.metric, (_K,))[_K]
        shares += [1.0] * len(asked) if known is None else known.tolist()  # None: all that match are found
    return float(np.mean(shares)) if shares else None
