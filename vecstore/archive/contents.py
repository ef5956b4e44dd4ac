"""An archive's bytes taken apart: what head and tail say, and its batches one by one."""

from __future__ import annotations

import itertools
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from vecstore.archive import layout
from vecstore.archive.layout import CODE, ID, MAGIC
from vecstore.archive.pages import Bytes, PageFile
from vecstore.archive.places import open_descriptor, regular
from vecstore.archive.seal import find_seal, hash128
from vecstore.atomic import storage_errors
from vecstore.codecs.base import Codes
from vecstore.codecs.messages import refuse_compressed, refuse_compressed_message
from vecstore.errors import CorruptError, InputError
from vecstore.ledger import Ledger

_COPY_BYTES = 1 << 20
_UNREADABLE = (pa.ArrowException, OSError, EOFError, StopIteration, ValueError, IndexError, struct.error)
_MISSHAPEN = (*_UNREADABLE, LookupError, TypeError, ValueError, AttributeError, RecursionError)


@dataclass(frozen=True)
class CodeBatch:
    """Rows as they are stored. first: the number of the first row. codes: (n, code_bytes), or one block."""

    first: int
    ids: pa.Array
    codes: Codes | memoryview
    columns: pa.RecordBatch | None

    def __len__(self) -> int:
        return len(self.ids)


