"""Inner products of trellis codes with rounded weights, read as words in blocks of rows.

A block holds BLOCK rows: the first word of all of them, then the next one, each spread over 8 bytes. Eight
windows of a word, those of a group of 8 dimensions, are cut out by one instruction (vpmultishiftqb), looked
up in a table of bytes that lies in registers (vpermb, vpermi2b), and multiplied with 8 weights and added by a
third (vpdpbusd). Needs AVX-512 with VBMI and VNNI; whoever lacks them decodes instead (`usable`). Sums are
whole numbers.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.bytedots import emit_dot
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
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
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


def _adder(states: int) -> Instruction:
    """An instruction (sums, words, control, table, weights) -> sums with the products of a group added."""

    @instruction(_TILE, _TILE, ADDRESS, types.uint64, ADDRESS, types.uint64)
    def add(
        builder: Builder, tile: Value, words: Value, control: Value, table: Value, weights: Value
    ) -> Value:
        offsets = builder.bitcast(emit_splat(builder, control, _WORDS), _BYTES)
        folded = builder.bitcast(emit_splat(builder, weights, _WORDS), _BYTES)
        parts = [emit_load(builder, table, _BYTES, 64 * part) for part in range(states // 64)]
        sums = emit_vectors(builder, tile)
        for v in range(_VECTORS):
            data = emit_load(builder, words, _BYTES, 64 * v)
            window = emit_call(builder, "llvm.x86.avx512.pmultishift.qb.512", _BYTES, [offsets, data])
            sums[v] = emit_dot(builder, sums[v], emit_lookup(builder, parts, window), folded)
        return emit_tile(builder, sums)

    return add


@instruction(_TILE)
def _zeros(builder: Builder) -> Value:
    """No products yet."""
    return emit_tile(builder, [ir.Constant(_INTS.llvm, [0] * 16)] * _VECTORS)


@instruction(types.void, ADDRESS, _TILE, types.float32, types.float32)
def _store_sums(builder: Builder, at: Value, tile: Value, scale: Value, offset: Value) -> None:
    """offset + scale * the sum of the two halves of each row, BLOCK float32 to an address."""
    kind = ir.VectorType(FLOAT, 8)
    for v, sums in enumerate(emit_vectors(builder, tile)):
        even = emit_shuffle(builder, sums, sums, range(0, 16, 2))
        odd = emit_shuffle(builder, sums, sums, range(1, 16, 2))
        found = builder.sitofp(builder.add(even, odd), kind)
        found = builder.fmul(found, emit_splat(builder, scale, kind))
        emit_store(builder, at, builder.fadd(found, emit_splat(builder, offset, kind)), 32 * v)


# Globals, not what a factory made kernels of: numba keeps no compiled kernel that closes over instructions.
_add64, _add128, _add256 = (_adder(states) for states in STATES)


@kernel
def _scan(blocks: U64, first: int, groups: I64, tables: U8, prepared: tuple[U64, F32], out: F32) -> None:
    """`dots`."""
    weights, scaled = prepared
    states = tables.shape[1]
    size = blocks.shape[1] * BLOCK * 8
    for block in range(out.shape[0] // BLOCK):
        at = address(blocks) + (first + block) * size
        sums = _zeros()
        for g in range(groups.shape[0]):
            words, table = at + groups[g, 0] * BLOCK * 8, address(tables) + groups[g, 1] * states
            if states == 64:
                sums = _add64(sums, words, weights[g, 0], table, weights[g, 1])
            elif states == 128:
                sums = _add128(sums, words, weights[g, 0], table, weights[g, 1])
            else:
                sums = _add256(sums, words, weights[g, 0], table, weights[g, 1])
        _store_sums(address(out) + block * BLOCK * 4, sums, scaled[0], scaled[1])


def dots(blocks: U64, first: int, groups: I64, tables: U8, prepared: tuple[U64, F32], out: F32) -> None:
    """out[i] = offset + scale * sum over groups g, dimensions b of weight[g, b] * table[window[g, b]].

    out (n,), n a multiple of BLOCK: the rows of blocks[first], ...; groups (g, 2): the word that a group lies
    in, and its table of tables (t, states), whole numbers from 0 to 255. prepared: (g, 2), each group's
    control, the first bits of its eight windows, and its weights, eight signed bytes; (scale, offset).
    """
    _scan(blocks, first, groups, tables, prepared, out)
