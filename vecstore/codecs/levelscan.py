"""Scans of rotated rows: the cells of a scalar quantizer that is the same for all dimensions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.bitscan import BitScan, bit_weights
from vecstore.codecs.gridscan import GridScan
from vecstore.codecs.scan import Codes, Rows, Scan
from vecstore.codecs.tablescan import TableScan
from vecstore.kernels import cells, leveldots, scalar


class LevelScan(Scan):
    """Rows whose value in a dimension is the level, one of 16, that a nibble picks."""

    exact = False
    step = leveldots.BLOCK

    def __init__(self, codes: Codes, levels: Rows) -> None:
        """codes (n, ceil(dim / 2)), the lower nibble first; levels (at most 16,), ascending."""
        self.rows = len(codes)
        self._blocks = leveldots.lay_out(codes)
        self.nbytes = self._blocks.nbytes
        self._book = leveldots.round_levels(levels)

    def prepare(self, queries: Rows) -> leveldots.Weights:
        """The queries in whole numbers."""
        return leveldots.fold(queries, self._book)

    def dots(self, prepared: leveldots.Weights, start: int, stop: int, out: Rows) -> None:
        """Sums of products of whole numbers."""
        leveldots.dots(self._blocks, start // self.step, self._book[0], prepared, out)


def scan_cells(codes: Codes, dim: int, levels: Rows) -> Scan:
    """The scan of rows levels[cells]; codes (n, width), packed as `kernels.cells` does; levels (2**bits,)."""
    bits = len(levels).bit_length() - 1
    if bits == 1:
        return _scan_bits(codes, levels)
    if bits == 2:
        return TableScan(codes, 16, lambda queries: _pairs(queries, levels))
    steps = np.diff(levels)
    even = bool((steps == steps[0]).all())
    if bits == 4 and not even:
        return LevelScan(codes, levels)
    low, step = np.full(dim, levels[0]), np.full(dim, steps[0])
    if bits == 4:
        return GridScan(codes, low, step, bits=bits)
    apart = np.empty((len(codes), dim), np.uint8)
    cells.unpack(np.ascontiguousarray(codes), bits, apart)
    if bits == 3:
        packed = np.empty((len(codes), (dim + 1) // 2), np.uint8)
        scalar.pack4(apart, packed)
        return LevelScan(packed, levels)
    return GridScan(apart, low, step, bits=bits)


def _scan_bits(codes: Codes, levels: Rows) -> Scan:
    low, step = levels[0], levels[1] - levels[0]

    def weigh(queries: Rows) -> tuple[Rows, NDArray[np.float64]]:
        offsets: NDArray[np.float64] = queries.sum(axis=1, dtype=np.float64) * float(low)
        return bit_weights(queries * step, codes.shape[1]), offsets

    return BitScan(codes, [codes.shape[1]], weigh)


def _pairs(queries: Rows, levels: Rows) -> Rows:
    """What the 16 pairs of cells of 2 bits add, (q, ceil(dim / 2), 16): the first one in the lower bits."""
    padded = np.zeros((len(queries), queries.shape[1] + queries.shape[1] % 2), np.float32)
    padded[:, : queries.shape[1]] = queries
    single = padded[:, :, None] * levels
    return (single[:, ::2, None, :] + single[:, 1::2, :, None]).reshape(len(queries), -1, 16)
