"""float32 to float16 and back, faster than numpy's casts, which go value by value."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.isa import ISA, LANES
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    FLOATS,
    Builder,
    Value,
    address,
    emit_load,
    emit_store,
    instruction,
)

U32 = NDArray[np.uint32]

_SIGN = np.uint32(0x80000000)
_SMALLEST_NORMAL = np.uint32(0x38800000)  # 2**-14, the smallest normal float16, as float32
_BIAS = np.uint32(0xC8000FFF)  # exponent bias 127 -> 15, and just under half a last place to round up
_HALF = np.uint32(0x3F000000)  # 0.5
_INFINITY = np.uint32(0x7C00)


def to_float16(rows: NDArray[np.float32], out: NDArray[np.float16]) -> None:
    """out = rows rounded to the nearest float16, ties to even; beyond 65,519.99 infinite. No NaN in rows.

    rows, out (n, d), C-contiguous; out is written.
    """
    flat = rows.reshape(-1)
    # Adding 0.5 leaves a float16 subnormal's bits, correctly rounded, at the end of the sum's mantissa.
    with np.errstate(over="ignore"):
        shifted = np.abs(flat) + np.float32(0.5)
    _narrow(flat.view(np.uint32), shifted.view(np.uint32), out.reshape(-1).view(np.uint16))


@kernel
def _narrow(bits: U32, shifted: U32, out: NDArray[np.uint16]) -> None:
    """out[i] = bits[i] as float16; shifted[i] = the bits of |x| + 0.5. All (n,)."""
    for i in range(bits.size):
        size = bits[i] & ~_SIGN
        normal = (size + _BIAS + ((size >> np.uint32(13)) & np.uint32(1))) >> np.uint32(13)
        normal = normal if size < np.uint32(0x47800000) else _INFINITY
        subnormal = shifted[i] - _HALF
        value = subnormal if size < _SMALLEST_NORMAL else normal
        out[i] = np.uint16(value | ((bits[i] & _SIGN) >> np.uint32(16)))


def from_float16(rows: NDArray[np.float16], out: NDArray[np.float32]) -> None:
    """out = rows, exactly; infinities and NaN included. rows, out (n, d), C-contiguous; out is written."""
    if ISA == "scalar":
        out[:] = rows
        return
    flat, target = rows.reshape(-1).view(np.uint16), out.reshape(-1)
    whole = flat.size // LANES * LANES
    _widen(flat[:whole], target[:whole])
    target[whole:] = flat[whole:].view(np.float16)


@instruction(types.void, ADDRESS, ADDRESS)
def _widen_register(builder: Builder, source: Value, target: Value) -> None:
    """LANES float16 to float32."""
    halves = builder.bitcast(
        emit_load(builder, source, ir.VectorType(ir.IntType(16), LANES)), ir.VectorType(ir.HalfType(), LANES)
    )
    emit_store(builder, target, builder.fpext(halves, FLOATS.llvm))


@kernel
def _widen(halves: NDArray[np.uint16], values: NDArray[np.float32]) -> None:
    """values[i] = halves[i] as float16; (n,) each, a multiple of LANES."""
    source, target = address(halves), address(values)
    for i in range(0, halves.size, LANES):
        _widen_register(source + i * 2, target + i * 4)
