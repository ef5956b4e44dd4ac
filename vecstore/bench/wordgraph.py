"""The graph of words that stand near each other in the text of Python's own manual."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[a-z]+(?:_[a-z]+)*")


@dataclass(frozen=True)
class Graph:
    """A symmetric weighted graph, as the rows of a sparse matrix."""

    names: list[str]  # n, the most frequent first
    starts: NDArray[np.int64]  # (n + 1,)
    columns: NDArray[np.int64]  # (edges,), rising within a row
    weights: NDArray[np.float32]  # (edges,), > 0


def manual() -> list[str]:
    """The chapters that `help()` shows; every Python carries them."""
    from pydoc_data.topics import topics  # read here: half a megabyte that only a demonstration needs

    return list(topics.values())


def word_graph(texts: Iterable[str], *, least: int = 2, window: int = 5) -> Graph:
    """Words seen `least` times or more; an edge weighs the sum of 1 / distance over pairs within `window`.

    Words of one letter are left out, and so are those that have no neighbour.
    """
    documents = [_WORD.findall(text.lower()) for text in texts]
    counts = Counter(word for document in documents for word in document)
    names = [word for word, count in counts.items() if count >= least and len(word) > 1]
    names.sort(key=lambda word: (-counts[word], word))
    number = {word: at for at, word in enumerate(names)}
    numbered = [np.array([number.get(word, -1) for word in document], np.int64) for document in documents]
    # A gap as long as the window, so that no pair reaches from one chapter into the next.
    gap = np.full(window, -1, np.int64)
    run = np.concatenate([part for document in numbered for part in (document, gap)] or [gap])
    keys, weights = [], []
    for distance in range(1, window + 1):
        left, right = run[:-distance], run[distance:]
        pair = (left >= 0) & (right >= 0) & (left != right)
        left, right = left[pair], right[pair]
        keys += [left * len(names) + right, right * len(names) + left]
        weights += [np.full(len(left), 1 / distance)] * 2
    return _compact(names, np.concatenate(keys), np.concatenate(weights))


def _compact(names: list[str], keys: NDArray[np.int64], weights: NDArray[np.float64]) -> Graph:
    """The graph of entries row * n + column, those of one key added up, nodes without edges left out."""
    entries, entry = np.unique(keys, return_inverse=True)
    total = np.bincount(entry, weights, len(entries)).astype(np.float32)
    rows, columns = entries // max(len(names), 1), entries % max(len(names), 1)
    kept, row = np.unique(rows, return_inverse=True)
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(kept)))]).astype(np.int64)
    # The graph is symmetric, so that a column is a node with edges, too.
    return Graph([names[at] for at in kept], starts, np.searchsorted(kept, columns), total)
