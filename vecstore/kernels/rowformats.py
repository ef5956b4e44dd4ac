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
    all_of,
    chances,
    floor,
    largest_of,
    load_bytes,
    load_float,
    load_floats,
    load_halves,
    load_nibbles,
    load_short_float,
    load_shorts,
    plus,
    store_bytes,
    store_float,
    store_nibbles,
    store_short,
    store_short_float,
    store_shorts,
    times,
    within,
)

F32, F16, I16, I8, I4, L16, L8, L4 = range(8)
BITS = (32, 16, 16, 8, 4, 16, 8, 4)
SIDE_BYTES = (0, 0, 2, 2, 2, 4, 4, 4)
TOP = (0, 0, 32767, 127, 7, 32767, 127, 7)  # the largest integer

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_GOLDEN32 = np.uint32(0x9E3779B9)
_LOWER = np.uint64((1 << 32) - 1)
_TINY = np.float32(1e-30)


def row_bytes(kind: int, width: int) -> int:
    """Bytes of a row of `width` values."""
    return (BITS[kind] * width + 7) // 8 + SIDE_BYTES[kind]


@kernel
def scale_of(at: int, kind: int, width: int) -> np.float32:
    """The scale of the row at an address; 1 where its kind has none."""
    if kind <= F16:
        return np.float32(1)
    side = side_of(at, kind, width)
    scale: np.float32 = load_short_float(side) if kind <= I4 else load_float(side)
    return scale


@kernel
def side_of(at: int, kind: int, width: int) -> int:
    """The address of what is behind the values of the row at an address."""
    bits = 16 if kind in (I16, L16) else 8 if kind in (I8, L8) else 4
    return at + (bits * width + 7) // 8


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
    values: int, at: int, row: int, shape: tuple[int, int], seed: np.uint64, scale: np.float32
) -> None:
    """The w float32 at an address become the row at `at`, number `row`, of a kind from F16 on, rounded.

    shape: the kind and w. scale: the row's until now, below 0 if it is new. It is kept while the largest
    value takes three quarters of it or more, since another one moves all values; one that is grown out of
    gets a sixteenth on top. Of kinds from L16 on it is given. The same seed, row, values and scale give the
    same bytes.
    """
    kind, width = shape
    key = key_of(seed, np.uint64(row))
    if kind == F16:
        for j in range(width):
            store_short(at + 2 * j, np.int64(_to_half(load_float(values + 4 * j), chance(key, j))))
        return
    if kind > I4:
        kind -= L16 - I16
        store_float(side_of(at, kind, width), scale)
    else:
        peak = np.float32(0)
        for j in range(0, width, 16):
            peak = max(peak, largest_of(load_floats(values + 4 * j, width - j)))
        need = peak / np.float32(32767 if kind == I16 else 127 if kind == I8 else 7)
        scale = rescaled(side_of(at, kind, width), need, scale)
    inverse = inverse_of(scale)
    for j in range(0, width, 16):
        left = width - j
        whole = rounded(load_floats(values + 4 * j, left), inverse, key, j)
        if kind == I8:
            store_bytes(at + j, within(whole, np.float32(127)), left)
        elif kind == I16:
            store_shorts(at + 2 * j, within(whole, np.float32(32767)), left)
        else:
            store_nibbles(at + j // 2, within(whole, np.float32(7)), left)


@kernel
def inverse_of(scale: np.float32) -> Any:
    """What values are multiplied by before they are rounded: 1 / scale, in all lanes."""
    return all_of(np.float32(1) / scale if scale > _TINY else np.float32(0))


@kernel
def rounded(values: Any, inverse: Any, key: np.uint64, j: int) -> Any:
    """Sixteen values, from value j of a row on, times inverse, as whole numbers by the row's stream."""
    return floor(plus(times(values, inverse), chances(np.int64(key & _LOWER), j)))


@kernel
def rescaled(side: int, need: np.float32, scale: np.float32) -> np.float32:
    """The scale of a row whose largest value needs one, as `encode` keeps or changes it; put at `side`."""
    # Nobody can foresee which rows change: one that does not is stored again.
    more = need * (np.float32(1.0625) if np.float32(0) < scale < need else np.float32(1))
    changes = need > scale or need < np.float32(0.75) * scale
    kept: np.float32 = store_short_float(side, more if changes else scale)
    return kept


@kernel
def encode_rows(
    values: NDArray[np.float32], data: NDArray[np.uint8], rows: NDArray[np.int64], kind: int, seed: np.uint64
) -> None:
    """Row rows[i] of data becomes values[i]; values (n, w), contiguous, rows (n,). A step that is learned
    begins where its largest value fits."""
    width = values.shape[1]
    top = np.float32(32767 if kind == L16 else 127 if kind == L8 else 7)
    for i in range(rows.size):
        source, scale = address(values) + 4 * i * width, np.float32(-1)
        if kind > I4:
            peak = np.float32(0)
            for j in range(width):
                peak = max(peak, abs(values[i, j]))
            scale = max(peak / top, np.float32(1e-8))
        encode(source, address(data) + rows[i] * data.shape[1], rows[i], (kind, width), seed, scale)


@kernel
def encode_with(
    values: NDArray[np.float32],
    steps: NDArray[np.float32],
    data: NDArray[np.uint8],
    rows: NDArray[np.int64],
    kind: int,
    seed: np.uint64,
) -> None:
    """As `encode_rows`, of kinds from L16 on, with steps (n,) that are given."""
    for i in range(rows.size):
        source, target = address(values) + 4 * i * values.shape[1], address(data) + rows[i] * data.shape[1]
        encode(source, target, rows[i], (kind, values.shape[1]), seed, steps[i])
