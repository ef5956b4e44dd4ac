"""Rows of tables as bytes: float32, float16, and integers with a scale for each row.

    F32         4 bytes a value
    F16         2 bytes a value
    I16 I8 I4   16, 8 or 4 bits a value (two in a byte, lower nibble first, stored plus 8), then the row's
                scale as bfloat16: the largest magnitude is no more than 32767, 127 or 7 times it
    L16 L8 L4   the same with a float32 step that is learned

Rounding is stochastic, up with a chance of what is left over, so that its mean is the value: Gupta et al.
2015, arXiv:1502.02551, section 3.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.ids import mix
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import address
from vecstore.kernels.sixteen import (
    load_bytes,
    load_float,
    load_floats,
    load_halves,
    load_nibbles,
    load_short_float,
    load_shorts,
    store_float,
    store_short_float,
)

F32, F16, I16, I8, I4, L16, L8, L4 = range(8)
BITS = (32, 16, 16, 8, 4, 16, 8, 4)
SIDE_BYTES = (0, 0, 2, 2, 2, 4, 4, 4)
TOP = (0, 0, 32767, 127, 7, 32767, 127, 7)  # the largest integer

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_GOLDEN32 = np.uint32(0x9E3779B9)
_TINY = np.float32(1e-30)


def row_bytes(kind: int, width: int) -> int:
    """Bytes of a row of `width` values."""
    return (BITS[kind] * width + 7) // 8 + SIDE_BYTES[kind]


@kernel
def scale_of(at: int, kind: int, width: int) -> np.float32:
    """The scale of the row at an address; 1 where its kind has none."""
    if kind <= F16:
        return np.float32(1)
    bits = 16 if kind in (I16, L16) else 8 if kind in (I8, L8) else 4
    side = at + (bits * width + 7) // 8
    scale: np.float32 = load_short_float(side) if kind <= I4 else load_float(side)
    return scale


@kernel
def values_at(at: int, j: int, left: int, kind: int) -> Any:
    """Sixteen values of the row at an address, from value j (a multiple of 16) on, before its scale."""
    if kind == F32:
        return load_floats(at + 4 * j, left)
    if kind == I8 or kind == L8:
        return load_bytes(at + j, left)
    if kind == I4 or kind == L4:
        return load_nibbles(at + j // 2, left)
    if kind == F16:
        return load_halves(at + 2 * j, left)
    return load_shorts(at + 2 * j, left)


@kernel
def chance(key: np.uint64, j: int) -> np.float32:
    """Number j of a row's stream, in [0, 1): the 24 upper bits of lowbias32 (Wellons 2018)."""
    x = np.uint32(np.uint32(key) + np.uint32(j) * _GOLDEN32)  # numba's sums of uint32 are uint64
    x = np.uint32((x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D))
    x = np.uint32((x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B))
    x = np.uint32(x ^ (x >> np.uint32(16)))
    return np.float32(x >> np.uint32(8)) * np.float32(2.0**-24)


@kernel
def key_of(seed: np.uint64, row: np.uint64) -> np.uint64:
    """The key of a row's stream of numbers."""
    return mix(seed + row * _GOLDEN)


@kernel
def _to_half(value: np.float32, up: np.float32) -> np.uint16:
    """A float32 rounded stochastically to float16 bits; beyond 65,504 that."""
    size = min(abs(value), np.float32(65504.0))
    # Between two float16 the bits of the larger are one more; subnormal ones are 2**-24 apart.
    if size < np.float32(2.0**-14):
        bits = np.uint32(np.floor(size * np.float32(2.0**24) + up))
    else:
        exponent = np.floor(np.log2(size))
        spacing = np.float32(2.0) ** np.float32(exponent - 10)
        steps = np.floor(size / spacing + up)
        bits = np.uint32((exponent + 15 - 1) * 1024 + steps)
    return np.uint16(bits | (np.uint32(32768) if value < 0 else np.uint32(0)))


