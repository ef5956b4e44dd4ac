"""The search for codes of one block of dimensions, in chapters of stages whose tables stay small."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import beams, levels, product
from vecstore.kernels.threads import spread

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

_ROWS = 1024  # whose products with one codebook are a MiB


class Search:
    """Codebooks (stages, k, d) of one block, made ready; immutable.

    Rows and the first codebook are taken less the mean of its centroids, so that errors are small numbers
    also where rows are far from zero.
    """

    def __init__(self, books: F32, beam: int) -> None:
        self._mean = books[0].mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = np.concatenate([books[:1] - self._mean, books[1 : beams.STAGES]])
        later = (
            books[start : start + beams.STAGES] for start in range(beams.STAGES, len(books), beams.STAGES)
        )
        self._chapters = [Chapter(part) for part in (centred, *later)]
        self._beam = beam

    def encode(self, rows: F32, codes: U8) -> None:
        """codes (n, stages) of rows (n, d), written; any strides."""
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS] - self._mean
            sums = Sums(part[:, None], np.zeros((len(part), 1), np.float32), self._beam)
            found = np.empty((len(part), 1, 0), np.uint8)
            for chapter in self._chapters:
                for stage in chapter.stages:
                    sums.extend(stage)
                found = np.concatenate([along(found, sums.origins), sums.codes], axis=2)
                if chapter is not self._chapters[-1]:
                    sums = Sums(sums.rest(chapter.books), sums.errors, self._beam)
            codes[start : start + _ROWS] = found[:, 0]


class Chapter:
    """Some stages of codebooks (stages, k, d), each ready to follow those before it."""

    def __init__(self, books: F32) -> None:
        self.books = books
        self.stages = [beams.Stage.after(books[:t], book) for t, book in enumerate(books)]


class Sums:
    """The best sums of centroids, at most `beam`, for each of some rows."""

    def __init__(self, rows: F32, errors: F32, beam: int) -> None:
        """rows (n, o, d): less each of o origins, of these errors (n, o); o <= beam."""
        self.rows = rows
        self._count = rows.shape[1]
        self._weights = levels.of_rows(np.ascontiguousarray(rows.reshape(-1, rows.shape[2])))
        self._sums, self._stages = beams.begin(errors, beam), 0

    def extend(self, stage: beams.Stage) -> None:
        """Each sum with a centroid more."""
        n, origins, _ = self.rows.shape
        paths, errors = self._sums
        counts: list[int] = []

        def work(start: int, stop: int) -> None:
            products = beams.products(self._weights, stage, start * origins, stop * origins)
            products, part = products.reshape(stop - start, origins, -1), slice(start, stop)
            counts.append(beams.extend(products, stage, (paths[part], errors[part]), self._count))

        spread(n, max(1, _ROWS // origins), work)
        self._count = counts[0]
        self._stages += 1

    def rest(self, books: F32) -> F32:
        """What is left (n, b, d) of the rows behind their sums of these stages' books (stages, k, d)."""
        n, count = self.errors.shape
        rows, sums = np.divmod(np.arange(n * count), count)
        return self.some(books, rows, sums).reshape(n, count, -1)

    def some(self, books: F32, rows: I64, sums: I64) -> F32:
        """What is left (p, d) of the rows of these numbers (p,) behind the sums (p,) of these numbers."""
        left: F32 = self.rows[rows, self.origins[rows, sums]]
        if len(books):
            total, width = np.empty_like(left), left.shape[1]
            codes = np.ascontiguousarray(self.codes[rows, sums])
            beams.add_up(codes, product.for_bytes(books), np.array([0, width]), total)
            left -= total
        return left

    @property
    def codes(self) -> U8:
        """(n, b, stages), the best sum first."""
        return self._sums[0][:, : self._count, 1 : 1 + self._stages]

    @property
    def origins(self) -> U8:
        """Which of the rows less an origin each sum belongs to: (n, b)."""
        return self._sums[0][:, : self._count, 0]

    @property
    def errors(self) -> F32:
        """Half of the squared distance less that of nothing: (n, b), ascending."""
        return self._sums[1][:, : self._count]


def along(values: NDArray[Any], origin: NDArray[Any]) -> NDArray[Any]:
    """A copy of values[i, origin[i, b]] for values (n, o, ...) and origin (n, b)."""
    found: NDArray[Any] = values[np.arange(len(values))[:, None], origin]
    return found
