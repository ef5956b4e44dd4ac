"""How well scores rank labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


def auc(labels: F32, scores: F32) -> float:
    """P(score of a 1 > score of a 0) + P(they are equal) / 2; nan where there is but one of both."""
    values, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ones = np.bincount(place, weights=labels, minlength=len(values))
    zeros = counts - ones
    below = np.cumsum(zeros) - zeros
    pairs = ones.sum() * zeros.sum()
    return float((ones * (below + zeros / 2)).sum() / pairs) if pairs else float("nan")


def logloss(labels: F32, logits: F32) -> float:
    """Mean of -log of the probability of the label, sigmoid(logit) being that of a 1."""
    wide = logits.astype(np.float64)
    return float(np.mean(np.maximum(wide, 0) - wide * labels + np.log1p(np.exp(-np.abs(wide)))))
