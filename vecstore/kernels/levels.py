"""Rows and centroids rounded to whole numbers, so that `bytedots` gives their inner products.

A row's levels have a step of their own, and so have a centroid's: the largest value is 127 of them. Rows take
two bytes a value, as `bytedots` has it, where one of them is far larger than the others, and where there are
so few that codes can be more exact than 127 levels. Sums are whole numbers, the same on every instruction
set, and four times as fast as products in float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import bytedots
from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]
I8 = NDArray[np.int8]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
_UPPER, _BOTH = np.float32(127), np.float32(32_639)  # the largest level of a row, in one byte and in two
_EVEN = np.float32(5)  # times the root of the mean square: rows up to it take one byte
_FEW = 32  # values; fewer take two bytes
_LEAST = np.float32(2e-38)  # of smaller steps the inverse is not accurate
_WHOLE = np.float32(1.5 * 2**23)  # a sum with this is a whole number, in the last bits of its mantissa
_WHOLE_BITS = np.int32(0x4B400000)
_PARTS = 16


def _largest(dim: int) -> int:
    """The largest level of a centroid, of which sums of `dim` products with rows fit 32 bits."""
    return max(1, min(127, 127 * bytedots.MOST_DIMS // dim))


def of_centroids(centroids: F32) -> tuple[U8, F32, F32]:
    """Blocks for `bytedots.dots`, the step (k,) of each of centroids (k, d), and what they are rounded to."""
    largest = _largest(centroids.shape[1])
    steps = np.abs(centroids).max(axis=1) / np.float32(largest)
    steps[steps < _LEAST] = 0
    levels = np.rint(centroids / np.where(steps > 0, steps, np.float32(np.inf))[:, None])
    blocks = bytedots.lay_out((levels + largest + 1).astype(np.uint8))
    return blocks, steps, levels * steps[:, None]


def of_rows(rows: F32) -> bytedots.Weights:
    """Rows (n, d), finite, for `bytedots.dots`, which gives <row, centroid> / step of the centroid."""
    n, dim = rows.shape
    groups = -(-dim // 4)
    made = np.empty((n, groups), np.int64)
    scales, offsets, coarse = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.bool_)
    _of_rows(rows, _largest(dim) + 1, made, np.zeros((3, 4 * groups), np.int32), (scales, offsets, coarse))
    return made.view(np.int8).reshape(n, groups, 1, 2, 4), scales, offsets, coarse


@kernel
def _of_rows(
    rows: F32, zero: int, made: I64, wholes: NDArray[np.int32], out: tuple[F32, F32, NDArray[np.bool_]]
) -> None:
    """`of_rows`; zero: the byte of a centroid's level 0; made[i, g]: the upper bytes of levels 4 g, ..., then
    the lower ones; wholes (3, 4 groups), zeros, is scratch."""
    scales, offsets, coarse = out
    d = rows.shape[1]
    sums, uppers, lowers = wholes[0].view(np.float32), wholes[1].view(np.int8), wholes[2].view(np.int8)
    for i in range(rows.shape[0]):
        row = rows[i]
        largest, mean_square = _sizes(row)
        even = d >= _FEW and largest * largest <= _EVEN * _EVEN * mean_square
        scale = largest / (_UPPER if even else _BOTH)
        if scale < _LEAST:
            scale = np.float32(0)
        inverse = np.float32(1) / scale if scale > np.float32(0) else np.float32(0)
        for t in range(d):
            sums[t] = row[t] * inverse + _WHOLE
        total = np.int64(0)
        for t in range(d):
            whole = wholes[0, t] - _WHOLE_BITS
            total += whole
            upper = whole if even else (whole + 128) >> 8
            uppers[t] = upper
            lowers[t] = 0 if even else whole - 256 * upper
        up, low = uppers.view(np.uint32), lowers.view(np.uint32)
        for g in range(made.shape[1]):
            made[i, g] = np.int64(up[g]) | np.int64(low[g]) << 32
        scales[i] = scale / np.float32(256) if even else scale
        offsets[i] = np.float32(-zero * total) * scale
        coarse[i] = even


@kernel
def _sizes(row: F32) -> tuple[np.float32, np.float32]:
    """The largest |value| and the mean of the squares, in _PARTS sums that are added up last."""
    most, squares = np.zeros(_PARTS, np.float32), np.zeros(_PARTS, np.float32)
    whole = row.size // _PARTS * _PARTS
    for t in range(0, whole, _PARTS):
        for p in range(_PARTS):
            value = abs(row[t + p])
            most[p] = max(most[p], value)
            squares[p] += value * value
    largest, total = np.float32(0), np.float32(0)
    for p in range(_PARTS):
        largest = max(largest, most[p])
        total += squares[p]
    for t in range(whole, row.size):
        value = abs(row[t])
        largest = max(largest, value)
        total += value * value
    return largest, total / np.float32(row.size)
