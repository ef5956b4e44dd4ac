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
Marks = NDArray[np.bool_]

BUCKET = 4  # slots; where a search begins is a multiple of it, so that most ends in one line of the cache
_BLOCK = 64  # slots that are audited at a time
_AHEAD = 16  # ids whose slots are asked for before they are looked at
_LEAST_SLOTS = 64
_NO_PLACE = np.uint64(0xFFFF_FFFF_FFFF_FFFF)  # FREE, as it stands in a slot


@instruction(types.void, ADDRESS)
def near(builder: Builder, at: Value) -> None:
    """Asks for the line of the cache at an address, in the first level."""
    emit_prefetch(builder, at, 1)


@kernel
def _home(key: np.uint64, slots: np.uint64) -> np.int64:
    """The slot where the search for a key begins, among as many as are whole buckets, fewer than 2^32."""
    buckets = slots // np.uint64(BUCKET)
    return np.int64(((mix(key) >> np.uint64(32)) * buckets) >> np.uint64(32)) * BUCKET


@kernel
def homes(keys: U64, slots: int, out: I64) -> None:
    """out[i] = the slot where the search for key i begins, out (n,), keys (n, w)."""
    for i in range(keys.shape[0]):
        out[i] = _home(keys[i, 0], np.uint64(slots))


