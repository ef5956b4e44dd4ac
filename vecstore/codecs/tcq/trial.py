"""How many residual stages a sample is worth, tried on rows that were not fitted on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Codec, Rows
from vecstore.codecs.transforms.pca import product

_FIT_ROWS, _BASE_ROWS, _QUERY_ROWS = 12_288, 2048, 384
_LEAST_ROWS = 2048  # of fewer, codebooks of 256 centroids learn the rows by heart
_NEAREST = 10
_ALIKE = 0.004  # recall closer than this cannot be told apart by so many queries


def choose(sample: Rows, seed: int, options: range, fit: Callable[[Rows, int], Codec]) -> int:
    """The option whose codec finds the most of the true nearest rows; of those alike, of least error."""
    if len(sample) < _LEAST_ROWS or len(options) == 1:
        return options[0]
    order = np.random.default_rng(seed).permutation(len(sample))
    held = min(_BASE_ROWS + _QUERY_ROWS, len(sample) // 4)
    queries, base = np.split(sample[order[:held]], [held * _QUERY_ROWS // (_BASE_ROWS + _QUERY_ROWS)])
    rows = sample[order[held : held + _FIT_ROWS]]
    true = _nearest(queries, base)
    found = {}
    for option in options:
        codec = fit(rows, option)
        back = codec.decode(codec.encode(base))
        pairs = zip(true, _nearest(queries, back), strict=True)
        recall = sum(len(np.intersect1d(a, b)) for a, b in pairs) / true.size
        found[option] = recall, float(np.square(back - base, dtype=np.float64).sum())
    most = max(recall for recall, _ in found.values())
    return min((o for o in options if found[o][0] >= most - _ALIKE), key=lambda o: found[o][1])


def _nearest(queries: Rows, rows: Rows) -> NDArray[np.int64]:
    """Row numbers (q, k) of the nearest rows by distance, in no order."""
    lengths = np.square(rows, dtype=np.float64).sum(axis=1)
    far = lengths / 2 - product(queries, np.ascontiguousarray(rows.T))
    nearest: NDArray[np.int64] = np.argpartition(far, _NEAREST - 1, axis=1)[:, :_NEAREST]
    return nearest
