"""The immutable files of a store besides manifests: segments, codecs, lists of deleted rows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from vecstore.archive.reader import Archive, CodeBatch
from vecstore.archive.writer import ArchiveWriter
from vecstore.atomic import AtomicFile, storage_errors
from vecstore.codecs.base import Codec
from vecstore.codecs.messages import refuse_compressed
from vecstore.errors import ConflictError, CorruptError, NotFoundError
from vecstore.formats.base import Batch
from vecstore.registry import AnyCodec, dumps, loads
from vecstore.store import layout
from vecstore.store.manifest import Deletes, Manifest, Segment
from vecstore.store.versions import sync_names

# Rows on their way into a segment: to be encoded, or codes for one of its two files.
Rows: TypeAlias = "Batch | tuple[CodeBatch | None, CodeBatch | None]"

# Files that a commit under way has written, and no manifest names.
_written: ContextVar[list[str] | None] = ContextVar("written", default=None)
_ROW = "row"
_MOST_CODEC_BYTES = 1 << 33
_MAGIC_BYTES = 8


@contextlib.contextmanager
def taken_back() -> Iterator[None]:
    """If the block fails before it calls `settle`, files that it has written are removed, as far as they can
    be; others may not write meanwhile."""
    mine: list[str] = []
    token = _written.set(mine)
    try:
        yield
    except BaseException:
        for path in mine:
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise
    finally:
        _written.reset(token)


def settle() -> None:
    """From now on a manifest may name what was written, whatever fails."""
    if (mine := _written.get()) is not None:
        mine.clear()


def _note(path: str) -> None:
    """A file of a new name has been written."""
    if (mine := _written.get()) is not None:
        mine.append(path)


class SegmentWriter(ArchiveWriter):
    """An archive whose codec lies in the store."""

    codec_apart: ClassVar[bool] = True


def write_segment(
    root: str, manifest: Manifest, codec: AnyCodec, fine: Codec | None, rows: Iterable[Rows]
) -> Segment | None:
    """Writes rows into files of a new name, durable when it returns; None where there are no rows.

    manifest: whose card, kind of ids and columns the rows have. fine: what encodes the finer rows beside.
    """
    name = layout.new_name()
    path = layout.segment_path(root, name)
    card = {key: value for key, value in manifest.card.items() if key in ("dim", "metric", "model")}
    assert manifest.columns is not None
    coarse = SegmentWriter(path, codec, card=card, id_type=manifest.id_type, columns=manifest.columns)
    finer = None if fine is None else SegmentWriter(layout.fine_path(root, name), fine, card=card)
    writers = [writer for writer in (coarse, finer) if writer is not None]
    try:
        for given in rows:
            if isinstance(given, Batch):
                coarse.write(given)
                if finer is not None:
                    finer.write(Batch(given.rows, None, None, given.path, given.first))
                continue
            codes, fine_codes = given
            if codes is not None:
                coarse.copy(codes)
            if finer is not None and fine_codes is not None:
                numbers = np.arange(finer.rows, finer.rows + len(fine_codes))
                finer.copy(replace(fine_codes, ids=pa.array(numbers)))
        if not coarse.rows:
            return None
        ledgers = []
        for writer in writers:
            ledgers.append(writer.close())
            _note(writer.path)
    finally:
        for writer in writers:
            writer.abort()
    found = Segment(name, coarse.rows, ledgers[0].total, coarse.tail_hash, codec.identity)
    if finer is None or fine is None:
        return found
    return Segment(
        name, coarse.rows, ledgers[0].total, coarse.tail_hash, codec.identity,
        fine.identity, ledgers[1].total, finer.tail_hash,
    )  # fmt: skip


class Kind(NamedTuple):
    """What all segments of a version have in common."""

    dim: int
    id_type: pa.DataType | None
    columns: pa.Schema | None

    def check(self, archive: Archive) -> None:
        """CorruptError for a segment that holds other things than the manifest says."""
        if (archive.dim, archive.id_type) != (self.dim, self.id_type) or archive.columns != self.columns:
            raise CorruptError(
                f"{archive.path} has {archive.dim} dimensions, {archive.id_type} ids and the columns "
                f"{archive.columns.names}; the manifest says otherwise"
            )


def open_segment(root: str, segment: Segment, codec: AnyCodec | None, held: int | None = None) -> Archive:
    """The codes, ids and columns of a segment; CorruptError unless it is the file that the manifest means.

    codec: the one that the segment names. held: a descriptor of the file, if it is open.
    """
    path = layout.segment_path(root, segment.name)
    facts = (segment.rows, segment.size, segment.seal)
    return _opened(path, facts, None if codec is None else (segment.codec, codec), held)


def open_fine(root: str, segment: Segment, codec: AnyCodec | None, held: int | None = None) -> Archive:
    """The finer rows of a segment that has them."""
    path = layout.fine_path(root, segment.name)
    facts, identity = (segment.rows, segment.fine_size, segment.fine_seal), segment.fine_codec
    return _opened(path, facts, None if codec is None or identity is None else (identity, codec), held)


def _opened(
    path: str, facts: tuple[int, int, str], codec: tuple[str, AnyCodec] | None, held: int | None
) -> Archive:
    try:
        archive = Archive(path, codec=codec, descriptor=held)
    except NotFoundError as error:
        raise CorruptError(f"{path} is missing; restore it from a copy") from error
    found = len(archive), archive.ledger().total, archive.tail_hash
    if found != facts:
        archive.close()
        raise CorruptError(
            f"{path} has {found[0]} rows in {found[1]} bytes and the hash {found[2]}; the manifest says "
            f"{facts[0]}, {facts[1]} and {facts[2]}: it is another file; restore it from a copy"
        )
    return archive


def write_codec(root: str, codec: AnyCodec) -> str:
    """Keeps a codec under its identity, durable; gives the identity."""
    identity = codec.identity
    try:
        with AtomicFile(layout.codec_path(root, identity)) as file:
            file.write(dumps(codec))
        _note(file.path)
    except ConflictError:  # It is kept already, perhaps by one that was killed before its name was durable.
        read_codec(root, identity)
        path = layout.codec_path(root, identity)
        with storage_errors(path):
            sync_names(os.path.dirname(path))
    return identity


def read_codec(root: str, identity: str) -> AnyCodec:
    """A codec by its identity; CorruptError if it is missing or another one."""
    path = layout.codec_path(root, identity)
    codec = loads(_read(path, _MOST_CODEC_BYTES))
    if codec.identity != identity:
        raise CorruptError(f"{path} holds the codec {codec.identity}; restore it from a copy")
    return codec


def write_deletes(root: str, rows: NDArray[np.int64]) -> Deletes:
    """Keeps numbers of deleted rows of one segment, durable."""
    name = layout.new_name()
    batch = pa.record_batch({_ROW: pa.array(np.sort(rows))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    data = sink.getvalue()
    with AtomicFile(layout.deletes_path(root, name)) as file:
        file.write(data)
    _note(file.path)
    return Deletes(name, len(rows), data.size, xxhash.xxh3_128_hexdigest(data))


def read_deletes(root: str, deletes: Deletes, rows: int, held: int | None = None) -> NDArray[np.int64]:
    """The numbers of deleted rows, ascending, of a segment of so many rows. held: a descriptor of the file,
    which is closed."""
    path = layout.deletes_path(root, deletes.name)
    data = _read(path, deletes.size, held)
    if len(data) != deletes.size or xxhash.xxh3_128_hexdigest(data) != deletes.seal:
        raise CorruptError(f"{path} is damaged: it does not match its checksum; restore it from a copy")
    try:
        refuse_compressed(data[_MAGIC_BYTES:], path)
        with pa.ipc.open_stream(data[_MAGIC_BYTES:]) as reader:  # A file is a stream behind its magic.
            found: NDArray[np.int64] = reader.read_all().column(_ROW).to_numpy()
    except (pa.ArrowException, KeyError) as error:
        raise CorruptError(f"{path} is not laid out as a list of rows: {error}") from error
    if found.dtype != np.int64 or len(found) != deletes.rows or (np.diff(found) <= 0).any():
        raise CorruptError(f"{path} is no ascending list of {deletes.rows} rows")
    if len(found) and not (0 <= found[0] and found[-1] < rows):
        raise CorruptError(f"{path} lists rows beyond the {rows} of its segment")
    return found


def _read(path: str, most: int, held: int | None = None) -> bytes:
    """A file that the store needs."""
    with storage_errors(path, "read"):
        try:
            file = open(path if held is None else held, "rb")
        except FileNotFoundError as error:
            raise CorruptError(f"{path} is missing; restore it from a copy") from error
        with file:
            if (size := os.fstat(file.fileno()).st_size) > most:
                raise CorruptError(f"{path} has {size} bytes; expected at most {most}")
            return file.read()