def free_slots(rows: int, key_words: int, full: float = 0.6) -> U64:
    """Slots (s, key_words + 1) for so many rows, of which at most the share `full` will be taken."""
    slots = max(_LEAST_SLOTS, -(-int(rows / full + 1) // BUCKET) * BUCKET)
    return np.full((slots, key_words + 1), _NO_PLACE)


@kernel
def fill(words: U64, keys: U64, places: I64, again: bool) -> int:
    """Puts keys (n, w) with places (n,) into slots (s, w + 1), more than n of which are free: all ones in the
    last word. Gives how many keys were there already; again: whether these are put once more."""
    slots, last, start = words.shape[0], words.shape[1] - 1, address(words)
    count, size, repeats = keys.shape[0], 8 * words.shape[1], 0
    for i in range(min(_AHEAD, count)):
        near(start + _home(keys[i, 0], np.uint64(slots)) * size)
    for i in range(count):
        if i + _AHEAD < count:
            near(start + _home(keys[i + _AHEAD, 0], np.uint64(slots)) * size)
        key, other, repeated = keys[i, 0], keys[i, last - 1], False
        at = _home(key, np.uint64(slots))
        while words[at, last] != _NO_PLACE:
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
def _place(word: np.uint64) -> tuple[np.int64, np.int64]:
    """The segment's number and the row of a place as it stands in a slot; neither is negative."""
    return np.int64(word >> np.uint64(ROW_BITS)), np.int64(word) & ((1 << ROW_BITS) - 1)


@kernel
def _judge(found: np.uint64, parts: I64, table: I64) -> tuple[np.int64, np.int64]:
    """(place, 0) of a row that a slot leads to, (FREE, 0) if it is not live here, (FREE, what is missing)."""
    segment, row = _place(found)
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
    at = _home(key, np.uint64(words.shape[0]))
    slots, last, size = words.shape[0], words.shape[1] - 1, 8 * words.shape[1]
    for _ in range(slots):
        if verified.shape[0] > 0:
            page = _unverified(at, size, verified)
            if page != 0:
                return np.int64(FREE), page
        if words[at, last] == _NO_PLACE:
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
            begin[i] = start + _home(keys[first + i, 0], np.uint64(slots)) * size
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
                prefetch(beyond + _home(keys[i, 0], np.uint64(words.shape[0])) * 8 * words.shape[1])
    for i in range(keys.shape[0]):
        answers[1, i] = 0
        if answers[0, i] == FREE:
            other = keys[i, keys.shape[1] - 1]
            answers[0, i], answers[1, i] = _search(words, verified, parts, table, keys[i, 0], other)
            missing += answers[1, i] != 0
    return missing


@kernel
def _alike(words: U64, at: int, home: int, starts: I64, rows: I64, live: Marks) -> int:
    """1 if a slot from `home` up to the one before `at` leads to a live row under the same key."""
    slots, last = words.shape[0], words.shape[1] - 1
    key, other, before = words[at, 0], words[at, last - 1], home
    while before != at:
        if words[before, 0] == key and words[before, last - 1] == other:
            segment, row = _place(words[before, last])
            if segment < starts.shape[0] and starts[segment] >= 0 and row < rows[segment]:
                if live[starts[segment] + row]:
                    return 1
        before = 0 if before + 1 == slots else before + 1
    return 0


@kernel
def _pick(words: U64, span: tuple[int, int], free: int, picks: I64) -> tuple[int, int, int]:
    """(count, the last free slot so far, -1 or a slot that no search comes to) of a block of slots, of which
    those that are taken are put into picks; free: the last free slot before them."""
    slots, size, base = words.shape[0], 8 * words.shape[1], address(words)
    count, lost = 0, -1
    for at in range(span[0], span[1]):
        here = base + at * size
        home = _home(np.uint64(load_word(here)), np.uint64(slots))
        taken = load_word(here + size - 8) != FREE
        lost = at if taken & ((home if home <= at else home - slots) <= free) else lost
        free = free if taken else at
        picks[count] = at
        count += taken
    return count, free, lost


@kernel
def _rows_of(words: U64, starts: I64, rows: I64, keys: U64, picks: I64, numbers: I64) -> int:
    """numbers[i] = the number among the keys of the row that slot picks[i] leads to, -1 for one of a segment
    that is not there; gives the first i whose row there cannot be, or -1."""
    last = words.shape[1] - 1
    for i in range(picks.shape[0]):
        segment, row = _place(words[picks[i], last])
        if segment >= starts.shape[0] or row >= rows[segment]:
            return i
        numbers[i] = starts[segment] + row if starts[segment] >= 0 else -1
        near(address(keys) + numbers[i] * 8 * keys.shape[1])
    return -1


@kernel
def audit(
    span: tuple[int, int], words: U64, segments: tuple[I64, I64], keys: U64, marks: tuple[Marks, Marks]
) -> tuple[int, int]:
    """(-1, how many live rows have the id of another one) if each slot of a span leads to a row of its id and
    can be found, else (a slot that does not, 0).

    span: the first slot, and the one behind the last. words: as in `find`. segments: (starts, rows) of those
    that the file knows: where the keys of their ids begin in keys (n, w), -1 for a segment whose keys are not
    there, and how many. marks: (live, seen), (n,) each: whether a row is live; zeros, written: whether a slot
    leads to it. Spans may be looked at side by side. Nothing in the words is believed.
    """
    (starts, rows), (live, seen) = segments, marks
    slots, size, base, other = words.shape[0], 8 * words.shape[1], address(words), 8 * (keys.shape[1] - 1)
    picks, numbers = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int64)
    repeats, free = 0, span[0] - 1  # the last free slot before the one that is looked at
    while free >= span[0] - slots and load_word(base + free % slots * size + size - 8) != FREE:
        free -= 1
    for first in range(span[0], span[1], _BLOCK):
        count, free, lost = _pick(words, (first, min(first + _BLOCK, span[1])), free, picks)
        if lost >= 0:
            return lost, 0
        wrong = _rows_of(words, starts, rows, keys, picks[:count], numbers)
        if wrong >= 0:
            return int(picks[wrong]), 0
        for i in range(count):
            here, row = base + picks[i] * size, numbers[i]
            if row < 0:
                continue
            key, wanted = load_word(here), address(keys) + row * 8 * keys.shape[1]
            if seen[row] or load_word(wanted) != key or load_word(wanted + other) != load_word(here + other):
                return int(picks[i]), 0
            seen[row] = True
            alike = False  # Most ids lie in the bucket where they are looked for: a glance at it is enough.
            for before in range(1, BUCKET):
                alike |= load_word(max(here - before * size, base)) == key
            home = _home(np.uint64(key), np.uint64(slots))
            if (alike or home + BUCKET <= picks[i] or picks[i] < home) and live[row]:
                repeats += _alike(words, int(picks[i]), int(home), starts, rows, live)
    return -1, repeats


@kernel
def renumber(places: I64, parts: I64) -> None:
    """Puts parts[number] in place of the number in each place (n,) that is not FREE."""
    for i in range(places.shape[0]):
        if places[i] >= 0:
            places[i] = (parts[places[i] >> ROW_BITS] << ROW_BITS) | (places[i] & ((1 << ROW_BITS) - 1))
