"""Codes and ids of rows anywhere in an archive."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.archive.contents import Contents, first_bytes
from vecstore.codecs.base import Codes

RowNumbers = NDArray[np.int64]


class Picks:
    """Takes rows by number; where each batch has its codes is kept, and the ids once they are asked for."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._starts = np.full((len(contents.code_names), contents.batches), -1, np.int64)
        self._ids: pa.ChunkedArray | None = None

    def places(self, rows: RowNumbers) -> tuple[RowNumbers, RowNumbers]:
        """The batch of each row, and its place in it."""
        batch_rows = self._contents.batch_rows
        return rows >> (batch_rows.bit_length() - 1), rows & (batch_rows - 1)

    def codes(self, rows: RowNumbers, width: int) -> Codes:
        """The first `width` bytes of the codes of rows (n,), (n, width)."""
        if len(rows) == 0:
            return np.empty((0, width), np.uint8)
        contents = self._contents
        pages = contents.pages
        view = pages.mapped()
        batches, places = self.places(rows)
        parts = []
        for known, name in zip(self._starts, contents.columns_of(width), strict=False):
            size = contents.schema.field(name).type.byte_width
            for index in np.unique(batches[known[batches] < 0]):
                known[index] = contents.code_place(int(index), name)[0]
            starts = known[batches] + places * size
            pages.ensure(starts, size)
            # Every position of the file seen as the start of a code.
            windows = np.ndarray((len(view) - size + 1,), f"V{size}", view.data, 0, (1,))
            parts.append(windows[starts].view(np.uint8).reshape(-1, size))
        return first_bytes(parts, width)

    def ids(self, rows: RowNumbers) -> pa.Array:
        """The ids of rows (n,)."""
        contents = self._contents
        if contents.row_number_ids:
            return pa.array(rows)
        if self._ids is None:
            found = [contents.ids(index) for index in range(contents.batches)]
            self._ids = pa.chunked_array(found, contents.schema.field(0).type)
        return pa.concat_arrays(self._ids.take(pa.array(rows)).chunks or [pa.nulls(0, self._ids.type)])
