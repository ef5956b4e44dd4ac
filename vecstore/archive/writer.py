"""Writing of archives."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vecstore.archive import layout
from vecstore.archive.layout import ID, AnyCodec, Card
from vecstore.archive.packers import BlockPacker, Packer, RowPacker, block_column
from vecstore.archive.places import local_name
from vecstore.archive.reader import Archive, CodeBatch
from vecstore.archive.seal import Seal, hash128, set_seal
from vecstore.archive.tape import Pieces, Tape
from vecstore.atomic import AtomicFile
from vecstore.codecs.base import BlockCodec
from vecstore.codecs.parts import dumps, write
from vecstore.errors import ConflictError, InputError
from vecstore.formats.base import Batch
from vecstore.formats.files import locate
from vecstore.formats.writing import UriFile
from vecstore.ledger import Ledger

_NO_COLUMNS = pa.schema([])
_BLANK_SUMMARY = b"?" * layout.SUMMARY_BYTES


class ArchiveWriter:
    """Encodes rows into an archive, which appears under its name when `close` is called and not before.

    target: a path, or a binary stream ('-': stdout), which gets the same batches as an Arrow stream. card:
    what is known of the space (JSON values; `dim` is added), and `tiers`, as `codecs.tiers` takes them, whose
    bytes are stored apart. id_type: int64 or string; None: row numbers.
    columns: the carried ones. An existing file is a ConflictError unless force is set.
    """

    codec_apart: ClassVar[bool] = False  # whether the file has the codec's identity alone

    def __init__(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        codec: AnyCodec,
        *,
        card: Card,
        id_type: pa.DataType | None = None,
        columns: pa.Schema = _NO_COLUMNS,
        force: bool = False,
    ) -> None:
        self.codec = codec
        self.id_type = _id_type(id_type)
        self.columns = columns
        self.schema = layout.make_schema(codec, card, self.id_type, columns)
        self.rows = 0
        self.batch_rows = layout.batch_rows(codec, columns)
        self._sequential = True
        self._counts = {"codes": 0, "ids": 0, "carried": 0, "shared": 0}
        self._offsets: list[int] = []
        if isinstance(codec, BlockCodec):
            self._packer: Packer = BlockPacker(codec, self.batch_rows, self._emit)
        else:
            kinds = layout.code_types(codec, card)
            self._packer = RowPacker(codec, self.batch_rows, kinds, self._emit)
        self._ledger: Ledger | None = None
        self.approve: Callable[[Ledger], None] | None = None  # raises to refuse publication
        self.previous: Archive | None = None  # what is continued, open until the end
        if target == "-":
            self._target: AtomicFile | UriFile | _Stream = _Stream(sys.stdout.buffer)
        elif isinstance(target, str | os.PathLike):
            self._target = _file(os.fspath(target), force)
        else:
            self._target = _Stream(target)
        try:
            self._start()
        except BaseException:
            self.abort()
            raise

    @classmethod
    def append_to(cls, path: str | os.PathLike[str]) -> Self:
        """A writer that goes on with an archive: same codec, card, kind of ids, and columns.

        Its rows are copied as they are, and `close` replaces the file in one step: readers that have it
        open keep the old one. The old ids can be had from `previous.ids()`; new ones must differ from
        them. Raises ConflictError if somebody else is appending, and what opening an archive raises.
        """
        if "://" in local_name(os.fspath(path)):
            raise InputError(f"{path} is not on this machine's file system, where alone can be appended")
        old = Archive(path)
        try:
            old.lock()
            writer = cls(path, old.codec, card=old.card, id_type=old.id_type, columns=old.columns, force=True)
        except BaseException:
            old.close()
            raise
        writer.previous = old
        try:
            for batch in old.code_batches():
                writer.copy(batch)
        except BaseException:
            writer.abort()
            raise
        return writer

    def copy(self, batch: CodeBatch) -> None:
        """Takes rows that are encoded already."""
        self._note(batch.ids)
        carried = [] if batch.columns is None else batch.columns.columns
        extra = pa.RecordBatch.from_arrays([batch.ids, *carried], names=[ID, *self.columns.names])
        if not isinstance(batch.codes, memoryview):
            assert isinstance(self._packer, RowPacker)
            self._packer.add_codes(batch.codes, extra)
        elif len(batch) == self.batch_rows:
            self._emit([block_column(batch.codes, len(batch))], extra)
        else:
            assert isinstance(self.codec, BlockCodec)
            self._packer.add(self.codec.decode_block(batch.codes), extra)
        self.rows += len(batch)

    @property
    def saturated(self) -> int:
        """How many of the rows written are far outside of what the codec stands for (`Codec.encode`)."""
        return self._packer.saturated

    @property
    def path(self) -> str:
        """Where the archive goes, for messages."""
        return self._target.path

    def _start(self) -> None:
        self._tape = Tape(self._target.file)
        as_file = not isinstance(self._target, _Stream)
        self._writer = (pa.ipc.new_file if as_file else pa.ipc.new_stream)(self._tape, self.schema)
        if self.codec_apart:
            self._writer.write_batch(
                self._empty(), custom_metadata={layout.CODEC_KEY: self.codec.identity.encode()}
            )
        elif layout.in_pieces(self.codec):
            pieces = Pieces(layout.PIECE_BYTES, self._put_state)
            write(self.codec, pieces)
            pieces.end()
        else:
            self._put_state(dumps(self.codec))
        self._head_end = self._tape.tell()
        self._head_hash = self._tape.end_head()

    def _put_state(self, piece: bytes) -> None:
        """Writes the codec's state, or the next piece of it."""
        self._writer.write_batch(self._empty(), custom_metadata={layout.STATE_KEY: piece})
        self._counts["shared"] += len(piece)

    def _empty(self) -> pa.RecordBatch:
        return pa.record_batch([pa.nulls(0, field.type) for field in self.schema], schema=self.schema)

    def write(self, batch: Batch) -> None:
        """Encodes and appends rows (n, dim) of any real dtype, with their ids and carried columns.

        Raises InputError for ids or columns of another kind than announced, and what encoding raises.
        """
        n = len(batch)
        if n == 0:
            return
        extra = [self._ids(batch), *self._carried(batch)]
        names = [ID, *self.columns.names]
        self._packer.add(batch.rows, pa.RecordBatch.from_arrays(extra, names=names))
        self.rows += n

    def _ids(self, batch: Batch) -> pa.Array:
        if batch.ids is None:
            if not self._sequential or self.id_type != pa.int64():
                raise InputError(
                    f"rows from {batch.path} have no ids; this archive has {self.id_type} ids of its own"
                )
            return pa.array(np.arange(self.rows, self.rows + len(batch)))
        ids = _cast(batch.ids, self.id_type, f"ids from {batch.path}")
        if len(ids) != len(batch):
            raise InputError(f"{len(batch)} rows from {batch.path} have {len(ids)} ids; expected one each")
        if ids.null_count:
            row = batch.first + int(pc.index(ids.is_null(), True).as_py())
            raise InputError(f"row {row} of {batch.path} has no id; every row needs one")
        self._note(ids)
        return ids

    def _note(self, ids: pa.Array) -> None:
        """Whether ids are still those of row numbers."""
        if self._sequential:
            numbers = np.arange(self.rows, self.rows + len(ids))
            self._sequential = self.id_type == pa.int64() and np.array_equal(ids.to_numpy(), numbers)

    def _carried(self, batch: Batch) -> list[pa.Array]:
        given = [] if batch.columns is None else batch.columns.schema.names
        if given != self.columns.names:
            raise InputError(
                f"rows from {batch.path} carry {given}; expected the columns {self.columns.names}"
            )
        if not given:
            return []
        assert batch.columns is not None
        if batch.columns.num_rows != len(batch):
            raise InputError(
                f"{len(batch)} rows from {batch.path} carry {batch.columns.num_rows} values a column; "
                "expected one each"
            )
        kinds = self.schema.types[-len(given) :]
        return [
            _cast(column, kind, f"column {name!r} of {batch.path}")
            for column, kind, name in zip(batch.columns.columns, kinds, given, strict=True)
        ]

    def _emit(self, codes: list[pa.Array], extra: pa.RecordBatch) -> None:
        """Writes one batch: the code columns, and the ids with the carried columns."""
        ids, *carried = extra.columns
        batch = pa.RecordBatch.from_arrays([ids, *codes, *carried], schema=self.schema)
        self._offsets.append(self._tape.tell())
        self._writer.write_batch(batch)
        # Buffers without padding, and no bitmap where nothing is null.
        text = ids.type == pa.string()
        self._counts["ids"] += 4 * (len(ids) + 1) + _value_bytes(ids) if text else 8 * len(ids)
        self._counts["codes"] += sum(_value_bytes(column) for column in codes)
        self._counts["carried"] += sum(_column_bytes(column) for column in carried)

    def close(self) -> Ledger:
        """Finishes the file, makes it durable and publishes it; its byte account."""
        if self._ledger is None:
            try:
                self._packer.finish()
                ledger = self._finish()
                if self.previous is not None and not self.previous.is_current():
                    raise ConflictError(
                        f"{self.path} was replaced while rows were appended to it; start again"
                    )
                self._target.commit()
                self._ledger = ledger
            finally:
                self.abort()
        return self._ledger

    def _finish(self) -> Ledger:
        """Builds the tail in memory, where its numbers and hashes can still be filled in, and writes it."""
        seal = Seal(self._tape.tell(), self._head_end, self._head_hash)
        tail = self._tape.hold()
        metadata = {
            layout.SEAL_KEY: seal.text(),
            layout.SUMMARY_KEY: _BLANK_SUMMARY,
            layout.SUMS_KEY: self._tape.sums().astype("<u8").tobytes(),
            layout.OFFSETS_KEY: np.array(self._offsets, "<i8").tobytes(),
        }
        self._writer.write_batch(self._empty(), custom_metadata=metadata)
        self._writer.close()
        ledger = self._account(seal.tail_start + len(tail))
        if self.approve is not None:  # Asked before the tail: without it even a pipe's reader has no archive.
            self.approve(ledger)
        summary = {
            "rows": self.rows,
            "batch_rows": self.batch_rows,
            "page_bytes": layout.PAGE_BYTES,
            "row_number_ids": self._sequential and self.id_type == pa.int64(),
            "ledger": ledger.as_dict(),
        }
        text = json.dumps(summary).encode()
        assert len(text) <= layout.SUMMARY_BYTES
        place = tail.index(_BLANK_SUMMARY)
        tail[place : place + layout.SUMMARY_BYTES] = text.ljust(layout.SUMMARY_BYTES)
        set_seal(tail, seal)
        self.tail_hash = hash128(memoryview(tail))
        self._target.file.write(tail)
        return ledger

    def _account(self, size: int) -> Ledger:
        side = self.rows * self.codec.side_bytes
        counts = {**self._counts, "codes": self._counts["codes"] - side, "side": side}
        # Arrow leaves bitmaps inside nested columns out of a file where nothing is null.
        counts["carried"] = min(counts["carried"], size - sum(counts.values()) + counts["carried"])
        return Ledger(**counts, format=size - sum(counts.values()))

    def abort(self) -> None:
        """Leaves nothing behind; harmless after `close`."""
        self._packer.cancel()
        if self.previous is not None:
            self.previous.close()
        if not isinstance(self._target, _Stream):
            self._target.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def _file(path: str, force: bool) -> AtomicFile | UriFile:
    name = local_name(path)
    return UriFile(locate(name), force) if "://" in name else AtomicFile(name, force=force)


class _Stream:
    """A binary stream as a target: bytes leave as they come, and nothing can be taken back."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.path = str(getattr(file, "name", "the output stream"))

    def commit(self) -> None:
        self.file.flush()


def _id_type(kind: pa.DataType | None) -> pa.DataType:
    if kind is None:
        return pa.int64()
    if kind not in (pa.int64(), pa.string()):
        raise InputError(f"ids are {kind}; an archive takes int64 or string")
    return kind


def _cast(array: pa.Array, kind: pa.DataType, what: str) -> pa.Array:
    if array.type == kind:
        return array
    with contextlib.suppress(pa.ArrowException):
        return array.cast(kind)
    raise InputError(f"{what} are {array.type}; expected {kind}")


def _value_bytes(column: pa.Array) -> int:
    """Bytes of all values of a column of text or binary."""
    if pa.types.is_fixed_size_binary(column.type):
        return len(column) * int(column.type.byte_width)
    return int(pc.sum(pc.binary_length(column)).as_py())


def _column_bytes(column: pa.Array) -> int:
    unused = -(-len(column) // 8) if column.null_count == 0 and column.buffers()[0] is not None else 0
    return int(column.nbytes) - unused
