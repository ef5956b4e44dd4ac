"""Bits of a code to values, and the sums that such values are learned from."""

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
    Builder,
    Value,
    address,
    emit_load,
    emit_store,
    instruction,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
_BITS = ir.IntType(16)


def choose(codes: U8, levels: F32, rows: F32) -> None:
    """rows[i, j] = levels[bit j of codes[i], j], bits from the lowest of each byte up.

    codes (n, ceil(d / 8)), levels (2, d), rows (n, d), written; all C-contiguous.
    """
    (_choose_plain if ISA == "scalar" else _choose_vectors)(codes, levels, rows)


@kernel
def _choose_plain(codes: U8, levels: F32, rows: F32) -> None:
    """`choose` by plain loops."""
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            rows[i, j] = levels[(codes[i, j // 8] >> (j % 8)) & 1, j]


@instruction(types.void, ADDRESS, ADDRESS, ADDRESS, ADDRESS)
def _choose16(builder: Builder, code: Value, low: Value, high: Value, out: Value) -> None:
    """Sixteen values by two bytes of code."""
    kind = ir.VectorType(FLOAT, 16)
    bits = builder.load(builder.inttoptr(code, _BITS.as_pointer()), align=1)
    chosen = builder.bitcast(bits, ir.VectorType(ir.IntType(1), 16))
    emit_store(
        builder, out, builder.select(chosen, emit_load(builder, high, kind), emit_load(builder, low, kind))
    )


@kernel
def _choose_vectors(codes: U8, levels: F32, rows: F32) -> None:
    """`choose`, sixteen dimensions at a time."""
    d = rows.shape[1]
    whole = d // 16 * 16
    low, high = address(levels), address(levels) + d * 4
    for i in range(rows.shape[0]):
        code, out = address(codes) + i * codes.shape[1], address(rows) + i * d * 4
        for j in range(0, whole, 16):
            _choose16(code + j // 8, low + j * 4, high + j * 4, out + j * 4)
        for j in range(whole, d):
            rows[i, j] = levels[(codes[i, j // 8] >> (j % 8)) & 1, j]


@kernel
def split_sums(rows: F32, weights: F64, thresholds: F32, sums: F64) -> None:
    """Per dimension: weight and weighted sum of the values up to the threshold, then of those above it.

    rows (n, d); weights (n,); thresholds (d,); sums (4, d), written. In float64, row after row.
    """
    sums[:] = 0.0
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            value = np.float64(rows[i, j]) * weights[i]
            above = rows[i, j] > thresholds[j]
            sums[0, j] += 0.0 if above else weights[i]
            sums[1, j] += 0.0 if above else value
            sums[2, j] += weights[i] if above else 0.0
            sums[3, j] += value if above else 0.0


@kernel
def cell_sums(values: F32, weights: F64, steps: F32, counts: F64, sums: F64) -> None:
    """Per cell of a residual code and dimension: the weight and the weighted sum of its values.

    values (n, m); weights (n,); steps (b, m): an offset, then what is added or taken away after each bit but
    the last; counts, sums (2**b, m), written. A cell's number has the first bit on top.
    """
    counts[:] = 0.0
    sums[:] = 0.0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            rest = values[i, j] - steps[0, j]
            above = rest > np.float32(0)
            cell = 1 if above else 0
            for t in range(1, steps.shape[0]):
                rest -= steps[t, j] if above else -steps[t, j]
                above = rest > np.float32(0)
                cell = 2 * cell + (1 if above else 0)
            counts[cell, j] += weights[i]
            sums[cell, j] += weights[i] * np.float64(values[i, j])
