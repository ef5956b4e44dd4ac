"""NumPy's .npz: one array of a zip archive, streamed out of it and checked against its CRC."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, Any, BinaryIO

import numpy as np

from vecstore.errors import FormatError, InputError, NotFoundError
from vecstore.formats.base import Batch, RowLayout
from vecstore.formats.files import Location, fitting_rows
from vecstore.formats.fit import fit
from vecstore.formats.matrix import FileSource, native
from vecstore.formats.npy import HEAD_BYTES, header, parse_header, stored_dtype
from vecstore.formats.writing import FileSink

_COPY_BYTES = 1 << 20


class NpzSource(FileSource):
    """The rows of one member. In Fortran order it is unpacked to a temporary file first."""

    def __init__(self, location: Location) -> None:
        """InputError for damage or if it is not clear which array is meant; NotFoundError for a name."""
        self.path = location.path
        self._native = location.native()
        self._zip = zipfile.ZipFile(self._native)
        self._member = _member(self._zip, location)
        with self._open() as file:
            head = file.read(min(self._member.file_size, HEAD_BYTES))
        self._place = parse_header(head, self.path)
        if self._place.end != self._member.file_size:
            raise InputError(
                f"{self.path}: {self._member.filename} has {self._member.file_size} bytes; its header says "
                f"{self._place.end}: it is cut, or the header is wrong"
            )
        self.rows, self.dim = self._place.rows, self._place.dim
        self.dtype = self._place.dtype.newbyteorder("=")

    def _open(self) -> IO[bytes]:
        if self._member.flag_bits & 1:
            raise InputError(f"{self.path} is encrypted; decrypt it first")
        return self._zip.open(self._member)

    def _batches(self, batch_rows: int) -> Iterator[Batch]:
        place = self._place
        step = fitting_rows(batch_rows, place.row_bytes)
        if place.by_column:
            yield from self._by_column(step)
            return
        with self._open() as file:
            file.read(place.offset)
            for first in range(0, place.rows, step):
                count = min(step, place.rows - first)
                data = bytearray(file.read(count * place.row_bytes))
                if len(data) != count * place.row_bytes:
                    raise InputError(f"{self.path} ended within row {first + len(data) // place.row_bytes}")
                rows = np.frombuffer(data, place.dtype).reshape(count, place.dim)
                yield Batch(native(rows), None, None, self.path, first)
            file.read(1)  # The CRC is compared when the end is read.

    def _by_column(self, step: int) -> Iterator[Batch]:
        place, size = self._place, self._place.dtype.itemsize
        with tempfile.TemporaryFile() as spool:
            with self._open() as file:
                while data := file.read(_COPY_BYTES):
                    spool.write(data)
            for first in range(0, place.rows, step):
                count = min(step, place.rows - first)
                rows = np.empty((count, place.dim), self.dtype)
                for column in range(place.dim):
                    spool.seek(place.offset + (column * place.rows + first) * size)
                    rows[:, column] = np.frombuffer(spool.read(count * size), place.dtype)
                yield Batch(rows, None, None, self.path, first)

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()
        self._native.close()


def _member(archive: zipfile.ZipFile, location: Location) -> zipfile.ZipInfo:
    arrays = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    names = ", ".join(sorted(arrays)[:20]) or "nothing"
    if location.selector is not None:
        if location.selector not in arrays:
            raise NotFoundError(f"{location.path} has no array {location.selector!r}; it has {names}")
        return arrays[location.selector]
    if len(arrays) != 1:
        raise InputError(f"{location.path} has {len(arrays)} arrays ({names}); name one as file.npz::name")
    return next(iter(arrays.values()))


class NpzSink(FileSink):
    """A .npz with one array, `vector` or the name behind `::`; not compressed, as numpy.savez does it."""

    holds_ids = False
    holds_columns = False

    def _begin(self, file: BinaryIO, layout: RowLayout) -> None:
        self._dtype = stored_dtype(layout)
        # A member's header stands before its rows; without a count the rows have to wait for it.
        self._spool = None if self._promised is not None else tempfile.TemporaryFile()
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._member: IO[bytes] | None = None
        if self._promised is not None:
            self._member = self._open(self._promised)

    def _open(self, rows: int) -> IO[bytes]:
        name = f"{self._output.selector or 'vector'}.npy"
        if name.startswith("/") or "\\" in name or "\0" in name:
            raise FormatError(f"{self.path}: {name!r} cannot be the name of an array")
        # A fixed time, so that the same rows give the same bytes.
        member = self._zip.open(zipfile.ZipInfo(name), "w", force_zip64=True)
        member.write(header(self._dtype, rows, self._layout.dim))
        return member

    def _append(self, batch: Batch) -> None:
        data: Any = fit(batch, self._dtype).view(np.uint8).data
        target = self._spool if self._member is None else self._member
        assert target is not None, "one of the two is open"
        target.write(data)

    def _finish(self) -> None:
        if self._spool is not None:
            self._member = self._open(self.count)
            self._spool.seek(0, io.SEEK_SET)
            while data := self._spool.read(_COPY_BYTES):
                self._member.write(data)
            self._spool.close()
        assert self._member is not None, "opened at the start or just now"
        self._member.close()
        self._zip.close()

    def _drop(self) -> None:
        if self._spool is not None:
            self._spool.close()
        try:
            if self._member is not None:
                self._member.close()
            self._zip.close()
        finally:
            self._zip.fp = None
