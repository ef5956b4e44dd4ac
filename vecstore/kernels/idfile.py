"""A table in a file, checked page by page: every id of every segment, and where its row lies."""

from __future__ import annotations

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.gather import FACTS, LIVE, PAGE_BITS, ROW_BITS, ROWS, load_byte, load_word, prefetch
from vecstore.kernels.idmap import FREE
from vecstore.kernels.ids import mix
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import ADDRESS, Builder, Value, address, emit_prefetch, instruction

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

BUCKET = 4  # slots; where a search begins is a multiple of it, so that most ends in one line of the cache
_AHEAD = 16  # ids whose slots are asked for before they are looked at
_LEAST_SLOTS = 64
NO_PLACE = np.uint64(0xFFFF_FFFF_FFFF_FFFF)  # FREE, as it stands in a slot


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


def free_slots(rows: int, key_words: int, full: float = 0.6) -> U64:
    """Slots (s, key_words + 1) for so many rows, of which at most the share `full` will be taken."""
    slots = max(_LEAST_SLOTS, -(-int(rows / full + 1) // BUCKET) * BUCKET)
    return np.full((slots, key_words + 1), NO_PLACE)


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
def _unverified(at: np.int64, size: int, verified: U8) -> np.int64:
    """The page of a slot that is not verified, + 1; 0 if all of it is. A slot may lie in two pages."""
    for page in range((at * size) >> PAGE_BITS, ((at * size + size - 1) >> PAGE_BITS) + 1):
        if verified[page] == 0:
            return np.int64(page + 1)
    return np.int64(0)


@kernel
def place_in(word: np.uint64) -> tuple[np.int64, np.int64]:
    """The segment's number and the row of a place as it stands in a slot; neither is negative."""
    return np.int64(word >> np.uint64(ROW_BITS)), np.int64(word) & ((1 << ROW_BITS) - 1)


@kernel
def _judge(found: np.uint64, parts: I64, table: I64) -> tuple[np.int64, np.int64]:
    """(place, 0) of a row that a slot leads to, (FREE, 0) if it is not live here, (FREE, what is missing)."""
    segment, row = place_in(found)
    if segment < parts.shape[0]:
        part = parts[segment]
        if part >= 0 and row < table[part, ROWS]:
            live = table[part, LIVE]
            if live == -1:
                return np.int64(FREE), np.int64(-1 - part)
            if live == 0 or load_byte(live + row) != 0:
                return np.int64((part << ROW_BITS) | row), np.int64(0)
    return np.int64(FREE), np.int64(0)


@kernel
def _search(
    words: U64, verified: U8, parts: I64, table: I64, key: np.uint64, other: np.uint64
) -> tuple[np.int64, np.int64]:
    """What `find` says of one key, whose first and last word are given."""
    at = home_of(key, np.uint64(words.shape[0]))
    slots, last, size = words.shape[0], words.shape[1] - 1, 8 * words.shape[1]
    for _ in range(slots):
        if verified.shape[0] > 0:
            page = _unverified(at, size, verified)
            if page != 0:
                return np.int64(FREE), page
        if words[at, last] == NO_PLACE:
            break
        if words[at, 0] == key and words[at, last - 1] == other:
            place, need = _judge(words[at, last], parts, table)
            if place != FREE or need != 0:
                return place, need
        at += 1
        if at == slots:
            at = np.int64(0)
    return np.int64(FREE), np.int64(0)


@kernel
def _look(words: U64, parts: I64, table: I64, keys: U64, places: I64) -> None:
    """places[i] = the place of key i where it was FREE, if it is in the bucket where it is looked for first
    and in a part without deleted rows. Most are, and the processor has little to guess about."""
    count, slots, last, size = keys.shape[0], words.shape[0], words.shape[1] - 1, 8 * words.shape[1]
    start, lines, of_file, segments = address(words), address(table), address(parts), parts.shape[0]
    begin = np.empty(_AHEAD, np.int64)
    for first in range(0, count, _AHEAD):
        some = min(_AHEAD, count - first)
        for i in range(some):
            begin[i] = start + home_of(keys[first + i, 0], np.uint64(slots)) * size
            near(begin[i])
        for i in range(some):
            key, at = np.int64(keys[first + i, 0]), np.int64(0)
            for slot in range(BUCKET):
                here = begin[i] + slot * size
                at = here if load_word(here) == key else at
            if at == 0 or (last == 2 and load_word(at + 8) != np.int64(keys[first + i, last - 1])):
                continue
            found = load_word(at + size - 8)
            segment, row = found >> ROW_BITS, found & ((1 << ROW_BITS) - 1)
            if found >= 0 and segment < segments and places[first + i] == FREE:
                part = load_word(of_file + 8 * segment)
                line = lines + 8 * FACTS * part
                if part >= 0 and row < load_word(line + 8 * ROWS) and load_word(line + 8 * LIVE) == 0:
                    places[first + i] = (part << ROW_BITS) | row


@kernel
def find(words: U64, verified: U8, parts: I64, table: I64, keys: U64, answers: I64) -> int:
    """answers[0, i] = the place of key i where it was FREE and the key has a live row; gives how many of
    answers[1] are not 0: those say what has to be done before another call can answer.

    words (s, w + 1), as `fill` leaves them; verified: one byte a page of them, or none if all are; parts: the
    number in the table of each segment that the file knows, -1 for one that is not read; table: as in
    `gather`; keys (n, w); answers (2, n), of which the second row is written: a page + 1 that has to be
    verified, or -1 - the part whose deleted rows have to be read. Nothing in the words is believed.
    """
    missing = 0
    if verified.shape[0] == 0:
        _look(words, parts, table, keys, answers[0])
        beyond = address(words) + 8 * BUCKET * words.shape[1]
        for i in range(keys.shape[0]):
            if answers[0, i] == FREE:  # It is in the next bucket, if at all.
                prefetch(beyond + home_of(keys[i, 0], np.uint64(words.shape[0])) * 8 * words.shape[1])
    for i in range(keys.shape[0]):
        answers[1, i] = 0
        if answers[0, i] == FREE:
            other = keys[i, keys.shape[1] - 1]
            answers[0, i], answers[1, i] = _search(words, verified, parts, table, keys[i, 0], other)
            missing += answers[1, i] != 0
    return missing


@kernel
def renumber(places: I64, parts: I64) -> None:
    """Puts parts[number] in place of the number in each place (n,) that is not FREE."""
    for i in range(places.shape[0]):
        if places[i] >= 0:
            places[i] = (parts[places[i] >> ROW_BITS] << ROW_BITS) | (places[i] & ((1 << ROW_BITS) - 1))
