"""Product quantization: rows to the indices of the nearest centroids, and back.

A codebook is `centroids (k, dim)` float32: row c holds centroid c of every subspace, one behind the
other; subspace j is the columns starts[j] to starts[j + 1]. Codes are a byte each; `scalar.pack4` puts two
of k <= 16 into one.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.isa import ISA, LANES
from vecstore.kernels.jit import kernel
from vecstore.kernels.nearest import BLOCK, assign_plain, assign_vectors
from vecstore.kernels.simd import address, copier, copy_past, empty_floats, order

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
_copy1, _copy4, _copy8, _copy16 = copier(1), copier(4), copier(8), copier(16)


def split(dim: int, m: int) -> I64:
    """First dimension of each of m subspaces and, last, dim: (m + 1,); the first dim mod m are one wider."""
    widths = np.full(m, dim // m, np.int64)
    widths[: dim % m] += 1
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(widths)])


def lay_out(centroids: F32, starts: I64) -> F32:
    """The codebook as `assign` reads it: (padded k * dim,) float32, made once per codebook.

    centroids (k, dim), k <= 256. Subspaces one behind the other, in each blocks of BLOCK centroids, in
    each block dimension by dimension. k is padded with centroids at infinity, which no row is near to.
    """
    k, dim = centroids.shape
    padded = np.full((-(-k // BLOCK) * BLOCK, dim), np.inf, np.float32)
    padded[:k] = centroids
    book = empty_floats(padded.size)
    for begin, end in pairwise(starts):
        blocks = padded[:, begin:end].reshape(-1, BLOCK, end - begin).transpose(0, 2, 1)
        book[begin * len(padded) : end * len(padded)] = blocks.ravel()
    return book


def assign(rows: F32, book: F32, starts: I64, codes: U8) -> None:
    """codes[i, j] = the first c that minimises ||rows[i, starts[j]:starts[j+1]] - centroids[c, same]||^2.

    rows (n, dim), C-contiguous, finite; book from `lay_out`; starts (m + 1,), every width >= 1; codes
    (n, m), written. The squared differences are summed by fma in float32, dimension by dimension: codes
    depend neither on the other rows of the call nor on the instruction set.
    """
    if ISA == "scalar":
        assign_plain(rows, book, starts, codes)
        return
    points = empty_floats(int(np.diff(starts).max()) * LANES)
    assign_vectors(rows, book, starts, codes, points, empty_floats(2 * LANES))


def inside(k: int, codes: int) -> I64:
    """The centroid below k that `decode` reads for each of this many codes, those of k and more included."""
    found: I64 = np.minimum(np.arange(codes) & ((1 << (k - 1).bit_length()) - 1), k - 1)
    return found


def for_bytes(books: F32) -> F32:
    """Codebooks (stages, k, dim) with a centroid for each byte; the same array where they have one."""
    k = books.shape[1]
    return books if k == 256 else books[:, inside(k, 256)]


def decode(codes: U8, centroids: F32, starts: I64, out: F32, past: bool = False) -> None:
    """out[i, starts[j]:starts[j+1]] = centroids[codes[i, j], same].

    codes (n, m); centroids (k, dim), k <= 256, C-contiguous; starts (m + 1,); out (n, dim), written. A code
    of k or more reads some other centroid, never memory beyond them: whoever cannot trust the codes
    compares their maximum with k first. past: whether to write past the cache, where that can be.
    """
    k = centroids.shape[0]
    if k & (k - 1):  # the kernels keep a code inside the book by a mask
        centroids = np.concatenate([centroids, centroids[-1:].repeat((1 << k.bit_length()) - k, axis=0)])
    if ISA == "scalar":
        _decode_plain(codes, centroids, starts, out)
    elif past and out.shape[1] % (4 * codes.shape[1]) == 0 and out.ctypes.data % 16 == 0:
        _decode_past(codes, centroids, out)
    else:
        _decode_vectors(codes, centroids, starts, out)


@kernel
def _decode_plain(codes: U8, centroids: F32, starts: I64, out: F32) -> None:
    """`decode` by plain loops."""
    mask = centroids.shape[0] - 1
    for i in range(codes.shape[0]):
        for j in range(codes.shape[1]):
            c = np.int64(codes[i, j]) & mask
            for t in range(starts[j], starts[j + 1]):
                out[i, t] = centroids[c, t]


@kernel
def _decode_vectors(codes: U8, centroids: F32, starts: I64, out: F32) -> None:
    """`decode` by copies of 4, 8 or 16 values; row by row, which was faster than tiles of subspaces."""
    n, m = codes.shape
    mask = centroids.shape[0] - 1
    step = out.shape[1] * 4
    width = out.shape[1] // m
    even = True
    for j in range(m):
        even &= starts[j + 1] - starts[j] == width
    book, target = address(centroids), address(out)
    if even and width == 4:
        for i in range(n):
            for j in range(m):
                _copy4(book + (np.int64(codes[i, j]) & mask) * step + j * 16, target + j * 16)
            target += step
    elif even and width == 8:
        for i in range(n):
            for j in range(m):
                _copy8(book + (np.int64(codes[i, j]) & mask) * step + j * 32, target + j * 32)
            target += step
    elif even and width % 16 == 0:
        for i in range(n):
            for j in range(m):
                source = book + (np.int64(codes[i, j]) & mask) * step
                for at in range(j * width * 4, (j + 1) * width * 4, 64):
                    _copy16(source + at, target + at)
            target += step
    else:
        for i in range(n):
            for j in range(m):
                at = starts[j] * 4
                source = book + (np.int64(codes[i, j]) & mask) * step
                _copy(source + at, target + at, starts[j + 1] - starts[j])
            target += step


@kernel
def _decode_past(codes: U8, centroids: F32, out: F32) -> None:
    """`decode` past the cache, of subspaces that are all 4 values wide, or a multiple of that."""
    n, m = codes.shape
    mask, step = centroids.shape[0] - 1, out.shape[1] * 4
    width, book, target = step // m, address(centroids), address(out)
    for i in range(n):
        if width == 16:  # The usual case: a loop of one round would take half as long again.
            for j in range(m):
                copy_past(book + (np.int64(codes[i, j]) & mask) * step + j * 16, target + j * 16)
        else:
            for j in range(m):
                source = book + (np.int64(codes[i, j]) & mask) * step
                for at in range(j * width, (j + 1) * width, 16):
                    copy_past(source + at, target + at)
        target += step
    order()


@kernel
def _copy(source: int, target: int, width: int) -> None:
    """`width` float32 from address to address; the last copy of a run overlaps the one before it."""
    if width >= 16:
        for t in range(0, width - 15, 16):
            _copy16(source + t * 4, target + t * 4)
        if width % 16:
            _copy16(source + width * 4 - 64, target + width * 4 - 64)
    elif width >= 4:
        for t in range(0, width - 3, 4):
            _copy4(source + t * 4, target + t * 4)
        if width % 4:
            _copy4(source + width * 4 - 16, target + width * 4 - 16)
    else:
        for t in range(width):
            _copy1(source + t * 4, target + t * 4)


def refine(rows: F32, centroids: F32, starts: I64, codes: U8) -> None:
    """Lloyd's step of every subspace: each centroid that has rows becomes their mean, by float64 sums.

    rows (n, dim); centroids (k, dim), changed; starts (m + 1,); codes (n, m), each below k.
    """
    sums, counts = np.zeros(centroids.shape), np.zeros((len(centroids), codes.shape[1]), np.int64)
    _add_up(rows, starts, codes, sums, counts)
    wide = counts.repeat(np.diff(starts), axis=1)
    filled = wide > 0
    centroids[filled] = sums[filled] / wide[filled]


@kernel
def _add_up(rows: F32, starts: I64, codes: U8, sums: NDArray[np.float64], counts: I64) -> None:
    """sums[codes[i, j], t] += rows[i, t] for t in subspace j; counts[codes[i, j], j] += 1."""
    for i in range(rows.shape[0]):
        for j in range(codes.shape[1]):
            c = codes[i, j]
            counts[c, j] += 1
            for t in range(starts[j], starts[j + 1]):
                sums[c, t] += rows[i, t]
