"""Sorting of the addresses of a step, so that the gradients of one row come together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

NONE = -(1 << 62)  # an address that is no row: zeros, and no gradient
_UPPER, _LOWER = np.uint64(32), np.uint64((1 << 32) - 1)
_GOLDEN = np.uint64(0x9E3779B1)
MINUS = np.uint64(1 << 31)  # of a key: the gradient is subtracted


@kernel
def pack(addresses: I64, offsets: I64, first: int, share: tuple[int, int], keys: U64, at: int) -> int:
    """keys[at:] = row << 32 | minus << 31 | piece, of the addresses of one part of all rows; gives the end.

    addresses (n, c, p): a row, or ~row for one that is subtracted, or NONE. offsets (b + 1,) of bags of
    lookups, or (0,) for bags of one. Chunk c of bag b is piece first + b * c + c, below 2**31. share: part t
    of so many; rows go to parts sixteen at a time, for the lines of the cache. keys has room for
    all addresses.
    """
    chunks, probes = addresses.shape[1], addresses.shape[2]
    flat = addresses.reshape(-1)
    bags = offsets.size - 1 if offsets.size else addresses.shape[0]
    part, parts = np.uint64(share[0]), np.uint64(share[1])
    if probes == 1 and _none_below(flat):
        if parts == 1:
            return _pack_rows(flat, offsets, (first, bags, chunks), keys, at)
        end: int = _pack_share(flat, offsets, (first, bags, chunks), (part, parts), keys, at)
        return end
    for b in range(bags):
        start, stop = (offsets[b], offsets[b + 1]) if offsets.size else (b, b + 1)
        piece = first + b * chunks
        place = start * chunks * probes
        for _ in range(stop - start):
            for c in range(chunks):
                for _ in range(probes):
                    at = _put(flat[place], piece + c, part, parts, keys, at)
                    place += 1
    return at


@kernel
def _none_below(addresses: I64) -> bool:
    """Whether all addresses are rows; LLVM makes vectors of this."""
    bits = np.int64(0)
    for i in range(addresses.size):
        bits |= addresses[i]
    return bool(bits >= 0)


@kernel
def _pack_rows(addresses: I64, offsets: I64, shape: tuple[int, int, int], keys: U64, at: int) -> int:
    """`pack` of rows (n, c) alone, all of them; shape: first piece, bags, chunks.

    Loops write what lies side by side, so that LLVM makes vectors of them.
    """
    first, bags, chunks = shape
    for b in range(bags):
        start, stop = (offsets[b], offsets[b + 1]) if offsets.size else (b, b + 1)
        piece = np.uint64(first + b * chunks)
        if chunks == 1:
            for i in range(stop - start):
                keys[at + i] = np.uint64(addresses[start + i]) << _UPPER | piece
        elif chunks == 2:
            for i in range(stop - start):
                keys[at + 2 * i] = np.uint64(addresses[2 * (start + i)]) << _UPPER | piece
                keys[at + 2 * i + 1] = np.uint64(addresses[2 * (start + i) + 1]) << _UPPER | (piece + 1)
        else:
            for i in range(stop - start):
                for c in range(chunks):
                    row = np.uint64(addresses[(start + i) * chunks + c])
                    keys[at + i * chunks + c] = row << _UPPER | (piece + np.uint64(c))
        at += (stop - start) * chunks
    return at


@kernel
def _pack_share(
    addresses: I64,
    offsets: I64,
    shape: tuple[int, int, int],
    share: tuple[np.uint64, np.uint64],
    keys: U64,
    at: int,
) -> Any:
    """`_pack_rows` of one part of the rows. Places have no sign, which would be looked at each time."""
    first, bags, chunks = shape
    one = np.uint64(1)
    place, to = np.uint64(0), np.uint64(at)
    for b in range(bags):
        piece = np.uint64(first + b * chunks)
        stop = np.uint64((offsets[b + 1] if offsets.size else b + 1) * chunks)
        chunk, last = piece, piece + np.uint64(chunks - 1)
        while place < stop:
            row = np.uint64(addresses[place])
            keys[to] = row << _UPPER | chunk
            to += np.uint64(owner(row, share[1]) == share[0])
            chunk = piece if chunk == last else chunk + one
            place += one
    return np.int64(to)


@kernel
def _put(row: int, piece: int, part: np.uint64, parts: np.uint64, keys: U64, at: int) -> Any:
    """One key, if its row is one of the part's; gives where the next one goes."""
    minus = row >> 63  # all bits, where it is negative
    bits = np.uint64(row ^ minus)
    keys[at] = bits << _UPPER | (np.uint64(minus) & MINUS) | np.uint64(piece)
    # Without a branch, which nobody can foresee: what is not kept is written over.
    mine = parts == 1 or owner(bits, parts) == part
    return at + (np.int64(row != NONE) & np.int64(mine))


@kernel
def owner(row: np.uint64, parts: np.uint64) -> Any:
    """The part that a row belongs to: a hash of row // 16, times parts, over 2**32."""
    return ((((row >> np.uint64(4)) * _GOLDEN) & _LOWER) * parts) >> _UPPER


@kernel
def sort_keys(keys: U64, spare: U64, counts: I64, bits: int) -> bool:
    """Sorts keys (n,) by bits 32 to 32 + `bits`, equal ones as they came; whether the result is in spare.

    spare (n,) and counts (2, 2048) are scratch.
    """
    passes = (bits + 10) // 11
    digit = (bits + passes - 1) // passes
    mask, shift = (1 << digit) - 1, 32
    counts[...] = 0
    for i in range(keys.size):
        counts[0, (np.int64(keys[i]) >> shift) & mask] += 1
    swapped = False
    for turn in range(passes):
        places, later = counts[turn % 2], counts[1 - turn % 2]
        following = min(shift + digit, 63)
        before = 0
        for value in range(mask + 1):
            places[value], before = before, before + places[value]
            later[value] = 0
        for i in range(keys.size):  # the next digit is counted on the way
            key = keys[i]
            digits = (np.int64(key) >> shift) & mask
            place = places[digits]
            spare[place] = key
            places[digits] = place + 1
            later[(np.int64(key) >> following) & mask] += 1
        keys, spare = spare, keys
        swapped = not swapped
        shift += digit
    return swapped
