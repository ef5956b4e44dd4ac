"""Codes and ids of rows anywhere in an archive."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.archive.contents import Contents, first_bytes
from vecstore.archive.ids import Counted, Lookup, make_lookup
from vecstore.archive.layout import ID
from vecstore.codecs.base import Codes
from vecstore.kernels import gather

AROUND = 1 << 16  # bytes that Linux maps at once where one page is touched and others are in memory
RowNumbers = NDArray[np.int64]


class Column:
    """One column of codes of one size: where each batch has them is kept as soon as it is known."""

    def __init__(self, contents: Contents, name: str) -> None:
        self.size: int = contents.schema.field(name).type.byte_width
        self._contents, self._name = contents, name
        self._places = np.zeros((contents.batches, 2), np.int64)
        self._view = contents.pages.mapped()  # held, so that addresses last
        self._verified = contents.pages.verified
        self.cold = False  # whether most of it is not in memory
        self.keep = 0  # then, bytes of the file that may stay mapped from one call to the next
        self._touched = 0

    def facts(self) -> list[int]:
        """A line of the table of `kernels.gather`, whose addresses last as long as this object does."""
        verified = 0 if self._verified.all() else self._verified.ctypes.data
        shift = self._contents.batch_rows.bit_length() - 1
        return [self._places.ctypes.data, shift, verified, self._contents.rows, 0]

    def open(self, rows: RowNumbers) -> None:
        """Finds and verifies the codes of rows; IndexError for rows that there are not."""
        contents, shift = self._contents, self._contents.batch_rows.bit_length() - 1
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < contents.rows:
            raise IndexError(f"{contents.path} has no row {int(rows.max())}; it has {contents.rows}")
        batches = rows >> shift
        for index in np.unique(batches[self._places[batches, 0] == 0]).tolist():
            start = contents.code_place(index, self._name)[0]
            self._places[index, 1] = start
            self._places[index, 0] = self._view.ctypes.data + start  # last: others may be looking
        starts = self._places[batches, 1] + (rows & (contents.batch_rows - 1)) * self.size
        contents.pages.ensure(starts, self.size)

    def prefetch(self, rows: RowNumbers) -> None:
        """Has the system read the codes of rows (n,), at least one, that were opened before."""
        batches = rows >> (self._contents.batch_rows.bit_length() - 1)
        firsts = self._places[batches, 1]
        starts = firsts + (rows & (self._contents.batch_rows - 1)) * self.size
        self._contents.pages.prefetch(starts[firsts > 0], self.size)

    def forget(self) -> None:
        """Lets go of what is mapped of the file."""
        self._touched = 0
        self._contents.pages.forget()

    def touched(self, rows: int) -> None:
        """So many rows were taken: where these are more than may stay, what is mapped goes."""
        if self.cold:
            self._touched += rows * (AROUND + self.size)
            if self._touched > self.keep:
                self.forget()

    def ensure_whole(self) -> None:
        """CorruptError if the file is shorter by now, StorageError if it is closed."""
        self._contents.pages.mapped()

    def take(self, rows: RowNumbers) -> Codes:
        """The codes of rows (n,), (n, size)."""
        self.ensure_whole()
        if self.cold and len(rows):
            self.prefetch(rows)
        codes = np.empty((len(rows), self.size), np.uint8)
        todo = np.empty(len(rows), np.int64)
        while missing := gather.gather(rows, np.array([self.facts()]), codes, todo):
            self.open(rows[todo[:missing]])
        self.touched(len(rows))
        return codes


class Picks:
    """Takes rows by number; where each batch has its codes is kept, and the ids once they are asked for."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._columns: dict[str, Column] = {}
        self.cold = False  # whether most of the codes are not in memory, as far as is known
        self.keep = 0  # see `Column`
        self._ids: pa.ChunkedArray | None = None
        self._lookup: Lookup | None = None

    @property
    def held_ids(self) -> list[object]:
        """What there is of ids in memory by now."""
        return [self._lookup, self._ids]

    def places(self, rows: RowNumbers) -> tuple[RowNumbers, RowNumbers]:
        """The batch of each row, and its place in it."""
        batch_rows = self._contents.batch_rows
        return rows >> (batch_rows.bit_length() - 1), rows & (batch_rows - 1)

    def column(self, name: str) -> Column:
        """One of the columns of codes; made once, and shared by those who read at the same time."""
        found = self._columns.get(name) or self._columns.setdefault(name, Column(self._contents, name))
        found.cold, found.keep = self.cold, self.keep
        return found

    def whole(self) -> Column | None:
        """The one column of codes of one size; None where codes are blocks, or stored in tiers."""
        names, schema = self._contents.code_names, self._contents.schema
        fixed = len(names) == 1 and pa.types.is_fixed_size_binary(schema.field(names[0]).type)
        return self.column(names[0]) if fixed else None

    def codes(self, rows: RowNumbers, width: int) -> Codes:
        """The first `width` bytes of the codes of rows (n,), (n, width)."""
        if len(rows) == 0 or width == 0:
            return np.empty((len(rows), width), np.uint8)
        rows = np.ascontiguousarray(rows, np.int64)
        parts = [self.column(name).take(rows) for name in self._contents.columns_of(width)]
        return first_bytes(parts, width)

    def lookup(self) -> Lookup:
        """From ids to row numbers, of one row at least."""
        if self._lookup is None:
            contents = self._contents
            if contents.row_number_ids:
                self._lookup = Counted(contents.rows)
            else:
                self._lookup = make_lookup(self._ids or self._read_ids())
        return self._lookup

    def _read_ids(self) -> pa.ChunkedArray:
        contents = self._contents
        found = [contents.ids(index) for index in range(contents.batches)]
        return pa.chunked_array(found, contents.schema.field(ID).type)

    def ids(self, rows: RowNumbers) -> pa.Array:
        """The ids of rows (n,)."""
        contents = self._contents
        if contents.row_number_ids:
            return pa.array(rows)
        if self.cold and contents.schema.field(ID).type == pa.int64():
            return pa.array(self.column(ID).take(np.ascontiguousarray(rows, np.int64)).view(np.int64)[:, 0])
        if self._ids is None:
            self._ids = self._read_ids()
        return pa.concat_arrays(self._ids.take(pa.array(rows)).chunks or [pa.nulls(0, self._ids.type)])
