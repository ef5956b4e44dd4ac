"""NaN and infinity, found at memory speed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]


@kernel
def all_finite(bits: NDArray[np.uint32]) -> bool:
    """True if no float32 among `bits` (any number of them, flat) is NaN or infinite."""
    worst = np.uint32(0)
    for i in range(bits.size):
        # All exponent bits set is NaN or infinity; the sign is masked away so that max() sees it.
        worst = max(worst, bits[i] & np.uint32(0x7F800000))
    return bool(worst != np.uint32(0x7F800000))


def first_bad_row(rows: F32) -> int:
    """The first row of rows (n, d) that holds NaN or infinity; -1 if there is none."""
    flat = np.ascontiguousarray(rows, dtype=np.float32).reshape(-1).view(np.uint32)
    if all_finite(flat):
        return -1
    return int(np.argmin(np.isfinite(rows).all(axis=1)))
