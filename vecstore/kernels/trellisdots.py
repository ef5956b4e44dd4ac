"""Inner products of trellis codes with rounded weights, read as words in blocks of rows.

A block holds BLOCK rows: the first word of all of them, then the next one, each spread over 8 bytes. Eight
windows of a word, those of a group of 8 dimensions, are cut out by one instruction (vpmultishiftqb), looked
up in a table of bytes that lies in registers (vpermi2b), and multiplied with 8 weights and added by a
third (vpdpbusd). Of several queries the bytes looked up are what `bytedots` takes, and lie in the cache until
it has gone through all of them. Needs AVX-512 with VBMI and VNNI; whoever lacks them decodes instead
(`usable`). Sums are whole numbers.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.bytedots import Weights, dots_block, emit_dot
from vecstore.kernels.isa import FEATURES, ISA
from vecstore.kernels.jit import kernel
from vecstore.kernels.lookup import emit_lookup
from vecstore.kernels.simd import (
    ADDRESS,
    BYTE,
    FLOAT,
    INDEX,
    WORD,
    Builder,
    Instruction,
    Value,
    Vector,
    address,
    emit_call,
    emit_fma,
    emit_load,
    emit_shuffle,
    emit_splat,
    emit_store,
    emit_tile,
    emit_vectors,
    instruction,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Windows = tuple[I64, U64, U8]  # groups (g, 2), controls (g,), tables (t, 128 or 256)
BLOCK = 64
STATES = (64, 128, 256)  # whose windows are bytes
_VECTORS = 8  # of 8 rows each
_INTS = Vector(INDEX, 16)
_BYTES = ir.VectorType(BYTE, 64)
_WORDS = ir.VectorType(WORD, 8)
_TILE = types.UniTuple(_INTS, _VECTORS)  # type: ignore[no-untyped-call]


def usable(states: int) -> bool:
    """Whether this machine has the instructions, and the windows of so many states are bytes."""
    return ISA == "avx512" and {"vbmi", "vnni"} <= FEATURES and states in STATES


def lay_out(codes: U8, sizes: I64) -> U64:
    """Codes (n, bytes) of words of `sizes` bytes as blocks (ceil(n / BLOCK), words, BLOCK) of 64 bits.

    A shorter word is repeated to fill them, so that windows may run over its end.
    """
    blocks = np.zeros((-(-len(codes) // BLOCK), len(sizes), BLOCK), np.uint64)
    _lay_out(codes, sizes, blocks)
    return blocks


@kernel
def _lay_out(codes: U8, sizes: I64, blocks: U64) -> None:
    for i in range(codes.shape[0]):
        at = 0
        for w in range(sizes.shape[0]):
            size = sizes[w]
            word = np.uint64(0)
            for b in range(8):
                word |= np.uint64(codes[i, at + b % size]) << np.uint64(8 * b)
            blocks[i // BLOCK, w, i % BLOCK] = word
            at += size


def lay_tables(tables: U8) -> U8:
    """Tables (t, states) as they are looked up: of 64 entries twice, since two registers take no longer."""
    return np.ascontiguousarray(np.tile(tables, (1, max(1, 128 // tables.shape[1]))))


def _emit_values(builder: Builder, words: Value, control: Value, table: Value, entries: int) -> list[Value]:
    """The table's bytes for eight windows of each word of a block."""
    offsets = builder.bitcast(emit_splat(builder, control, _WORDS), _BYTES)
    parts = [emit_load(builder, table, _BYTES, 64 * part) for part in range(entries // 64)]
    values = []
    for v in range(_VECTORS):
        data = emit_load(builder, words, _BYTES, 64 * v)
        window = emit_call(builder, "llvm.x86.avx512.pmultishift.qb.512", _BYTES, [offsets, data])
        values.append(emit_lookup(builder, parts, window))
    return values


def _adder(entries: int) -> Instruction:
    """An instruction (sums, words, control, table, weights) -> sums with the products of a group added."""

    @instruction(_TILE, _TILE, ADDRESS, types.uint64, ADDRESS, ADDRESS)
    def add(
        builder: Builder, tile: Value, words: Value, control: Value, table: Value, weights: Value
    ) -> Value:
        # Of four dimensions the weights' upper bytes, then their lower ones, which are zero.
        four, other = (builder.zext(emit_load(builder, weights, INDEX, at), WORD) for at in (0, 8))
        eight = builder.or_(four, builder.shl(other, ir.Constant(WORD, 32)))
        folded = builder.bitcast(emit_splat(builder, eight, _WORDS), _BYTES)
        sums = emit_vectors(builder, tile)
        for v, found in enumerate(_emit_values(builder, words, control, table, entries)):
            sums[v] = emit_dot(builder, sums[v], found, folded)
        return emit_tile(builder, sums)

    return add


def _writer(entries: int) -> Instruction:
    """An instruction (words, control, table, address) that writes the bytes of a group, four of a row side by
    side, those of all rows, then the other four."""

    @instruction(types.void, ADDRESS, types.uint64, ADDRESS, ADDRESS)
    def write(builder: Builder, words: Value, control: Value, table: Value, at: Value) -> None:
        values = _emit_values(builder, words, control, table, entries)
        fours = [builder.bitcast(found, _INTS.llvm) for found in values]
        for v in range(0, _VECTORS, 2):
            for half in (0, 1):
                own = emit_shuffle(builder, fours[v], fours[v + 1], range(half, 32, 2))
                emit_store(builder, at, builder.bitcast(own, _BYTES), BLOCK * 4 * half + 32 * v)

    return write


@instruction(_TILE)
def _zeros(builder: Builder) -> Value:
    """No products yet."""
    return emit_tile(builder, [ir.Constant(_INTS.llvm, [0] * 16)] * _VECTORS)


@instruction(types.void, ADDRESS, _TILE, types.float32, types.float32)
def _store_sums(builder: Builder, at: Value, tile: Value, scale: Value, offset: Value) -> None:
    """offset + scale * 256 * the sum of the two halves of each row, BLOCK float32 to an address."""
    kind = ir.VectorType(FLOAT, 8)
    factor, base = emit_splat(builder, scale, kind), emit_splat(builder, offset, kind)
    for v, sums in enumerate(emit_vectors(builder, tile)):
        even = emit_shuffle(builder, sums, sums, range(0, 16, 2))
        odd = emit_shuffle(builder, sums, sums, range(1, 16, 2))
        found = builder.sitofp(builder.add(even, odd), kind)
        found = builder.fmul(found, ir.Constant(kind, [256.0] * 8))
        emit_store(builder, at, emit_fma(builder, found, factor, base), 32 * v)


# Globals, not what a factory made kernels of: numba keeps no compiled kernel that closes over instructions.
_add128, _add256 = _adder(128), _adder(256)
_write128, _write256 = _writer(128), _writer(256)


@kernel
def _sum_block(block: int, windows: Windows, weights: Weights, at: int) -> None:
    """`dots` of the block at an address, with one query, to an address."""
    groups, controls, tables = windows
    made, scales, offsets, _ = weights
    entries = tables.shape[1]
    sums = _zeros()
    for g in range(groups.shape[0]):
        words, table = block + groups[g, 0] * BLOCK * 8, address(tables) + groups[g, 1] * entries
        if entries == 128:
            sums = _add128(sums, words, controls[g], table, address(made) + g * 16)
        else:
            sums = _add256(sums, words, controls[g], table, address(made) + g * 16)
    _store_sums(at, sums, scales[0], offsets[0])


@kernel
def _look_up(block: int, windows: Windows, values: U8) -> None:
    """values (2 g, BLOCK, 4): what the tables hold for the windows of the block at an address."""
    groups, controls, tables = windows
    entries = tables.shape[1]
    for g in range(groups.shape[0]):
        words, table = block + groups[g, 0] * BLOCK * 8, address(tables) + groups[g, 1] * entries
        if entries == 128:
            _write128(words, controls[g], table, address(values) + g * BLOCK * 8)
        else:
            _write256(words, controls[g], table, address(values) + g * BLOCK * 8)


@kernel
def _scan(blocks: U64, first: int, windows: Windows, weights: Weights, outs: tuple[F32, U8, F32]) -> None:
    """`dots`. outs: out; scratch for the values of a block, and for scores of one that reaches beyond out."""
    out, values, found = outs
    count = out.shape[1]
    for i in range(0, count, BLOCK):
        block = address(blocks) + (first + i // BLOCK) * blocks.shape[1] * BLOCK * 8
        if out.shape[0] > 1:
            _look_up(block, windows, values)
            dots_block(address(values), weights, i, out, found)
        elif i + BLOCK <= count:
            _sum_block(block, windows, weights, address(out) + i * 4)
        else:
            _sum_block(block, windows, weights, address(found))
            out[0, i:] = found[: count - i]


def dots(blocks: U64, first: int, windows: Windows, weights: Weights, out: F32) -> None:
    """out[j, i] = offset + scale * sum over groups g, dimensions b of weight[j, g, b] * table[window[g, b]].

    blocks from `lay_out`; out (q, n), written: rows of blocks[first], ... windows: groups (g, 2), the word
    that a group lies in, and its table; their controls (g,), the first bits of eight windows each; tables
    from `lay_tables`, whole numbers from 0 to 255. weights: of 8 g dimensions from `bytedots.fold`, all of
    whose lower bytes are zero.
    """
    values = np.empty((2 * len(windows[0]), BLOCK, 4) if len(out) > 1 else (0, 0, 0), np.uint8)
    _scan(blocks, first, windows, weights, (out, values, np.empty(BLOCK, np.float32)))


@kernel
def pick(blocks: U64, numbers: I64, windows: tuple[I64, U64, F64], weights: F64, out: F64) -> None:
    """out[j, i] = sum over groups g, dimensions b of weights[j, g, b] * table[window[g, b]].

    Of the rows numbers (q, k); windows as `dots` has them, with tables (t, states) of any values; weights
    (q, g, 8); out (q, k), written.
    """
    groups, controls, tables = windows
    mask = np.uint64(tables.shape[1] - 1)
    words, seen = np.empty(blocks.shape[1], np.uint64), np.empty(8, np.uint64)
    for j in range(numbers.shape[0]):
        for i in range(numbers.shape[1]):
            block, place = numbers[j, i] // BLOCK, numbers[j, i] % BLOCK
            for w in range(words.size):  # All at once, so that they are waited for once.
                words[w] = blocks[block, w, place]
            total = 0.0
            for g in range(groups.shape[0]):
                word, own = words[groups[g, 0]], tables[groups[g, 1]]
                for b in range(8):
                    first = (controls[g] >> np.uint64(8 * b)) & np.uint64(63)
                    back = (np.uint64(64) - first) & np.uint64(63)
                    seen[b] = ((word >> first) | (word << back)) & mask
                part = 0.0
                for b in range(8):
                    part += weights[j, g, b] * own[seen[b]]
                total += part
            out[j, i] = total
