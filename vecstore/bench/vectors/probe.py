"""Downstream use: which groups a node is in, told from its row by logistic regression.

The protocol is that of DeepWalk (Perozzi et al. 2014, arXiv:1403.6652, section 5): a tenth of the nodes is
learned from; of the others as many groups are named as they are in, the likeliest ones. Rows count by their
directions, as the metric has it. How strongly weights are held back was chosen on quarters left out of the
nodes learned from, for float32's rows: at LIBLINEAR's 1 a tenth of BlogCatalog is learned by heart, and micro
F1 is lower by three points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.bench.process import Record
from vecstore.bench.vectors.sets import VectorSet
from vecstore.bench.vectors.stored import Stored
from vecstore.codecs.base import Rows

_LEARNED = 0.1
_SPLITS = 3
_RIDGE = 30.0  # of 1, 3, 10, 30, 100, for rows of length sqrt(dim)
_STEPS = 12  # of Newton's method; it has converged after eight

F64 = NDArray[np.float64]
Groups = NDArray[np.bool_]


def applies(data: VectorSet) -> bool:
    """Where rows are in groups."""
    return data.groups is not None


def measure(stored: Stored) -> Record:
    """micro_f1 and macro_f1, means over splits."""
    assert stored.data.groups is not None
    found = [scores(stored.rows, stored.data.groups, split) for split in range(_SPLITS)]
    micro, macro = np.mean(found, axis=0)
    return {"micro_f1": float(micro), "macro_f1": float(macro)}


def scores(rows: Rows, groups: Groups, seed: int) -> tuple[float, float]:
    """F1 over all memberships, and the mean over groups, of a classifier that learned from other rows."""
    order = np.random.default_rng(seed).permutation(len(rows))
    learned, rest = np.split(order, [max(1, int(_LEARNED * len(rows)))])
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units = rows / np.where(norms > 0, norms, 1) * np.sqrt(rows.shape[1])
    wide = np.column_stack([units, np.ones(len(rows))]).astype(np.float64)
    weights = np.stack(
        [logistic(wide[learned], groups[learned, at], _RIDGE) for at in range(groups.shape[1])], axis=1
    )
    logits, true = wide[rest] @ weights, groups[rest]
    place = np.argsort(np.argsort(-logits, axis=1, kind="stable"), axis=1)
    named = place < true.sum(axis=1, keepdims=True)
    hits, all_named, all_true = (each.sum(axis=0) for each in (named & true, named, true))
    each = 2 * hits / np.maximum(all_named + all_true, 1)
    return float(2 * hits.sum() / max(all_named.sum() + all_true.sum(), 1)), float(each.mean())


def logistic(rows: F64, labels: NDArray[np.bool_], ridge: float) -> F64:
    """Weights (d,) of least loss + ridge |w|^2 / 2, the offset's too, as LIBLINEAR's; by Newton's method."""
    weights = np.zeros(rows.shape[1])
    target = labels.astype(np.float64)
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (chance - target) + ridge * weights
        bend = (rows * (chance * (1 - chance))[:, None]).T @ rows + ridge * np.eye(len(weights))
        weights -= np.linalg.solve(bend, slope)
    return weights
