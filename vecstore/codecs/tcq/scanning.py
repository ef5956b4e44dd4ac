"""Scans of trellis codes: in registers where the machine can look up windows, by decoding elsewhere.

<q, row> = <q, mean> + <q, centroids of the stages> + the sum of (scale * (axes.T q))[j] * table[window of j]:
a query is turned once and rows are never turned back. The sum is times the row's scale where it has one. Rows
that are renormalized have a factor each, made when the scan is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.scan import By, Codes, Places, Rows, ScaledScan, Scan
from vecstore.codecs.tcq import fitting, stages
from vecstore.codecs.tcq.allocation import GROUP
from vecstore.codecs.transforms.center import offsets
from vecstore.kernels import (
    bitsums,
    lookup,
    product,
    scores,
    trellisasks,
    trellisdots,
    trellisheaps,
    trellistails,
)
from vecstore.kernels.top import Heap

if TYPE_CHECKING:
    from vecstore.codecs.tcq import Tcq

_BLOCK_ROWS = 512  # decoded at a time
_TOP = 127  # of a rounded weight and, around trellisasks.MIDDLE, of a table value
# Times the spread of scores: what a row's score must be to get in. Behind stages it is spread more than
# `_spread` finds, as centroids are not alike frequent.
_NEEDED, _NEEDED_BEHIND_STAGES = 2.4, 2.7
_TAIL = 8.0  # times what it takes to look windows up of all rows in turn, for those of a few
_WORTH = 0.9  # of the time with all words of all rows


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
            for stage in range(self._codec.stages):
                found += centroids[:, stage, codes[:, stage]]
            out[:, at - start : at - start + len(codes)] = found


def _of_centroids(codec: Tcq, queries: Rows) -> Rows:
    """What each byte of a stage adds, (q, stages, 256): <query, centroid>."""
    if not codec.stages:
        return np.empty((len(queries), 0, stages.CENTROIDS), np.float32)
    found = _products(queries, codec.books).reshape(len(queries), codec.stages, -1)
    if found.shape[2] < stages.CENTROIDS:
        found = np.ascontiguousarray(found[:, :, product.inside(found.shape[2], stages.CENTROIDS)])
    return found


def _products(queries: Rows, rows: Rows) -> Rows:
    """<query, row>, (q, n)."""
    found = np.empty((len(queries), len(rows)), np.float32)
    scores.dots(rows, scores.pack(queries), found)
    return found


class Prepared(NamedTuple):
    """Queries as `RegisterScan` takes them."""

    weights: trellistails.Queries
    exact: NDArray[np.float64]  # (q, g, 8): the same, not rounded
    constants: NDArray[np.float64]  # (q,): <query, mean>
    centroids: Rows  # (q, stages, 256): products with them
    bases: lookup.Tables  # of these and constants, for `trellisheaps.settle`


class RegisterScan(Scan):
    """Looks windows up in tables of bytes and multiplies them with weights of a byte.

    Where the words with the largest axes rule most rows out, the others are read of few rows.
    """

    exact = False
    alike = True
    step = trellisdots.BLOCK

    def __init__(self, codec: Tcq, codes: Codes) -> None:
        self.rows = len(codes)
        self._codec = codec
        order, heads = _split(codec)
        groups, controls, dims = _plan(codec, order)
        tables, units = _rounded(codec)
        units = codec.scales[dims] * units[groups[:, 1], None]
        exact = groups, controls, codec.tables.reshape(-1, codec.states).astype(np.float64)
        chosen = bitsums.lay_out(codes[:, : codec.stages])
        factors = codec.factors(codes) if codec.side_bytes else np.empty(0, np.float32)
        blocks = trellisdots.lay_out(*_words(codec, codes, order[:heads]))
        rest = trellistails.lay_out(*_words(codec, codes, order[heads:]))
        self._all = blocks, rest, exact, factors, chosen
        first = int(np.count_nonzero(groups[:, 0] < heads))
        self._windows = trellisdots.plan(groups[:first], controls[:first], tables)
        self._held: trellisheaps.Held | None = None
        lanes = np.empty((0, GROUP), np.int64)
        if len(order) > heads:
            behind = trellisdots.plan(groups[first:] - (heads, 0), controls[first:], tables)
            sizes = units[first:].astype(np.float64)
            tails, lanes = trellistails.tails(rest, behind, sizes, factors)
            self._held = trellisheaps.Held(blocks, self._windows, tails, factors, chosen)
        scales = codec.scales[dims].astype(np.float64)
        self._axes = dims.reshape(-1), units.reshape(-1), scales.reshape(-1), first * GROUP, lanes
        self.nbytes = sum(part.nbytes for part in (blocks, rest, factors, chosen))
        self.nbytes += 4 * self.rows if self._held else 0

    def prepare(self, queries: Rows) -> Prepared:
        """The queries turned, as weights of the table's values."""
        turned, constants, centroids, axes = self._asked(queries)
        first = np.zeros(len(queries)) if self._settled else constants
        bases = trellisasks.tables_of(centroids, constants)
        return Prepared(*trellisasks.weigh(turned, first, axes), constants, centroids, bases)

    def _asked(self, queries: Rows) -> tuple[Rows, NDArray[np.float64], Rows, trellisasks.Axes]:
        """Along the axes; what the mean adds, and centroids do; the axes."""
        turned, constants = _products(queries, self._codec.back), offsets(queries, self._codec.mean)
        return turned, constants, _of_centroids(self._codec, queries), self._axes

    @property
    def _settled(self) -> bool:
        """Whether scores of cells have factors or bases."""
        return bool(self._codec.side_bytes or self._codec.stages)

    def dots(self, prepared: Prepared, start: int, stop: int, out: Rows) -> None:
        """Sums of products of whole numbers, and of entries of the stages' tables."""
        if self._held is not None:
            trellisheaps.dots(self._held, start, (prepared.weights, prepared.bases), out)
            return
        first = start // self.step
        blocks, _, _, factors, chosen = self._all
        trellisdots.dots(blocks, first, self._windows, prepared.weights.heads, out)
        if self._settled:
            trellisheaps.settle(chosen, first, factors[start:stop], prepared.bases, out)

    def push(self, prepared: Prepared, rows: Places, by: By, heap: Heap) -> bool:
        """Heads of all rows, and tails of those that may get in."""
        if self._held is None:
            return False
        trellisheaps.push(self._held, (prepared.weights, prepared.bases), rows, by, heap)
        return True

    def at_once(self, how: int) -> bool:
        """With bounds."""
        return self._held is not None

    def nearest(self, queries: Rows, by: By, lengths: NDArray[np.float64], count: int, best: Heap) -> None:
        """`push`, `rescore` and the order of what these find."""
        assert self._held is not None
        held = self._held, self._all
        trellisasks.nearest(held, self._asked(queries), (by, lengths), count, best)

    def rescore(self, prepared: Prepared, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Products along the axes, where a row need not be turned back."""
        found = np.empty(numbers.shape)
        asked = prepared.exact, prepared.constants, prepared.centroids
        trellisasks.rescore(self._all, numbers, asked, found)
        return found


def _rounded(codec: Tcq) -> tuple[Codes, Rows]:
    """Tables (t, states) as bytes, and the step of each (t,)."""
    largest = np.abs(codec.tables).max(axis=2, keepdims=True).clip(1e-30)
    bytes_ = (np.rint(codec.tables / largest * _TOP) + trellisasks.MIDDLE).astype(np.uint8)
    return bytes_.reshape(-1, codec.states), (largest / _TOP).reshape(-1)


def _words(codec: Tcq, codes: Codes, chosen: NDArray[np.int64]) -> tuple[Codes, NDArray[np.int64]]:
    """Codes of some words alone, and the bytes of each."""
    sizes = codec.word_sizes
    starts = codec.ahead + np.cumsum([0, *sizes])
    places = [np.arange(starts[word], starts[word + 1]) for word in chosen]
    own = codes[:, np.concatenate([np.empty(0, np.int64), *places])]
    return np.ascontiguousarray(own), sizes[chosen]


def _split(codec: Tcq) -> tuple[NDArray[np.int64], int]:
    """The words in the order in which they are read, and how many of them are read of all rows.

    Those whose groups have the largest axes come first, as many as make a search the fastest if queries are
    like rows: a score is then spread as much as the root of the sum of squared variances, and what the others
    add is at most the sum of theirs. All words where none can be left out.
    """
    variances = np.square(codec.scales.astype(np.float64))
    ends = np.cumsum(GROUP * codec.groups[:, 2])
    each = np.add.reduceat(variances, ends - GROUP * codec.groups[:, 2])
    words = codec.groups[:, 0]
    whole, groups = np.bincount(words, each), np.bincount(words, codec.groups[:, 2])
    order = np.argsort(-whole / groups, kind="stable")
    if not variances.any():
        return np.arange(len(order)), len(order)
    spread, needed = _spread(codec, variances), _NEEDED_BEHIND_STAGES if codec.stages else _NEEDED
    sizes = np.cumsum(groups[order])
    rest = variances.sum() - np.cumsum(whole[order])
    passing = [math.erfc((needed - max(left, 0) / spread) / math.sqrt(2)) / 2 for left in rest]
    cost = sizes + _TAIL * np.array(passing) * (sizes[-1] - sizes)
    heads = int(cost.argmin()) + 1
    return (order, heads) if cost[heads - 1] < _WORTH * cost[-1] else (np.arange(len(order)), len(order))


def _spread(codec: Tcq, variances: NDArray[np.float64]) -> float:
    """How much scores are spread: the size of the covariance of rows, of axes with these variances and of
    the centroids of each stage, all of which are as frequent."""
    squares = np.square(variances).sum()
    if codec.stages:
        books = codec.books.reshape(codec.stages, -1, codec.dim)
        books = books - books.mean(axis=1, keepdims=True)
        apart = (books / math.sqrt(books.shape[1])).reshape(-1, codec.dim).astype(np.float32)
        squares += np.square(_products(apart, apart).astype(np.float64)).sum()
        squares += 2 * (np.square(_products(apart, codec.back).astype(np.float64)) @ variances).sum()
    return math.sqrt(squares)


def _plan(
    codec: Tcq, order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]:
    """Groups (g, 2): word, numbered in this order, and table; their controls (g,), and the dimensions (g, 8)
    of their windows; by word."""
    kinds = [(int(bits), int(width)) for bits, width in codec.kinds]
    groups, controls, dims = [], [], []
    start, place, sizes = 0, 0, codec.word_sizes
    for at, (word, bits, width) in enumerate(codec.groups):
        if at == 0 or word != codec.groups[at - 1, 0]:
            place = int(sizes[word])
        place -= int(bits)
        first = int(sizes[word]) * np.arange(GROUP) + place  # from the last part of the path to its first
        for j in range(int(width)):
            groups.append(
                (int(np.flatnonzero(order == word)[0]), 2 * kinds.index((int(bits), int(width))) + j)
            )
            controls.append(int.from_bytes(bytes(first.tolist()), "little"))
            dims.append(start + int(width) * (GROUP - 1 - np.arange(GROUP)) + j)
        start += GROUP * int(width)
    made = np.array(groups, np.int64), np.array(controls, np.uint64), np.array(dims, np.int64)
    by_word = np.argsort(made[0][:, 0], kind="stable")
    return made[0][by_word], made[1][by_word], made[2][by_word]
