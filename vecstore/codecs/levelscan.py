"""Scans of rotated rows: the cells of a scalar quantizer that is the same for all dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs import tablescan
from vecstore.codecs.gridscan import GridScan
from vecstore.codecs.scan import By, Codes, Places, PulledScan, Rows, ScaledScan, Scan
from vecstore.kernels import cellpicks, cells, scalar
from vecstore.kernels.top import PLUS, Heap

Pull = Callable[[Rows], tuple[Rows, NDArray[np.float64]]]

_DEVIATIONS = 3.0


class Prepared(NamedTuple):
    """Queries as `CellScan` takes them."""

    near: tablescan.Prepared
    packed: Rows
    constants: NDArray[np.float64]  # (q,)


class CellScan(Scan):
    """Rows levels[cells] times a factor each, after a random rotation, by what the halves of cells tell.

    With s the signs of a row's levels l and f = |l|^2 / <l, s>, the product <q, l> of a query is f <q, s> and
    an error that is nearly normal, since the rotation made its direction random, of deviation
    |q| |f s - l| / sqrt(d - 1). _DEVIATIONS of these above it are a bound (Gao, Long 2024 (RaBitQ),
    arXiv:2405.12497, section 3.2).
    """

    exact = False
    bounds = True
    step = tablescan.TableScan.step

    def __init__(self, codes: Codes, dim: int, levels: Rows, factors: Rows, pull: Pull) -> None:
        """codes (n, width), packed as `kernels.cells` does; levels (2**bits,), bits <= 4; factors (n,)."""
        self.rows, self._dim, self._pull = len(codes), dim, pull
        above, sums = np.zeros((len(codes), (dim + 7) // 8), np.uint8), np.empty((len(codes), 2))
        codes = np.ascontiguousarray(codes)
        cells.outline(codes, levels, dim, above, sums)
        sizes, squares = sums.T
        # |f s - l| / f, which is all but the same for all rows.
        apart = np.sqrt(np.maximum(dim - sizes * sizes / squares, 0)).max(initial=0.0)
        self._spread = float(_DEVIATIONS * apart / np.sqrt(dim - 1))
        # Each entry is off by half a step or less, evenly spread; a step is 8 values / 255 at most.
        self._rounded = _DEVIATIONS * 8 / 255 * math.sqrt(dim / 48)
        self._near = tablescan.TableScan(above, 16, self._tabulate)
        self._stretches = (factors * (squares / sizes)).astype(np.float32)
        self._bits = len(levels).bit_length() - 1
        if self._bits == 3:
            codes, self._bits = _in_nibbles(codes, dim), 4
        self._width = codes.shape[1]
        self._cells = cellpicks.lay_out(codes), self._width, cellpicks.tabulate(levels), factors
        self.nbytes = self._near.nbytes + self._cells[0].nbytes + 2 * factors.nbytes

    def _tabulate(self, queries: Rows) -> Rows:
        """What the signs of four dimensions add, and how far above that the bound is."""
        values = np.empty((len(queries), (self._dim + 7) // 8 * 2, 16), np.float32)
        cellpicks.tables_of_signs(queries, self._spread, self._rounded, values)
        return values

    def prepare(self, queries: Rows) -> Prepared:
        """For the bounds, for the inner products, and what is added to both."""
        turned, constants = self._pull(queries)
        packed = cellpicks.pack(turned, self._bits, self._width)
        return Prepared(self._near.prepare(turned), packed, constants)

    def leader(self, others: Sequence[Scan]) -> Scan:
        """This one by the widest bound of all, which is all but its own."""
        found = copy(self)
        found._spread = max(other._spread for other in others if isinstance(other, CellScan))
        found._near = self._near.by(found._tabulate)
        return found

    def dots(self, prepared: Prepared, start: int, stop: int, out: Rows) -> None:
        """Bounds."""
        self._near.dots(prepared.near, start, stop, out)
        out *= self._stretches[start:stop]
        out += prepared.constants[:, None].astype(np.float32)

    def push(self, prepared: Prepared, rows: Places, by: By, heap: Heap) -> bool:
        """Bounds, and inner products of the rows that they let in."""
        blocks = self._near.nibbles
        if blocks is None:
            return False
        queries = prepared.near.tables, prepared.packed, prepared.constants
        cellpicks.push((blocks, self._stretches), self._cells, queries, rows, by, heap)
        return True

    def at_once(self, how: int) -> bool:
        """Where it does `push`."""
        return self._near.nibbles is not None and how != PLUS

    def nearest(self, queries: Rows, by: By, lengths: NDArray[np.float64], count: int, best: Heap) -> None:
        """`prepare`, `push`, `rescore` and the order of what these find."""
        blocks = self._near.nibbles
        assert blocks is not None
        turned, constants = self._pull(queries)
        asked = turned, constants, (self._spread, self._rounded), self._near.places
        sizes = self._bits, count
        cellpicks.nearest((blocks, self._stretches), self._cells, asked, (by, lengths), sizes, best)

    def rescore(self, prepared: Prepared, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Inner products."""
        found = np.empty(numbers.shape)
        cellpicks.pick(self._cells, numbers, prepared.packed, prepared.constants, found)
        return found


def _in_nibbles(codes: Codes, dim: int) -> Codes:
    """Cells of three bits, a nibble each."""
    apart = np.empty((len(codes), dim), np.uint8)
    cells.unpack(codes, 3, apart)
    packed = np.empty((len(codes), (dim + 1) // 2), np.uint8)
    scalar.pack4(apart, packed)
    return packed


def scan_cells(codes: Codes, dim: int, levels: Rows, factors: Rows, pull: Pull) -> Scan:
    """The scan of rows levels[cells] times a factor each; codes (n, width), packed as `kernels.cells` does;
    levels (2**bits,), evenly spaced if they are more than 16; factors (n,); pull as for a `PulledScan`."""
    if len(levels) <= 16:
        return CellScan(codes, dim, levels, factors, pull)
    bits = len(levels).bit_length() - 1
    apart = np.empty((len(codes), dim), np.uint8)
    cells.unpack(np.ascontiguousarray(codes), bits, apart)
    low, step = np.full(dim, levels[0]), np.full(dim, levels[1] - levels[0])
    return PulledScan(ScaledScan(GridScan(apart, low, step, bits=bits), factors), pull)
