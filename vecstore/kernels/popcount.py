"""Hamming distances of binary codes, by counting bits in whole registers.

Blocks are those of `bytedots`: a register holds four bytes of several rows, so that the four bytes of a
query are compared with all of them at once. Bits are counted byte by byte, as long as a byte can hold the
sum, and only then added up for each row.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels import bytedots, top
from vecstore.kernels.bytedots import BLOCK, emit_dot
from vecstore.kernels.isa import ISA
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    BYTES,
    FLOAT,
    INDEX,
    REGISTER_BYTES,
    Builder,
    Value,
    Vector,
    address,
    emit_call,
    emit_load,
    emit_loads,
    emit_splat,
    emit_store,
    emit_tile,
    emit_vectors,
    instruction,
)

__all__ = ["BLOCK", "Queries", "hamming", "lay_out", "pack", "push"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Queries = tuple[U8, int]  # codes (q, 4 groups), dim
_LANES = REGISTER_BYTES // 4  # rows of a register
_REGISTERS = 4  # of rows, counted at a time
_PART = _LANES * _REGISTERS
_SCORES = 1 << 15  # of a few rows: they stay in the nearest cache
_GROUPS = 31  # of four bytes: as many counts of 8 fit a byte
_INTS = Vector(INDEX, _LANES)
_COUNTS = types.UniTuple(BYTES, _REGISTERS)  # type: ignore[no-untyped-call]
_SUMS = types.UniTuple(_INTS, _REGISTERS)  # type: ignore[no-untyped-call]
_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.int64)


def pack(codes: U8, dim: int) -> Queries:
    """Codes (q, ceil(dim / 8)) of queries in whole groups, bits beyond dim left out."""
    count, width = codes.shape
    packed = np.zeros((count, -(-width // 4) * 4), np.uint8)
    packed[:, :width] = codes
    if dim % 8:
        packed[:, width - 1] &= (1 << dim % 8) - 1
    return packed, dim


def lay_out(codes: U8, dim: int) -> U8:
    """Codes (n, ceil(dim / 8)) in blocks, (ceil(n / BLOCK), groups, BLOCK, 4), bits beyond dim left out."""
    if dim % 8:
        codes = codes.copy()
        codes[:, -1] &= (1 << dim % 8) - 1
    return bytedots.lay_out(codes)


@kernel
def _hamming_plain(blocks: U8, first: int, queries: Queries, out: F32, found: F32) -> None:
    """`hamming` by plain loops."""
    codes, dim = queries
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            ones = 0
            for g in range(blocks.shape[1]):
                for b in range(4):
                    ones += _ONES[blocks[first + i // BLOCK, g, i % BLOCK, b] ^ codes[j, 4 * g + b]]
            out[j, i] = np.float32(dim - 2 * ones)


@instruction(_COUNTS)
def _start(builder: Builder) -> Value:
    """Counts of zero."""
    return emit_tile(builder, [ir.Constant(BYTES.llvm, [0] * REGISTER_BYTES)] * _REGISTERS)


@instruction(_COUNTS, _COUNTS, ADDRESS, ADDRESS)
def _add(builder: Builder, tile: Value, codes: Value, query: Value) -> Value:
    """Adds, byte by byte, the bits in which four bytes of _PART rows differ from the query's."""
    wanted = builder.bitcast(emit_splat(builder, emit_load(builder, query, INDEX), _INTS.llvm), BYTES.llvm)
    counts = emit_vectors(builder, tile)
    for part, held in enumerate(emit_loads(builder, codes, BYTES.llvm, _REGISTERS)):
        differ = builder.xor(held, wanted)
        ones = emit_call(builder, f"llvm.ctpop.v{REGISTER_BYTES}i8", BYTES.llvm, [differ])
        counts[part] = builder.add(counts[part], ones)
    return emit_tile(builder, counts)


@instruction(_SUMS)
def _none(builder: Builder) -> Value:
    """Sums of zero."""
    return emit_tile(builder, [ir.Constant(_INTS.llvm, [0] * _LANES)] * _REGISTERS)


@instruction(_SUMS, _SUMS, _COUNTS)
def _fold(builder: Builder, sums: Value, counts: Value) -> Value:
    """Adds the counts of each row's four bytes."""
    ones = ir.Constant(BYTES.llvm, [1] * REGISTER_BYTES)
    both = zip(emit_vectors(builder, sums), emit_vectors(builder, counts), strict=True)
    return emit_tile(builder, [emit_dot(builder, total, count, ones) for total, count in both])


@instruction(types.void, _SUMS, types.int64, ADDRESS)
def _save(builder: Builder, sums: Value, dim: Value, at: Value) -> None:
    """Stores dim - 2 * sums as float32."""
    size = emit_splat(builder, builder.trunc(dim, INDEX), _INTS.llvm)
    for part, total in enumerate(emit_vectors(builder, sums)):
        score = builder.sub(size, builder.add(total, total))
        wide = builder.sitofp(score, ir.VectorType(FLOAT, _LANES))
        emit_store(builder, at, wide, 4 * _LANES * part)


@kernel
def _hamming_vectors(blocks: U8, first: int, queries: Queries, out: F32, found: F32) -> None:
    """`hamming`; found (BLOCK,) is scratch for the last block."""
    held, dim = queries
    groups, count = blocks.shape[1], out.shape[1]
    for i in range(0, count, BLOCK):
        for j in range(out.shape[0]):
            query = address(held) + j * groups * 4
            target = address(out) + (j * count + i) * 4 if i + BLOCK <= count else address(found)
            for part in range(0, BLOCK, _PART):
                codes = address(blocks) + ((first + i // BLOCK) * groups * BLOCK + part) * 4
                sums = _none()
                for start in range(0, groups, _GROUPS):
                    counts = _start()
                    for g in range(start, min(start + _GROUPS, groups)):
                        counts = _add(counts, codes + g * (BLOCK * 4), query + g * 4)
                    sums = _fold(sums, counts)
                _save(sums, dim, target + part * 4)
            if i + BLOCK > count:
                for r in range(count - i):
                    out[j, i + r] = found[r]


_hamming = _hamming_plain if ISA == "scalar" else _hamming_vectors


def hamming(blocks: U8, first: int, queries: Queries, out: F32) -> None:
    """out[j, i] = dim - 2 * (bits in which query j and row i differ), the rows those of blocks first, ...

    blocks from `lay_out`; queries from `pack`; out (q, n), written.
    """
    _hamming(blocks, first, queries, out, np.empty(BLOCK, np.float32))


@kernel
def push(
    blocks: U8, rows: tuple[int, int, int], queries: Queries, wanted: NDArray[np.bool_], heap: top.Heap
) -> None:
    """Puts the scores of the rows [start, stop) into the heaps as `top.push` does, and keeps none.

    rows: start, a multiple of BLOCK, stop, and the number that start has in the heaps; wanted (stop - start,)
    or empty for all; the rest as in `hamming`.
    """
    start, stop, number = rows
    count = queries[0].shape[0]
    step = max(_SCORES // count // BLOCK, 1) * BLOCK
    scratch, found = np.empty(count * min(step, stop - start), np.float32), np.empty(BLOCK, np.float32)
    terms = np.empty(0, np.float32)
    for at in range(start, stop, step):
        size = min(step, stop - at)
        out = scratch[: count * size].reshape(count, size)
        _hamming(blocks, at // BLOCK, queries, out, found)
        part = wanted[at - start : at - start + size]
        top.push(out, terms, top.AS_THEY_ARE, part, number + at - start, heap)
