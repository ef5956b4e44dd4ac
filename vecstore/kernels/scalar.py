"""Scalar quantization, value by value, and the packing of 4-bit and 6-bit codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


@kernel
def quantize(rows: F32, low: F32, inverse: F32, top: np.float32, codes: U8) -> None:
    """codes[i, j] = round((rows[i, j] - low[j]) * inverse[j]), clipped to [0, top]; ties to even.

    rows (n, d); low, inverse (d,); codes (n, d), written.
    """
    zero = np.float32(0)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            value = (rows[i, j] - low[j]) * inverse[j]
            value = value if value > zero else zero  # NaN from inf * 0 becomes 0
            value = value if value < top else top
            codes[i, j] = np.uint8(np.int32(np.rint(value)))


@kernel
def dequantize(codes: U8, low: F32, step: F32, rows: F32) -> None:
    """rows[i, j] = low[j] + codes[i, j] * step[j].

    codes (n, d); low, step (d,); rows (n, d), written.
    """
    for i in range(codes.shape[0]):
        for j in range(codes.shape[1]):
            rows[i, j] = low[j] + np.float32(codes[i, j]) * step[j]


@kernel
def grid_sums(
    rows: F32, weights: NDArray[np.float64], grid: F32, top: np.float32, sums: NDArray[np.float64]
) -> None:
    """Per dimension, with c the code of x: weighted sums of (x - decoded)^2, 1, c, c^2, x, x c.

    rows (n, d); weights (n,); grid (3, d): low, inverse, step as in `quantize` and `dequantize`; sums
    (6, d), written. In float64, row after row.
    """
    sums[:] = 0.0
    zero = np.float32(0)
    for i in range(rows.shape[0]):
        weight = weights[i]
        for j in range(rows.shape[1]):
            value = (rows[i, j] - grid[0, j]) * grid[1, j]
            value = value if value > zero else zero
            code = np.rint(value if value < top else top)
            gap = np.float64(rows[i, j]) - np.float64(grid[0, j] + code * grid[2, j])
            wide, exact = np.float64(code), np.float64(rows[i, j])
            sums[0, j] += weight * gap * gap
            sums[1, j] += weight
            sums[2, j] += weight * wide
            sums[3, j] += weight * wide * wide
            sums[4, j] += weight * exact
            sums[5, j] += weight * exact * wide


@kernel
def pack4(codes: U8, packed: U8) -> None:
    """packed[i, j] = codes[i, 2 j] | codes[i, 2 j + 1] << 4; a missing last code is 0.

    codes (n, d), all < 16; packed (n, (d + 1) // 2), written.
    """
    pairs = codes.shape[1] // 2
    for i in range(codes.shape[0]):
        for j in range(pairs):
            packed[i, j] = codes[i, 2 * j] | (codes[i, 2 * j + 1] << np.uint8(4))
        if codes.shape[1] % 2:
            packed[i, pairs] = codes[i, 2 * pairs]


@kernel
def unpack4(packed: U8, codes: U8) -> None:
    """The inverse of pack4: packed (n, (d + 1) // 2) -> codes (n, d), written."""
    pairs = codes.shape[1] // 2
    for i in range(codes.shape[0]):
        for j in range(pairs):
            codes[i, 2 * j] = packed[i, j] & np.uint8(15)
            codes[i, 2 * j + 1] = packed[i, j] >> np.uint8(4)
        if codes.shape[1] % 2:
            codes[i, 2 * pairs] = packed[i, pairs] & np.uint8(15)


@kernel
def dequantize4(packed: U8, low: F32, step: F32, rows: F32) -> None:
    """unpack4, then dequantize, in one pass: packed (n, (d + 1) // 2) -> rows (n, d), written."""
    pairs = rows.shape[1] // 2
    for i in range(rows.shape[0]):
        for j in range(pairs):
            pair = packed[i, j]
            rows[i, 2 * j] = low[2 * j] + np.float32(pair & np.uint8(15)) * step[2 * j]
            rows[i, 2 * j + 1] = low[2 * j + 1] + np.float32(pair >> np.uint8(4)) * step[2 * j + 1]
        if rows.shape[1] % 2:
            last = 2 * pairs
            rows[i, last] = low[last] + np.float32(packed[i, pairs] & np.uint8(15)) * step[last]


@kernel
def pack6(codes: U8, packed: U8) -> None:
    """Four codes c0..c3 become the 24 bits c0 | c1 << 6 | c2 << 12 | c3 << 18, little-endian.

    codes (n, d), all < 64; packed (n, (6 d + 7) // 8), written; missing last codes are 0.
    """
    d = codes.shape[1]
    for i in range(codes.shape[0]):
        for j in range(d // 4):
            c0, c1, c2, c3 = codes[i, 4 * j], codes[i, 4 * j + 1], codes[i, 4 * j + 2], codes[i, 4 * j + 3]
            packed[i, 3 * j] = c0 | (c1 << np.uint8(6))
            packed[i, 3 * j + 1] = (c1 >> np.uint8(2)) | (c2 << np.uint8(4))
            packed[i, 3 * j + 2] = (c2 >> np.uint8(4)) | (c3 << np.uint8(2))
        bits = np.uint32(0)
        for j in range(d // 4 * 4, d):
            bits |= np.uint32(codes[i, j]) << np.uint32(6 * (j % 4))
        for at in range(d // 4 * 3, packed.shape[1]):
            packed[i, at] = np.uint8(bits & np.uint32(255))
            bits >>= np.uint32(8)


@kernel
def unpack6(packed: U8, codes: U8) -> None:
    """The inverse of pack6: packed (n, (6 d + 7) // 8) -> codes (n, d), written."""
    d = codes.shape[1]
    for i in range(codes.shape[0]):
        for j in range(d // 4):
            b0, b1, b2 = packed[i, 3 * j], packed[i, 3 * j + 1], packed[i, 3 * j + 2]
            codes[i, 4 * j] = b0 & np.uint8(63)
            codes[i, 4 * j + 1] = (b0 >> np.uint8(6)) | ((b1 & np.uint8(15)) << np.uint8(2))
            codes[i, 4 * j + 2] = (b1 >> np.uint8(4)) | ((b2 & np.uint8(3)) << np.uint8(4))
            codes[i, 4 * j + 3] = b2 >> np.uint8(2)
        bits = np.uint32(0)
        for at in range(d // 4 * 3, packed.shape[1]):
            bits |= np.uint32(packed[i, at]) << np.uint32(8 * (at - d // 4 * 3))
        for j in range(d // 4 * 4, d):
            codes[i, j] = np.uint8((bits >> np.uint32(6 * (j % 4))) & np.uint32(63))
