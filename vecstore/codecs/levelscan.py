"""Scans of rotated rows: the cells of a scalar quantizer that is the same for all dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.bitscan import BitScan, bit_weights
from vecstore.codecs.gridscan import GridScan
from vecstore.codecs.scan import Codes, Rows, ScaledScan, Scan
from vecstore.kernels import cellpicks, cells, scalar

_DEVIATIONS = 3.0


class CellScan(Scan):
    """Rows levels[cells] times a factor each, after a random rotation, by what the halves of cells tell.

    With s the signs of a row's levels l and f = |l|^2 / <l, s>, the product <q, l> of a query is f <q, s> and
    an error that is nearly normal, since the rotation made its direction random, of deviation
    |q| |f s - l| / sqrt(d - 1). _DEVIATIONS of these above it are a bound (Gao, Long 2024 (RaBitQ),
    arXiv:2405.12497, section 3.2).
    """

    exact = False
    bounds = True
    step = BitScan.step

    def __init__(self, codes: Codes, dim: int, levels: Rows, factors: Rows) -> None:
        """codes (n, width), packed as `kernels.cells` does; levels (2**bits,), bits <= 4; factors (n,)."""
        self.rows, self._dim = len(codes), dim
        self._factors = factors
        above, sums = np.zeros((len(codes), (dim + 7) // 8), np.uint8), np.empty((len(codes), 2))
        codes = np.ascontiguousarray(codes)
        cells.outline(codes, levels, dim, above, sums)
        sizes, squares = sums.T
        # |f s - l| / f, which is all but the same for all rows.
        apart = np.sqrt(np.maximum(dim - sizes * sizes / squares, 0)).max(initial=0.0)
        self._spread = float(_DEVIATIONS * apart / np.sqrt(dim - 1))
        near = BitScan(above, [above.shape[1]], self._weigh)
        self._near = ScaledScan(near, (factors * (squares / sizes)).astype(np.float32))
        self._bits = len(levels).bit_length() - 1
        if self._bits == 3:
            codes, self._bits = _in_nibbles(codes, dim), 4
        self._table = cellpicks.tabulate(levels)
        self._width = codes.shape[1]
        self._codes = cellpicks.lay_out(codes)
        self.nbytes = self._near.nbytes + self._codes.nbytes + factors.nbytes

    def _weigh(self, queries: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """Weights of the bits, and how far above their sum the bound is."""
        weights, facts = bit_weights(2 * queries, (self._dim + 7) // 8), np.empty((len(queries), 3))
        cellpicks.sizes(queries, facts)
        # Each nibble's entry is off by half a step or less, evenly spread; a step is 8 weights / 255 at most.
        rounded = _DEVIATIONS * 8 / 255 * math.sqrt(self._dim / 48)
        return weights, facts[:, 1] * self._spread + facts[:, 2] * rounded - facts[:, 0]

    def prepare(self, queries: Rows) -> tuple[Any, Rows]:
        """For the bounds, and for the inner products."""
        return self._near.prepare(queries), cellpicks.pack(queries, self._bits, self._width)

    def dots(self, prepared: tuple[Any, Rows], start: int, stop: int, out: Rows) -> None:
        """Bounds."""
        self._near.dots(prepared[0], start, stop, out)

    def rescore(self, prepared: tuple[Any, Rows], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Inner products."""
        found = np.empty(numbers.shape)
        cellpicks.pick(self._codes, self._width, numbers, self._table, prepared[1], found)
        found *= self._factors[numbers]
        return found


def _in_nibbles(codes: Codes, dim: int) -> Codes:
    """Cells of three bits, a nibble each."""
    apart = np.empty((len(codes), dim), np.uint8)
    cells.unpack(codes, 3, apart)
    packed = np.empty((len(codes), (dim + 1) // 2), np.uint8)
    scalar.pack4(apart, packed)
    return packed


def scan_cells(codes: Codes, dim: int, levels: Rows, factors: Rows) -> Scan:
    """The scan of rows levels[cells] times a factor each; codes (n, width), packed as `kernels.cells` does;
    levels (2**bits,), evenly spaced if they are more than 16; factors (n,)."""
    if len(levels) <= 16:
        return CellScan(codes, dim, levels, factors)
    bits = len(levels).bit_length() - 1
    apart = np.empty((len(codes), dim), np.uint8)
    cells.unpack(np.ascontiguousarray(codes), bits, apart)
    low, step = np.full(dim, levels[0]), np.full(dim, levels[1] - levels[0])
    return ScaledScan(GridScan(apart, low, step, bits=bits), factors)
