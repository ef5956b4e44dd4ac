"""Scans of codes that pick entries of tables: products, residual and additive quantization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.scan import By, Codes, Places, Rows, Scan
from vecstore.kernels import bitsums, bytedots, lookup, nibbles, product
from vecstore.kernels.top import PLUS, Heap

Values = NDArray[np.float32]  # (q, m, k): what code c of subspace or stage t adds to query j's score
_FEW = 32  # lines of the cache in which a row lies, from which on it is rather decoded


class Prepared(NamedTuple):
    """Queries as `TableScan` takes them."""

    tables: lookup.Tables
    values: Values


class TableScan(Scan):
    """Rows whose inner product with a query is the sum of an entry for each of their codes.

    codes: a byte each for tables of 256, or two to a byte, the lower nibble first, for tables of 16. Entries
    are rounded to eight bits, so that a register of rows is looked up at once.
    """

    exact = False
    alike = True
    step = bitsums.BLOCK

    def __init__(
        self, codes: Codes, k: int, tabulate: Callable[[Rows], Values], parts: Sequence[int] = ()
    ) -> None:
        """k: 256 or 16. tabulate: queries -> values of at most k centroids; a code beyond them counts as
        `product.decode` has it. parts: bytes whose entries are of like size, if those of others are not."""
        self.rows = len(codes)
        self._fours = k == 16 and nibbles.USABLE and len(parts) <= 1
        self._blocks: Codes = (bytedots if self._fours else bitsums).lay_out(codes)
        self._bytes = (self._blocks if self._fours else self._blocks[..., None]).transpose(0, 1, 3, 2)
        self.nbytes = self._blocks.nbytes
        self._k = k
        most = lookup.LARGEST_SECTION if k == 256 else bitsums.LARGEST_SECTION
        width = codes.shape[1]
        self._starts = bitsums.sections(list(parts) or [width], width if self._fours else most)
        self._sections = self._starts if k == 256 else 2 * self._starts  # of tables
        if k == 256:
            self._layout = lookup.one_by_one(width, k)
        else:
            self._layout = nibbles.layout(2 * width) if self._fours else bitsums.layout(width)
        self._tabulate = tabulate

    def by(self, tabulate: Callable[[Rows], Values]) -> Self:
        """The same rows, by other tables."""
        found = copy(self)
        found._tabulate = tabulate
        return found

    @property
    def nibbles(self) -> Codes | None:
        """The blocks as `nibbles.add` reads them, where it does."""
        return self._blocks if self._fours else None

    @property
    def places(self) -> NDArray[np.int64]:
        """Where in the bytes of a query its tables begin, (m,)."""
        return self._layout[0]

    def prepare(self, queries: Rows) -> Prepared:
        """The tables as bytes."""
        values = self._tabulate(queries)
        count, m, k = values.shape
        if k < self._k:
            values = values[:, :, product.inside(k, self._k)]
        if m < self._sections[-1]:  # The last nibble is empty.
            values = np.concatenate([values, np.zeros((count, 1, self._k), np.float32)], axis=1)
        values = np.ascontiguousarray(values)
        return Prepared(lookup.make_tables(values, self._sections, self._layout), values)

    def dots(self, prepared: Prepared, start: int, stop: int, out: Rows) -> None:
        """Sums from the tables."""
        first = start // self.step
        if self._fours:
            found = np.empty(self.step, np.float32)
            nibbles.add(self._blocks, first, prepared.tables, out, found)
        elif self._k == 256:
            lookup.add_entries(self._blocks, first, self._starts, prepared.tables, out)
        else:
            bitsums.add_bits(self._blocks, first, self._starts, prepared.tables, out)

    def push(self, prepared: Prepared, rows: Places, by: By, heap: Heap) -> bool:
        """Sums from the tables, where the machine adds so fast that scores are best left in its cache."""
        if not self._fours:
            return False
        nibbles.push(self._blocks, prepared.tables, rows, by, heap)
        return True

    def at_once(self, how: int) -> bool:
        """Where it does `push` and `rescore`."""
        return self._fours and self._blocks.shape[1] <= _FEW and how != PLUS

    def nearest(self, queries: Rows, by: By, lengths: NDArray[np.float64], count: int, best: Heap) -> None:
        """`push`, `rescore` and the order of what these find."""
        tables, values = self.prepare(queries)
        nibbles.nearest(self._blocks, (tables, values), (by, lengths), (self.rows, count), best)

    def rescore(self, prepared: Prepared, numbers: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Sums of entries that are not rounded, unless the bytes of a row lie too far from each other."""
        if self._blocks.shape[1] > _FEW:
            return None
        found = np.empty(numbers.shape)
        lookup.pick(self._bytes, numbers, prepared.values, found)
        return found
