"""Whether the slots of a file of ids lead to the rows that they should: all rows at once, or one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.gather import load_word
from vecstore.kernels.idfile import BUCKET, NO_PLACE, home_of, near, place_in
from vecstore.kernels.idmap import FREE
from vecstore.kernels.ids import mix
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import address

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Marks = NDArray[np.bool_]

_BLOCK = 256  # slots that are taken apart at a time, so that they stay in the first level of the cache
_BACK = 6  # slots before each one that are compared with it; the few ids that lie farther off are looked for
_SLOTS = 64  # that are audited one by one at a time


@kernel
def trace_rows(keys: U64, first: int, secret: U64) -> Any:
    """The sum over i of mix(mix(key i) + secret . (1, other i, first + i)), modulo 2^64.

    keys (n, w), whose last word is the other; first: the place of the first row; secret (3,): odd numbers
    that nobody knows beforehand. Of rows and slots that are not the same, each as often, the sums are the
    same with the chance of one in 2^64.
    """
    total, last = np.uint64(0), keys.shape[1] - 1
    a, b, c = secret[0], secret[1], secret[2]
    for i in range(keys.shape[0]):
        total += mix(mix(keys[i, 0]) + keys[i, last] * b + np.uint64(first + i) * c + a)
    return total


@kernel
def trace_slots(first: int, run: U64, words: U64, elsewhere: I64, secret: U64, picks: I64) -> Any:
    """(the same sum over the slots of a run that are taken, whether a search comes to each of these, how many
    picks there are): slots under an id that may be that of one before.

    run (n, w + 1): the slots from `first` on, as they stand in words (s, w + 1), of which those before are
    looked at. elsewhere: the rows of each segment whose slots do not count, 0 for the others, (0,) if all
    count. picks (n + 1,), written: numbers of slots.
    """
    slots, last = words.shape[0], words.shape[1] - 1
    a, b, c = secret[0], secret[1], secret[2]
    buckets = np.uint64(slots // BUCKET)
    keys, others = np.zeros(_BACK + _BLOCK, np.uint64), np.empty(_BLOCK, np.uint64)
    places, traces = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.uint64)
    gone, marks = (
        np.empty(_BLOCK, np.int64),
        np.empty(_BLOCK, np.int64),
    )  # slots behind the one searched first
    total, lost, many = np.uint64(0), np.int64(0), 0
    taken = 0  # slots next to each other, up to here
    while taken < slots and words[(first - 1 - taken) % slots, last] != NO_PLACE:
        taken += 1
    # Loops are short and alike, so that the compiler makes vectors of all but those that count.
    for start in range(0, run.shape[0], _BLOCK):
        size = min(_BLOCK, run.shape[0] - start)
        _take_apart(run[start : start + size], keys[_BACK:], others, places)
        for i in range(size):
            mixed = mix(keys[_BACK + i])
            traces[i] = mix(mixed + others[i] * b + places[i] * c + a)
            home = np.int64(((mixed >> np.uint64(32)) * buckets) >> np.uint64(32)) * BUCKET
            back = first + start + i - home
            gone[i] = back if back >= 0 else back + slots
        if elsewhere.shape[0] > 0:
            _leave_out(places[:size], elsewhere, traces)
        for i in range(size):
            marks[i] = taken
            taken = taken + 1 if places[i] != NO_PLACE else 0
        for i in range(size):
            key, there = keys[_BACK + i], places[i] != NO_PLACE
            lost |= np.int64(there & (gone[i] > marks[i]))
            total += traces[i] if there else np.uint64(0)
            alike = gone[i] > min(_BACK, start + i)
            for behind in range(1, _BACK + 1):
                alike |= keys[_BACK + i - behind] == key
            marks[i] = there & alike
        begin = many
        for i in range(size):
            picks[many] = start + i
            many += marks[i]
        many = _sifted(first, run, gone, picks, (start, begin, many))
        for i in range(_BACK):
            keys[i] = keys[_BLOCK + i]
    return total, lost == 0, many


@kernel
def _take_apart(run: U64, keys: U64, others: U64, places: U64) -> None:
    """The columns of slots (n, w + 1): the first and the last word of keys, and places."""
    flat = run.reshape(-1)
    if run.shape[1] == 2:
        for i in range(run.shape[0]):
            keys[i] = others[i] = flat[2 * i]
            places[i] = flat[2 * i + 1]
    else:
        for i in range(run.shape[0]):
            keys[i], others[i], places[i] = flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]


@kernel
def _sifted(first: int, run: U64, gone: I64, picks: I64, span: tuple[int, int, int]) -> int:
    """Leaves of the picks from span[1] up to span[2], which are numbers in the run, those that have a slot
    with the same word before them, as numbers of slots; gives where they end. span[0]: where gone begins."""
    kept = span[1]
    for j in range(span[1], span[2]):
        at = picks[j]
        begin = at - gone[at - span[0]]
        alike = begin < 0  # a slot before the run, which is looked at later
        for before in range(max(begin, 0), at):
            alike |= run[before, 0] == run[at, 0]
        picks[kept] = first + at
        kept += alike
    return kept


@kernel
def _leave_out(places: U64, elsewhere: I64, traces: U64) -> None:
    """No trace of the slots whose rows are elsewhere."""
    for i in range(places.shape[0]):
        segment, row = place_in(places[i])
        if segment < elsewhere.shape[0] and row < elsewhere[segment]:
            traces[i] = np.uint64(0)


@kernel
def count_alike(words: U64, picks: I64, segments: tuple[I64, I64], live: Marks) -> int:
    """How many of the slots picked (n,) lead to a live row whose id another live row has, under which a slot
    lies before. segments, live: as in `audit`."""
    starts, rows = segments
    found, last = 0, words.shape[1] - 1
    for at in picks:
        segment, row = place_in(words[at, last])
        if segment < starts.shape[0] and starts[segment] >= 0 and row < rows[segment]:
            if live[starts[segment] + row]:
                home = home_of(words[at, 0], np.uint64(words.shape[0]))
                found += _alike(words, int(at), int(home), starts, rows, live)
    return found


@kernel
def _alike(words: U64, at: int, home: int, starts: I64, rows: I64, live: Marks) -> int:
    """1 if a slot from `home` up to the one before `at` leads to a live row under the same key."""
    slots, last = words.shape[0], words.shape[1] - 1
    key, other, before = words[at, 0], words[at, last - 1], home
    while before != at:
        if words[before, 0] == key and words[before, last - 1] == other:
            segment, row = place_in(words[before, last])
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
        home = home_of(np.uint64(load_word(here)), np.uint64(slots))
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
        segment, row = place_in(words[picks[i], last])
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
    picks, numbers = np.empty(_SLOTS, np.int64), np.empty(_SLOTS, np.int64)
    repeats, free = 0, span[0] - 1  # the last free slot before the one that is looked at
    while free >= span[0] - slots and load_word(base + free % slots * size + size - 8) != FREE:
        free -= 1
    for first in range(span[0], span[1], _SLOTS):
        count, free, lost = _pick(words, (first, min(first + _SLOTS, span[1])), free, picks)
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
            home = home_of(np.uint64(key), np.uint64(slots))
            if (alike or home + BUCKET <= picks[i] or picks[i] < home) and live[row]:
                repeats += _alike(words, int(picks[i]), int(home), starts, rows, live)
    return -1, repeats
