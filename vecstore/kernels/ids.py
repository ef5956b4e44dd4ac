"""Hashing of ids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

U64 = NDArray[np.uint64]

_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


@kernel
def mix(x: np.uint64) -> np.uint64:
    """The finalizer of splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195): a bijection."""
    x = (x ^ (x >> np.uint64(30))) * _MIX1
    x = (x ^ (x >> np.uint64(27))) * _MIX2
    return x ^ (x >> np.uint64(31))


@kernel
def hash_strings(offsets: NDArray[np.int64], data: NDArray[np.uint8], keys: U64) -> None:
    """keys[i] = 128 bits that stand for the bytes data[offsets[i]:offsets[i + 1]].

    offsets (n + 1,); data (bytes,); keys (n, 2), written. Two 64-bit hashes with unlike mixing: among
    a billion strings, two share both with a chance below 2**-67.
    """
    for i in range(keys.shape[0]):
        start, stop = offsets[i], offsets[i + 1]
        a = mix(np.uint64(stop - start) + np.uint64(0x9E3779B97F4A7C15))
        b = mix(a)
        word = np.uint64(0)
        shift = np.uint64(0)
        for at in range(start, stop):
            word |= np.uint64(data[at]) << shift
            shift += np.uint64(8)
            if shift == np.uint64(64) or at == stop - 1:
                a = mix(a ^ word)
                b = mix(b + word * np.uint64(0x9E3779B97F4A7C15))
                word, shift = np.uint64(0), np.uint64(0)
        keys[i, 0], keys[i, 1] = a, b
