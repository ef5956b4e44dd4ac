"""A table in a file, checked page by page: every id of every segment, and where its row lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.gather import LIVE, PAGE_BITS, ROW_BITS, ROWS, load_byte, prefetch
from vecstore.kernels.idmap import FREE
from vecstore.kernels.ids import mix
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import address

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

_AHEAD = 64  # ids whose slots are asked for before they are looked at
_NO_PLACE = np.uint64(0xFFFF_FFFF_FFFF_FFFF)  # FREE, as it stands in a slot


@kernel
def _home(key: np.uint64, slots: np.uint64) -> np.int64:
    """Where the search for a key begins, floor(mix(key) / 2^32 * slots / 2^32); slots < 2^32."""
    return np.int64(((mix(key) >> np.uint64(32)) * slots) >> np.uint64(32))


@kernel
def homes(keys: U64, slots: int, out: I64) -> None:
    """out[i] = the slot where the search for key i begins, out (n,), keys (n, w)."""
    for i in range(keys.shape[0]):
        out[i] = _home(keys[i, 0], np.uint64(slots))


@kernel
def fill(words: U64, keys: U64, places: I64) -> None:
    """Puts keys (n, w) with places (n,) into slots (s, w + 1), more than n of which are free: all ones in the
    last word. A key that is there already is put a second time."""
    slots, last = words.shape[0], words.shape[1] - 1
    for i in range(keys.shape[0]):
        at = _home(keys[i, 0], np.uint64(slots))
        while words[at, last] != _NO_PLACE:
            at += 1
        if at == slots:
            at = np.int64(0)
        words[at, :last] = keys[i]
        words[at, last] = np.uint64(places[i])


@kernel
def _search(words: U64, verified: U8, parts: I64, table: I64, key: U64) -> tuple[np.int64, np.int64]:
    """(place, what is missing) of one key: (place or FREE, 0), (FREE, page + 1), (FREE, -1 - part)."""
    slots, last = words.shape[0], words.shape[1] - 1
    size = 8 * words.shape[1]
    at = _home(key[0], np.uint64(slots))
    for _ in range(slots):
        for page in range((at * size) >> PAGE_BITS, ((at * size + size - 1) >> PAGE_BITS) + 1):
            if verified[page] == 0:
                return np.int64(FREE), np.int64(page + 1)
        found = words[at, last]
        if found == _NO_PLACE:
            break
        if words[at, 0] == key[0] and (last == 1 or words[at, 1] == key[1]):
            segment, row = np.int64(found >> np.uint64(ROW_BITS)), np.int64(found) & ((1 << ROW_BITS) - 1)
            part = parts[segment] if segment < parts.shape[0] else np.int64(-1)
            if part >= 0 and row < table[part, ROWS]:
                live = table[part, LIVE]
                if live == -1:
                    return np.int64(FREE), np.int64(-1 - part)
                if live == 0 or load_byte(live + row) != 0:
                    return np.int64((part << ROW_BITS) | row), np.int64(0)
        at += 1
        if at == slots:
            at = np.int64(0)
    return np.int64(FREE), np.int64(0)


@kernel
def find(words: U64, verified: U8, parts: I64, table: I64, keys: U64, answers: I64) -> int:
    """answers[0, i] = the place of key i where it was FREE and the key has a live row; gives how many of
    answers[1] are not 0: those say what has to be done before another call can answer.

    words (s, w + 1), as `fill` leaves them; verified: one byte a page of them; parts: the number in the table
    of each segment that the file knows, -1 for one that is not read; table: as in `gather`; keys (n, w);
    answers (2, n), of which the second row is written: a page + 1 that has to be verified, or -1 - the part
    whose deleted rows have to be read. Nothing in the words is believed.
    """
    count, slots, size = keys.shape[0], words.shape[0], 8 * words.shape[1]
    start = address(words)
    missing = 0
    for first in range(0, count, _AHEAD):
        stop = min(first + _AHEAD, count)
        for i in range(first, stop):
            prefetch(start + _home(keys[i, 0], np.uint64(slots)) * size)
        for i in range(first, stop):
            answers[1, i] = 0
            if answers[0, i] == FREE:
                answers[0, i], answers[1, i] = _search(words, verified, parts, table, keys[i])
                if answers[1, i] != 0:
                    missing += 1
    return missing


@kernel
def renumber(places: I64, parts: I64) -> None:
    """Puts parts[number] in place of the number in each place (n,) that is not FREE."""
    for i in range(places.shape[0]):
        if places[i] >= 0:
            places[i] = (parts[places[i] >> ROW_BITS] << ROW_BITS) | (places[i] & ((1 << ROW_BITS) - 1))
