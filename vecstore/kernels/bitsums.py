"""Sums of entries of tables of 16, for many rows at once, the tables in registers.

Codes are turned into blocks of BLOCK rows: the first byte of all of them, then the second, and so on. A
nibble of a row's byte picks an entry, such as one of the 16 sums that the weights of its four bits can make,
a register of rows by one shuffle of bytes. Entries are bytes (`lookup.make_tables`), in sections of the row
that have a step each, and added in 16 bits. The layout and its arithmetic are those of Andre, Kermarrec, Le
Scouarnec 2015, "Cache locality is not enough" (PQ Fast Scan), section 4.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.isa import ISA
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    BYTE,
    BYTES,
    FLOAT,
    INDEX,
    REGISTER_BYTES,
    Builder,
    Value,
    Vector,
    address,
    emit_fma,
    emit_load,
    emit_shuffle,
    emit_shuffle_bytes,
    emit_splat,
    emit_store,
    emit_tile,
    emit_vectors,
    fma,
    instruction,
    zeros_in_lines,
)
from vecstore.kernels.sixteen import all_of, load_all, plus, store_all, times

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
Tables = tuple[U8, F32, F32]  # (q, bytes, 2, 16), steps (q, sections), offsets (q,)
BLOCK = 64
LARGEST_SECTION = 128  # bytes: 256 nibbles of at most 255 each stay within 16 bits
_SET = (np.arange(16) >> np.arange(4)[:, None] & 1).astype(np.float32)  # whether a bit is set
_PARTS = BLOCK // REGISTER_BYTES
_HALF = REGISTER_BYTES // 2
_SHORT = ir.IntType(16)
_SHORTS = Vector(_SHORT, _HALF)
_TILE = types.UniTuple(_SHORTS, 2 * _PARTS)  # type: ignore[no-untyped-call]


def lay_out(codes: U8) -> U8:
    """Codes (n, width) in blocks, (ceil(n / BLOCK), width, BLOCK); rows that are missing are zeros."""
    count, width = codes.shape
    blocks = zeros_in_lines((-(-count // BLOCK), width, BLOCK), np.uint8)
    full = count // BLOCK
    blocks[:full] = codes[: full * BLOCK].reshape(full, BLOCK, width).transpose(0, 2, 1)
    if count % BLOCK:
        blocks[full, :, : count % BLOCK] = codes[full * BLOCK :].T
    return blocks


def sections(parts: list[int], most: int = LARGEST_SECTION) -> I64:
    """First byte of each section, and the end: parts of these many bytes, cut where they are too long."""
    starts = [0]
    for size in parts:
        end = starts[-1] + size
        starts += [*range(starts[-1] + most, end, most), end]
    return np.array(starts, np.int64)


def layout(width: int) -> tuple[I64, tuple[int, ...]]:
    """Tables for the nibbles of `width` bytes as `add_bits` reads them; for `lookup.make_tables`."""
    return np.arange(0, 32 * width, 16), (width, 2, 16)


@kernel
def _four_plain(weights: F32, j: int, first: np.float32, factors: F32, values: F32) -> None:
    """values[j, t, b] = the sum of weights[j, 4 t + i] * factors[i, b], and of `first` for t = 0.

    weights (q, d); factors (4, 16); values (q, at least d / 4, 16), of which row j is written.
    """
    for t in range(values.shape[1]):
        for b in range(16):
            values[j, t, b] = first if t == 0 else np.float32(0)
            for i in range(min(4, weights.shape[1] - 4 * t)):
                values[j, t, b] += weights[j, 4 * t + i] * factors[i, b]


@kernel
def _four_vectors(weights: F32, j: int, first: np.float32, factors: F32, values: F32) -> None:
    """`_four_plain`, a table at a time."""
    for t in range(values.shape[1]):
        table = all_of(first if t == 0 else np.float32(0))
        for i in range(min(4, weights.shape[1] - 4 * t)):
            table = plus(table, times(all_of(weights[j, 4 * t + i]), load_all(address(factors) + i * 64)))
        store_all(address(values) + (j * values.shape[1] + t) * 64, table)


sums_of_four = _four_plain if ISA == "scalar" else _four_vectors


@kernel
def sums_of_bits(weights: F32, offsets: F64, values: F32) -> None:
    """values[j, t, b] = the sum of weights[j, 4 t + i] over the bits i that are set in b.

    weights (q, 8 * width), one for each bit; offsets (q,), added to all of the first table; values
    (q, 2 * width, 16), written.
    """
    for j in range(values.shape[0]):
        sums_of_four(weights, j, np.float32(offsets[j]), _SET, values)


def add_bits(blocks: U8, first: int, starts: I64, tables: Tables, out: F32) -> None:
    """out[j, i] = offset + sum of step * (sum of table entries of row i's nibbles), section by section.

    blocks from `lay_out`, the rows those of blocks first, first + 1, ...; out (q, m), written. Sums are
    exact integers, so that all instruction sets give the same scores.
    """
    if ISA == "scalar":
        _add_plain(blocks, first, starts, tables, out)
        return
    found = np.empty(BLOCK, np.float32)
    _add_vectors(blocks, first, starts, tables, out, found)


@kernel
def _add_plain(blocks: U8, first: int, starts: I64, tables: Tables, out: F32) -> None:
    """`add_bits` by plain loops."""
    book, steps, offsets = tables
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            block, lane = first + i // BLOCK, i % BLOCK
            total = offsets[j]
            for s in range(starts.size - 1):
                levels = np.int64(0)
                for t in range(starts[s], starts[s + 1]):
                    byte = blocks[block, t, lane]
                    levels += np.int64(book[j, t, 0, byte & 15]) + np.int64(book[j, t, 1, byte >> 4])
                total = fma(steps[j, s], np.float32(levels), total)
            out[j, i] = total


@instruction(_TILE)
def _start(builder: Builder) -> Value:
    """Registers of 16-bit zeros."""
    return emit_tile(builder, [ir.Constant(_SHORTS.llvm, [0] * _HALF)] * (2 * _PARTS))


@instruction(_TILE, _TILE, ADDRESS, ADDRESS)
def _add(builder: Builder, tile: Value, codes: Value, table: Value) -> Value:
    """Adds the entries of one byte of BLOCK rows.

    One half of the sums takes both bytes of each pair as they are, the other the upper one alone; `_save`
    subtracts.
    """
    sums = emit_vectors(builder, tile)
    low = ir.Constant(BYTES.llvm, [15] * REGISTER_BYTES)
    four = ir.Constant(BYTES.llvm, [4] * REGISTER_BYTES)
    eight = ir.Constant(_SHORTS.llvm, [8] * _HALF)
    books = []
    for half in range(2):
        small = emit_load(builder, table, ir.VectorType(BYTE, 16), 16 * half)
        lanes = [lane % 16 for lane in range(REGISTER_BYTES)]
        books.append(emit_shuffle(builder, small, small, lanes))
    for part in range(_PARTS):
        held = emit_load(builder, codes, BYTES.llvm, part * REGISTER_BYTES)
        for half, book in enumerate(books):
            index = builder.lshr(held, four) if half else builder.and_(held, low)
            found = builder.bitcast(emit_shuffle_bytes(builder, book, index), _SHORTS.llvm)
            sums[2 * part] = builder.add(sums[2 * part], found)
            sums[2 * part + 1] = builder.add(sums[2 * part + 1], builder.lshr(found, eight))
    return emit_tile(builder, sums)


@instruction(types.void, _TILE, types.float32, types.float32, ADDRESS, types.boolean)
def _save(builder: Builder, tile: Value, step: Value, offset: Value, at: Value, more: Value) -> None:
    """out = (more: what is there, else offset) + step * sums, for BLOCK rows."""
    sums = emit_vectors(builder, tile)
    kind = ir.VectorType(FLOAT, REGISTER_BYTES)
    eight = ir.Constant(_SHORTS.llvm, [8] * _HALF)
    for part in range(_PARTS):
        both, upper = sums[2 * part], sums[2 * part + 1]
        lower = builder.sub(both, builder.shl(upper, eight))
        order = [lane // 2 + (lane % 2) * _HALF for lane in range(REGISTER_BYTES)]
        whole = builder.zext(emit_shuffle(builder, lower, upper, order), ir.VectorType(INDEX, REGISTER_BYTES))
        before = emit_load(builder, at, kind, 4 * part * REGISTER_BYTES)
        before = builder.select(more, before, emit_splat(builder, offset, kind))
        found = emit_fma(builder, emit_splat(builder, step, kind), builder.sitofp(whole, kind), before)
        emit_store(builder, at, found, 4 * part * REGISTER_BYTES)


@kernel
def _add_vectors(blocks: U8, first: int, starts: I64, tables: Tables, out: F32, found: F32) -> None:
    """`add_bits` a block at a time; found (BLOCK,) is scratch for the last block."""
    book, steps, offsets = tables
    width, count = blocks.shape[1], out.shape[1]
    for i in range(0, count, BLOCK):
        codes = address(blocks) + (first + i // BLOCK) * width * BLOCK
        for j in range(out.shape[0]):
            table = address(book) + j * width * 32
            target = address(out) + (j * count + i) * 4 if i + BLOCK <= count else address(found)
            for s in range(starts.size - 1):
                tile = _start()
                for t in range(starts[s], starts[s + 1]):
                    tile = _add(tile, codes + t * BLOCK, table + t * 32)
                _save(tile, steps[j, s], offsets[j], target, s > 0)
            if i + BLOCK > count:
                for r in range(count - i):
                    out[j, i + r] = found[r]
