"""Inner products of trellis codes with rounded weights, read as words in blocks of rows.

A block holds BLOCK rows: the first word of all of them, then the next one, each spread over 8 bytes. Eight
windows of a word, those of a group of 8 dimensions, are cut out by one instruction (vpmultishiftqb), looked
up in a table of bytes that lies in registers (vpermb, vpermi2b), and multiplied with 8 weights and added by
a third (vpdpbusd). Cuts take the units that products are made in, shifts do not: windows that one shift
brings to the beginning of their bytes are shifted. Of several queries the bytes looked up are what
`bytedots` takes, and lie in the cache until it has gone through all of them. Needs AVX-512 with VBMI and
VNNI; whoever lacks them decodes instead (`usable`). Sums are whole numbers.
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
    emit_loads,
    emit_shuffle,
    emit_splat,
    emit_store,
    emit_tile,
    emit_vectors,
    instruction,
    zeros_in_lines,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Windows = tuple[I64, U64, U64, U8]  # from `plan`
CUT, WHOLE, SHIFTED, PAIR = range(
    4
)  # ways to the windows of a group, or of two groups that have the same ones
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
    blocks = zeros_in_lines((-(-len(codes) // BLOCK), len(sizes), BLOCK), np.uint64)
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


def plan(groups: I64, controls: U64, tables: U8) -> Windows:
    """What `dots` takes for windows: groups (g, 4) with ways, and how much of their tables is read; controls;
    what ways take, (g, 8); tables.

    groups (g, 2): the word that a group lies in, and its table; controls (g,): the first bits of eight
    windows each; tables (t, states), whole numbers from 0 to 255.
    """
    states = tables.shape[1]
    bits = np.array([_bits_read(table) for table in tables])[groups[:, 1]]
    firsts = np.ascontiguousarray(controls).view(np.uint8).reshape(-1, 8).astype(np.int64)
    shifts = firsts[:, 0]
    # What counts of each window begins at the same bit of a byte of its own, and ends in that byte.
    even = (firsts == shifts[:, None] + 8 * np.arange(8)).all(axis=1) & (shifts + bits <= 8)
    ways = np.where(even, np.where(shifts > 0, SHIFTED, WHOLE), CUT)
    for g in range(len(groups) - 1):
        alike = controls[g] == controls[g + 1] and (groups[g + 1] == groups[g] + (0, 1)).all()
        if alike and (g == 0 or ways[g - 1] != PAIR):
            ways[g] = PAIR
    each = np.where(ways == SHIFTED, shifts.astype(np.uint64), controls)
    read = np.where(ways == PAIR, states, np.maximum(1 << bits, STATES[0]))
    whole = np.column_stack([groups, ways, read]), controls, np.repeat(each[:, None], 8, axis=1)
    return *whole, np.ascontiguousarray(tables)


def _bits_read(table: U8) -> int:
    """How many of a window's lowest bits tell its entry: of cells without paths, those of the cell alone."""
    bits = len(table).bit_length() - 1
    while bits and np.array_equal(table[: len(table) // 2], table[len(table) // 2 :]):
        table, bits = table[: len(table) // 2], bits - 1
    return bits


def _emit_windows(builder: Builder, data: Value, vector: Value, way: int) -> Value:
    """A window in each byte, from its lowest bit on."""
    if way == WHOLE:
        return data
    if way == SHIFTED:  # By a vector of counts: one count for all of them would take the units of products.
        shifted = builder.lshr(builder.bitcast(data, _WORDS), builder.bitcast(vector, _WORDS))
        return builder.bitcast(shifted, _BYTES)
    return emit_call(builder, "llvm.x86.avx512.pmultishift.qb.512", _BYTES, [vector, data])


def _emit_table(builder: Builder, table: Value, entries: int) -> list[Value]:
    """The registers of a table."""
    return [emit_load(builder, table, _BYTES, 64 * part) for part in range(entries // 64)]


def _adder(entries: int, way: int) -> Instruction:
    """An instruction (sums, words, vector, tables, weights) -> sums with the products of a group added; of a
    pair those of both, tables and weights one behind the other."""

    @instruction(_TILE, _TILE, _TILE, ADDRESS, ADDRESS, ADDRESS)
    def add(
        builder: Builder, tile: Value, words: Value, vector: Value, table: Value, weights: Value
    ) -> Value:
        cut = emit_load(builder, vector, _BYTES)
        sums = emit_vectors(builder, tile)
        count = 2 if way == PAIR else 1
        tables = [
            _emit_table(builder, builder.add(table, ir.Constant(WORD, at * entries)), entries)
            for at in range(count)
        ]
        factors = [
            builder.bitcast(emit_splat(builder, emit_load(builder, weights, WORD, 8 * at), _WORDS), _BYTES)
            for at in range(count)
        ]
        for v, word in enumerate(emit_vectors(builder, words)):
            found = _emit_windows(builder, builder.bitcast(word, _BYTES), cut, way)
            for own, factor in zip(tables, factors, strict=True):
                sums[v] = emit_dot(builder, sums[v], emit_lookup(builder, own, found), factor)
        return emit_tile(builder, sums)

    return add


def _writer(entries: int) -> Instruction:
    """An instruction (words, control, table, address) that writes the bytes of a group, four of a row side by
    side, those of all rows, then the other four."""

    @instruction(types.void, ADDRESS, types.uint64, ADDRESS, ADDRESS)
    def write(builder: Builder, words: Value, control: Value, table: Value, at: Value) -> None:
        cut = builder.bitcast(emit_splat(builder, control, _WORDS), _BYTES)
        parts, fours = _emit_table(builder, table, entries), []
        for v in range(_VECTORS):
            found = _emit_windows(builder, emit_load(builder, words, _BYTES, 64 * v), cut, CUT)
            fours.append(builder.bitcast(emit_lookup(builder, parts, found), _INTS.llvm))
        for v in range(0, _VECTORS, 2):
            for half in (0, 1):
                own = emit_shuffle(builder, fours[v], fours[v + 1], range(half, 32, 2))
                emit_store(builder, at, builder.bitcast(own, _BYTES), BLOCK * 4 * half + 32 * v)

    return write


@instruction(_TILE, ADDRESS)
def _load(builder: Builder, at: Value) -> Value:
    """A word of each row of a block."""
    return emit_tile(builder, emit_loads(builder, at, _INTS.llvm, _VECTORS))


@instruction(_TILE)
def _zeros(builder: Builder) -> Value:
    """No products yet."""
    return emit_tile(builder, [ir.Constant(_INTS.llvm, [0] * 16)] * _VECTORS)


@instruction(types.void, ADDRESS, _TILE, types.float32, types.float32)
def _store_sums(builder: Builder, at: Value, tile: Value, scale: Value, offset: Value) -> None:
    """offset + scale * 256 * the sum of the two halves of each row, BLOCK float32 to an address."""
    kind = ir.VectorType(FLOAT, 16)
    factor = emit_splat(builder, builder.fmul(scale, ir.Constant(FLOAT, 256.0)), kind)
    base = emit_splat(builder, offset, kind)
    sums = emit_vectors(builder, tile)
    for v in range(0, _VECTORS, 2):
        even, odd = (emit_shuffle(builder, sums[v], sums[v + 1], range(half, 32, 2)) for half in (0, 1))
        found = builder.sitofp(builder.add(even, odd), kind)
        emit_store(builder, at, emit_fma(builder, found, factor, base), 32 * v)


# Globals, not what a factory made kernels of: numba keeps no compiled kernel that closes over instructions.
_whole64, _whole128, _whole256 = (_adder(entries, WHOLE) for entries in STATES)
_shift64, _shift128 = _adder(64, SHIFTED), _adder(128, SHIFTED)
_cut64, _cut128, _cut256 = (_adder(entries, CUT) for entries in STATES)
_pair64, _pair128, _pair256 = (_adder(entries, PAIR) for entries in STATES)
_write64, _write128, _write256 = (_writer(entries) for entries in STATES)


@kernel
def _sum_block(block: int, windows: Windows, weights: tuple[U64, F32, F32], at: int) -> None:
    """`dots` of the block at an address, with one query, to an address."""
    groups, _, vectors, tables = windows
    made, scales, offsets = weights
    count = groups.shape[0]
    sums = _zeros()
    g = 0
    while g < count:
        word = groups[g, 0]
        words = _load(block + word * BLOCK * 8)
        while g < count and groups[g, 0] == word:
            table, way, entries = address(tables) + groups[g, 1] * tables.shape[1], groups[g, 2], groups[g, 3]
            vector, own = address(vectors) + g * 64, address(made) + g * 8
            if entries == 64:
                if way == CUT:
                    sums = _cut64(sums, words, vector, table, own)
                elif way == PAIR:
                    sums = _pair64(sums, words, vector, table, own)
                elif way == WHOLE:
                    sums = _whole64(sums, words, vector, table, own)
                else:
                    sums = _shift64(sums, words, vector, table, own)
            elif entries == 128:
                if way == CUT:
                    sums = _cut128(sums, words, vector, table, own)
                elif way == PAIR:
                    sums = _pair128(sums, words, vector, table, own)
                elif way == WHOLE:
                    sums = _whole128(sums, words, vector, table, own)
                else:
                    sums = _shift128(sums, words, vector, table, own)
            elif way == CUT:
                sums = _cut256(sums, words, vector, table, own)
            elif way == PAIR:
                sums = _pair256(sums, words, vector, table, own)
            else:
                sums = _whole256(sums, words, vector, table, own)
            g += 2 if way == PAIR else 1
    _store_sums(at, sums, scales[0], offsets[0])


@kernel
def _look_up(block: int, windows: Windows, values: U8) -> None:
    """values (2 g, BLOCK, 4): what the tables hold for the windows of the block at an address."""
    groups, controls, _, tables = windows
    for g in range(groups.shape[0]):
        words, table = block + groups[g, 0] * BLOCK * 8, address(tables) + groups[g, 1] * tables.shape[1]
        control, entries = controls[g], groups[g, 3]
        if entries == 64:
            _write64(words, control, table, address(values) + g * BLOCK * 8)
        elif entries == 128:
            _write128(words, control, table, address(values) + g * BLOCK * 8)
        else:
            _write256(words, control, table, address(values) + g * BLOCK * 8)


@kernel
def scan_one(
    blocks: U64, first: int, windows: Windows, weights: tuple[U64, F32, F32], outs: tuple[F32, F32]
) -> None:
    """`dots` with one query. outs: out (n,); scratch for scores of a block that reaches beyond it."""
    out, found = outs
    for i in range(0, out.size, BLOCK):
        block = address(blocks) + (first + i // BLOCK) * blocks.shape[1] * BLOCK * 8
        if i + BLOCK <= out.size:
            _sum_block(block, windows, weights, address(out) + i * 4)
        else:
            _sum_block(block, windows, weights, address(found))
            out[i:] = found[: out.size - i]


@kernel
def scan_many(blocks: U64, first: int, windows: Windows, weights: Weights, outs: tuple[F32, U8, F32]) -> None:
    """`dots` with several. outs: out; scratch for the values of a block, and for scores as in `scan_one`."""
    out, values, found = outs
    for i in range(0, out.shape[1], BLOCK):
        _look_up(address(blocks) + (first + i // BLOCK) * blocks.shape[1] * BLOCK * 8, windows, values)
        dots_block(address(values), weights, i, out, found)


def dots(blocks: U64, first: int, windows: Windows, weights: Weights, out: F32) -> None:
    """out[j, i] = offset + scale * sum over groups g, dimensions b of weight[j, g, b] * table[window[g, b]].

    blocks from `lay_out`; out (q, n), written: rows of blocks[first], ... windows from `plan`; weights: of
    8 g dimensions from `bytedots.fold`, all of whose lower bytes are zero.
    """
    found = np.empty(BLOCK, np.float32)
    made, scales, offsets, _ = weights
    if len(out) == 1:
        upper = np.array(made[0, :, 0, 0], order="C").reshape(-1).view(np.uint64)
        scan_one(blocks, first, windows, (upper, scales, offsets), (out[0], found))
    else:
        values = np.empty((2 * len(windows[0]), BLOCK, 4), np.uint8)
        scan_many(blocks, first, windows, weights, (out, values, found))


@kernel
def pick(held: tuple[U64, U64], numbers: I64, windows: tuple[I64, U64, F64], weights: F64, out: F64) -> None:
    """out[j, i] = sum over groups g, dimensions b of weights[j, g, b] * table[window[g, b]].

    held: blocks, and words (n, w) row by row that follow theirs. Of the rows numbers (q, k); windows as
    `plan` takes them, with tables (t, states) of any values; weights (q, g, 8); out (q, k), written.
    """
    groups, controls, tables = windows
    mask = np.uint64(tables.shape[1] - 1)
    blocks, rest = held
    heads = blocks.shape[1]
    words, seen = np.empty(heads + rest.shape[1], np.uint64), np.empty(8, np.uint64)
    for j in range(numbers.shape[0]):
        for i in range(numbers.shape[1]):
            block, place = numbers[j, i] // BLOCK, numbers[j, i] % BLOCK
            for w in range(heads):  # All at once, so that they are waited for once.
                words[w] = blocks[block, w, place]
            for w in range(heads, words.size):
                words[w] = rest[numbers[j, i], w - heads]
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
