"""Normal equations by plain loops: the same result wherever they run, which LAPACK does not promise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

F64 = NDArray[np.float64]


@kernel
def solve(gram: F64, right: F64) -> None:
    """right = inverse(gram) @ right, by gram = L L'; both in place, gram becomes L below its diagonal.

    gram (k, k), symmetric, positive definite; right (k, d). Sums are taken in ascending order.
    """
    k = gram.shape[0]
    column = np.empty(k)
    for t in range(k):
        root = np.sqrt(gram[t, t])
        gram[t, t] = root
        for i in range(t + 1, k):
            gram[i, t] /= root
            column[i] = gram[i, t]
        for i in range(t + 1, k):
            factor = gram[i, t]
            for j in range(t + 1, i + 1):
                gram[i, j] -= factor * column[j]
    for i in range(k):
        for t in range(i):
            factor = gram[i, t]
            for j in range(right.shape[1]):
                right[i, j] -= factor * right[t, j]
        for j in range(right.shape[1]):
            right[i, j] /= gram[i, i]
    for i in range(k - 1, -1, -1):
        for t in range(i + 1, k):
            factor = gram[t, i]
            for j in range(right.shape[1]):
                right[i, j] -= factor * right[t, j]
        for j in range(right.shape[1]):
            right[i, j] /= gram[i, i]
