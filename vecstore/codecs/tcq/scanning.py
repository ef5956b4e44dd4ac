"""Scans of trellis codes: in registers where the machine can look up windows, by decoding elsewhere.

<q, row> = <q, mean> + <q, centroids of the stages> + the sum of (scale * (axes.T q))[j] * table[window of j]:
a query is turned once and rows are never turned back. Rows that are renormalized have a factor each, made
when the scan is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.scan import Codes, Rows, ScaledScan, Scan
from vecstore.codecs.tablescan import TableScan
from vecstore.codecs.tcq import stages
from vecstore.codecs.tcq.allocation import GROUP
from vecstore.codecs.transforms.center import offsets
from vecstore.codecs.transforms.pca import product
from vecstore.kernels import scores, trellisdots

if TYPE_CHECKING:
    from vecstore.codecs.tcq import Tcq

Folded = tuple[NDArray[np.uint64], Rows]  # (g, 2) as in `trellisdots.dots`, and (scale, offset)

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
        lengths = np.empty(len(part))
        scores.squares(codec.restored(part), lengths)
        found[start : start + len(part)] = 1 / np.sqrt(np.where(lengths > 0, lengths, 1))
    return found


class TurnedScan(Scan):
    """Decodes along the principal axes, without turning rows back."""

    queries = 256

    def __init__(self, codec: Tcq, codes: Codes) -> None:
        self.rows, self.nbytes = len(codes), 0
        self._codec, self._codes = codec, codes

    def prepare(self, queries: Rows) -> tuple[Rows, Rows, Rows]:
        """Turned queries, inner products with the mean (q,), and with the centroids of the stages."""
        codec = self._codec
        constant = offsets(queries, codec.mean).astype(np.float32)
        return scores.pack(product(queries, codec.axes)), constant, _of_centroids(codec, queries)

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
    found = product(queries, np.ascontiguousarray(codec.books.T))
    return found.reshape(len(queries), codec.stages, -1) if codec.stages else found[:, None]


class RegisterScan(Scan):
    """Looks windows up in tables of bytes and multiplies them with weights of a byte."""

    exact = False
    step = trellisdots.BLOCK
    queries = 8

    def __init__(self, codec: Tcq, codes: Codes) -> None:
        self.rows = len(codes)
        self._codec = codec
        sizes = codec.word_sizes
        self._blocks = trellisdots.lay_out(np.ascontiguousarray(codes[:, codec.stages :]), sizes)
        self._own = np.array(codes[:, : codec.stages], order="C")
        self._stages: TableScan | None = None
        if codec.stages:
            self._stages = TableScan(
                self._own, stages.CENTROIDS, lambda queries: _of_centroids(codec, queries)
            )
        self.nbytes = self._blocks.nbytes + self._own.nbytes + (self._stages.nbytes if self._stages else 0)
        self._groups, self._controls, self._dims = _plan(codec, sizes)
        largest = np.abs(codec.tables).max(axis=2, keepdims=True).clip(1e-30)
        tables = np.rint(codec.tables / largest * _TOP) + _MIDDLE
        self._tables = tables.astype(np.uint8).reshape(-1, codec.states)
        units = (largest / _TOP).reshape(-1)[self._groups[:, 1]]
        self._units = codec.scales[self._dims] * units[:, None]

    def prepare(self, queries: Rows) -> tuple[list[Folded], Any]:
        """For each query the controls with its rounded weights, scale and offset of its sums; its tables."""
        constant = offsets(queries, self._codec.mean)
        folded = []
        for query, offset in zip(product(queries, self._codec.axes), constant, strict=True):
            weights = query[self._dims] * self._units
            scale = np.float32(max(float(np.abs(weights).max(initial=0)) / _TOP, 1e-30))
            whole = np.rint(weights / scale).astype(np.int8)
            offset -= float(scale) * _MIDDLE * int(whole.sum(dtype=np.int64))
            packed = np.stack([self._controls, whole.view(np.uint64)[:, 0]], axis=1)
            folded.append((packed, np.array([scale, offset], np.float32)))
        return folded, self._stages.prepare(queries) if self._stages else None

    def dots(self, prepared: tuple[list[Folded], Any], start: int, stop: int, out: Rows) -> None:
        """Sums of products of whole numbers, a block of rows at a time."""
        folded, tables = prepared
        count = -(-(stop - start) // self.step) * self.step
        whole = np.empty(count, np.float32)
        for found, query in zip(out, folded, strict=True):
            target = found if count == stop - start else whole
            trellisdots.dots(self._blocks, start // self.step, self._groups, self._tables, query, target)
            found[:] = target[: stop - start]
        if self._stages is not None:
            added = np.empty_like(out)
            self._stages.dots(tables, start, stop, added)
            out += added

    def rescore(self, queries: Rows, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Products along the axes, where a row need not be turned back."""
        block, place = divmod(numbers.reshape(-1), self.step)
        words = np.ascontiguousarray(self._blocks[block, :, place]).view(np.uint8)
        words = words.reshape(len(block), -1, 8)
        sizes = self._codec.word_sizes
        parts = [self._own[numbers.reshape(-1)], *(words[:, w, :size] for w, size in enumerate(sizes))]
        codes = np.concatenate(parts, axis=1)
        turned = self._codec.turned(codes).reshape(*numbers.shape, -1)
        along = product(queries, self._codec.axes).astype(np.float64)
        found: NDArray[np.float64] = (turned * along[:, None]).sum(axis=2)
        found += offsets(queries, self._codec.mean)[:, None]
        if self._codec.stages:
            centroids = _of_centroids(self._codec, queries)
            chosen = stages.inside(self._own[numbers], centroids.shape[2])
            for stage in range(self._codec.stages):
                found += np.take_along_axis(centroids[:, stage], chosen[:, :, stage], axis=1)
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
        first = int(sizes[word]) * (GROUP - 1 - np.arange(GROUP)) + place
        for j in range(int(width)):
            groups.append((int(word), 2 * kinds.index((int(bits), int(width))) + j))
            controls.append(int.from_bytes(bytes(first.tolist()), "little"))
            dims.append(start + int(width) * np.arange(GROUP) + j)
        start += GROUP * int(width)
    return np.array(groups, np.int64), np.array(controls, np.uint64), np.array(dims, np.int64)
