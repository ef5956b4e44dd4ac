"""The search for codes of one block of dimensions, in chapters of stages whose tables stay small."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import beams
from vecstore.kernels.matmul import matmul

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_STAGES = 16  # of a chapter: products of all pairs of their centroids are 30 MiB
_COSTS_BYTES = 1 << 22  # of the rows that are searched at a time


class Search:
    """Codebooks (stages, k, d) of one block, made ready; immutable.

    Rows and the first codebook are taken less the mean of its centroids, so that errors are small numbers
    also where rows are far from zero.
    """

    def __init__(self, books: F32, beam: int) -> None:
        self._mean = books[0].mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = np.concatenate([books[:1] - self._mean, books[1:]])
        self._chapters = [
            Chapter(centred[start : start + _STAGES]) for start in range(0, len(books), _STAGES)
        ]
        self._beam = beam

    def encode(self, rows: F32, codes: U8) -> None:
        """codes (n, stages) of rows (n, d), written; any strides."""
        width = max(chapter.width for chapter in self._chapters)
        origins = self._beam if len(self._chapters) > 1 else 1
        step = max(8, _COSTS_BYTES // (4 * width * origins))
        for start in range(0, len(rows), step):
            part = rows[start : start + step] - self._mean
            rest, errors = part[:, None], np.zeros((len(part), 1), np.float32)
            found = np.empty((len(part), 1, 0), np.uint8)
            for chapter in self._chapters:
                more, origin, errors = chapter.search(rest, errors, self._beam)
                found = np.concatenate([along(found, origin), more], axis=2)
                if chapter is not self._chapters[-1]:
                    rest = chapter.rest(rest, origin, more)
            codes[start : start + step] = found[:, 0]


class Chapter:
    """Some stages of codebooks (stages, k, d), searched by tables."""

    def __init__(self, books: F32) -> None:
        self._stages, self._k, self._dim = books.shape
        flat = books.reshape(-1, self._dim)
        self.width = len(flat)
        self._books = books
        self._columns = np.ascontiguousarray(flat.T)
        self._halves = beams.half_lengths(flat)
        self._crossed = beams.cross(books)

    def search(self, rest: F32, errors: F32, beam: int) -> tuple[U8, NDArray[np.int32], F32]:
        """Codes (n, b, stages), origins and errors (n, b) of rows that are rest (n, o, d) for each origin."""
        n, origins, _ = rest.shape
        costs = np.empty((n * origins, self.width), np.float32)
        matmul(np.ascontiguousarray(rest.reshape(-1, self._dim)), self._columns, costs)
        np.subtract(self._halves, costs, out=costs)
        return beams.search(costs.reshape(n, origins, self._stages, self._k), errors, self._crossed, beam)

    def rest(self, rest: F32, origin: NDArray[np.int32], codes: U8) -> F32:
        """What is left (n, b, d) of rest (n, o, d) behind the choices codes (n, b, stages) from origins."""
        left: F32 = along(rest, origin)
        for stage in range(self._stages):
            left -= self._books[stage, codes[:, :, stage]]
        return left


def along(values: NDArray[Any], origin: NDArray[np.int32]) -> NDArray[Any]:
    """A copy of values[i, origin[i, b]] for values (n, o, ...) and origin (n, b)."""
    return values[np.arange(len(values))[:, None], origin]