class Contents:
    """An open archive. Nothing is given to Arrow, and no value given out, before its bytes are verified."""

    def __init__(self, path: str, descriptor: int | None = None) -> None:
        """descriptor: of the file, where it is open already; it is closed here in the end."""
        self.path = "stdin" if path == "-" else path
        self.descriptor = open_descriptor(path) if descriptor is None else regular(path, descriptor)
        try:
            with storage_errors(self.path, "read"):
                self._read()
        except BaseException:
            os.close(self.descriptor)
            raise

    def _read(self) -> None:
        self.size = os.fstat(self.descriptor).st_size
        self.seal, tail = find_seal(self.descriptor, self.size, self.path)
        self.tail_hash = hash128(tail)
        stream = self._head()
        try:
            self._parse(stream, tail)
        except InputError:
            raise
        except _MISSHAPEN as error:
            raise CorruptError(f"{self.path} is not laid out as an archive: {error!r}") from error

    def state(self) -> memoryview | None:
        """What the codec learned, read again: it may be large, and whoever has the codec does not need it."""
        self.pages.check_open()
        if not self.state_bytes:
            return None
        try:
            pieces = self._pieces()
            first = next(pieces)
            if len(first) == self.state_bytes:
                return memoryview(first)
            whole, filled = bytearray(self.state_bytes), 0
            for piece in itertools.chain([first], pieces):
                whole[filled : filled + len(piece)] = piece
                filled += len(piece)
        except _MISSHAPEN as error:
            raise CorruptError(f"the codec of {self.path} is not laid out as one: {error!r}") from error
        if not filled == len(whole) == self.state_bytes:
            raise CorruptError(f"the codec of {self.path} has {filled} bytes; expected {self.state_bytes}")
        return memoryview(whole)

    def _pieces(self) -> Iterator[bytes]:
        """The codec's state as it stands in the batches of the head, verified, one after the other."""
        schema = b""
        for start, stop in self.head_batches():
            if not schema:  # the first may hold all of it, and is not copied
                yield _first_batch(self.pages.read(self._begin, stop).data)[1][layout.STATE_KEY]
                schema = self.pages.read(self._begin, start).tobytes()
                continue
            yield _first_batch(schema + self.pages.read(start, stop).tobytes())[1][layout.STATE_KEY]

    def head_batches(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of each batch of the head."""
        stop = self._message_end(self._begin)
        while stop < self.seal.head_end:
            start, stop = stop, self._message_end(stop)
            yield start, stop

    @property
    def _begin(self) -> int:
        """Where the schema begins: a file is a stream between its magic and its footer."""
        return 0 if self.is_stream else len(MAGIC)

    def _message_end(self, at: int) -> int:
        """Where the message at a byte of the head ends; ValueError, struct.error, IndexError if none does."""
        size = 8 + int.from_bytes(os.pread(self.descriptor, 4, at + 4), "little")
        described = os.pread(self.descriptor, min(size, self.seal.head_end - at), at)
        end = at + refuse_compressed_message(memoryview(described), "the head")
        if not at < end <= self.seal.head_end:
            raise ValueError(f"the message at byte {at} ends at byte {end}")
        return end

    def _head(self) -> memoryview:
        """Schema and first batch, as a stream has them; all of the head is verified, a block at a time."""
        self.is_stream = os.pread(self.descriptor, len(MAGIC), 0) != MAGIC
        end = self.seal.head_end
        try:  # what nobody has verified yet only says how much of it is kept
            stop = self._message_end(self._message_end(self._begin))
        except (CorruptError, ValueError, IndexError, struct.error):
            stop = end
        opening = os.pread(self.descriptor, stop, 0)
        hasher = xxhash.xxh3_128(opening)
        for start in range(stop, end, _COPY_BYTES):
            hasher.update(os.pread(self.descriptor, min(_COPY_BYTES, end - start), start))
        if hasher.hexdigest() != self.seal.head_hash:
            raise CorruptError(
                f"{self.path} is damaged: bytes 0 to {end - 1} (schema and codec) do not match their "
                "checksum; restore it from a copy"
            )
        return memoryview(opening)[self._begin :]

    def _parse(self, stream: memoryview, tail: bytes) -> None:
        self.schema, metadata = _first_batch(stream)
        self.version = layout.read_version(self.schema, self.path)
        self.card, self.dim = layout.read_card(self.schema, self.path)
        self.code_names = layout.code_names(self.card)
        layout.check_schema(self.schema, self.code_names, self.path)
        self.spec = self.schema.metadata[layout.SPEC_KEY].decode()
        self.state_bytes = len(metadata.get(layout.STATE_KEY, b""))
        self.codec_identity = None if self.state_bytes else metadata[layout.CODEC_KEY].decode()
        schema_end = 8 + int.from_bytes(stream[4:8], "little")
        self._read_tail(_first_batch(bytes(stream[:schema_end]) + tail)[1])
        if self.version == layout.PIECED and self.state_bytes:
            self.state_bytes = self.ledger.shared
            if self.state_bytes > self.seal.head_end:
                raise CorruptError(f"{self.path} says that its codec is longer than its head")

    def _read_tail(self, metadata: dict[bytes, bytes]) -> None:
        summary = json.loads(metadata[layout.SUMMARY_KEY])
        self.rows = _count(summary["rows"])
        self.batch_rows = _count(summary["batch_rows"]) or 1
        self.row_number_ids = summary["row_number_ids"] is True
        parts = {key: _count(size) for key, size in summary["ledger"].items() if key != "total"}
        self.ledger = Ledger(**parts)
        offsets = np.frombuffer(metadata[layout.OFFSETS_KEY], "<i8").astype(np.int64)
        sums = np.frombuffer(metadata[layout.SUMS_KEY], "<u8").astype(np.uint64)
        tail_start = self.seal.tail_start
        self.offsets = np.append(offsets, tail_start)
        expected = -(-self.rows // self.batch_rows)
        if self.batch_rows & (self.batch_rows - 1) or len(offsets) != expected:
            raise CorruptError(
                f"{self.path} says {self.rows} rows in batches of {self.batch_rows}, but has "
                f"{len(offsets)} batches"
            )
        if self.offsets[0] != self.seal.head_end or (np.diff(self.offsets) <= 0).any():
            raise CorruptError(f"{self.path} has batches that do not follow each other")
        if summary["page_bytes"] != layout.PAGE_BYTES or len(sums) != -(-tail_start // layout.PAGE_BYTES):
            raise CorruptError(f"{self.path} has {len(sums)} checksums for {tail_start} bytes")
        self.pages = PageFile(self.path, self.descriptor, tail_start, sums)

    @property
    def batches(self) -> int:
        """How many data batches there are."""
        return len(self.offsets) - 1

    def rows_of(self, index: int) -> int:
        """How many rows a batch has."""
        return min(self.batch_rows, self.rows - index * self.batch_rows)

    def columns_of(self, width: int | None) -> list[str]:
        """The columns that hold the first `width` bytes of codes; None: all bytes."""
        if not width:
            return self.code_names if width is None else []
        ends = np.cumsum([self.schema.field(name).type.byte_width for name in self.code_names])
        return self.code_names[: int(np.searchsorted(ends, width)) + 1]

    def batch(
        self, index: int, buffer: Bytes | None = None, width: int | None = None, anew: bool = False
    ) -> pa.RecordBatch:
        """A batch, verified. With `buffer`, it may lie there, and is gone when the next one is read into it.

        width: as in `columns_of`; the other columns of codes are not read, and hold zeros. anew: its bytes
        are verified even if they have been before.
        """
        start, stop = int(self.offsets[index]), int(self.offsets[index + 1])
        unread = self.code_names[len(self.columns_of(width)) :]
        data = self._around(index, unread) if unread else self.pages.read(start, stop, buffer, anew)
        try:
            batch = _parse(pa.py_buffer(data), self.schema)
            batch.validate(full=True)
        except _UNREADABLE as error:
            raise CorruptError(
                f"batch {index} of {self.path} (byte {start}) cannot be read: {error}"
            ) from error
        if batch.num_rows != self.rows_of(index):
            raise CorruptError(
                f"batch {index} of {self.path} has {batch.num_rows} rows; expected {self.rows_of(index)}"
            )
        if any(batch.column(name).null_count for name in (ID, *self.code_names)):
            raise CorruptError(f"batch {index} of {self.path} has a row without an id or a code")
        return batch

    def _around(self, index: int, unread: list[str]) -> Bytes:
        """The bytes of a batch, zeros in place of some columns next to each other, which are not read."""
        start, stop = int(self.offsets[index]), int(self.offsets[index + 1])
        places = [place for name in unread for place in self.buffers(index, name) if place is not None]
        first, last = min(place[0] for place in places), max(place[1] for place in places)
        data = np.zeros(stop - start, np.uint8)
        data[: first - start] = self.pages.read(start, first)
        data[last - start :] = self.pages.read(last, stop)
        return data

    def code_place(self, index: int, name: str) -> tuple[int, int]:
        """(start, stop) in the file of a batch's codes of one size, or of the part in one column."""
        place = self.buffers(index, name)[1]
        size = self.rows_of(index) * self.schema.field(name).type.byte_width
        if place is None or place[1] - place[0] < size:
            raise CorruptError(f"batch {index} of {self.path} has too few codes")
        return place[0], place[0] + size

    def codes(self, index: int, width: int, buffer: Bytes | None = None) -> NDArray[np.uint8]:
        """The first `width` bytes of a batch's codes (n, width), read without the rest of it; in `buffer`, of
        which the rest is overwritten."""
        parts: list[NDArray[np.uint8]] = []
        for name in self.columns_of(width):
            data = self.pages.read(*self.code_place(index, name), buffer if not parts else None)
            parts.append(data.reshape(self.rows_of(index), -1))
        return first_bytes(parts, width)

    def longest_batch(self) -> int:
        """Bytes that a buffer needs to take any batch."""
        return int(np.diff(self.offsets).max(initial=0)) + 2 * layout.PAGE_BYTES

    def buffers(self, index: int, column: str) -> list[tuple[int, int] | None]:
        """(start, stop) in the file of each buffer of a column of a batch; None where there is none."""
        start, stop = int(self.offsets[index]), int(self.offsets[index + 1])
        view = self.pages.mapped()
        self.pages.ensure(np.array([start]), 8)
        described = int.from_bytes(view[start + 4 : start + 8].tobytes(), "little")
        self.pages.ensure(np.array([start]), min(8 + described, stop - start))
        try:
            # Arrow reads the description alone here; of the values it only works out where they are.
            whole = pa.py_buffer(view[start:stop])
            found = _parse(whole, self.schema).column(self.schema.get_field_index(column)).buffers()
        except _UNREADABLE as error:
            raise CorruptError(
                f"batch {index} of {self.path} (byte {start}) cannot be read: {error}"
            ) from error
        places = [None if b is None else (start + b.address - whole.address, b.size) for b in found]
        for place in places:
            # A compressed body, which no writer of ours makes, is unpacked elsewhere.
            if place is not None and not (start <= place[0] and place[0] + place[1] <= stop):
                raise CorruptError(f"batch {index} of {self.path} has a column {column!r} outside of it")
        return [None if place is None else (place[0], place[0] + place[1]) for place in places]

    def ids(self, index: int) -> pa.Array:
        """The ids of a batch, read without the rest of it."""
        places = self.buffers(index, ID)
        # Copied: whoever keeps ids would else keep all of the pages that they begin and end in.
        read = [None if place is None else pa.py_buffer(self.pages.read(*place).copy()) for place in places]
        try:
            ids = pa.Array.from_buffers(self.schema.field(ID).type, self.rows_of(index), read)
            ids.validate(full=True)
        except _UNREADABLE as error:
            raise CorruptError(f"the ids of batch {index} of {self.path} cannot be read: {error}") from error
        if ids.null_count:
            raise CorruptError(f"batch {index} of {self.path} has a row without an id")
        return ids

    def close(self) -> None:
        """Lets go of the file; harmless when done twice."""
        if self.descriptor >= 0:
            self.pages.close()
            self.pages.closed = True
            os.close(self.descriptor)
            self.descriptor = -1


def first_bytes(parts: list[NDArray[np.uint8]], width: int) -> NDArray[np.uint8]:
    """The first `width` bytes of codes (n, any) that lie in parts; of a single one where it lies."""
    codes = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    return codes if codes.shape[1] == width else np.ascontiguousarray(codes[:, :width])


def fixed_codes(batch: pa.RecordBatch, names: list[str], width: int) -> NDArray[np.uint8]:
    """The first `width` bytes of a batch's codes (n, width), from the columns of these names."""
    columns = [batch.column(name) for name in names]
    sizes = [batch.num_rows * column.type.byte_width for column in columns]
    pieces = zip(columns, sizes, strict=True)
    flat = [np.frombuffer(column.buffers()[1], np.uint8, size) for column, size in pieces]
    return first_bytes([part.reshape(batch.num_rows, -1) for part in flat], width)


def block_of(batch: pa.RecordBatch) -> memoryview:
    """The encoded block of a batch, where it lies."""
    return memoryview(batch.column(CODE)[0].as_buffer())


def runs(
    stored: Iterator[tuple[int, pa.RecordBatch, NDArray[Any]]], stored_rows: int, batch_rows: int
) -> Iterator[tuple[int, int, int, NDArray[Any], NDArray[Any]]]:
    """Pieces of batches that do not cross a multiple of batch_rows: (row number, start and stop in the batch,
    ids, all codes of the batch, or all rows of a block). stored: batches of stored_rows, in order."""
    for index, batch, source in stored:
        first, start = index * stored_rows, 0
        while start < batch.num_rows:
            stop = min(batch.num_rows, start + batch_rows - (first + start) % batch_rows)
            ids = batch.column(ID).slice(start, stop - start)
            # Copied: the buffer is used again.
            names = ids.to_numpy(zero_copy_only=False, writable=True)
            yield first + start, start, stop, names, source
            start = stop


def _parse(data: pa.Buffer, schema: pa.Schema) -> pa.RecordBatch:
    refuse_compressed_message(memoryview(data), "a batch")
    return pa.ipc.read_record_batch(pa.ipc.read_message(data), schema)


def _first_batch(stream: bytes | memoryview) -> tuple[pa.Schema, dict[bytes, bytes]]:
    """The schema of a stream, and the custom metadata of its first batch."""
    refuse_compressed(stream, "the first batch")
    with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
        _, metadata = reader.read_next_batch_with_custom_metadata()
        return reader.schema, dict(metadata or {})


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} where a count was expected")
    return int(value)
