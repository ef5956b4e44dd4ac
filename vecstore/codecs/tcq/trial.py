"""How many residual stages a sample is worth, tried on rows that were not fitted on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vecstore.codecs.base import Codec, Rows
from vecstore.codecs.trial import Trial

_FIT_ROWS, _BASE_ROWS, _QUERY_ROWS = 12_288, 2048, 384
_LEAST_ROWS = 2048  # of fewer, codebooks of 256 centroids learn the rows by heart
_ALIKE = 0.004  # recall closer than this cannot be told apart by so many queries


def choose(sample: Rows, seed: int, options: range, fit: Callable[[Rows, int], Codec]) -> int:
    """The option whose codec finds the most of the true nearest rows; of those alike, of least error."""
    if len(sample) < _LEAST_ROWS or len(options) == 1:
        return options[0]
    order = np.random.default_rng(seed).permutation(len(sample))
    held = min(_BASE_ROWS + _QUERY_ROWS, len(sample) // 4)
    queries = held * _QUERY_ROWS // (_BASE_ROWS + _QUERY_ROWS)
    trial = Trial(sample[order[held : held + _FIT_ROWS]], sample[order[:held]], queries)
    found = {}
    for option in options:
        codec = fit(trial.fit_rows, option)
        back = codec.decode(codec.encode(trial.rows))
        error = float(np.square(back - trial.rows, dtype=np.float64).sum())
        found[option] = float(trial.shares(back).mean()), error
    most = max(recall for recall, _ in found.values())
    return min((o for o in options if found[o][0] >= most - _ALIKE), key=lambda o: found[o][1])
