"""Arrow IPC, file and stream: a file is told from a stream by its first bytes, not by its name."""

from __future__ import annotations

import io
import mmap
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import ipc

from vecstore.errors import InputError
from vecstore.formats.base import Batch, RowLayout
from vecstore.formats.columns import vectors_of
from vecstore.formats.dictionaries import Dictionaries
from vecstore.formats.files import Location
from vecstore.formats.guard import guard
from vecstore.formats.pipe import Pipe
from vecstore.formats.tables import TableSource, checked
from vecstore.formats.writing import FileSink, Records

_MAGIC = b"ARROW1"
_MAPPED_BYTES = 1 << 26
_PIPE_BYTES = 1 << 20  # What is read at once: a length in a stream may be a lie.


def open_arrow(location: Location, vectors: str | None = None, ids: str | None = None) -> TableSource:
    """The rows of an Arrow file, or of a stream in a file."""
    with location.native() as native:
        head = native.read(len(_MAGIC))
    if head == _MAGIC:
        return ArrowFileSource(location, vectors, ids)
    return ArrowStreamSource(location, vectors, ids)


class ArrowFileSource(TableSource):
    """The rows of an Arrow IPC file."""

    def __init__(self, location: Location, vectors: str | None = None, ids: str | None = None) -> None:
        """NotFoundError for the file or a column, InputError for damage or if there are no vectors."""
        self.path = location.path
        self._native = location.native()
        self._map: mmap.mmap | None = None
        reader = ipc.open_file(self._native)
        if location.filesystem is None and self._native.size() > _MAPPED_BYTES * reader.num_record_batches:
            # One batch may be the whole file; read by a map, only the rows in use are in memory.
            with open(location.where, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            reader = ipc.open_file(pa.py_buffer(self._map))
        self._reader = reader
        self.rows = reader.count_rows()
        self._settle(reader.schema, vectors, ids)

    def _records(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        for index in range(self._reader.num_record_batches):
            yield self._reader.get_batch(index)

    def _batches(self, batch_rows: int) -> Iterator[Batch]:
        for batch in super()._batches(batch_rows):
            yield batch
            if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
                # Read-only pages of a file: dropping them loses nothing, a later look reads them again.
                self._map.madvise(mmap.MADV_DONTNEED)

    def take(self, numbers: NDArray[np.int64]) -> NDArray[Any] | None:
        """The rows with these ascending numbers, (n, dim), from the batches that hold them."""
        out = np.empty((len(numbers), self.dim), self.dtype)
        options = ipc.IpcReadOptions(included_fields=[self._choice.vector])
        with guard(self.path):
            source = self._native if self._map is None else pa.py_buffer(self._map)
            reader = ipc.open_file(source, options=options)
            start, done = 0, 0
            for index in range(reader.num_record_batches):
                if done == len(numbers):
                    break
                records = checked(reader.get_batch(index), self.path)
                stop = int(np.searchsorted(numbers, start + records.num_rows))
                if stop > done:
                    rows = vectors_of(records.column(0), self.dim, self.path, start)
                    out[done:stop] = rows[numbers[done:stop] - start]
                start, done = start + records.num_rows, stop
        if done != len(numbers):
            raise InputError(f"{self.path} has rows 0 to {start - 1}; asked for {numbers[-1]}")
        return out

    def close(self) -> None:
        """Closes the file; a map goes with the last array that looks at it."""
        self._native.close()


class _Watched(io.RawIOBase):
    """A stream that remembers whether it was read to a premature end."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.tail = b""
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(min(size, _PIPE_BYTES))
        if len(data) < size:  # A pipe gives what it has.
            parts = [data]
            rest = size - len(data)
            while rest and (data := self._stream.read(min(rest, _PIPE_BYTES))):
                parts.append(data)
                rest -= len(data)
            data = b"".join(parts)
        self.ended = self.ended or len(data) < size
        self.tail = (self.tail + data)[-8:]
        return data


class ArrowStreamSource(TableSource):
    """The rows of an Arrow IPC stream: standard input, or a file that is read again for every pass."""

    def __init__(self, location: Location, vectors: str | None = None, ids: str | None = None) -> None:
        """InputError for damage, for a stream without its end marker, and if there are no vectors."""
        self.path = "standard input" if location.path == "-" else location.path
        self._location = location
        self.rereadable = location.path != "-"
        self._opened: tuple[_Watched, Any] | None = self._open()
        self._started = False  # True once a pass has begun: the next one starts anew.
        self._early: pa.RecordBatch | None = None
        self._settle(self._opened[1].schema, vectors, ids)

    def _open(self) -> tuple[_Watched, Any]:
        if self.rereadable:
            stream: Any = self._location.native()
        else:
            # Without the buffer, which may hold what a wait for the pipe cannot see.
            stream = Pipe(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))
        watched = _Watched(stream)
        return watched, ipc.open_stream(pa.PythonFile(watched, "r"))

    def _head(self) -> pa.RecordBatch | None:
        for records in self._rest():
            if records.num_rows:
                self._early = checked(records, self.path)
                return self._early
        return None

    def _rest(self) -> Iterator[pa.RecordBatch]:
        assert self._opened is not None, "opened by whoever asks for its rest"
        watched, reader = self._opened
        yield from reader
        if watched.ended or watched.tail[-4:] != bytes(4):
            raise InputError(
                f"{self.path} has no end marker: the stream was cut, and rows may be missing; send it again"
            )

    def _records(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        if self._started:
            if not self.rereadable:
                raise InputError(f"{self.path} was read already; a pipe can be read once")
            self._opened = self._open()
        self._started = True
        early, self._early = self._early, None
        if early is not None:
            yield early
        yield from self._rest()

    def close(self) -> None:
        """Lets go of the stream; standard input stays open."""
        self._opened, self._early, self._started = None, None, True


class ArrowFileSink(FileSink):
    """An Arrow IPC file: `id`, `vector` (a fixed-size list), carried columns."""

    def _begin(self, file: BinaryIO, layout: RowLayout) -> None:
        self._table = Records(self.path, layout)
        self._dictionaries = Dictionaries(self.path, self._table.schema)
        options = ipc.IpcWriteOptions(emit_dictionary_deltas=True)
        self._writer = ipc.new_file(file, self._table.schema, options=options)

    def _append(self, batch: Batch) -> None:
        self._writer.write_batch(self._dictionaries.unify(self._table.of(batch)))

    def _finish(self) -> None:
        self._writer.close()


class ArrowStreamSink(FileSink):
    """An Arrow IPC stream with its end marker."""

    def _begin(self, file: BinaryIO, layout: RowLayout) -> None:
        self._table = Records(self.path, layout)
        self._writer = ipc.new_stream(file, self._table.schema)

    def _append(self, batch: Batch) -> None:
        self._writer.write_batch(self._table.of(batch))

    def _finish(self) -> None:
        self._writer.close()
