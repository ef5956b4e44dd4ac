"""pq: product quantization, one centroid number per subspace.

code_bytes  bits=8: m; bits=4: ceil(m / 2), the lower nibble first. Subspaces are contiguous, in order;
            where m does not divide dim the first dim mod m of them are one dimension wider
error       not bounded; each subspace gets its nearest centroid by squared distance
shared      4 dim 2**bits bytes
source      Jegou, Douze, Schmid 2011, doi:10.1109/TPAMI.2010.57, section II
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Codec, Codes, Rows
from vecstore.codecs.parts import require
from vecstore.codecs.scan import Scan
from vecstore.codecs.tablescan import TableScan
from vecstore.errors import InputError, SpecError
from vecstore.kernels import kmeans, lookup, product, scalar

_DEFAULT_WIDTH = 8  # dimensions per subspace where neither m nor bytes is given


@dataclass(frozen=True, eq=False)
class Pq(Codec):
    """Product quantization: m= subspaces, 256 or 16 (bits=4) centroids each."""

    name: ClassVar[str] = "pq"
    learns: ClassVar[bool] = True
    dim: int
    m: int
    bits: int
    centroids: NDArray[np.float32]  # (k, dim), k <= 2**bits; row c: centroid c of every subspace, in order

    def __post_init__(self) -> None:
        if self.bits not in (8, 4) or not 1 <= self.m <= self.dim:
            raise ValueError(f"pq has bits={self.bits}, m={self.m} in {self.dim} dimensions")
        require(self.centroids, (None, self.dim), np.float32)
        if not 1 <= len(self.centroids) <= 2**self.bits:
            raise ValueError(f"pq has {len(self.centroids)} centroids; expected 1 to {2**self.bits}")

    @classmethod
    def fit(
        cls,
        sample: Rows,
        *,
        seed: int = 0,
        m: int | None = None,
        bits: int = 8,
        bytes: int | None = None,
    ) -> Self:
        """m: subspaces, 1 to dim; by default one for each 8 dimensions. bits: 8 or 4. bytes: the row's
        size instead of m. Of fewer rows than centroids, each distinct row becomes one."""
        dim = sample.shape[1]
        if bits not in (8, 4):
            raise SpecError(f"pq has bits={bits}; expected 8 or 4")
        if bytes is not None:
            if m is not None and (m * bits + 7) // 8 != bytes:
                raise SpecError(f"pq has m={m} and bytes={bytes}, which do not agree; give one of them")
            fill = bytes * 8 // bits
            # With two codes to a byte an odd number of subspaces leaves the last nibble empty.
            m = m or (dim if bits == 4 and fill == dim + 1 else fill)
        elif m is None:
            m = max(1, dim // _DEFAULT_WIDTH)
        if not 1 <= m <= dim:
            raise SpecError(f"pq has m={m}; the rows have {dim} dimensions, so 1 to that")
        if not len(sample):
            raise InputError("pq is fitted on rows, and there are none")
        k = min(2**bits, len(sample))
        centroids = kmeans.train_product(sample, product.split(dim, m), k, seed=seed)
        return cls(dim=dim, m=m, bits=bits, centroids=centroids)

    @property
    def code_bytes(self) -> int:
        """One byte or one nibble per subspace."""
        return (self.m * self.bits + 7) // 8

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """First dimension of each subspace and, last, dim: (m + 1,)."""
        return product.split(self.dim, self.m)

    @cached_property
    def _book(self) -> NDArray[np.float32]:
        return product.lay_out(self.centroids, self.starts)

    @cached_property
    def ball(self) -> tuple[Rows, float]:
        """The farthest centroid of each subspace."""
        middle = (self.centroids.min(axis=0) + self.centroids.max(axis=0)) / np.float32(2)
        squares = np.square(self.centroids - middle, dtype=np.float64)
        farthest = np.add.reduceat(squares, self.starts[:-1], axis=1).max(axis=0)
        return middle, float(np.sqrt(farthest.sum()))

    def leading(self, dims: int) -> Self:
        """Whole subspaces, with bits=4 two at a time."""
        ends = self.starts[2::2] if self.bits == 4 else self.starts[1:]
        if dims not in ends:
            raise SpecError(
                f"{dims} dimensions of pq do not end with a byte of its codes; these do: "
                + ", ".join(str(end) for end in ends)
            )
        m = int(np.searchsorted(self.starts, dims))
        return replace(self, dim=dims, m=m, centroids=self.centroids[:, :dims].copy())

    def _encode(self, rows: Rows, codes: Codes) -> None:
        if self.bits == 8:
            product.assign(rows, self._book, self.starts, codes)
            return
        wide = np.empty((len(rows), self.m), np.uint8)
        product.assign(rows, self._book, self.starts, wide)
        scalar.pack4(wide, codes)

    def _decode(self, codes: Codes, rows: Rows) -> None:
        product.decode(self._wide(codes), self.centroids, self.starts, rows)

    def _decode_past(self, codes: Codes, rows: Rows) -> None:
        product.decode(self._wide(codes), self.centroids, self.starts, rows, past=True)

    def _wide(self, codes: Codes) -> Codes:
        """Codes (n, m), a byte for each subspace."""
        if self.bits == 8:
            return codes
        wide = np.empty((len(codes), self.m), np.uint8)
        scalar.unpack4(codes, wide)
        return wide

    def scan(self, codes: Codes) -> Scan:
        """By tables of the inner products of a query's parts with the centroids."""
        return TableScan(codes, 2**self.bits, self._tabulate)

    @cached_property
    def _columns(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.centroids.T)

    def _tabulate(self, queries: Rows) -> NDArray[np.float32]:
        values = np.empty((len(queries), self.m, len(self.centroids)), np.float32)
        lookup.centroid_products(queries, self._columns, self.starts, values)
        return values
