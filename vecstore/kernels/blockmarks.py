"""Marks of blocks of bytes, by which blocks that have changed are found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.ids import mix
from vecstore.kernels.jit import kernel

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@kernel
def mark_blocks(words: NDArray[np.uint64], block: int, out: NDArray[np.uint64]) -> None:
    """out[b] = the sum of mix(word j + (j + 1) * golden) over words j of block b, 64 bits.

    words (n,), in blocks of `block` words, of which the last may be shorter; out (blocks,), written. A block
    that has changed keeps its mark with a chance of 2**-64.
    """
    for b in range(out.size):
        start = b * block
        total = np.uint64(0)
        for j in range(min(block, words.size - start)):
            total += mix(words[start + j] + np.uint64(j + 1) * _GOLDEN)
        out[b] = total
