"""The contract of scans: inner products of queries with rows that stay compressed.

A `Scan` is a collection of codes in the order in which its kernel reads them. It knows one thing, the inner
product of a query with each decoded row; other metrics, the best k, and threads are `vecstore.search`'s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.matmul import matmul

Rows = NDArray[np.float32]
Codes = NDArray[np.uint8]
Decode = Callable[[Codes], Rows]


class Scan(ABC):
    """Codes of `rows` rows, ready to be scanned; immutable, and safe to use from several threads.

    exact: whether `dots` gives the inner product with the decoded row up to float32's rounding. If not (a
    query was rounded to integers), search scores the best rows once more.
    step: `dots` is called for starts that are multiples of it.
    nbytes: bytes held beside the codes themselves; 0 where they are read as they lie.
    """

    exact: bool = True
    step: int = 1
    rows: int
    nbytes: int

    @abstractmethod
    def prepare(self, queries: Rows) -> Any:
        """What the kernel needs of queries (q, dim): tables, folded weights. Each query's are its own."""

    @abstractmethod
    def dots(self, prepared: Any, start: int, stop: int, out: Rows) -> None:
        """out[j, i] = <query j, decoded row start + i>; out (q, stop - start), contiguous.

        A score does not depend on start, stop or the other queries.
        """


class DecodedScan(Scan):
    """The scan of a codec that has no other: rows are decoded, a block at a time."""

    def __init__(self, codes: Codes, decode: Decode) -> None:
        self.rows = len(codes)
        self.nbytes = 0
        self._codes = codes
        self._decode = decode

    def prepare(self, queries: Rows) -> Rows:
        """The queries turned over, (dim, q)."""
        return np.ascontiguousarray(queries.T)

    def dots(self, prepared: Rows, start: int, stop: int, out: Rows) -> None:
        """Decodes, then multiplies."""
        rows = self._decode(self._codes[start:stop])
        found = np.empty((stop - start, prepared.shape[1]), np.float32)
        matmul(rows, prepared, found)
        out[:] = found.T


class PulledScan(Scan):
    """A scan behind transforms whose inverse is affine: queries are transformed, rows are not.

    pull: queries (q, dim) -> queries (q, dim_out) and offsets (q,) with <query, row> = <pulled, inner row> +
    offset.
    """

    def __init__(self, inner: Scan, pull: Callable[[Rows], tuple[Rows, NDArray[np.float64]]]) -> None:
        self.inner = inner
        self.exact, self.step = inner.exact, inner.step
        self.rows, self.nbytes = inner.rows, inner.nbytes
        self._pull = pull

    def prepare(self, queries: Rows) -> Any:
        """The inner scan's, and the offsets."""
        found, offsets = self._pull(queries)
        return self.inner.prepare(found), offsets.astype(np.float32)

    def dots(self, prepared: Any, start: int, stop: int, out: Rows) -> None:
        """The inner scan's, and the offset of each query."""
        inner, offsets = prepared
        self.inner.dots(inner, start, stop, out)
        out += offsets[:, None]
