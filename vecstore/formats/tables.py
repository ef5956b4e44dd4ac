"""Sources of Arrow record batches: what Parquet, Arrow files and Arrow streams have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import pyarrow as pa

from vecstore.errors import InputError
from vecstore.formats.base import Batch
from vecstore.formats.columns import Choice, choose, vector_type, width_of
from vecstore.formats.files import check_dim, fitting_rows
from vecstore.formats.matrix import FileSource


class TableSource(FileSource):
    """Rows of a table that arrives as record batches."""

    _choice: Choice

    def _settle(self, schema: pa.Schema, vectors: str | None, ids: str | None) -> None:
        """Chooses the columns; the width of plain lists is that of the first row."""
        self._choice = choose(schema, self.path, vectors, ids)
        kind = vector_type(schema.field(self._choice.vector).type, told=True)
        assert kind is not None, "choose() has made sure of it"
        self.dtype, dim = kind
        self.id_type, self.columns = self._choice.id_type, self._choice.carried
        if dim is None:
            head = self._head()
            dim = width_of(head, self._choice, 0) if head is not None else 0
        else:
            check_dim(self.path, dim)
        self.dim = dim

    def _head(self) -> pa.RecordBatch | None:
        """A record batch that starts with row 0; None if there are no rows."""
        for records in self._records(1):
            if records.num_rows:
                return checked(records, self.path)
        return None

    @abstractmethod
    def _records(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """All record batches from the first row on; of any size."""

    def _batches(self, batch_rows: int) -> Iterator[Batch]:
        step = fitting_rows(batch_rows, self.dim * self.dtype.itemsize)
        first = 0
        for records in self._records(step):
            checked(records, self.path)
            for start in range(0, records.num_rows, step):
                part = records.slice(start, step)
                read = self._choice.marked_batch if self.skip else self._choice.batch
                yield read(part, self.dim, first + start)
            first += records.num_rows
        if self.rows is not None and first != self.rows:
            raise InputError(f"{self.path} gave {first} rows; its own count is {self.rows}: it is damaged")


def checked(records: pa.RecordBatch, path: str) -> pa.RecordBatch:
    """The record batch, if its buffers are long enough for its offsets; reading on could crash otherwise."""
    try:
        records.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} holds an invalid record batch: {error}; the file is damaged") from error
    return records
