"""The residual stages in front of the trellis: up to two codebooks of 256 centroids, searched by a beam."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.residual.coding import Search
from vecstore.kernels import kmeans, product

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

CENTROIDS = 256
_BEAM = 4


def centroids(sample: F32) -> int:
    """How many a stage has: 256, or as many as there are rows."""
    return min(CENTROIDS, len(sample))


def train(sample: F32, stages: int, seed: int) -> F32:
    """Codebooks (stages * k, dim), k the centroids of each; the first of them are those of fewer stages."""
    k = centroids(sample)
    books = np.empty((0, sample.shape[1]), np.float32)
    rest = sample
    for _ in range(stages):
        books = np.concatenate([books, kmeans.train(np.ascontiguousarray(rest), k, seed=seed)])
        rest = sample - nearest(sample, books, len(books) // k)
    return books


def nearest(rows: F32, books: F32, stages: int) -> F32:
    """The sums of centroids (n, dim), one of each stage, nearest to rows."""
    codes = np.empty((len(rows), stages), np.uint8)
    ready(books, stages).encode(rows, codes)
    return decode(codes, books)


def ready(books: F32, stages: int) -> Search:
    """Codebooks (stages * k, dim) made ready to find the centroids, one of each stage, nearest to a row."""
    return Search(books.reshape(stages, -1, books.shape[1]), _BEAM)


def decode(codes: U8, books: F32) -> F32:
    """The sums of centroids (n, dim) of codes (n, stages)."""
    chosen = inside(codes, len(books) // codes.shape[1])
    rows: F32 = books[chosen[:, 0]]
    for stage in range(1, codes.shape[1]):
        rows += books[len(books) // codes.shape[1] * stage + chosen[:, stage]]
    return rows


def inside(codes: U8, k: int) -> NDArray[np.int64]:
    """Codes as numbers of centroids below k, whatever bytes they are."""
    return product.inside(k, CENTROIDS)[codes]
