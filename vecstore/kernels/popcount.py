"""Hamming distances of binary codes, read as they lie, by counting bits in whole registers.

One register holds a chunk of a row; the counts of as many rows as a register has words are folded into
one register of sums. A row that is no multiple of a register ends in a chunk that overlaps the one before
it, under a mask. Rows that fill a half, a quarter or less of a register are read several at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.isa import ISA
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    BYTES,
    FLOAT,
    INDEX,
    REGISTER_BYTES,
    WORD,
    Builder,
    Instruction,
    Value,
    Vector,
    address,
    emit_call,
    emit_load,
    emit_shuffle,
    emit_splat,
    emit_store,
    emit_tile,
    emit_vectors,
    instruction,
)

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Facts = tuple[int, int, int, int, int]
ROWS = REGISTER_BYTES // 8  # 64-bit words of a register, and rows that are counted at once
_WORDS = Vector(WORD, ROWS)
_TILE = types.UniTuple(_WORDS, ROWS)  # type: ignore[no-untyped-call]
_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.int64)


class Queries(NamedTuple):
    """Binary codes as `hamming` reads them; from `pack`."""

    codes: U8  # (q, chunks * REGISTER_BYTES), or (q, width) for plain loops
    mask: U8  # (REGISTER_BYTES,) which bits of the last chunk count; or (width,)
    dim: int
    width: int
    skip: int


def pack(codes: U8, dim: int, skip: int = 0) -> Queries:
    """Codes (q, ceil(dim / 8)) of queries in whole registers, bits beyond dim left out.

    skip: how many other bytes stand before a row's bits.
    """
    count, width = codes.shape
    valid = np.full(width, 255, np.uint8)
    if dim % 8:
        valid[-1] = (1 << dim % 8) - 1
    codes = codes & valid
    if ISA == "scalar":
        return Queries(codes, valid, dim, width, skip)
    chunks = -(-width // REGISTER_BYTES)
    packed = np.zeros((count, chunks * REGISTER_BYTES), np.uint8)
    mask = np.zeros(REGISTER_BYTES, np.uint8)
    if width < REGISTER_BYTES:
        packed[:, :width], mask[:width] = codes, valid
        copies = REGISTER_BYTES // width if skip == 0 and width in _SHARED else 1
        for at in range(width, copies * width, width):
            packed[:, at : at + width], mask[at : at + width] = codes, valid
        return Queries(packed, mask, dim, width, skip)
    whole = (chunks - 1) * REGISTER_BYTES
    packed[:, :whole] = codes[:, :whole]
    packed[:, whole - width :] = codes[:, whole:]
    mask[whole - width :] = valid[whole:]
    return Queries(packed, mask, dim, width, skip)


def hamming(codes: U8, queries: Queries, start: int, out: F32) -> None:
    """out[j, i] = dim - 2 * (bits in which query j and row start + i differ).

    codes (n, skip + width), C-contiguous; queries from `pack`; out (q, m), written, start + m <= n.
    """
    stop, (_, _, dim, width, skip) = start + out.shape[1], queries
    if ISA == "scalar":
        _hamming_plain(codes[start:stop, skip:], queries.codes, queries.mask, dim, out)
        return
    run = _shared if skip == 0 and width in _SHARED else _rows
    stride, whole = codes.shape[1], out.shape[1] // ROWS * ROWS
    if run is _rows:  # It reads whole registers, and those of the last rows may end beyond the codes.
        safe = (codes.size - skip - max(width, REGISTER_BYTES)) // stride + 1
        whole = max(0, min(out.shape[1], safe - start)) // ROWS * ROWS
    run(codes, queries.codes, queries.mask, (dim, width, skip, start, whole), out)
    if whole == out.shape[1]:
        return
    rest = np.zeros((ROWS + REGISTER_BYTES // stride + 1, stride), np.uint8)
    found = np.empty((len(out), ROWS), np.float32)
    for at in range(whole, out.shape[1], ROWS):
        part = codes[start + at : min(start + at + ROWS, stop)]
        rest[: len(part)] = part
        run(rest, queries.codes, queries.mask, (dim, width, skip, 0, ROWS), found)
        out[:, at : at + ROWS] = found[:, : len(part)]


@kernel
def _hamming_plain(codes: U8, queries: U8, mask: U8, dim: int, out: F32) -> None:
    """`hamming` by plain loops; codes (n, width)."""
    for j in range(queries.shape[0]):
        for i in range(codes.shape[0]):
            ones = 0
            for t in range(codes.shape[1]):
                ones += _ONES[(codes[i, t] & mask[t]) ^ queries[j, t]]
            out[j, i] = np.float32(dim - 2 * ones)


def emit_ones(builder: Builder, row: Value, query: Value, mask: Value | None = None) -> Value:
    """The bits of each 64-bit word in which row and query differ; mask: those that count."""
    differ = builder.xor(row, query)
    if mask is not None:
        differ = builder.and_(differ, mask)
    words = builder.bitcast(differ, _WORDS.llvm)
    return emit_call(builder, f"llvm.ctpop.v{ROWS}i64", _WORDS.llvm, [words])


def emit_fold(builder: Builder, counts: Sequence[Value]) -> Value:
    """Word r of the result: the sum of the words of counts that belong to row r, in the order of the rows.

    Each of counts holds ROWS / len(counts) rows, one behind the other.
    """
    level, unit = list(counts), 1
    if len(level) == 1:
        return level[0]
    while len(level) > 1:
        # Neighbours within 128 bits are added first, then such halves: no lane crosses more than it must.
        merged = []
        for a, b in zip(level[::2], level[1::2], strict=True):
            if unit == 1 and len(counts) == ROWS:
                even = [lane + side for lane in range(0, ROWS, 2) for side in (0, ROWS)]
                odd = [lane + 1 for lane in even]
            else:
                group = 2 if len(counts) == ROWS else 1
                even = [u + lane for u in range(0, 2 * ROWS, 2 * group) for lane in range(group)]
                odd = [lane + group for lane in even]
            merged.append(builder.add(emit_shuffle(builder, a, b, even), emit_shuffle(builder, a, b, odd)))
        level, unit = merged, unit * 2
    return level[0]


def emit_scores(builder: Builder, counts: Value, dim: Value, at: Value) -> None:
    """Stores dim - 2 * counts as float32."""
    narrow = builder.trunc(counts, ir.VectorType(INDEX, ROWS))
    size = emit_splat(builder, builder.trunc(dim, INDEX), narrow.type)
    twice = builder.add(narrow, narrow)
    emit_store(builder, at, builder.sitofp(builder.sub(size, twice), ir.VectorType(FLOAT, ROWS)))


@instruction(_TILE)
def _start(builder: Builder) -> Value:
    """ROWS registers of zeros."""
    return emit_tile(builder, [ir.Constant(_WORDS.llvm, [0] * ROWS)] * ROWS)


@instruction(_TILE, _TILE, ADDRESS, types.int64, ADDRESS)
def _add(builder: Builder, tile: Value, row: Value, stride: Value, query: Value) -> Value:
    """Adds the counts of one chunk of ROWS rows."""
    wanted = emit_load(builder, query, BYTES.llvm)
    counts = []
    for sums in emit_vectors(builder, tile):
        counts.append(builder.add(sums, emit_ones(builder, emit_load(builder, row, BYTES.llvm), wanted)))
        row = builder.add(row, stride)
    return emit_tile(builder, counts)


@instruction(_WORDS, _TILE, ADDRESS, types.int64, ADDRESS, BYTES)
def _last(builder: Builder, tile: Value, row: Value, stride: Value, query: Value, mask: Value) -> Value:
    """The bits of each of ROWS rows, with those of the last chunk, under the mask."""
    wanted = emit_load(builder, query, BYTES.llvm)
    counts = []
    for sums in emit_vectors(builder, tile):
        ones = emit_ones(builder, emit_load(builder, row, BYTES.llvm), wanted, mask)
        counts.append(builder.add(sums, ones))
        row = builder.add(row, stride)
    return emit_fold(builder, counts)


@instruction(types.void, _WORDS, types.int64, ADDRESS)
def _save(builder: Builder, counts: Value, dim: Value, at: Value) -> None:
    """Stores the scores of ROWS rows."""
    emit_scores(builder, counts, dim, at)


@instruction(BYTES, ADDRESS)
def _load(builder: Builder, at: Value) -> Value:
    """One register of bytes."""
    return emit_load(builder, at, BYTES.llvm)


@kernel
def _rows(codes: U8, queries: U8, mask: U8, facts: Facts, out: F32) -> None:
    """`hamming` of rows that fill their own registers; facts: dim, width, skip, start, and how many rows."""
    dim, width, skip, start, count = facts
    stride = codes.shape[1]
    chunks = queries.shape[1] // REGISTER_BYTES
    last = max(width - REGISTER_BYTES, 0)
    valid = _load(address(mask))
    for i in range(0, count, ROWS):
        row = address(codes) + (start + i) * stride + skip
        for j in range(queries.shape[0]):
            query = address(queries) + j * queries.shape[1]
            tile = _start()
            for c in range(chunks - 1):
                tile = _add(tile, row + c * REGISTER_BYTES, stride, query + c * REGISTER_BYTES)
            query += (chunks - 1) * REGISTER_BYTES
            counts = _last(tile, row + last, stride, query, valid)
            _save(counts, dim, address(out) + (j * out.shape[1] + i) * 4)


def _scorer(words: int) -> Instruction:
    """An instruction that scores ROWS rows of `words` 64-bit words, ROWS / words of them in a register."""

    @instruction(types.void, ADDRESS, ADDRESS, BYTES, types.int64, ADDRESS)
    def score(builder: Builder, row: Value, query: Value, mask: Value, dim: Value, at: Value) -> None:
        wanted = emit_load(builder, query, BYTES.llvm)
        held = [emit_load(builder, row, BYTES.llvm, REGISTER_BYTES * part) for part in range(words)]
        counts = [emit_ones(builder, rows, wanted, mask) for rows in held]
        emit_scores(builder, emit_fold(builder, counts), dim, at)

    return score


# Where a register is narrower than that, nobody calls the wider ones.
_score1, _score2, _score4 = (_scorer(min(words, ROWS)) for words in (1, 2, 4))
_SHARED = tuple(8 * words for words in (1, 2, 4) if words < ROWS)


@kernel
def _shared(codes: U8, queries: U8, mask: U8, facts: Facts, out: F32) -> None:
    """`hamming` of rows of which several share a register."""
    dim, width, _, start, count = facts
    valid = _load(address(mask))
    for i in range(0, count, ROWS):
        row = address(codes) + (start + i) * width
        for j in range(queries.shape[0]):
            query = address(queries) + j * queries.shape[1]
            target = address(out) + (j * out.shape[1] + i) * 4
            if width == 8:
                _score1(row, query, valid, dim, target)
            elif width == 16:
                _score2(row, query, valid, dim, target)
            else:
                _score4(row, query, valid, dim, target)
