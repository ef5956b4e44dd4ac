"""The residual stages in front of the trellis: up to two codebooks of 256 centroids, searched by a beam.

Distances come from inner products with the centroids and a table of those of the two codebooks, which do not
depend on the other rows of a call.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.transforms.pca import product
from vecstore.kernels import kmeans
from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

CENTROIDS = 256
_BEAM = 4


def train(sample: F32, stages: int, seed: int) -> F32:
    """Codebooks (stages * k, dim), k the centroids of each: 256, or as many as there are rows."""
    k = min(CENTROIDS, len(sample))
    books = np.empty((0, sample.shape[1]), np.float32)
    rest = sample
    for _ in range(stages):
        books = np.concatenate([books, kmeans.train(np.ascontiguousarray(rest), k, seed=seed)])
        codes = np.empty((len(sample), len(books) // k), np.uint8)
        encode(sample, books, codes)
        rest = sample - decode(codes, books)
    return books


def encode(rows: F32, books: F32, codes: U8) -> None:
    """The centroids, one of each stage, whose sum is nearest to the row: codes (n, stages), written."""
    stages = codes.shape[1]
    k = len(books) // stages
    lengths = np.square(books, dtype=np.float64).sum(axis=1).astype(np.float32)
    # Half the squared distance, less half of the row's own square.
    costs = lengths / 2 - product(rows, np.ascontiguousarray(books.T))
    if stages == 1:
        codes[:, 0] = costs.argmin(axis=1)
        return
    _pair(costs, product(books[:k], np.ascontiguousarray(books[k:].T)), codes)


@kernel
def _pair(costs: F32, crossed: F32, codes: U8) -> None:
    """The best second centroid behind each of the _BEAM best first ones, and the best pair of them."""
    k = crossed.shape[0]
    for i in range(costs.shape[0]):
        best = np.float32(np.inf)
        taken = np.zeros(k, np.bool_)
        for _ in range(min(_BEAM, k)):
            first = -1
            for c in range(k):
                if not taken[c] and (first < 0 or costs[i, c] < costs[i, first]):
                    first = c
            taken[first] = True
            for c in range(k):
                cost = costs[i, first] + (costs[i, k + c] + crossed[first, c])
                if cost < best:
                    best = cost
                    codes[i, 0], codes[i, 1] = first, c


def decode(codes: U8, books: F32) -> F32:
    """The sums of centroids (n, dim) of codes (n, stages)."""
    chosen = inside(codes, len(books) // codes.shape[1])
    rows: F32 = books[chosen[:, 0]]
    for stage in range(1, codes.shape[1]):
        rows += books[len(books) // codes.shape[1] * stage + chosen[:, stage]]
    return rows


def inside(codes: U8, k: int) -> NDArray[np.int64]:
    """Codes as numbers of centroids below k, whatever bytes they are; as `product.decode` has it."""
    found: NDArray[np.int64] = np.minimum(codes & np.uint8((1 << (k - 1).bit_length()) - 1), k - 1).astype(
        np.int64
    )
    return found