@kernel
def encode(
    values: NDArray[np.float32],
    data: NDArray[np.uint8],
    row: int,
    kind: int,
    seed: np.uint64,
    scale: np.float32,
) -> None:
    """Row `row` of data becomes the values (w,), rounded stochastically, of a kind from F16 to I4.

    data (rows, row_bytes(kind, w)), written. scale: the row's until now, below 0 if it is new. It is kept
    while the largest value takes three quarters of it or more, since another one moves all values; one that
    is grown out of gets a sixteenth on top. The same seed, row, values and scale give the same bytes.
    """
    width = values.size
    key = key_of(seed, np.uint64(row))
    at = address(data) + row * data.shape[1]
    if kind == F16:
        for j in range(width):
            half = _to_half(values[j], chance(key, j))
            data[row, 2 * j] = half & 255
            data[row, 2 * j + 1] = half >> 8
        return
    top = np.float32(32767 if kind == I16 else 127 if kind == I8 else 7)
    peak = np.float32(0)
    for j in range(width):
        peak = max(peak, abs(values[j]))
    need = peak / top
    if need > scale or need < np.float32(0.75) * scale:
        need *= np.float32(1.0625) if np.float32(0) < scale < need else np.float32(1)
        scale = store_short_float(at + data.shape[1] - 2, need)
    _round(values, data, row, kind, key, scale)


@kernel
def encode_learned(
    values: NDArray[np.float32],
    data: NDArray[np.uint8],
    row: int,
    kind: int,
    seed: np.uint64,
    step: np.float32,
) -> None:
    """As `encode`, of a kind from L16 to L4, with a step >= 0 that is given."""
    at = address(data) + row * data.shape[1]
    store_float(at + data.shape[1] - 4, step)
    _round(values, data, row, kind - L16 + I16, key_of(seed, np.uint64(row)), step)


@kernel
def _round(
    values: NDArray[np.float32],
    data: NDArray[np.uint8],
    row: int,
    kind: int,
    key: np.uint64,
    scale: np.float32,
) -> None:
    """The integers of a row of kind I16, I8 or I4."""
    width = values.size
    inverse = np.float32(1) / scale if scale > _TINY else np.float32(0)
    if kind == I8:
        for j in range(width):
            whole = np.floor(values[j] * inverse + chance(key, j))
            data[row, j] = np.uint8(np.int8(max(np.float32(-127), min(np.float32(127), whole))))
    elif kind == I16:
        for j in range(width):
            whole = np.floor(values[j] * inverse + chance(key, j))
            short = np.uint16(np.int16(max(np.float32(-32767), min(np.float32(32767), whole))))
            data[row, 2 * j] = short & 255
            data[row, 2 * j + 1] = short >> 8
    else:
        for j in range(0, width, 2):
            pair = np.int64(0)
            for k in range(min(2, width - j)):
                whole = np.floor(values[j + k] * inverse + chance(key, j + k))
                whole = max(np.float32(-7), min(np.float32(7), whole))
                pair |= (np.int64(whole) + 8) << (4 * k)
            data[row, j // 2] = pair


@kernel
def encode_rows(
    values: NDArray[np.float32],
    data: NDArray[np.uint8],
    rows: NDArray[np.int64],
    kind: int,
    seed: np.uint64,
) -> None:
    """Row rows[i] of data becomes values[i]; values (n, w), rows (n,). A step that is learned begins
    where its largest value fits."""
    top = np.float32(32767 if kind == L16 else 127 if kind == L8 else 7)
    for i in range(rows.size):
        if kind <= I4:
            encode(values[i], data, rows[i], kind, seed, np.float32(-1))
        else:
            peak = np.float32(0)
            for j in range(values.shape[1]):
                peak = max(peak, abs(values[i, j]))
            encode_learned(values[i], data, rows[i], kind, seed, max(peak / top, np.float32(1e-8)))
