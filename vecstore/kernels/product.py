"""Product quantization: rows to the indices of the nearest centroids, and back.

A codebook is `centroids (k, dim)` float32: row c holds centroid c of every subspace, one behind the
other; subspace j is the columns starts[j] to starts[j + 1].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.isa import ISA, LANES
from vecstore.kernels.jit import kernel
from vecstore.kernels.nearest import BLOCK, assign_plain, assign_vectors
from vecstore.kernels.simd import empty_floats

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]


def lay_out(centroids: F32, starts: I64) -> F32:
    """The codebook as `assign` reads it: (padded k * dim,) float32, made once per codebook.

    centroids (k, dim), k <= 256. Subspaces one behind the other, in each blocks of BLOCK centroids, in
    each block dimension by dimension. k is padded with centroids at infinity, which no row is near to.
    """
    k, dim = centroids.shape
    padded = np.full((-(-k // BLOCK) * BLOCK, dim), np.inf, np.float32)
    padded[:k] = centroids
    book = empty_floats(padded.size)
    for begin, end in zip(starts[:-1], starts[1:], strict=True):
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


@kernel
def decode(codes: U8, centroids: F32, starts: I64, out: F32) -> None:
    """out[i, starts[j]:starts[j+1]] = centroids[codes[i, j], same].

    codes (n, m); centroids (k, dim); out (n, dim), written. A code of k or more reads centroid k - 1: the
    caller who cannot trust his codes compares their maximum first.
    """
    last = centroids.shape[0] - 1
    for i in range(codes.shape[0]):
        for j in range(codes.shape[1]):
            c = min(np.int64(codes[i, j]), last)
            for t in range(starts[j], starts[j + 1]):
                out[i, t] = centroids[c, t]


@kernel
def pack4(codes: U8, packed: U8) -> None:
    """packed[i, j] = codes[i, 2j] | codes[i, 2j + 1] << 4.

    codes (n, m), all < 16; packed (n, (m + 1) // 2), written; with odd m the last high nibble is zero.
    """
    m = codes.shape[1]
    for i in range(codes.shape[0]):
        for j in range(m // 2):
            packed[i, j] = codes[i, 2 * j] | codes[i, 2 * j + 1] << 4
        if m % 2:
            packed[i, m // 2] = codes[i, m - 1]


@kernel
def unpack4(packed: U8, codes: U8) -> None:
    """codes[i, 2j] = packed[i, j] & 15, codes[i, 2j + 1] = packed[i, j] >> 4.

    packed (n, (m + 1) // 2); codes (n, m), written; with odd m the last high nibble is not read.
    """
    m = codes.shape[1]
    for i in range(codes.shape[0]):
        for j in range(m // 2):
            codes[i, 2 * j] = packed[i, j] & 15
            codes[i, 2 * j + 1] = packed[i, j] >> 4
        if m % 2:
            codes[i, m - 1] = packed[i, m // 2] & 15
