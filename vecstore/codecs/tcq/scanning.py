"""Scans of trellis codes: in registers where the machine can look up windows, by decoding elsewhere.

<q, row> = <q, mean> + <q, centroids of the stages> + the sum of (scale * (axes.T q))[j] * table[window of j]:
a query is turned once and rows are never turned back. The sum is times the row's scale where it has one. Rows
that are renormalized have a factor each, made when the scan is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs import tablescan
from vecstore.codecs.scan import Codes, Rows, ScaledScan, Scan
from vecstore.codecs.tcq import fitting, stages
from vecstore.codecs.tcq.allocation import GROUP
from vecstore.codecs.transforms.center import offsets
from vecstore.kernels import bytedots, scores, trellisdots

if TYPE_CHECKING:
    from vecstore.codecs.tcq import Tcq

_BLOCK_ROWS = 512  # decoded at a time
_TOP = 127  # of a rounded weight and, around _MIDDLE, of a table value
_MIDDLE = 128


def make_scan(codec: Tcq, codes: Codes) -> Scan:
    """The scan of codes (n, code_bytes) that is fastest here."""
    scan = (RegisterScan if trellisdots.usable(codec.states) else TurnedScan)(codec, codes)
    return ScaledScan(scan, _factors(codec, codes)) if codec.renormalize else scan


def _factors(codec: Tcq, codes: Codes) -> Rows:
    """What makes each decoded row one of length one, (n,); 1 for rows without length."""
    found = np.empty(len(codes), np.float32)
    for start in range(0, len(codes), _BLOCK_ROWS):
        part = codes[start : start + _BLOCK_ROWS]
        found[start : start + len(part)] = fitting.to_one(codec.restored(part))
    return found


class TurnedScan(Scan):
    """Decodes along the principal axes, without turning rows back."""

    alike = True
    queries = 256

    def __init__(self, codec: Tcq, codes: Codes) -> None:
        self.rows, self.nbytes = len(codes), 0
        self._codec, self._codes = codec, codes

    def prepare(self, queries: Rows) -> tuple[Rows, Rows, Rows]:
        """Turned queries, inner products with the mean (q,), and with the centroids of the stages."""
        codec = self._codec
        constant = offsets(queries, codec.mean).astype(np.float32)
        return scores.pack(_products(queries, codec.back)), constant, _of_centroids(codec, queries)

    def dots(self, prepared: tuple[Rows, Rows, Rows], start: int, stop: int, out: Rows) -> None:
        """Products with decoded cells, then what all rows and what rows of a centroid have in common."""
        packed, constant, centroids = prepared
        for at in range(start, stop, _BLOCK_ROWS):
            codes = self._codes[at : min(at + _BLOCK_ROWS, stop)]
            found = np.empty((len(out), len(codes)), np.float32)
            scores.dots(self._codec.turned(codes), packed, found)
            found += constant[:, None]
            if self._codec.stages:
                chosen = stages.inside(codes[:, : self._codec.stages], centroids.shape[2])
                for stage in range(self._codec.stages):
                    found += centroids[:, stage, chosen[:, stage]]
            out[:, at - start : at - start + len(codes)] = found


def _of_centroids(codec: Tcq, queries: Rows) -> Rows:
    """<query, centroid>, (q, stages, k)."""
    found = _products(queries, codec.books)
    return found.reshape(len(queries), codec.stages, -1) if codec.stages else found[:, None]


def _products(queries: Rows, rows: Rows) -> Rows:
    """<query, row>, (q, n)."""
    found = np.empty((len(queries), len(rows)), np.float32)
    scores.dots(rows, scores.pack(queries), found)
    return found


class Prepared(NamedTuple):
    """Queries as `RegisterScan` takes them."""

    weights: bytedots.Weights  # of the dimensions of all groups
    exact: NDArray[np.float64]  # (q, g, 8): the same, not rounded
    # (q,) each: <query, mean>, and that with what the tables of centroids begin with
    constants: tuple[NDArray[np.float64], NDArray[np.float64]]
    centroids: tablescan.Prepared | None


class RegisterScan(Scan):
    """Looks windows up in tables of bytes and multiplies them with weights of a byte."""

    exact = False
    alike = True
    step = trellisdots.BLOCK

    def __init__(self, codec: Tcq, codes: Codes) -> None:
        self.rows = len(codes)
        self._codec = codec
        sizes = codec.word_sizes
        self._blocks = trellisdots.lay_out(np.ascontiguousarray(codes[:, codec.ahead :]), sizes)
        self._centroids: tablescan.TableScan | None = None
        if codec.stages:
            own = np.array(codes[:, : codec.stages], order="C")
            self._centroids = tablescan.TableScan(
                own, stages.CENTROIDS, lambda queries: _of_centroids(codec, queries)
            )
        self._factors = codec.factors(codes) if codec.side_bytes else None
        parts = (self._blocks, self._centroids, self._factors)
        self.nbytes = sum(part.nbytes for part in parts if part is not None)
        groups, controls, dims = _plan(codec, sizes)
        largest = np.abs(codec.tables).max(axis=2, keepdims=True).clip(1e-30)
        rounded = np.rint(codec.tables / largest * _TOP) + _MIDDLE
        tables = codec.tables.reshape(-1, codec.states)
        self._windows = trellisdots.plan(groups, controls, rounded.astype(np.uint8).reshape(tables.shape))
        self._exact = groups, controls, tables.astype(np.float64)
        self._dims = dims.reshape(-1)
        units = (largest / _TOP).reshape(-1)[groups[:, 1]]
        self._scales = codec.scales[self._dims].astype(np.float64)
        self._units = (codec.scales[dims] * units[:, None]).reshape(-1)
        self._middles = -_MIDDLE * self._units

    def prepare(self, queries: Rows) -> Prepared:
        """The queries turned, as weights of the table's values."""
        codec = self._codec
        turned = _products(queries, codec.back).take(self._dims, axis=1)
        centroids = self._centroids.prepare(queries) if self._centroids else None
        constant = offsets(queries, codec.mean)
        common = constant if centroids is None else constant + centroids.offsets
        base = offsets(turned, self._middles)
        if self._factors is None:
            base += common
        folded = bytedots.fold(turned * self._units, base, 1, 2 * _MIDDLE, len(self._dims))
        exact = turned * self._scales
        return Prepared(folded, exact.reshape(len(queries), -1, GROUP), (constant, common), centroids)

    def dots(self, prepared: Prepared, start: int, stop: int, out: Rows) -> None:
        """Sums of products of whole numbers, and of entries of the stages' tables."""
        trellisdots.dots(self._blocks, start // self.step, self._windows, prepared.weights, out)
        if self._factors is not None:
            out *= self._factors[start:stop]
            out += prepared.constants[1].astype(np.float32)[:, None]
        if self._centroids is not None and prepared.centroids is not None:
            self._centroids.add(prepared.centroids, start, out)

    def rescore(self, prepared: Prepared, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Products along the axes, where a row need not be turned back."""
        found = np.empty(numbers.shape)
        trellisdots.pick(self._blocks, numbers, self._exact, prepared.exact, found)
        if self._factors is not None:
            found *= self._factors[numbers]
        found += prepared.constants[0][:, None]
        if self._centroids is not None and prepared.centroids is not None:
            of_stages = self._centroids.rescore(prepared.centroids, numbers)
            assert of_stages is not None  # They are a byte or two.
            found += of_stages
        return found


def _plan(
    codec: Tcq, sizes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]:
    """Groups (g, 2): word and table; their controls (g,), and the dimensions (g, 8) of their windows."""
    kinds = [(int(bits), int(width)) for bits, width in codec.kinds]
    groups, controls, dims = [], [], []
    start, place = 0, 0
    for at, (word, bits, width) in enumerate(codec.groups):
        if at == 0 or word != codec.groups[at - 1, 0]:
            place = int(sizes[word])
        place -= int(bits)
        first = int(sizes[word]) * np.arange(GROUP) + place  # from the last part of the path to its first
        for j in range(int(width)):
            groups.append((int(word), 2 * kinds.index((int(bits), int(width))) + j))
            controls.append(int.from_bytes(bytes(first.tolist()), "little"))
            dims.append(start + int(width) * (GROUP - 1 - np.arange(GROUP)) + j)
        start += GROUP * int(width)
    return np.array(groups, np.int64), np.array(controls, np.uint64), np.array(dims, np.int64)
