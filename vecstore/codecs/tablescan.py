"""Scans of codes that pick entries of tables: products, residual and additive quantization."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.scan import Codes, Rows, Scan
from vecstore.kernels import bitsums, bytedots, lookup, product

Values = NDArray[np.float32]  # (q, m, k): what code c of subspace or stage t adds to query j's score


class Prepared(NamedTuple):
    """Queries as `TableScan` takes them."""

    tables: lookup.Tables
    values: Values

    @property
    def offsets(self) -> Rows:
        """What the scores of each query begin with, (q,)."""
        return self.tables[2]


class TableScan(Scan):
    """Rows whose inner product with a query is the sum of an entry for each of their codes.

    codes: a byte each for tables of 256, or two to a byte, the lower nibble first, for tables of 16. Entries
    are rounded to eight bits, so that a register of rows is looked up at once.
    """

    exact = False
    step = bitsums.BLOCK

    def __init__(self, codes: Codes, k: int, tabulate: Callable[[Rows], Values]) -> None:
        """k: 256 or 16. tabulate: queries -> values of at most k centroids; a code beyond them counts as
        `product.decode` has it."""
        self.rows = len(codes)
        self._fours = k == 16 and lookup.NIBBLES
        self._blocks = (bytedots if self._fours else bitsums).lay_out(codes)
        self.nbytes = self._blocks.nbytes
        self._k = k
        most = lookup.LARGEST_SECTION if k == 256 else 2 * bitsums.LARGEST_SECTION
        tables = codes.shape[1] * (1 if k == 256 else 2)
        most = tables if self._fours else most
        self._starts = np.array([*range(0, tables, most), tables], np.int64)
        self._tabulate = tabulate

    def prepare(self, queries: Rows) -> Prepared:
        """The tables as bytes."""
        values = self._tabulate(queries)
        count, m, k = values.shape
        if k < self._k:
            values = values[:, :, product.inside(k, self._k)]
        if m < self._starts[-1]:  # The last nibble is empty.
            values = np.concatenate([values, np.zeros((count, 1, self._k), np.float32)], axis=1)
        values = np.ascontiguousarray(values)
        book, steps, offsets = lookup.make_tables(values, self._starts)
        if self._fours:
            book = lookup.lay_tables(book)
        elif self._k == 16:
            book = book.reshape(count, -1, 2, 16)
        return Prepared((book, steps, offsets), values)

    def dots(self, prepared: Prepared, start: int, stop: int, out: Rows) -> None:
        """Sums from the tables."""
        first = start // self.step
        if self._fours:
            found = np.empty(self.step, np.float32)
            lookup.add_nibbles(self._blocks, first, prepared.tables, out, found)
        elif self._k == 256:
            lookup.add_entries(self._blocks, first, self._starts, prepared.tables, out)
        else:
            bitsums.add_bits(self._blocks, first, self._starts // 2, prepared.tables, out)

    def add(self, prepared: Prepared, start: int, out: Rows) -> None:
        """out[j, i] += the sums of row start + i, of tables of 256, without what `offsets` holds."""
        lookup.add_entries(self._blocks, start // self.step, self._starts, prepared.tables, out, onto=True)

    def rescore(self, prepared: Prepared, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sums of entries that are not rounded."""
        blocks = self._blocks if self._fours else self._blocks[..., None]
        found = np.empty(numbers.shape)
        lookup.pick(blocks.transpose(0, 1, 3, 2), numbers, prepared.values, found)
        return found
