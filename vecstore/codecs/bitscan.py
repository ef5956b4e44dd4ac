"""Scans of codes that are bits: sums of a query's weights, and Hamming distances."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.scan import By, Codes, Places, Rows, ScaledScan, Scan
from vecstore.codecs.tablescan import Prepared, TableScan
from vecstore.kernels import bitsums, popcount
from vecstore.kernels.top import AS_THEY_ARE, Heap

Weigh = Callable[[Rows], tuple[Rows, NDArray[np.float64]]]


class BitScan(TableScan):
    """Rows whose inner product with a query is an offset and the sum of a weight for each bit that is set."""

    def __init__(self, codes: Codes, parts: Sequence[int], weigh: Weigh) -> None:
        """codes (n, sum of parts), bytes of each part in turn; bits of a part have weights of like size.

        weigh: queries (q, dim) -> weights (q, 8 * bytes) and offsets (q,).
        """

        def tabulate(queries: Rows) -> Rows:
            weights, offsets = weigh(queries)
            values = np.empty((len(queries), 2 * codes.shape[1], 16), np.float32)
            bitsums.sums_of_bits(weights, offsets, values)
            return values

        super().__init__(codes, 16, tabulate, parts)


class HammingScan(Scan):
    """Rows of bits against queries of bits: dim less twice the number of bits that differ."""

    alike = True
    step = popcount.BLOCK

    def __init__(self, codes: Codes, dim: int, encode: Callable[[Rows], Codes]) -> None:
        """codes (n, ceil(dim / 8)); encode: queries -> codes that end in such bytes."""
        self.rows = len(codes)
        self._blocks = popcount.lay_out(codes, dim)
        self.nbytes = self._blocks.nbytes
        self._dim, self._encode = dim, encode

    def prepare(self, queries: Rows) -> popcount.Queries:
        """Encodes the queries."""
        return self.prepare_codes(self._encode(queries))

    def prepare_codes(self, codes: Codes) -> popcount.Queries:
        """Codes in place of queries."""
        return popcount.pack(codes[:, -((self._dim + 7) // 8) :], self._dim)

    def dots(self, prepared: popcount.Queries, start: int, stop: int, out: Rows) -> None:
        """Counts bits."""
        popcount.hamming(self._blocks, start // self.step, prepared, out)

    def push(self, prepared: popcount.Queries, rows: Places, by: By, heap: Heap) -> bool:
        """Counts bits, and keeps the best alone; scores as they are."""
        _, how, wanted = by
        if how != AS_THEY_ARE:
            return False
        popcount.push(self._blocks, rows, prepared, wanted, heap)
        return True


def bit_weights(weights: Rows, width: int) -> Rows:
    """weights (q, d) of single bits with zeros for the rest of `width` bytes."""
    if weights.shape[1] == 8 * width:
        return weights
    padded = np.zeros((len(weights), 8 * width), np.float32)
    padded[:, : weights.shape[1]] = weights
    return padded


class CodeScan(ScaledScan):
    """Rows of bits against queries that were made into such rows, each row of the collection times a factor.

    inner: weighs values; encode: queries -> codes; read: codes -> values.
    """

    def __init__(
        self,
        inner: BitScan,
        factors: Rows,
        encode: Callable[[Rows], Codes],
        read: Callable[[Codes], Rows],
    ) -> None:
        super().__init__(inner, factors)
        self._encode, self._read = encode, read

    def prepare(self, queries: Rows) -> Prepared:
        """Encodes the queries."""
        return self.prepare_codes(self._encode(queries))

    def prepare_codes(self, codes: Codes) -> Prepared:
        """Codes in place of queries; they may be another codec's that was trained to go with this one."""
        found: Prepared = super().prepare(self._read(codes))
        return found
