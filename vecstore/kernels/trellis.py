"""Trellis decoding: a cell's value is table[window], the window being `bits` bits of a circular word."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.isa import ISA
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    FLOAT,
    INDEX,
    WORD,
    Builder,
    Instruction,
    Value,
    address,
    emit_call,
    emit_load,
    emit_shuffle,
    emit_splat,
    emit_store,
    instruction,
)

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
_GROUP = 8  # cells of a word that have one table, and dimensions one behind the other
_FEW = 16  # rows for which a plan is not worth its making


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


def decode(codes: U8, scales: F32, tables: F32, cells: I64, words: I64, rows: F32) -> None:
    """rows[i, j] = scales[j] * table[window of j's cell], as in `viterbi.encode`; rows (n, d), written."""
    plain = ISA == "scalar" or len(codes) < _FEW
    (_decode_plain if plain else _decode_vectors)(codes, scales, tables, cells, words, rows)


@kernel
def _decode_plain(codes: U8, scales: F32, tables: F32, cells: I64, words: I64, rows: F32) -> None:
    """`decode`, cell by cell."""
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


def _reader(width: int) -> Instruction:
    """An instruction (word, plan, step, scales, address) that writes what the 8 windows of a group stand for.

    plan: from `_plan`; step: from the table of the first dimensions to that of the second, in bytes.
    """

    @instruction(types.void, types.uint64, ADDRESS, types.int64, ADDRESS, ADDRESS)
    def read(builder: Builder, word: Value, plan: Value, step: Value, scales: Value, at: Value) -> None:
        wide, floats = ir.VectorType(WORD, _GROUP), ir.VectorType(FLOAT, _GROUP)
        right, left, mask, table = (emit_load(builder, plan, wide, 64 * part) for part in range(4))
        held = emit_splat(builder, word, wide)
        index = builder.and_(builder.or_(builder.lshr(held, right), builder.shl(held, left)), mask)
        places = builder.add(builder.shl(index, ir.Constant(wide, [2] * _GROUP)), table)
        found = _emit_gather(builder, places, floats)
        if width == 2:
            other = _emit_gather(builder, builder.add(places, emit_splat(builder, step, wide)), floats)
            order = [half + place for place in range(_GROUP) for half in (0, _GROUP)]
            found = emit_shuffle(builder, found, other, order)
        emit_store(builder, at, builder.fmul(emit_load(builder, scales, found.type), found))

    return read


def _emit_gather(builder: Builder, places: Value, kind: ir.VectorType) -> Value:
    """The float32 at each of these addresses."""
    pointers = builder.inttoptr(places, ir.VectorType(FLOAT.as_pointer(), kind.count))
    every = ir.Constant(ir.VectorType(ir.IntType(1), kind.count), [1] * kind.count)
    how = [ir.Constant(INDEX, 4), every, ir.Constant(kind, ir.Undefined)]
    return emit_call(builder, f"llvm.masked.gather.v{kind.count}f32.v{kind.count}p0", kind, [pointers, *how])


_read_one, _read_two = _reader(1), _reader(2)


@instruction(types.uint64, ADDRESS)
def _word(builder: Builder, at: Value) -> Value:
    """Eight bytes."""
    return builder.load(builder.inttoptr(at, WORD.as_pointer()), align=1)


@kernel
def _decode_vectors(codes: U8, scales: F32, tables: F32, cells: I64, words: I64, rows: F32) -> None:
    """`decode`, the eight cells of a group at once."""
    groups, plans = _plan(tables, cells, words)
    width, dims, step = codes.shape[1], scales.size, tables.shape[2] * 4
    for i in range(codes.shape[0]):
        byte, g = 0, 0
        for w in range(words.shape[0]):
            size = words[w, 2]
            if size == 8:
                word = _word(address(codes) + i * width + byte)
            else:
                word, _ = _circle(codes[i], byte, size)
            byte += size
            for _ in range((words[w, 1] - words[w, 0]) // _GROUP):
                dim, plan = groups[g, 0], address(plans) + g * 256
                own, out = address(scales) + dim * 4, address(rows) + (i * dims + dim) * 4
                if groups[g, 1] == 1:
                    _read_one(word, plan, step, own, out)
                else:
                    _read_two(word, plan, step, own, out)
                g += 1


@kernel
def _plan(tables: F32, cells: I64, words: I64) -> tuple[I64, I64]:
    """Groups (g, 2), word by word: first dimension, dimensions a cell. Of their windows, (g, 4, 8): shifts to
    the right, shifts to the left of what runs over the end, masks, and where the table begins."""
    states = tables.shape[2]
    groups = np.empty((cells.shape[0] // _GROUP, 2), np.int64)
    plans = np.empty((groups.shape[0], 4, _GROUP), np.int64)
    g = 0
    for w in range(words.shape[0]):
        first, pattern = words[w, 0], (words[w, 1] - words[w, 0]) // _GROUP
        length = max(8 * words[w, 2], 16)
        for own in range(first, first + pattern):
            groups[g, 0], groups[g, 1] = cells[own, 2], cells[own, 3]
            for part in range(_GROUP):
                place = cells[own + part * pattern, 4]
                plans[g, 0, part], plans[g, 1, part] = place, (length - place) % length
                plans[g, 2, part], plans[g, 3, part] = (
                    states - 1,
                    address(tables) + cells[own, 1] * states * 8,
                )
            g += 1
    return groups, plans


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


@kernel
def add_centroids(rows: F32, mean: F32, chosen: I64, books: F32) -> None:
    """rows[i] += mean, and then the sum of the centroids chosen (n, stages), one of each stage; in place.

    rows (n, d); books (stages * k, d), k the centroids of each stage.
    """
    stages = chosen.shape[1]
    k = books.shape[0] // max(stages, 1)
    for i in range(rows.shape[0]):
        row = rows[i]
        if stages == 0:
            for t in range(row.size):
                row[t] += mean[t]
        elif stages == 1:
            own = books[chosen[i, 0]]
            for t in range(row.size):
                row[t] = (row[t] + mean[t]) + own[t]
        else:
            own, other = books[chosen[i, 0]], books[k + chosen[i, 1]]
            for t in range(row.size):
                row[t] = (row[t] + mean[t]) + (own[t] + other[t])
