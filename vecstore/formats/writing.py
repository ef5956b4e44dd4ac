"""What all sinks have in common: where the bytes go, what is checked, and Arrow records of a batch."""

from __future__ import annotations

import contextlib
import secrets
import sys
from abc import abstractmethod
from typing import Any, BinaryIO, ClassVar, cast

import numpy as np
import pyarrow as pa
from pyarrow import fs

from vecstore.atomic import AtomicFile
from vecstore.codecs.base import BFLOAT16
from vecstore.errors import ConflictError, InputError, NotFoundError, ShapeError, StorageError
from vecstore.formats.base import Batch, RowLayout, Sink
from vecstore.formats.files import Location
from vecstore.formats.fit import fit
from vecstore.formats.guard import write_guard


class Output:
    """Where a sink's bytes go: a file that appears at `commit`, or standard output."""

    def __init__(self, location: Location, force: bool) -> None:
        """ConflictError if it exists and not force; NotFoundError without its folder; StorageError."""
        self.path, self.selector, self.suffix = location.path, location.selector, location.suffix
        self._atomic: AtomicFile | UriFile | None = None
        if location.path == "-":
            self.path = "standard output"
            self.file, self.seekable = cast(BinaryIO, sys.stdout.buffer), False
        elif location.filesystem is None:
            self._atomic = AtomicFile(location.where, force=force)
            self.file, self.seekable = self._atomic.file, True
        else:
            self._atomic = UriFile(location, force)
            self.file, self.seekable = self._atomic.file, False

    def commit(self) -> None:
        """Publishes the file under its name."""
        if self._atomic is None:
            self.file.flush()
        else:
            self._atomic.commit()

    def abort(self) -> None:
        """Leaves nothing behind; harmless after `commit`."""
        if self._atomic is not None:
            self._atomic.abort()


class UriFile:
    """A file on a pyarrow file system: written under a temporary name and moved to its own."""

    def __init__(self, location: Location, force: bool) -> None:
        self.path = location.path
        self._location, self._force, self._done = location, force, False
        folder, _, name = location.where.rpartition("/")
        self._temporary = f"{folder}/.vecstore-{secrets.token_hex(8)}-{name}.tmp"
        with write_guard(location.path):
            self._refuse_existing()
            try:
                stream = location.filesystem.open_output_stream(self._temporary)
            except FileNotFoundError as error:
                raise NotFoundError(f"cannot write {location.path}: its folder does not exist") from error
        self.file = cast(BinaryIO, stream)

    def _refuse_existing(self) -> None:
        found = self._location.filesystem.get_file_info(self._location.where).type
        if found == fs.FileType.Directory or (found != fs.FileType.NotFound and not self._force):
            raise ConflictError(
                f"{self._location.path} exists; choose another name, or replace it with --force"
            )

    def commit(self) -> None:
        if self._done:
            return
        try:
            with write_guard(self._location.path):
                self.file.close()
                self._refuse_existing()
                self._location.filesystem.move(self._temporary, self._location.where)
                self._done = True
        finally:
            self.abort()

    def abort(self) -> None:
        if self._done:
            return
        self._done = True
        with contextlib.suppress(OSError, pa.ArrowException):
            self.file.close()
        with contextlib.suppress(OSError, pa.ArrowException):
            self._location.filesystem.delete_file(self._temporary)


