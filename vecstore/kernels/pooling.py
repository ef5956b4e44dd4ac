"""Sums and means of ragged rows by bucket, for fixed dimensional encodings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@kernel
def pool_sums(tokens: F32, buckets: I64, starts: I64, out: F32) -> None:
    """out[i, r, b] = sum of tokens[t, r] over row i's t with buckets[t, r] = b, in order; zero for none.

    tokens (t, reps, d), or (t, 1, d) where all reps see the same; buckets (t, reps), each below out.shape[2];
    starts (n + 1,), the first token of each row and, last, t; out (n, reps, buckets, d), written.
    """
    step = 1 if tokens.shape[1] == out.shape[1] else 0
    out[:] = np.float32(0)
    for i in range(out.shape[0]):
        for t in range(starts[i], starts[i + 1]):
            for r in range(out.shape[1]):
                for j in range(out.shape[3]):
                    out[i, r, buckets[t, r], j] += tokens[t, r * step, j]


@kernel
def pool_means(tokens: F32, buckets: I64, starts: I64, fill: bool, counts: I64, out: F32) -> None:
    """As `pool_sums`, divided by how many tokens are in the bucket; fill: an empty one gets the first of the
    tokens whose own bucket differs from it in the fewest bits of their Gray codes.

    counts (buckets,) is scratch.
    """
    pool_sums(tokens, buckets, starts, out)
    step = 1 if tokens.shape[1] == out.shape[1] else 0
    for i in range(out.shape[0]):
        for r in range(out.shape[1]):
            counts[:] = 0
            for t in range(starts[i], starts[i + 1]):
                counts[buckets[t, r]] += 1
            for b in range(out.shape[2]):
                if counts[b] > 0:
                    for j in range(out.shape[3]):
                        out[i, r, b, j] /= np.float32(counts[b])
                elif fill and starts[i] < starts[i + 1]:
                    t = _nearest(buckets, r, b, starts[i], starts[i + 1])
                    for j in range(out.shape[3]):
                        out[i, r, b, j] = tokens[t, r * step, j]


@kernel
def _nearest(buckets: I64, r: int, bucket: int, first: int, last: int) -> int:
    """The first token in [first, last) whose Gray code differs from the bucket's in the fewest bits."""
    wanted = bucket ^ (bucket >> 1)
    best, least = first, 64
    for t in range(first, last):
        other = wanted ^ buckets[t, r] ^ (buckets[t, r] >> 1)
        bits = 0
        while other:
            other &= other - 1
            bits += 1
        if bits < least:
            best, least = t, bits
    return best
