"""How well scores rank labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.planner.auc import auc, logloss

__all__ = ["auc", "logloss", "tail"]

I64 = NDArray[np.int64]


def tail(counts: list[I64], ids: I64) -> NDArray[np.bool_]:
    """A tenth of rows (n, fields), more where they tie: those whose rarest id was seen least in training.

    counts: how often each id of each field was.
    """
    seen = np.min([counts[at][ids[:, at]] for at in range(ids.shape[1])], axis=0)
    return np.asarray(seen <= np.partition(seen, max(len(seen) // 10 - 1, 0))[max(len(seen) // 10 - 1, 0)])
