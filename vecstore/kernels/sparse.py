"""Product of a sparse matrix and rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@kernel
def csr_times_rows(starts: I64, columns: I64, weights: F32, rows: F32, out: F32) -> None:
    """out[i] = sum over t in [starts[i], starts[i + 1]) of weights[t] * rows[columns[t]].

    starts (n + 1,), columns (nnz,), weights (nnz,), rows (c, d) with c above every column, out (n, d),
    written. Terms are added in the order in which they stand.
    """
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = np.float32(0)
        for t in range(starts[i], starts[i + 1]):
            weight, row = weights[t], rows[columns[t]]
            for j in range(out.shape[1]):
                out[i, j] += weight * row[j]
