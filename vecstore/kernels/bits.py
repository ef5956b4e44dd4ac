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
from vecstore.kernels.sixteen import SIXTEEN, load_all, minus

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


def planes(values: F32, steps: F32, codes: U8) -> None:
    """Bit j of plane t of codes[i]: whether what is left of values[i, j] is above zero.

    steps[0] is taken off at first, and after plane t the step steps[t + 1], or if the bit is not set added.
    values (n, m); steps (planes, m); codes (n, planes * ceil(m / 8)), written, a plane after the other, bits
    from the lowest of each byte up.
    """
    (_planes_plain if ISA == "scalar" else _planes_vectors)(values, steps, codes)


@kernel
def _plane_bits(values: F32, steps: F32, codes: U8, i: int, first: int) -> None:
    """`planes` of row i from dimension `first` on, a multiple of 8; the codes of these hold zeros."""
    count, m = steps.shape
    for j in range(first, m):
        left = values[i, j] - steps[0, j]
        for t in range(count):
            above = left > np.float32(0)
            codes[i, t * ((m + 7) // 8) + j // 8] |= np.uint8(above) << np.uint8(j % 8)
            if t + 1 < count:
                left -= steps[t + 1, j] if above else -steps[t + 1, j]


@kernel
def _planes_plain(values: F32, steps: F32, codes: U8) -> None:
    """`planes` by plain loops."""
    codes[:] = 0
    for i in range(values.shape[0]):
        _plane_bits(values, steps, codes, i, 0)


@instruction(types.void, ADDRESS, SIXTEEN)
def _store_above(builder: Builder, at: Value, values: Value) -> None:
    """Two bytes: which of sixteen values are above zero."""
    above = builder.fcmp_ordered(">", values, ir.Constant(SIXTEEN.llvm, [0.0] * 16))
    builder.store(builder.bitcast(above, _BITS), builder.inttoptr(at, _BITS.as_pointer()), align=1)


@instruction(SIXTEEN, SIXTEEN, SIXTEEN)
def _nearer(builder: Builder, values: Value, steps: Value) -> Value:
    """values less steps where they are above zero, plus steps elsewhere."""
    above = builder.fcmp_ordered(">", values, ir.Constant(SIXTEEN.llvm, [0.0] * 16))
    return builder.select(above, builder.fsub(values, steps), builder.fadd(values, steps))


@kernel
def _planes_vectors(values: F32, steps: F32, codes: U8) -> None:
    """`planes`, sixteen dimensions at a time."""
    count, m = steps.shape
    width, whole = (m + 7) // 8, m // 16 * 16
    if whole < m:
        codes[:] = 0
    for i in range(values.shape[0]):
        row, code = address(values) + i * m * 4, address(codes) + i * codes.strides[0]
        for j in range(0, whole, 16):
            left = minus(load_all(row + j * 4), load_all(address(steps) + j * 4))
            for t in range(count):
                _store_above(code + t * width + j // 8, left)
                if t + 1 < count:
                    left = _nearer(left, load_all(address(steps) + ((t + 1) * m + j) * 4))
        _plane_bits(values, steps, codes, i, whole)


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
