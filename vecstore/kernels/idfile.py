"""The table of a file of ids: every id of every segment, and where its row lies. `idfind` looks things up."""

from __future__ import annotations

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.gather import ROW_BITS
from vecstore.kernels.ids import mix
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import ADDRESS, Builder, Value, address, emit_prefetch, instruction, zeros_in_lines

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

BUCKET = 4  # slots; where a search begins is a multiple of it, so that most ends in one line of the cache
_AHEAD = 16  # ids whose slots are asked for before they are looked at
_LEAST_SLOTS = 64
NO_PLACE = np.uint64(0xFFFF_FFFF_FFFF_FFFF)  # idmap.FREE, as it stands in a slot


@instruction(types.void, ADDRESS)
def near(builder: Builder, at: Value) -> None:
    """Asks for the line of the cache at an address, in the first level."""
    emit_prefetch(builder, at, 1)


@kernel
def home_of(key: np.uint64, slots: np.uint64) -> np.int64:
    """The slot where the search for a key begins, among as many as are whole buckets, fewer than 2^32."""
    buckets = slots // np.uint64(BUCKET)
    return np.int64(((mix(key) >> np.uint64(32)) * buckets) >> np.uint64(32)) * BUCKET


@kernel
def homes(keys: U64, slots: int, out: I64) -> None:
    """out[i] = the slot where the search for key i begins, out (n,), keys (n, w)."""
    for i in range(keys.shape[0]):
        out[i] = home_of(keys[i, 0], np.uint64(slots))


def slots_for(rows: int, key_words: int, full: float = 0.6) -> tuple[int, int]:
    """The shape (s, key_words + 1) of slots for so many rows, which will take at most the share `full`."""
    return max(_LEAST_SLOTS, -(-int(rows / full + 1) // BUCKET) * BUCKET), key_words + 1


def free_slots(rows: int, key_words: int) -> U64:
    """Slots for so many rows; buckets lie in as few lines of the cache as in a file."""
    found = zeros_in_lines(slots_for(rows, key_words), np.uint64)
    found.fill(NO_PLACE)
    return found


@kernel
def fill(words: U64, keys: U64, places: I64, again: bool) -> int:
    """Puts keys (n, w) with places (n,) into slots (s, w + 1), more than n of which are free: all ones in the
    last word. Gives how many keys were there already; again: whether these are put once more."""
    slots, last, start = words.shape[0], words.shape[1] - 1, address(words)
    count, size, repeats = keys.shape[0], 8 * words.shape[1], 0
    for i in range(min(_AHEAD, count)):
        near(start + home_of(keys[i, 0], np.uint64(slots)) * size)
    for i in range(count):
        if i + _AHEAD < count:
            near(start + home_of(keys[i + _AHEAD, 0], np.uint64(slots)) * size)
        key, other, repeated = keys[i, 0], keys[i, last - 1], False
        at = home_of(key, np.uint64(slots))
        while words[at, last] != NO_PLACE:
            repeated |= words[at, 0] == key and words[at, last - 1] == other
            at += 1
            if at == slots:
                at = np.int64(0)
            if repeated and not again:
                break
        if again or not repeated:
            words[at, 0], words[at, last - 1], words[at, last] = key, other, np.uint64(places[i])
        repeats += repeated
    return repeats


@kernel
def place_in(word: np.uint64) -> tuple[np.int64, np.int64]:
    """The segment's number and the row of a place as it stands in a slot; neither is negative."""
    return np.int64(word >> np.uint64(ROW_BITS)), np.int64(word) & ((1 << ROW_BITS) - 1)


@kernel
def renumber(places: I64, parts: I64) -> None:
    """Puts parts[number] in place of the number in each place (n,) that is not FREE."""
    for i in range(places.shape[0]):
        if places[i] >= 0:
            places[i] = (parts[places[i] >> ROW_BITS] << ROW_BITS) | (places[i] & ((1 << ROW_BITS) - 1))
