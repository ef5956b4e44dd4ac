"""The reader of blocks of format 2: every length and every index is checked before it is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.lossless.models import MAX_TABLES
from vecstore.codecs.lossless.plain import unpack
from vecstore.errors import CorruptError
from vecstore.kernels.planes import get_bits, place_columns
from vecstore.kernels.rans import LANES, SHARES, SPARE, fill_slots, rans_decode

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_HEADER = 4 * 4 + 8
_COLUMNS, _VALUES = 16, 1 << 16  # decoded at a time: at least so many columns, about so many values


class _Sections:
    """The sections of a block, one after the other."""

    def __init__(self, body: memoryview) -> None:
        self.left = body

    def take(self, length: int, what: str) -> memoryview:
        if length > len(self.left):
            raise CorruptError(f"{what} needs {length} bytes; the block has {len(self.left)} left")
        taken, self.left = self.left[:length], self.left[length:]
        return taken

    def section(self, what: str) -> memoryview:
        return self.take(int.from_bytes(self.take(4, what), "little"), what)

    def numbers(self, count: int, width: int, what: str) -> I64:
        """count unsigned integers of `width` bytes, packed as byte planes."""
        data = unpack(self.section(what), count * width, what).reshape(width, count)
        total = np.zeros(count, np.int64)
        for place in range(width):
            total |= data[place].astype(np.int64) << (8 * place)
        return total


@dataclass(frozen=True, eq=False)
class _Block:
    """A block whose side data has been checked."""

    unique: int
    rows: I64 | None  # (n,): the place of each row among the unique ones; None if all rows differ
    alphabet: U32  # (a, 3)
    column_starts: I64  # (d,): where in alphabet a column's symbols begin
    table_of: I64  # (d,)
    shares: list[I64]
    words: U16  # SPARE words longer than what the block holds
    states: U64  # (5,)
    stream: U64  # two words longer than what the block holds
    raw_bits: int


def decode(body: memoryview, dim: int, most: int) -> U32:
    """The inverse of `encode`: bits (n, dim); CorruptError for anything else, or for over `most` values."""
    block = _read(body, dim, most)
    unique = np.empty((block.unique, dim), np.uint32)
    slot_symbols = np.empty((len(block.shares), SHARES), np.uint16)
    slot_steps = np.empty((len(block.shares), SHARES), np.uint32)
    for number, shares in enumerate(block.shares):
        fill_slots(shares, slot_symbols[number], slot_steps[number])
    step = max(_COLUMNS, _VALUES // block.unique)
    all_symbols = np.empty((min(step, dim), block.unique), np.uint16)
    all_columns = np.empty(all_symbols.shape, np.uint32)
    at = 0
    for first in range(0, dim, step):
        part = slice(first, min(first + step, dim))
        symbols, columns = all_symbols[: part.stop - first], all_columns[: part.stop - first]
        if not rans_decode(
            block.words, block.states, block.table_of[part], slot_symbols, slot_steps, symbols
        ):
            raise CorruptError(f"the symbols end in columns {first} to {part.stop}; expected {dim} columns")
        at = get_bits(block.stream, at, symbols, block.column_starts[part], block.alphabet, columns)
        if at < 0:
            raise CorruptError(f"the raw bits end in columns {first} to {part.stop}; expected {dim} columns")
        place_columns(columns, first, unique)
    if at != block.raw_bits or int(block.states[LANES]) != block.words.size - SPARE:
        raise CorruptError(f"the block holds more than its {block.unique} rows; it was not written whole")
    if np.any(block.states[:LANES] != 1 << 16):
        raise CorruptError("the symbols do not end where they began; some of their bytes have changed")
    return unique if block.rows is None else unique[block.rows]


def _read(body: memoryview, dim: int, most: int) -> _Block:
    take = _Sections(body)
    head = take.take(_HEADER, "the header")
    n, unique, alphabets, tables = (int(v) for v in np.frombuffer(head[:16], "<u4"))
    raw_bits = int.from_bytes(head[16:], "little")
    if not 0 < unique <= n or n * dim > most:
        raise CorruptError(f"a block of {n} rows, {unique} unique, of {dim}; expected at most {most} values")
    if not 0 < alphabets <= tables <= MAX_TABLES:
        raise CorruptError(f"{alphabets} alphabets, {tables} tables; expected at most {MAX_TABLES} of each")
    rows = _rows(take.numbers(2 * (n - unique), 4, "the list of repeated rows"), n, unique)
    sizes = take.numbers(alphabets, 2, "the sizes of alphabets")
    if sizes.min() < 1 or sizes.max() > SHARES:
        raise CorruptError(f"an alphabet has {sizes.max()} symbols; expected 1 to {SHARES}")
    alphabet_of = _indices(take.numbers(tables, 2, "the alphabets of tables"), alphabets)
    table_of = _indices(take.numbers(dim, 2, "the tables of columns"), tables)
    alphabet = np.empty((int(sizes.sum()), 3), np.uint32)
    alphabet[:, 0] = np.cumsum(take.numbers(len(alphabet), 4, "bases")) & 0xFFFFFFFF
    alphabet[:, 1] = take.numbers(len(alphabet), 1, "widths")
    alphabet[:, 2] = take.numbers(len(alphabet), 1, "shifts")
    if alphabet[:, 1:].max() > 31:
        raise CorruptError(f"a width or shift is {alphabet[:, 1:].max()}; expected at most 31 bits")
    lengths = sizes[alphabet_of]
    flat = take.numbers(int(lengths.sum()), 2, "shares")
    shares = np.split(flat, np.cumsum(lengths)[:-1])
    if any(int(table.sum()) != SHARES for table in shares):
        raise CorruptError(f"the shares of a table do not sum to {SHARES}")
    words, states = _words(take.section("the symbols"))
    starts = np.cumsum(sizes) - sizes
    stream = np.zeros(-(-raw_bits // 64) + 2 if raw_bits < 8 * len(body) else 0, np.uint64)
    if take.left.nbytes != 8 * (len(stream) - 2):
        raise CorruptError(f"the raw bits are {take.left.nbytes} bytes; expected {raw_bits} bits")
    stream[:-2] = np.frombuffer(take.left, "<u8")
    return _Block(
        unique,
        rows,
        alphabet,
        starts[alphabet_of][table_of],
        table_of,
        shares,
        words,
        states,
        stream,
        raw_bits,
    )


def _rows(numbers: I64, n: int, unique: int) -> I64 | None:
    """From gaps between repeated rows and what they repeat, the place of each row among the unique ones."""
    if n == unique:
        return None
    repeated, places = np.cumsum(numbers[: n - unique]), numbers[n - unique :]
    if repeated[-1] >= n or np.any(np.diff(repeated) < 1):
        raise CorruptError(f"the repeated rows do not rise within {n} rows")
    _indices(places, unique)
    rows = np.zeros(n, np.int64)
    first = np.ones(n, bool)
    first[repeated] = False
    rows[first] = np.arange(unique)
    rows[repeated] = places
    return rows


def _indices(numbers: I64, stop: int) -> I64:
    if numbers.size and int(numbers.max()) >= stop:
        raise CorruptError(f"an index is {numbers.max()}; expected less than {stop}")
    return numbers


def _words(section: memoryview) -> tuple[U16, U64]:
    if len(section) % 2 or len(section) < 4 * LANES:
        raise CorruptError(f"the symbols are {len(section)} bytes; expected whole words and {LANES} states")
    given = np.frombuffer(section, "<u2")
    states = np.zeros(LANES + 1, np.uint64)
    for lane in range(LANES):
        states[lane] = int(given[2 * lane]) | int(given[2 * lane + 1]) << 16
    words = np.zeros(len(given) - 2 * LANES + SPARE, np.uint16)
    words[:-SPARE] = given[2 * LANES :]
    return words, states
