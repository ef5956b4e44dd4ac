"""Addresses of ids in tables by hashing: part of what a saved table means, so never changed.

Number i of a sequence with a start s is mix(s + (i + 1) * 0x9E3779B97F4A7C15), splitmix64. An id x with
salt t falls into row ((mix(x + t) >> 32) * rows) >> 32 of `rows`, below 2**32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.ids import mix
from vecstore.kernels.jit import kernel

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_UPPER = np.uint64(32)


@kernel
def sequence(start: np.uint64, out: U64) -> None:
    """out[i] = number i of the sequence that has a start; out (n,), written."""
    for i in range(out.size):
        out[i] = mix(start + np.uint64(i + 1) * _GOLDEN)


@kernel
def hash_rows(keys: U64, salts: U64, first: int, rows: int, out: I64) -> None:
    """out[i, c, p] = first + the row of key i with salt c, p; keys (n,), salts (c, p), out (n, c, p)."""
    flat, spice = out.reshape(-1), salts.reshape(-1)
    count = spice.size
    # LLVM makes vectors of loops that write what lies side by side; up to four salts, most of what there is.
    if count == 1:
        for i in range(keys.size):
            flat[i] = row_of(keys[i], spice[0], first, rows)
    elif count == 2:
        for i in range(keys.size):
            flat[2 * i] = row_of(keys[i], spice[0], first, rows)
            flat[2 * i + 1] = row_of(keys[i], spice[1], first, rows)
    elif count == 3:
        for i in range(keys.size):
            flat[3 * i] = row_of(keys[i], spice[0], first, rows)
            flat[3 * i + 1] = row_of(keys[i], spice[1], first, rows)
            flat[3 * i + 2] = row_of(keys[i], spice[2], first, rows)
    elif count == 4:
        for i in range(keys.size):
            flat[4 * i] = row_of(keys[i], spice[0], first, rows)
            flat[4 * i + 1] = row_of(keys[i], spice[1], first, rows)
            flat[4 * i + 2] = row_of(keys[i], spice[2], first, rows)
            flat[4 * i + 3] = row_of(keys[i], spice[3], first, rows)
    else:
        for i in range(keys.size):
            for s in range(count):
                flat[i * count + s] = row_of(keys[i], spice[s], first, rows)


@kernel
def row_of(key: np.uint64, salt: np.uint64, first: int, rows: int) -> Any:
    """first + the row of one key."""
    return first + np.int64(((mix(key + salt) >> _UPPER) * np.uint64(rows)) >> _UPPER)


@kernel
def hash_elements(keys: U64, salts: U64, block: int, signed: bool, rows: int, out: I64) -> None:
    """out[i, c] = the element, below `rows`, of value c of key i; values lie side by side in blocks.

    keys (n,); salts (blocks,), one for each `block` values; out (n, d, 1), written. Beyond the last element
    the first comes. signed: half of them as ~element, by the lower half of the hash, bit c of the block.
    """
    width = out.shape[1]
    flat = out.reshape(-1)
    for i in range(keys.size):
        for s in range(salts.size):
            hashed = mix(keys[i] + salts[s])
            element = np.int64(((hashed >> _UPPER) * np.uint64(rows)) >> _UPPER)
            first = i * width + s * block
            for j in range(min(block, width - s * block)):
                minus = np.int64(hashed >> np.uint64(j % 32)) & 1 if signed else 0
                flat[first + j] = element ^ -minus  # all bits turned over: ~element
                element += 1
                if element == rows:
                    element = np.int64(0)


@kernel
def split_digits(keys: I64, firsts: I64, bases: I64, out: I64) -> None:
    """out[i, j] = firsts[j] + digit j of key i in a number system with these bases, the lowest first.

    keys (n,), none negative; firsts, bases (k,); out (n, k), written.
    """
    for i in range(keys.size):
        rest = keys[i]
        for j in range(bases.size):
            out[i, j] = firsts[j] + rest % bases[j]
            rest //= bases[j]


@kernel
def first_outside(keys: I64, rows: int) -> int:
    """The first place whose key is negative or not below `rows`; -1 if there is none. keys (n,)."""
    largest = np.uint64(0)
    for i in range(keys.size):  # negative ones are large without their sign; LLVM makes vectors of this
        largest = max(largest, np.uint64(keys[i]))
    if largest < np.uint64(rows):
        return -1
    for i in range(keys.size):
        if keys[i] < 0 or keys[i] >= rows:
            return i
    return -1


@kernel
def hash_numbers(keys: U64, salts: U64, out: NDArray[np.float32]) -> None:
    """out[i, j] = the 24 upper bits of the hash of key i with salt j, as a number in [-1, 1)."""
    for i in range(keys.size):
        for j in range(salts.size):
            upper = mix(keys[i] + salts[j]) >> np.uint64(40)
            out[i, j] = np.float32(np.int64(upper)) * np.float32(2.0**-23) - np.float32(1)


@kernel
def mix_all(keys: U64, salt: np.uint64, out: U64) -> None:
    """out[i] = mix(keys[i] + salt); keys, out (n,)."""
    for i in range(keys.size):
        out[i] = mix(keys[i] + salt)
