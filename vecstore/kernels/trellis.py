"""Trellis decoding: a cell's value is table[window], the window being `bits` bits of a circular word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]


@kernel
def _circle(code: U8, byte: int, size: int) -> tuple[np.uint64, np.uint64]:
    """The word of `size` bytes from `byte` on, and its length in bits; a single byte counts twice."""
    word = np.uint64(0)
    for b in range(size):
        word |= np.uint64(code[byte + b]) << np.uint64(8 * b)
    if size == 1:  # A window can be longer than the circle.
        return word | (word << np.uint64(8)), np.uint64(16)
    return word, np.uint64(8 * size)


@kernel
def _window(word: np.uint64, length: np.uint64, place: int) -> np.uint64:
    """The circle from bit `place` on, in the lower bits."""
    if place == 0:
        return word
    return (word >> np.uint64(place)) | (word << (length - np.uint64(place)))


@kernel
def decode(codes: U8, scales: F32, tables: F32, cells: I64, words: I64, rows: F32) -> None:
    """rows[i, j] = scales[j] * table[window of j's cell], as in `viterbi.encode`; rows (n, d), written."""
    states = tables.shape[2]
    mask = np.uint64(states - 1)
    for i in range(codes.shape[0]):
        byte = 0
        for w in range(words.shape[0]):
            size = words[w, 2]
            word, length = _circle(codes[i], byte, size)
            byte += size
            for c in range(words[w, 0], words[w, 1]):
                at = np.int64(_window(word, length, cells[c, 4]) & mask)
                dim, table = cells[c, 2], cells[c, 1]
                rows[i, dim] = scales[dim] * tables[table, 0, at]
                if cells[c, 3] == 2:
                    rows[i, dim + 1] = scales[dim + 1] * tables[table, 1, at]


@kernel
def windows(codes: U8, cells: I64, words: I64, bits: int, out: NDArray[np.uint16]) -> None:
    """out[i, c] = the window of cell c in row i; (n, cells), written."""
    mask = np.uint64((1 << bits) - 1)
    for i in range(codes.shape[0]):
        byte = 0
        for w in range(words.shape[0]):
            size = words[w, 2]
            word, length = _circle(codes[i], byte, size)
            byte += size
            for c in range(words[w, 0], words[w, 1]):
                out[i, c] = np.uint16(_window(word, length, cells[c, 4]) & mask)


@kernel
def encode_plain(rows: F32, scales: F32, edges: F32, cells: I64, words: I64, codes: U8) -> None:
    """Cells without memory: the bits of a cell are how many of its edges lie below rows[i, j] / scales[j].

    rows (n, d); edges (t, 255), ascending, infinite behind the last of a table; codes (n, bytes), written.
    """
    inverse = np.empty_like(scales)
    for j in range(scales.size):
        inverse[j] = np.float32(1) / scales[j] if scales[j] > np.float32(0) else np.float32(0)
    for i in range(rows.shape[0]):
        byte = 0
        for w in range(words.shape[0]):
            word = np.uint64(0)
            for c in range(words[w, 0], words[w, 1]):
                dim, own = cells[c, 2], edges[cells[c, 1]]
                value = rows[i, dim] * inverse[dim]
                found = 0
                for step in range(cells[c, 0] - 1, -1, -1):
                    at = found + (1 << step)
                    if value > own[at - 1]:
                        found = at
                word |= np.uint64(found) << np.uint64(cells[c, 4])
            for b in range(words[w, 2]):
                codes[i, byte + b] = np.uint8(word >> np.uint64(8 * b))
            byte += words[w, 2]
