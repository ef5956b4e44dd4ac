"""Matrix product whose rows do not depend on how many are multiplied at once.

BLAS sums in an order that changes with the shape, the thread count and the machine. Codes behind a
rotation must be the same bytes whenever and wherever they are made, so here each output is one chain of
fma in the order of the matrix' rows, on every instruction set. Six rows by four vectors of columns (two
where there are 16 registers) stay in registers over a whole chain.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.isa import ISA, LANES
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    FLOAT,
    FLOATS,
    Builder,
    Instruction,
    Value,
    address,
    emit_fma,
    emit_load,
    emit_splat,
    emit_store,
    emit_tile,
    emit_vectors,
    empty_floats,
    fma,
    instruction,
    tile_of,
)

F32 = NDArray[np.float32]
ROWS = 6
VECTORS = 2 if ISA == "avx2" else 4
COLUMNS = VECTORS * LANES
PACK_FROM = 32  # rows; below, copying a panel of the matrix costs more than its stride does


def matmul(rows: F32, matrix: F32, out: F32) -> None:
    """out[i, j] = fma chain over t of rows[i, t] * matrix[t, j], t ascending, from 0.

    rows (n, a), matrix (a, b), out (n, b), written; all C-contiguous float32. A row's result is the same
    bit for bit in any batch and on every instruction set.
    """
    if ISA == "scalar":
        _matmul_plain(rows, matrix, out)
    else:
        panel = empty_floats((matrix.shape[0] + ROWS) * COLUMNS)
        _matmul_vectors(rows, matrix, out, panel)


@kernel
def _matmul_plain(rows: F32, matrix: F32, out: F32) -> None:
    """`matmul` by plain loops."""
    for i in range(rows.shape[0]):
        out[i] = np.float32(0)
        for t in range(rows.shape[1]):
            for j in range(matrix.shape[1]):
                out[i, j] = fma(rows[i, t], matrix[t, j], out[i, j])


def _tile(rows: int) -> tuple[Instruction, Instruction, Instruction]:
    """Instructions on `rows` x VECTORS sums: (none, add one dimension's products, store)."""
    count = rows * VECTORS
    kind = tile_of(count)

    @instruction(kind)
    def start(builder: Builder) -> Value:
        return emit_tile(builder, [ir.Constant(FLOATS.llvm, [0.0] * LANES)] * count)

    @instruction(kind, kind, ADDRESS, types.int64, ADDRESS)
    def add(builder: Builder, tile: Value, left: Value, stride: Value, right: Value) -> Value:
        sums = emit_vectors(builder, tile)
        columns = [emit_load(builder, right, FLOATS.llvm, 4 * LANES * v) for v in range(VECTORS)]
        for r in range(rows):
            value = emit_splat(builder, emit_load(builder, left, FLOAT), FLOATS.llvm)
            for v, column in enumerate(columns):
                sums[r * VECTORS + v] = emit_fma(builder, value, column, sums[r * VECTORS + v])
            left = builder.add(left, stride)
        return emit_tile(builder, sums)

    @instruction(types.void, kind, ADDRESS, types.int64)
    def save(builder: Builder, tile: Value, at: Value, stride: Value) -> None:
        sums = emit_vectors(builder, tile)
        for r in range(rows):
            for v in range(VECTORS):
                emit_store(builder, at, sums[r * VECTORS + v], 4 * LANES * v)
            at = builder.add(at, stride)

    return start, add, save


_start_many, _add_many, _save_many = _tile(ROWS)
_start_one, _add_one, _save_one = _tile(1)


@kernel
def _pack(matrix: F32, begin: int, panel: F32) -> None:
    """panel[t * COLUMNS + j] = matrix[t, begin + j], zero beyond the last column."""
    count = min(COLUMNS, matrix.shape[1] - begin)
    for t in range(matrix.shape[0]):
        for j in range(count):
            panel[t * COLUMNS + j] = matrix[t, begin + j]
        for j in range(count, COLUMNS):
            panel[t * COLUMNS + j] = np.float32(0)


@kernel
def _matmul_vectors(rows: F32, matrix: F32, out: F32, panel: F32) -> None:
    """`matmul` in tiles; panel ((a + ROWS) * COLUMNS,) is scratch."""
    n, a = rows.shape
    b = matrix.shape[1]
    spare = panel[a * COLUMNS :]  # a tile that reaches over the last column is stored here first
    for begin in range(0, b, COLUMNS):
        count = min(COLUMNS, b - begin)
        right, step = address(matrix) + begin * 4, b * 4
        if n >= PACK_FROM or count < COLUMNS:
            _pack(matrix, begin, panel)
            right, step = address(panel), COLUMNS * 4
        i = 0
        while i < n:
            height = ROWS if n - i >= ROWS else 1
            target, stride = address(out) + (i * b + begin) * 4, b * 4
            if count < COLUMNS:
                target, stride = address(spare), COLUMNS * 4
            _product(address(rows) + i * a * 4, right, target, height, (a, step, stride))
            if count < COLUMNS:
                for r in range(height):
                    for j in range(count):
                        out[i + r, begin + j] = spare[r * COLUMNS + j]
            i += height


@kernel
def _product(left: int, right: int, target: int, height: int, strides: tuple[int, int, int]) -> None:
    """One tile: `height` (ROWS or 1) rows by COLUMNS; strides: a, then bytes per row of right and target."""
    a, step, stride = strides
    if height == ROWS:
        many = _start_many()
        for t in range(a):
            many = _add_many(many, left + t * 4, a * 4, right + t * step)
        _save_many(many, target, stride)
    else:
        one = _start_one()
        for t in range(a):
            one = _add_one(one, left + t * 4, a * 4, right + t * step)
        _save_one(one, target, stride)
