"""Whole numbers of so many bits each in 64-bit words, the lowest bits first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


@kernel
def get_packed(words: U64, bits: int, places: I64, out: I64) -> None:
    """out[i] = the number in bits bits * places[i] and on; bits 0 to 32; places, out (n,)."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    for i in range(places.size):
        if bits == 0:
            out[i] = 0
            continue
        first = places[i] * bits
        shift = np.uint64(first & 63)
        value = words[first >> 6] >> shift
        if (first & 63) + bits > 64:
            value |= words[(first >> 6) + 1] << (np.uint64(64) - shift)
        out[i] = np.int64(value & mask)


@kernel
def put_packed(words: U64, bits: int, numbers: I64) -> None:
    """The inverse of `get_packed` for places 0, 1, ..; numbers (n,), each below 2**bits."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    for i in range(numbers.size):
        if bits == 0:
            continue
        first, value = i * bits, np.uint64(numbers[i])
        shift = np.uint64(first & 63)
        words[first >> 6] = (words[first >> 6] & ~(mask << shift)) | (value << shift)
        if (first & 63) + bits > 64:
            over = np.uint64(64) - shift
            words[(first >> 6) + 1] = (words[(first >> 6) + 1] & ~(mask >> over)) | (value >> over)
