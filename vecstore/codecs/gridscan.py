"""Scans of codes that are places on even grids: scalar quantization."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.scan import Codes, Rows, Scan
from vecstore.kernels import bytedots


class GridScan(Scan):
    """Rows whose value in dimension j is low[j] + step[j] times a code of a byte or a nibble.

    <q, row> = <q, low> + sum of (q step)[j] code[j], with the folded weights rounded to 8 or 16 bits.
    """

    exact = False
    alike = True
    step = bytedots.BLOCK

    def __init__(self, codes: Codes, low: Rows, step: Rows, bits: int) -> None:
        """codes (n, dim) of at most `bits` bits; of 4, (n, ceil(dim / 2)) with the lower nibble first."""
        self.rows = len(codes)
        self._blocks = bytedots.lay_out(codes)
        self.nbytes = self._blocks.nbytes
        self._low, self._steps = low, step
        self._halves, self._largest = 2 if bits == 4 else 1, 2**bits - 1

    def prepare(self, queries: Rows) -> bytedots.Weights:
        """The weights in whole numbers, and what the grids' lower ends add."""
        offsets: NDArray[np.float64] = np.multiply(queries, self._low, dtype=np.float64).sum(axis=1)
        return bytedots.fold(queries * self._steps, offsets, self._halves, self._largest)

    def dots(self, prepared: bytedots.Weights, start: int, stop: int, out: Rows) -> None:
        """Sums of products of whole numbers."""
        bytedots.dots(self._blocks, start // self.step, prepared, out)
