"""The slots of a file of ids made part by part, each of which stays in the cache while it is filled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.idfile import BUCKET, NO_PLACE
from vecstore.kernels.ids import mix
from vecstore.kernels.jit import kernel

U64 = NDArray[np.uint64]

_BLOCK = 256  # keys that are hashed at a time, by vectors
_BUCKET_BITS = np.uint64(BUCKET.bit_length() - 1)
_ONE, _HALF = np.uint64(1), np.uint64(32)  # unsigned numbers of slots are not looked at for being negative


def _scatter_of(width: int) -> Callable[[U64, int, int, U64, U64], bool]:
    size, other, place = np.uint64(width + 1), np.uint64(width - 1), np.uint64(width)

    @kernel
    def scatter(keys: U64, slots: int, part_bits: int, bins: U64, counts: U64) -> bool:
        """bins[p, :counts[p]] = (key i, i) of the keys that are looked for first in part p of the slots.

        False if there are more of them than go there. keys (n, width); a part has 1 << part_bits slots, of
        `slots` in all; bins (parts, most, width + 1); counts (parts,), zeros, written.
        """
        buckets, shift = np.uint64(slots // BUCKET), np.uint64(part_bits) - _BUCKET_BITS
        some, flat, most = keys.reshape(-1), bins.reshape(-1), np.uint64(bins.shape[1])
        parts = np.empty(_BLOCK, np.uint32)
        for first in range(0, keys.shape[0], _BLOCK):
            count = min(_BLOCK, keys.shape[0] - first)
            for i in range(count):
                parts[i] = np.uint32(
                    (((mix(some[(first + i) * width]) >> _HALF) * buckets) >> _HALF) >> shift
                )
            for i in range(count):
                part = np.uint64(parts[i])
                full = counts[part]
                if full >= most:
                    return False
                counts[part] = full + _ONE
                at, key = (part * most + full) * size, np.uint64(first + i) * place
                flat[at], flat[at + other] = some[key], some[key + other]
                flat[at + place] = np.uint64(first + i)
        return True

    return scatter


def _insert_of(width: int) -> Callable[[int, U64, U64, int], tuple[int, int]]:
    size, other, place = np.uint64(width + 1), np.uint64(width - 1), np.uint64(width)
    two, three, step = size + size, size + size + size, size * np.uint64(BUCKET)

    @kernel
    def same(flat: U64, at: np.uint64, key: np.uint64, second: np.uint64) -> bool:
        return bool((flat[at] == key) & (flat[at + other] == second))

    @kernel
    def insert(first: int, words: U64, entries: U64, slots: int) -> tuple[int, int]:
        """Puts entries (n, width + 1) of keys and places into a part of the slots: (how many of the keys were
        there already, how many entries there was no room for, which then are the first of the entries).

        words (s, width + 1): the slots from `first` on, whole buckets, of `slots` in all. An entry whose
        search begins before them goes where it would come to.
        """
        flat, some, end = words.reshape(-1), entries.reshape(-1), np.uint64(words.size)
        buckets, begins = np.uint64(slots // BUCKET), np.empty(_BLOCK, np.int64)
        repeats, left = 0, np.uint64(0)
        for start in range(0, entries.shape[0], _BLOCK):
            count = min(_BLOCK, entries.shape[0] - start)
            for i in range(count):
                bucket = ((mix(some[(start + i) * (width + 1)]) >> _HALF) * buckets) >> _HALF
                begin = np.int64(bucket) * BUCKET - first
                begins[i] = begin if begin > 0 else 0
            for i in range(count):
                at, entry = np.uint64(begins[i]) * size, np.uint64(start + i) * size
                key, second, row = some[entry], some[entry + other], some[entry + place]
                taken, repeated = np.uint64(0), False
                # Slots of a bucket are taken from the first on. All are looked at, so that little is guessed.
                while at < end:
                    a, b = flat[at + place] != NO_PLACE, flat[at + size + place] != NO_PLACE
                    c, d = flat[at + two + place] != NO_PLACE, flat[at + three + place] != NO_PLACE
                    repeated |= (a & same(flat, at, key, second)) | (b & same(flat, at + size, key, second))
                    repeated |= c & same(flat, at + two, key, second)
                    repeated |= d & same(flat, at + three, key, second)
                    taken = np.uint64(a) + np.uint64(b) + np.uint64(c)
                    if not d:
                        break
                    at += step
                repeats += repeated
                if at < end:
                    slot = at + taken * size
                    flat[slot], flat[slot + other], flat[slot + place] = key, second, row
                else:
                    some[left], some[left + other], some[left + place] = key, second, row
                    left += size
        return repeats, int(left // size)

    return insert


scatter_for = {width: _scatter_of(width) for width in (1, 2)}  # by the words of a key
insert_for = {width: _insert_of(width) for width in (1, 2)}
