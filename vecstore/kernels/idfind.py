"""The places of ids, by the table of a file that is checked page by page."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.gather import (
    FACTS,
    LIVE,
    PAGE_BITS,
    ROW_BITS,
    ROWS,
    load_byte,
    load_word,
    prefetch,
)
from vecstore.kernels.idfile import BUCKET, home_of, near, place_in
from vecstore.kernels.idmap import FREE
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    WORD,
    Builder,
    Value,
    address,
    emit_splat,
    instruction,
    lowest_bit,
)

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
Known = tuple[U64, U8, I64, I64]  # words, verified, parts, table: see `find`
# The same as `_where` gives them: to count who holds an array that is passed on takes longer than a search.
Where = tuple[int, int, int, int, int, int, int]

_BLOCK = 64  # ids whose slots are asked for before they are looked at
_NONE = 1 << 16  # what stands for no slot; 8 * 16 & 127 is the first one, which can be read


def _emit_alike(builder: Builder, at: Value, value: Value, count: int) -> Value:
    kind = ir.VectorType(WORD, count)
    found = builder.load(builder.inttoptr(at, kind.as_pointer()), align=8)
    same = builder.icmp_signed("==", found, emit_splat(builder, value, kind))
    return builder.zext(builder.bitcast(same, ir.IntType(count)), WORD)


@instruction(types.int64, ADDRESS, types.int64)
def _alike_8(builder: Builder, at: Value, value: Value) -> Value:
    """Which of 8 int64 from an address on have this value, a bit each."""
    return _emit_alike(builder, at, value, 8)


@instruction(types.int64, ADDRESS, types.int64)
def _alike_4(builder: Builder, at: Value, value: Value) -> Value:
    """Which of 4 int64 from an address on have this value, a bit each."""
    return _emit_alike(builder, at, value, 4)


@kernel
def _where(known: Known) -> Where:
    """(address of the words, slots, words of a key, address of the verified pages or 0 if all are, address of
    the parts, how many, address of the table)."""
    words, verified, parts, table = known
    pages = address(verified) if verified.shape[0] > 0 else 0
    return (
        address(words),
        words.shape[0],
        words.shape[1] - 1,
        pages,
        address(parts),
        parts.shape[0],
        address(table),
    )


@kernel
def _slots_with(bucket: int, key_words: int, word: int, value: np.int64) -> int:
    """The slots of a bucket of which a word has this value: bit i is set for a slot that begins 8 i bytes
    from the bucket. All are compared at once: a branch for each would be guessed wrong every other time."""
    same = _alike_8(bucket, value)
    if key_words == 1:
        return int((same >> word) & 0b0101_0101)
    return int(((same | (_alike_4(bucket + 64, value) << 8)) >> word) & 0b0010_0100_1001)


@kernel
def _unverified(at: int, size: int, pages: int) -> int:
    """The page of a bucket at a slot that is not verified, + 1; 0 if all is. It may lie in two pages."""
    for page in range((at * size) >> PAGE_BITS, (((at + BUCKET) * size - 1) >> PAGE_BITS) + 1):
        if load_byte(pages + page) == 0:
            return page + 1
    return 0


@kernel
def _judge(where: Where, found: int) -> tuple[int, int]:
    """(place, 0) of a row that a slot leads to, (FREE, 0) if it is not live here, (FREE, what is missing)."""
    segment, row = place_in(np.uint64(found))
    if segment < where[5]:
        part = load_word(where[4] + 8 * segment)
        line = where[6] + 8 * FACTS * part
        if part >= 0 and row < load_word(line + 8 * ROWS):
            live = load_word(line + 8 * LIVE)
            if live == -1:
                return FREE, -1 - part
            if live == 0 or load_byte(live + row) != 0:
                return (part << ROW_BITS) | row, 0
    return FREE, 0


@kernel
def _search(where: Where, key: np.int64, other: np.int64) -> tuple[int, int]:
    """What `find` says of one key, whose first and last word are given."""
    start, slots, key_words, pages, _, _, _ = where
    size = 8 * (key_words + 1)
    at = int(home_of(np.uint64(key), np.uint64(slots)))
    for _ in range(slots // BUCKET):
        if pages != 0:
            page = _unverified(at, size, pages)
            if page != 0:
                return FREE, page
        bucket = start + at * size
        free = _slots_with(bucket, key_words, key_words, np.int64(FREE))
        same = _slots_with(bucket, key_words, 0, key) & ~free
        while same != 0:
            here = bucket + 8 * lowest_bit(same)
            same &= same - 1
            if load_word(here + size - 16) == other:
                place, need = _judge(where, load_word(here + size - 8))
                if place != FREE or need != 0:
                    return place, need
        if free != 0:
            break
        at += BUCKET
        if at == slots:
            at = 0
    return FREE, 0


@kernel
def _limits(known: Known) -> I64:
    """Of each segment of the file its part's place (segments, 0), and how many rows it has (segments, 1): 0
    if it is not read, or if some may be deleted."""
    _, _, parts, table = known
    limits = np.zeros((parts.shape[0], 2), np.int64)
    for segment in range(parts.shape[0]):
        part = parts[segment]
        if part >= 0 and table[part, LIVE] == 0:
            limits[segment, 0], limits[segment, 1] = part << ROW_BITS, table[part, ROWS]
    return limits


@kernel
def _begin(where: Where, keys: U64, first: int, begin: I64) -> None:
    """begin[i] = the address of the bucket where the search for key first + i begins, for _BLOCK of them."""
    start, size, slots = where[0], 8 * (where[2] + 1), np.uint64(where[1])
    for i in range(min(_BLOCK, keys.shape[0] - first)):
        begin[i] = start + home_of(keys[first + i, 0], slots) * size


@kernel
def _place_of(where: Where, bounds: int, bucket: int, key: np.int64, other: np.int64) -> np.int64:
    """The place of a key that is in the bucket where it is looked for first and in a part without deleted
    rows, else FREE. Most are, and the processor has little to guess about. bounds: address of `_limits`."""
    key_words = where[2]
    same = _slots_with(bucket, key_words, 0, key)
    at = bucket + (8 * lowest_bit(same | _NONE) & 127)
    is_its = same != 0
    if key_words > 1:
        is_its &= load_word(at + 8) == other
    found, place = np.uint64(load_word(at + 8 * key_words)), np.int64(FREE)
    segment, row = found >> np.uint64(ROW_BITS), np.int64(found) & ((1 << ROW_BITS) - 1)
    if segment < np.uint64(where[5]):
        bound = bounds + 16 * np.int64(segment)
        if row < load_word(bound + 8):
            place = load_word(bound) | row
    return place | (np.int64(is_its) - 1)  # FREE, which is all ones, if it is another's


@kernel
def find(known: Known, keys: U64, answers: I64) -> int:
    """answers[0, i] = the place of key i where it was FREE and the key has a live row; gives how many things
    have to be done before another call can answer, which are in answers[1].

    known: words (s, w + 1), as `idfile.fill` leaves them; verified: one byte a page of them, or none if all
    are; parts: the number in the table of each segment that the file knows, -1 for one that is not read;
    table: as in `gather`. keys (n, w); answers (2, n), of which the second row is written: a page + 1 that
    has to be verified, or -1 - the part whose deleted rows have to be read. Nothing in the words is believed.
    """
    where, needs, count, last = _where(known), 0, keys.shape[0], keys.shape[1] - 1
    quick = count > 1 and known[1].shape[0] == 0
    limits = _limits(known) if quick else np.empty((0, 2), np.int64)
    begin, ahead, bounds = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int64), address(limits)
    beyond = 8 * BUCKET * (last + 2)  # from a bucket to the next, where it is if it is not in its own
    if quick:
        _begin(where, keys, 0, ahead)
    for first in range(0, count, _BLOCK):
        some = min(_BLOCK, count - first)
        if quick:
            begin[:] = ahead
            _begin(where, keys, first + _BLOCK, ahead)
            for i in range(some):
                prefetch(ahead[i])
                if last > 0:  # A bucket is longer than a line, then.
                    prefetch(ahead[i] + 64)
                key, other = np.int64(keys[first + i, 0]), np.int64(keys[first + i, last])
                place = _place_of(where, bounds, begin[i], key, other)
                near(begin[i] + (beyond if place == FREE else 0))
                answers[0, first + i] = place
        for i in range(first, first + some):
            if answers[0, i] == FREE:
                answers[0, i], need = _search(where, np.int64(keys[i, 0]), np.int64(keys[i, last]))
                answers[1, needs] = need
                needs += need != 0
    return needs
