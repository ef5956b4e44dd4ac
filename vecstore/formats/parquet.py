"""Parquet, read row group by row group in bounded memory and written with page checksums."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vecstore.errors import InputError
from vecstore.formats.base import RowLayout
from vecstore.formats.columns import vectors_of
from vecstore.formats.files import Location, fitting_rows
from vecstore.formats.guard import guard
from vecstore.formats.tables import TableSource, checked
from vecstore.formats.writing import FileSink, Records

_GROUP_BYTES = 1 << 26
_PAGE_BUFFER = 1 << 20


class ParquetSource(TableSource):
    """The rows of one Parquet file; a checksum that a page has is verified."""

    def __init__(self, location: Location, vectors: str | None = None, ids: str | None = None) -> None:
        """NotFoundError for the file or a column, InputError for what is no Parquet or has no vectors."""
        self.path = location.path
        self._native = location.native()
        # Pre-buffering would hold a row group's bytes at once; a buffered stream holds a page of each column.
        self._file = pq.ParquetFile(
            self._native, pre_buffer=False, buffer_size=_PAGE_BUFFER, page_checksum_verification=True
        )
        self.rows = self._file.metadata.num_rows
        self._settle(self._file.schema_arrow, vectors, ids)

    def _records(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        yield from self._file.iter_batches(batch_size=batch_rows, use_threads=False)

    def take(self, numbers: NDArray[np.int64]) -> NDArray[Any] | None:
        """The rows with these ascending numbers, (n, dim), from the row groups that hold them."""
        name = self._choice.vector_name
        if "." in name:  # Parquet takes the name for a path into a struct.
            return None
        out = np.empty((len(numbers), self.dim), self.dtype)
        with guard(self.path):
            start, done = 0, 0
            for group in range(self._file.metadata.num_row_groups):
                count = self._file.metadata.row_group(group).num_rows
                stop = int(np.searchsorted(numbers, start + count))
                if stop > done:
                    self._take_group(group, numbers[done:stop] - start, out[done:stop])
                start, done = start + count, stop
        if done != len(numbers):
            raise InputError(f"{self.path} has rows 0 to {start - 1}; asked for {numbers[-1]}")
        return out

    def _take_group(self, group: int, numbers: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Writes the rows with these numbers within a row group."""
        step = fitting_rows(1 << 14, self.dim * self.dtype.itemsize)
        start, done = 0, 0
        names = [self._choice.vector_name]
        for records in self._file.iter_batches(step, [group], names, use_threads=False):
            stop = int(np.searchsorted(numbers, start + records.num_rows))
            if stop > done:
                column = checked(records, self.path).column(names[0])
                rows = vectors_of(column, self.dim, self.path, start)
                out[done:stop] = rows[numbers[done:stop] - start]
            start, done = start + records.num_rows, stop
            if done == len(numbers):
                return
        raise InputError(
            f"{self.path}: row group {group} gave {start} rows, fewer than it says; it is damaged"
        )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        self._native.close()


class ParquetSink(FileSink):
    """A Parquet file: `id`, `vector` (a fixed-size list), carried columns; every page has a checksum."""

    def _begin(self, file: BinaryIO, layout: RowLayout) -> None:
        self._table = Records(self.path, layout)
        schema = self._table.schema
        flat = [f.name for f in schema if f.name != "id" and not pa.types.is_nested(f.type)]
        floats = pa.types.is_floating(schema.field("vector").type.value_type)
        self._writer = pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=flat,
            # Exponents next to exponents compress; mantissas do not, whatever is done.
            use_byte_stream_split=["vector.list.element"] if floats else False,
            write_page_checksum=True,
        )
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0

    def _append(self, batch: Any) -> None:
        records = self._table.of(batch)
        self._waiting.append(records)
        self._waiting_bytes += records.nbytes
        if self._waiting_bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._waiting, self._table.schema)
        self._writer.write_table(table, row_group_size=max(1, len(table)))
        self._waiting, self._waiting_bytes = [], 0

    def _finish(self) -> None:
        if self._waiting:
            self._flush()
        self._writer.close()

    def _drop(self) -> None:
        try:
            self._writer.close()
        finally:
            self._writer.is_open = False
