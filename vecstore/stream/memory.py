"""Arrays and Arrow tables in memory, read like files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.codecs.base import check_rows
from vecstore.errors import ShapeError
from vecstore.formats.base import Batch, Source
from vecstore.formats.tables import TableSource


class ArraySource(Source):
    """rows (n, dim) of a real dtype, with optional ids (n,) int64 or str."""

    def __init__(self, rows: NDArray[Any], ids: object = None) -> None:
        self._rows = check_rows(rows)
        self._ids = None if ids is None else id_array(ids)
        if self._ids is not None and len(self._ids) != len(self._rows):
            raise ShapeError(f"there are {len(self._ids)} ids for {len(self._rows)} rows")
        self.path = "array"
        self.rows, self.dim = self._rows.shape
        self.dtype = self._rows.dtype
        self.id_type = None if self._ids is None else self._ids.type

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """Slices of the array."""
        for start in range(0, len(self._rows), batch_rows):
            rows = self._rows[start : start + batch_rows]
            ids = None if self._ids is None else self._ids.slice(start, len(rows))
            yield Batch(rows, ids, None, self.path, start)

    def take(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """The rows with these numbers."""
        return self._rows[numbers]


class ReaderSource(TableSource):
    """An Arrow table or record batch, or a reader of them, which can be read once."""

    def __init__(
        self, table: pa.Table | pa.RecordBatch | pa.RecordBatchReader, vectors: str | None, ids: str | None
    ) -> None:
        """NotFoundError for a column, InputError if there are no vectors."""
        self.path = "Arrow reader"
        self.rereadable = not isinstance(table, pa.RecordBatchReader)
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        if isinstance(table, pa.Table):
            self.path, self.rows = "Arrow table", table.num_rows
        self._table = table
        self._early: list[pa.RecordBatch] = []
        self._settle(table.schema, vectors, ids)

    def _head(self) -> pa.RecordBatch | None:
        for records in self._records(1):
            if records.num_rows:
                if not self.rereadable:
                    self._early = [records]
                return records
        return None

    def _records(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        if isinstance(self._table, pa.Table):
            yield from self._table.to_batches(max_chunksize=batch_rows)
            return
        early, self._early = self._early, []
        yield from early
        yield from self._table


def id_array(ids: object) -> pa.Array:
    """ids, any sequence or array of integers or strings, as an Arrow array of int64 or string.

    Raises ShapeError for anything else, nulls and mixed types included.
    """
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    if isinstance(ids, str | int):
        ids = [ids]
    try:
        array = ids if isinstance(ids, pa.Array) else pa.array(ids)
        if len(array) == 0 and pa.types.is_null(array.type):
            return array.cast(pa.int64())
        if pa.types.is_integer(array.type) and not array.null_count:
            return array.cast(pa.int64())
        if (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)) and not array.null_count:
            return array.cast(pa.string())
    except (pa.ArrowException, TypeError, OverflowError, ValueError) as error:
        raise ShapeError(f"ids cannot be read: {error}; expected int64 or str, all of one kind") from error
    raise ShapeError(f"ids are {array.type} with {array.null_count} nulls; expected int64 or str, no nulls")
