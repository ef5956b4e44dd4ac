"""tcq: principal axes, bits by variance, trellis-coded quantization.

code_bytes  bytes: any number up to about the dimensions. One for each residual stage; one for the row's scale
            where it has one; then words of up to 8, each a circle of bits, of which a dimension has 0 to 8,
            or half a bit
error       not bounded; a value far outside the sample's range gets the farthest cell
shared      4 dim (kept + 1) bytes for the axes that have bits, 8 states for each width of cells, 1024 dim for
            each stage, 1024 for scales
source      trellis of windows: Tseng et al. 2024, "QTIP", arXiv:2406.11235, section 3.1; trellis-coded
            quantization: Marcellin, Fischer 1990, doi:10.1109/26.46532

A scale takes its byte from the words. It pays where rows are of different sizes, or their rests behind a
stage are; where all rows are alike it does not, so a trial on held-out rows tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import LARGEST, Codec, Codes, Rows
from vecstore.codecs.parts import LATER, require
from vecstore.codecs.residual.coding import Search
from vecstore.codecs.scan import Scan
from vecstore.codecs.tcq import fitting, trial
from vecstore.codecs.tcq import gains as levels
from vecstore.codecs.tcq import stages as residual
from vecstore.codecs.tcq.allocation import GROUP, lay_out
from vecstore.codecs.tcq.scanning import make_scan
from vecstore.codecs.tcq.tables import MOST_BITS
from vecstore.codecs.transforms.pca import product
from vecstore.errors import InputError, SpecError
from vecstore.kernels import trellis, viterbi
from vecstore.kernels.matmul import matmul
from vecstore.spec import Value

STATES = (64, 128, 256, 1024)
_LEAST_BITS = 0.25


@dataclass(frozen=True, eq=False)
class Tcq(Codec):
    """Trellis-coded principal axes: the least error at any number of bytes=, or bits= per dimension."""

    name: ClassVar[str] = "tcq"
    learns: ClassVar[bool] = True
    dim: int
    bytes: int
    states: int
    stages: int
    renormalize: bool
    books: NDArray[np.float32]  # (stages * k, dim): k <= 256 centroids of each stage
    mean: NDArray[np.float32]  # (dim,)
    axes: NDArray[np.float32]  # (dim, kept): those with bits, in the order of their cells
    scales: NDArray[np.float32]  # (kept,): a cell of axis j stands for scales[j] * table value
    tables: NDArray[np.float32]  # (t, 2, states)
    kinds: NDArray[np.int32]  # (t, 2): bits and dimensions of the cells that each table is for
    groups: NDArray[np.int32]  # (g, 3): word of each group, bits and dimensions of its cells
    told: bool = field(default=False, metadata=LATER)  # renormalize was given, not seen from the sample
    scale: str = field(default=levels.NONE, metadata=LATER)
    gains: NDArray[np.float32] = field(default_factory=levels.no_levels, metadata=LATER)  # (256,) or (0,)

    def __post_init__(self) -> None:
        if self.states not in STATES or not 1 <= self.bytes <= self.dim + 8:
            raise ValueError(f"tcq has states={self.states}, bytes={self.bytes} in {self.dim} dimensions")
        require(self.books, (None, self.dim), np.float32)
        if self.stages not in (0, 1, 2) or not _fit_stages(len(self.books), self.stages):
            raise ValueError(f"tcq has {len(self.books)} centroids in {self.stages} stages")
        require(self.mean, (self.dim,), np.float32)
        require(self.axes, (self.dim, None), np.float32)
        require(self.scales, (self.axes.shape[1],), np.float32)
        require(self.tables, (None, 2, self.states), np.float32)
        require(self.kinds, (len(self.tables), 2), np.int32)
        require(self.groups, (None, 3), np.int32)
        levels.check(self.gains, self.scale)
        bits, widths = self.kinds.T
        most = self.states.bit_length() - 1
        if ((bits < 1) | (bits > min(8, most)) | (widths < 1) | (widths > 2)).any():
            raise ValueError("tcq has cells of no bits or of too many")
        cells, words = self._layout
        if (
            int(cells[:, viterbi.WIDTH].sum()) != len(self.scales)
            or int(words[:, 2].sum()) != self.bytes - self.ahead
        ):
            raise ValueError("tcq has other axes or bytes than cells")

    @classmethod
    def fit(
        cls,
        sample: Rows,
        *,
        seed: int = 0,
        bits: float | None = None,
        bytes: int | None = None,
        states: int = 256,
        stages: int | None = None,
        scale: str | None = None,
        renormalize: bool | None = None,
    ) -> Self:
        """bits: per dimension on average, .25 to 8 (2 by default), or bytes: the row's size. states: 64, 128,
        256 or 1024; more err less and encode slower. stages: of 256 centroids, a byte each, 0 to 2. scale: a
        byte that multiplies the row's cells, for the least error (mse), or so that what they stand for keeps
        its length (length); none; or auto. stages and auto are what finds the most neighbours on a part of
        the sample; scale is auto if neither is given, else none. renormalize: decoded rows get length one,
        by default where all rows of the sample have it."""
        dim = sample.shape[1]
        if states not in STATES:
            raise SpecError(f"tcq has states={states}; expected one of {', '.join(map(str, STATES))}")
        if stages not in (None, 0, 1, 2):
            raise SpecError(f"tcq has stages={stages}; expected 0, 1 or 2")
        size = row_size(cls.name, dim, bits, bytes, 2.0)
        if not len(sample):
            raise InputError("tcq is fitted on rows, and there are none")
        if scale is None:
            scale = levels.AUTO if stages is None else levels.NONE
        options = [
            (count, way)
            for count in (range(3) if stages is None else [stages])
            for way in levels.ways(cls.name, scale)
            if count + (way != levels.NONE) < size
        ] or [(stages or 0, scale)]
        told = renormalize is not None
        unit = fitting.have_length_one(sample) if renormalize is None else renormalize

        def codecs(rows: Rows, options: Sequence[fitting.Option]) -> Iterator[tuple[fitting.Option, Self]]:
            for option, fields in fitting.learn(rows, size, states, options, seed):
                yield option, cls(dim=dim, bytes=size, renormalize=unit, told=told, **fields)

        return trial.best(sample, seed, options, codecs)

    def options(self) -> dict[str, Value]:
        """renormalize only where it was given: the sample tells it otherwise."""
        return {key: value for key, value in super().options().items() if self.told or key != "renormalize"}

    @property
    def code_bytes(self) -> int:
        """The words, and what stands before them."""
        return self.bytes

    @property
    def side_bytes(self) -> int:
        """The scale's number."""
        return int(self.scale != levels.NONE)

    @property
    def ahead(self) -> int:
        """Bytes before the words: those of the stages, and the scale's."""
        return self.stages + self.side_bytes

    @property
    def safe_size(self) -> float:
        """The mean adds to a row, and all of its length can lie on one axis."""
        return float(LARGEST / np.sqrt(self.dim) - np.abs(self.mean).max())

    @cached_property
    def _layout(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        kinds = [(int(bits), int(width)) for bits, width in self.kinds]
        return lay_out(self.groups, kinds)

    @cached_property
    def ball(self) -> tuple[Rows, float]:
        """The farthest cell of each axis, times the largest scale; the farthest centroid of each stage."""
        cells, largest = self._layout[0], np.abs(self.tables).max(axis=2)
        reach = np.zeros(len(self.scales))
        for at in (0, 1):
            mine = cells[cells[:, viterbi.WIDTH] > at]
            reach[mine[:, viterbi.DIM] + at] = largest[mine[:, viterbi.TABLE], at]
        reach *= self.scales * self.gains.max(initial=0.0 if self.side_bytes else 1.0)
        middle, radius = self.mean.astype(np.float64), float(np.linalg.norm(reach))
        for book in np.split(self.books.astype(np.float64), max(self.stages, 1)):
            if self.stages:
                middle = middle + book.mean(axis=0)
                radius += float(np.linalg.norm(book - book.mean(axis=0), axis=1).max())
        return middle.astype(np.float32), radius

    @cached_property
    def _search(self) -> Search:
        return residual.ready(self.books, self.stages)

    @cached_property
    def back(self) -> NDArray[np.float32]:
        """The axes one behind the other, (kept, dim)."""
        return np.ascontiguousarray(self.axes.T)

    def prefix(self, size: int) -> Self:
        """What stands before the words, and the first of them; in these are the largest axes, and some others
        that filled them."""
        ends = self.ahead + np.cumsum(self.word_sizes)
        if size not in ends:
            raise SpecError(
                f"{size} bytes of {self.name} do not end with a word of its codes; these do: "
                + ", ".join(map(str, ends))
            )
        groups = self.groups[self.groups[:, 0] <= np.searchsorted(ends, size)]
        kept = int(GROUP * groups[:, 2].sum())
        axes, scales = np.ascontiguousarray(self.axes[:, :kept]), self.scales[:kept].copy()
        return replace(self, bytes=size, axes=axes, scales=scales, groups=groups)

    def _encode(self, rows: Rows, codes: Codes) -> None:
        rest = rows - self.mean
        if self.stages:
            chosen = np.empty((len(rows), self.stages), np.uint8)
            self._search.encode(rows, chosen)
            rest -= residual.decode(chosen, self.books)
            codes[:, : self.stages] = chosen
        turned = product(rest, self.axes)
        if self.side_bytes:
            words = self.words_of(levels.divided(turned, self.scales, self.gains))
            codes[:, self.stages] = levels.chosen(self.scale, turned, self._cells(words), self.gains)
        else:
            words = self.words_of(turned)
        codes[:, self.ahead :] = words

    def _decode(self, codes: Codes, rows: Rows) -> None:
        self._restore(codes, rows)
        if self.renormalize:
            fitting.to_length_one(rows)

    def words_of(self, turned: Rows) -> Codes:
        """Words of values along the axes (n, kept), any scale divided out: the trellis search by itself."""
        words = np.empty((len(turned), self.bytes - self.ahead), np.uint8)
        viterbi.encode(turned, self.scales, self.tables, *self._layout, words)
        return words

    def _cells(self, words: Codes) -> Rows:
        """What words stand for, along the axes (n, kept)."""
        found = np.empty((len(words), len(self.scales)), np.float32)
        trellis.decode(words, self.scales, self.tables, *self._layout, found)
        return found

    def turned(self, codes: Codes) -> Rows:
        """What words and scales stand for, along the axes (n, kept); of codes (n, code_bytes)."""
        found = self._cells(np.ascontiguousarray(codes[:, self.ahead :]))
        if self.side_bytes:
            found *= self.factors(codes)[:, None]
        return found

    def factors(self, codes: Codes) -> Rows:
        """The scales of rows (n,)."""
        return self.gains[codes[:, self.stages]]

    def restored(self, codes: Codes) -> Rows:
        """Decoded rows (n, dim) before they are renormalized."""
        rows = np.empty((len(codes), self.dim), np.float32)
        self._restore(codes, rows)
        return rows

    def _restore(self, codes: Codes, rows: Rows) -> None:
        """The same, written."""
        matmul(self.turned(codes), self.back, rows)
        chosen = residual.inside(codes[:, : self.stages], len(self.books) // (self.stages or 1))
        trellis.add_centroids(rows, self.mean, chosen, self.books)

    @property
    def word_sizes(self) -> NDArray[np.int64]:
        """Bytes of each word."""
        return np.ascontiguousarray(self._layout[1][:, 2])

    def scan(self, codes: Codes) -> Scan:
        """Windows looked up in registers, from a copy of the codes with 8 bytes a word; or decoded."""
        return make_scan(self, codes)


def row_size(name: str, dim: int, bits: float | None, size: int | None, usual: float) -> int:
    """Bytes of a row from what a spec gives: bits per dimension, or the size itself, or neither."""
    if bits is not None and not _LEAST_BITS <= bits <= MOST_BITS:
        raise SpecError(
            f"{name} has bits={bits:g}; expected {_LEAST_BITS} to {MOST_BITS}, or any size by bytes="
        )
    if size is None:
        size = max(1, round((usual if bits is None else bits) * dim / 8))
    elif bits is not None and round(bits * dim / 8) != size:
        raise SpecError(f"{name} has bits={bits} and bytes={size}, which do not agree; give one of them")
    if size < 1:
        raise SpecError(f"{name} has bytes={size}; expected 1 or more")
    return size


def _fit_stages(centroids: int, stages: int) -> bool:
    """Whether so many centroids are those of so many stages."""
    if not stages:
        return centroids == 0
    return centroids % stages == 0 and 1 <= centroids // stages <= residual.CENTROIDS