class FileSink(Sink):
    """A sink with one output; a format says how it begins, appends and finishes."""

    holds_ids: ClassVar[bool] = True
    holds_columns: ClassVar[bool] = True

    def __init__(self, output: Output, layout: RowLayout, rows: int | None = None) -> None:
        """rows is how many there will be, if that is known; other counts are an error at the end."""
        self.path, self.notes = output.path, []
        self.count = 0
        self._closed = False
        self._output, self._layout, self._promised = output, layout, rows
        if layout.dim < 1:
            output.abort()
            raise ShapeError(f"{self.path}: rows of {layout.dim} dimensions; expected at least one")
        if layout.id_type is not None and not self.holds_ids:
            self.notes.append(f"{self.path} cannot hold ids; they are left out (row order is kept)")
        if len(layout.columns) and not self.holds_columns:
            self.notes.append(f"{self.path} cannot hold columns; left out: {', '.join(layout.columns.names)}")
        try:
            with write_guard(self.path):
                self._begin(output.file, layout)
        except BaseException:
            self.abort()
            raise

    @abstractmethod
    def _begin(self, file: BinaryIO, layout: RowLayout) -> None:
        """Prepares the format's writer and writes what comes before the rows."""

    @abstractmethod
    def _append(self, batch: Batch) -> None:
        """Writes the rows of a batch that has been checked."""

    @abstractmethod
    def _finish(self) -> None:
        """Writes what comes behind the rows."""

    def write(self, batch: Batch) -> None:
        """Appends the rows, with ids and columns where the format can hold them."""
        if batch.rows.ndim != 2 or batch.rows.shape[1] != self._layout.dim:
            raise ShapeError(
                f"{self.path}: rows are {batch.rows.shape}; expected (n, {self._layout.dim}) as at its start"
            )
        if self.holds_ids and self._layout.id_type is not None and batch.ids is None:
            raise InputError(
                f"{self.path}: rows without ids follow rows with ids; all or none must have them"
            )
        with write_guard(self.path):
            if len(batch):
                self._append(batch)
        self.count += len(batch)

    def close(self) -> None:
        """Finishes the file, makes it durable and publishes it under its name."""
        try:
            if self._promised is not None and self.count != self._promised:
                raise InputError(f"{self.path} was to get {self._promised} rows and got {self.count}")
            with write_guard(self.path):
                self._finish()
            with write_guard(self.path):
                self._output.commit()
            self._closed = True
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Leaves nothing behind; harmless after `close`."""
        if self._closed:
            return
        self._closed = True
        # A writer that is forgotten open writes its end into a closed file and complains.
        with contextlib.suppress(Exception):
            self._drop()
        self._output.abort()

    def _drop(self) -> None:
        """Lets go of a writer whose file is thrown away; the file is still open, errors are ignored."""

    def _need_rows(self, what: str) -> int:
        """The row count for a header that cannot be mended later; StorageError if nobody said it."""
        if self._promised is None and not self._output.seekable:
            raise StorageError(
                f"{self.path}: {what} begins with its row count, and this target cannot be written twice; "
                "say it with --rows, or write Parquet or Arrow"
            )
        return self._promised or 0


class Records:
    """Arrow record batches `id`, `vector`, carried columns, made of batches."""

    def __init__(self, path: str, layout: RowLayout) -> None:
        """InputError if a carried column has one of the two names."""
        self._layout = layout
        # Arrow has no bfloat16, and every bfloat16 is a float32.
        plain = layout.dtype == BFLOAT16 or layout.dtype.itemsize > 8
        self.dtype = np.dtype(np.float32) if plain else layout.dtype.newbyteorder("=")
        fields = [] if layout.id_type is None else [pa.field("id", layout.id_type)]
        self._list = pa.list_(pa.from_numpy_dtype(self.dtype), layout.dim)
        fields.append(pa.field("vector", self._list))
        clash = sorted({f.name for f in fields} & set(layout.columns.names))
        if clash:
            raise InputError(
                f"{path}: a carried column is called {clash[0]!r}, as the output's own; rename it"
            )
        self.schema = pa.schema([*fields, *layout.columns])

    def of(self, batch: Batch) -> pa.RecordBatch:
        """The record batch; InputError if a value does not fit the target's dtype."""
        flat = pa.array(fit(batch, self.dtype).reshape(-1))
        arrays: list[Any] = [] if self._layout.id_type is None else [batch.ids]
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=self._list))
        if len(self._layout.columns):
            assert batch.columns is not None, "a layout with columns, a batch without"
            arrays += batch.columns.select(self._layout.columns.names).columns
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
