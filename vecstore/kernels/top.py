"""The best k of scores as they come, block by block.

A heap holds the best so far, its root the worst of them, so that one comparison tells whether a score gets
in. Scores are compared with it in runs, by a loop that becomes vector instructions; almost all runs hold
nothing that is better. A place that is not filled has the key -inf and the row NONE.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
Heap = tuple[F32, I64]  # keys and rows, (q, k) each
NONE = np.iinfo(np.int64).max
RUN = 64
AS_THEY_ARE, TIMES, PLUS = 0, 1, 2  # how a score becomes a key by its row's term


def empty_heap(queries: int, k: int) -> Heap:
    """A heap for each query with nothing in it."""
    return np.full((queries, k), -np.inf, np.float32), np.full((queries, k), NONE, np.int64)


@kernel
def push(scores: F32, terms: F32, how: int, wanted: NDArray[np.bool_], first: int, heap: Heap) -> None:
    """Puts the scores of rows first, first + 1, ... into the heaps: larger keys win, then smaller rows.

    scores (q, n), become keys: scores (how = 0), scores * terms (1) or scores + terms (2), NaN as -inf;
    terms (n,) or empty; wanted (n,), or empty for all. Rows must come in ascending order.
    """
    keys, rows = heap
    n, masked, k = scores.shape[1], wanted.size > 0, keys.shape[1]
    for j in range(scores.shape[0]):
        least = keys[j, 0]
        for at in range(0, n, RUN):
            end = min(at + RUN, n)
            better = 0
            if how == 1:
                for i in range(at, end):
                    scores[j, i] *= terms[i]
                    better += scores[j, i] > least
            elif how == 2:
                for i in range(at, end):
                    scores[j, i] += terms[i]
                    better += scores[j, i] > least
            else:
                for i in range(at, end):
                    better += scores[j, i] > least
            if better == 0 and least > -np.inf:
                continue
            for i in range(at, end):
                key = scores[j, i]
                if not key >= -np.inf:
                    key = np.float32(-np.inf)
                # Of equal keys the first stays; in a place that is not filled, -inf is equal and gets in.
                if (key > least or (key == least and rows[j, 0] > first + i)) and (not masked or wanted[i]):
                    _replace(keys[j], rows[j], k, key, first + i)
                    least = keys[j, 0]


@kernel
def merge(source: Heap, target: Heap) -> None:
    """Puts what source holds into target."""
    for j in range(source[0].shape[0]):
        for i in range(source[0].shape[1]):
            key, row = source[0][j, i], source[1][j, i]
            least, worst = target[0][j, 0], target[1][j, 0]
            if key > least or (key == least and row < worst):
                _replace(target[0][j], target[1][j], target[0].shape[1], key, row)


@kernel
def sort(heap: Heap) -> None:
    """The best first."""
    keys, rows = heap
    for j in range(keys.shape[0]):
        for size in range(keys.shape[1] - 1, 0, -1):
            key, row = keys[j, size], rows[j, size]
            keys[j, size], rows[j, size] = keys[j, 0], rows[j, 0]
            _replace(keys[j], rows[j], size, key, row)


@kernel
def _replace(keys: F32, rows: I64, size: int, key: np.float32, row: int) -> None:
    """Puts (key, row) in place of the root of a heap of `size` and restores the order."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            keys[right] < keys[child] or (keys[right] == keys[child] and rows[right] > rows[child])
        ):
            child = right
        if not (keys[child] < key or (keys[child] == key and rows[child] > row)):
            break
        keys[at], rows[at] = keys[child], rows[child]
        at = child
    keys[at], rows[at] = key, row
