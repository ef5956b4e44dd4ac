"""rq and prq: residual quantization, of whole rows and of blocks of their dimensions.

code_bytes  m; byte t splits + j is the centroid of stage t in block j (splits = 1 in rq). Blocks are
            contiguous, in order; where splits does not divide dim, the first dim mod splits are one dimension
            wider; where it does not divide m, the last stage codes the first m mod splits blocks alone
error       not bounded; of the sums of one centroid a stage, that of least squared error which a beam finds
shared      1024 dim ceil(m / splits) bytes
source      Chen, Guan, Wang 2010, doi:10.3390/s101211259 (residual stages); Babenko, Lempitsky 2014,
            doi:10.1109/CVPR.2014.124, section 3 (the beam search for sums of centroids)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Codec, Codes, Rows
from vecstore.codecs.parts import require
from vecstore.codecs.residual.coding import Search
from vecstore.codecs.residual.training import CENTROIDS, train
from vecstore.codecs.scan import Scan
from vecstore.codecs.tablescan import TableScan
from vecstore.errors import InputError, SpecError
from vecstore.kernels import beams, lookup, product
from vecstore.kernels.threads import spread

BEAM = 5
_MOST_BEAM = 64
_MOST = 256  # stages
_WIDTH = 48  # dimensions for each stage where neither m nor bytes is given
_USUAL_STAGES = 8  # of a block where splits is not given


@dataclass(frozen=True, eq=False)
class Residual(Codec):
    """Sums of centroids of `stages` codebooks in each of `splits` blocks. Adds `splits` and `fit`."""

    dim: int
    m: int
    beam: int
    books: NDArray[np.float32]  # (stages, k, dim); row c of a stage: centroid c of every block, in order

    @property
    def blocks(self) -> int:
        """Blocks of dimensions."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        if not 1 <= self.blocks <= min(self.m, self.dim) or not 1 <= self.beam <= _MOST_BEAM:
            raise ValueError(f"{self.name} has m={self.m}, beam={self.beam} and {self.blocks} blocks")
        require(self.books, (-(-self.m // self.blocks), None, self.dim), np.float32)
        if not 1 <= self.books.shape[1] <= CENTROIDS or self.m > _MOST * self.blocks:
            raise ValueError(f"{self.name} has codebooks {self.books.shape} for m={self.m}")

    @property
    def code_bytes(self) -> int:
        """A byte for each codebook."""
        return self.m

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """First dimension of each block and, last, dim: (splits + 1,)."""
        return product.split(self.dim, self.blocks)

    @cached_property
    def ball(self) -> tuple[Rows, float]:
        """The farthest centroid of each stage."""
        means = self.books.mean(axis=1, dtype=np.float64)
        squares = np.square(self.books - means[:, None])
        farthest = np.sqrt(np.add.reduceat(squares, self.starts[:-1], axis=2).max(axis=1))
        return means.sum(axis=0).astype(np.float32), float(np.linalg.norm(farthest.sum(axis=0)))

    @cached_property
    def _searches(self) -> list[Search]:
        return [Search(self._books_of(j), self.beam) for j in range(self.blocks)]

    @cached_property
    def _wide(self) -> NDArray[np.float32]:
        """Codebooks with a centroid for each byte."""
        return product.for_bytes(self.books)

    def _books_of(self, block: int) -> NDArray[np.float32]:
        stages = len(range(block, self.m, self.blocks))
        return np.ascontiguousarray(self.books[:stages, :, self.starts[block] : self.starts[block + 1]])

    def prefix(self, size: int) -> Self:
        """The first stages, whole ones: what they leave, the others code."""
        if size % self.blocks or not 1 <= size <= self.m:
            least = f" in steps of {self.blocks}" if self.blocks > 1 else ""
            raise SpecError(f"{self.name} has tiers of 1 to {self.m} bytes{least}; {size} were asked for")
        return replace(self, m=size, books=self.books[: size // self.blocks].copy())

    def _encode(self, rows: Rows, codes: Codes) -> None:
        for j, search in enumerate(self._searches):
            part = np.ascontiguousarray(rows[:, self.starts[j] : self.starts[j + 1]])
            search.encode(part, codes[:, j :: self.blocks])

    def _decode(self, codes: Codes, rows: Rows) -> None:
        beams.add_up(codes, self._wide, self.starts, rows)

    def scan(self, codes: Codes) -> Scan:
        """By tables of the inner products of a query's blocks with the centroids."""
        return TableScan(codes, CENTROIDS, self._tabulate)

    def _tabulate(self, queries: Rows) -> NDArray[np.float32]:
        values = np.empty((len(queries), len(self.books) * self.blocks, self.books.shape[1]), np.float32)
        for t, book in enumerate(self.books):
            part = np.empty((len(queries), self.blocks, self.books.shape[1]), np.float32)
            lookup.centroid_products(queries, np.ascontiguousarray(book.T), self.starts, part)
            values[:, t * self.blocks : (t + 1) * self.blocks] = part
        return np.ascontiguousarray(values[:, : self.m])


@dataclass(frozen=True, eq=False)
class Rq(Residual):
    """Residual quantization: m= stages of 256 centroids each, searched by beam=."""

    name: ClassVar[str] = "rq"
    learns: ClassVar[bool] = True

    @property
    def blocks(self) -> int:
        """One: the whole row."""
        return 1

    @classmethod
    def fit(
        cls, sample: Rows, *, seed: int = 0, m: int | None = None, beam: int = BEAM, bytes: int | None = None
    ) -> Self:
        """m: stages, by default one for each 48 dimensions. beam: how many partial sums are kept. bytes: the
        row's size, the same as m. Of fewer rows than centroids, each distinct row becomes one."""
        m = choose_m("rq", sample, (m, bytes), beam)
        books = train(sample, m, beam, (seed, 0))
        return cls(dim=sample.shape[1], m=m, beam=beam, books=books)


def choose_m(
    name: str, sample: Rows, given: tuple[int | None, int | None], beam: int, most: int = _MOST
) -> int:
    """The number of codebooks from the options m and bytes; SpecError or InputError if it cannot be."""
    m, size = given
    if None not in given and m != size:
        raise SpecError(f"{name} has m={m} and bytes={size}, which do not agree; give one of them")
    m = size if m is None else m
    m = min(most, max(1, sample.shape[1] // _WIDTH)) if m is None else m
    if not 1 <= m <= most:
        raise SpecError(f"{name} has m={m}; expected 1 to {most}{'' if most == _MOST else ' (prq has more)'}")
    if not 1 <= beam <= _MOST_BEAM:
        raise SpecError(f"{name} has beam={beam}; expected 1 to {_MOST_BEAM}")
    if not len(sample):
        raise InputError(f"{name} is fitted on rows, and there are none")
    return m


@dataclass(frozen=True, eq=False)
class Prq(Residual):
    """Product residual quantization: m= codebooks, dealt to splits= blocks of dimensions."""

    name: ClassVar[str] = "prq"
    learns: ClassVar[bool] = True
    splits: int

    @property
    def blocks(self) -> int:
        """As many as there are splits."""
        return self.splits

    @classmethod
    def fit(
        cls,
        sample: Rows,
        *,
        seed: int = 0,
        m: int | None = None,
        splits: int | None = None,
        beam: int = BEAM,
        bytes: int | None = None,
    ) -> Self:
        """m: codebooks in all, by default one for each 48 dimensions. splits: blocks, 1 to m and to the width
        of rows; by default one for each 8 codebooks. beam: partial sums of each block. bytes: as m."""
        m, dim = choose_m("prq", sample, (m, bytes), beam), sample.shape[1]
        splits = min(dim, max(1, round(m / _USUAL_STAGES))) if splits is None else splits
        if not 1 <= splits <= min(m, dim):
            raise SpecError(f"prq has splits={splits}; m={m} and {dim} dimensions allow 1 to {min(m, dim)}")
        starts = product.split(dim, splits)
        k = min(CENTROIDS, len(sample))
        books = np.zeros((-(-m // splits), k, dim), np.float32)

        def work(first: int, last: int) -> None:
            for j in range(first, last):
                stages = len(range(j, m, splits))
                part = np.ascontiguousarray(sample[:, starts[j] : starts[j + 1]])
                books[:stages, :, starts[j] : starts[j + 1]] = train(part, stages, beam, (seed, j))

        spread(splits, 1, work)
        return cls(dim=dim, m=m, beam=beam, books=books, splits=splits)
