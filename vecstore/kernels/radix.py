"""Sorting of the addresses of a step, so that the gradients of one row come together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

NONE = -(1 << 62)  # an address that is no row: zeros, and no gradient
MINUS = np.uint64(1 << 31)  # of a key: the gradient is subtracted


@kernel
def pack(addresses: I64, offsets: I64, first: int, share: tuple[int, int], keys: U64, at: int) -> int:
    """keys[at:] = row << 32 | minus << 31 | piece, of the addresses of one part of all rows; gives the end.

    addresses (n, c, p): a row, or ~row for one that is subtracted, or NONE. offsets (b + 1,) of bags of
    lookups, or (0,) for bags of one. Chunk c of bag b is piece first + b * c + c, below 2**31. share: part t
    of so many; rows go to parts sixteen at a time, for the lines of the cache.
    """
    chunks, probes = addresses.shape[1], addresses.shape[2]
    flat = addresses.reshape(-1)
    bags = offsets.size - 1 if offsets.size else addresses.shape[0]
    part, parts = share
    for b in range(bags):
        start, stop = (offsets[b], offsets[b + 1]) if offsets.size else (b, b + 1)
        piece = first + b * chunks
        for i in range(start, stop):
            for c in range(chunks):
                for p in range(probes):
                    row = flat[(i * chunks + c) * probes + p]
                    if row == NONE:
                        continue
                    sign = np.uint64(0)
                    if row < 0:
                        row, sign = ~row, MINUS
                    if parts == 1 or (row >> 4) % parts == part:
                        keys[at] = np.uint64(row) << np.uint64(32) | sign | np.uint64(piece + c)
                        at += 1
    return at


@kernel
def sort_keys(keys: U64, spare: U64, counts: I64, bits: int) -> bool:
    """Sorts keys (n,) by bits 32 to 32 + `bits`, equal ones as they came; whether the result is in spare.

    spare (n,) and counts (2048,) are scratch.
    """
    passes = (bits + 10) // 11
    digit = np.uint64((bits + passes - 1) // passes)
    mask = (np.uint64(1) << digit) - np.uint64(1)
    swapped = False
    for turn in range(passes):
        shift = np.uint64(32) + np.uint64(turn) * digit
        for value in range(counts.size):
            counts[value] = 0
        for i in range(keys.size):
            counts[(keys[i] >> shift) & mask] += 1
        before = 0
        for value in range(counts.size):
            counts[value], before = before, before + counts[value]
        for i in range(keys.size):
            value = (keys[i] >> shift) & mask
            spare[counts[value]] = keys[i]
            counts[value] += 1
        keys, spare = spare, keys
        swapped = not swapped
    return swapped
