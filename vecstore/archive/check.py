"""The full check of an archive: every byte, every count, every block."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.archive.contents import Contents, block_of
from vecstore.archive.layout import ID, AnyCodec
from vecstore.archive.pages import Bytes
from vecstore.atomic import storage_errors
from vecstore.codecs.base import BlockCodec
from vecstore.errors import CorruptError, VecstoreError
from vecstore.formats.idkeys import keys_of, repeats


def faults(contents: Contents, codec: AnyCodec) -> list[str]:
    """What is wrong with an archive that could be opened; an empty list is sound."""
    with storage_errors(contents.path, "read"):
        found = [
            *_pages(contents),
            *_account(contents, codec),
            *_batches(contents, codec),
            *_as_arrow(contents),
        ]
        return list(dict.fromkeys(found))  # A damaged page is found again by whoever reads it.


def _pages(contents: Contents) -> Iterator[str]:
    """Every page of the head and the batches, read again; the tail's seal was verified at opening."""
    size = os.fstat(contents.descriptor).st_size
    if size != contents.size:
        yield f"{contents.path} had {contents.size} bytes when opened and has {size} now"
    yield from contents.pages.damages()


def _account(contents: Contents, codec: AnyCodec) -> Iterator[str]:
    ledger, rows = contents.ledger, contents.rows
    if ledger.total != contents.size:
        yield f"{contents.path} has {contents.size} bytes; its ledger sums to {ledger.total}"
    wanted = {"side": rows * codec.side_bytes, "shared": len(contents.state or b""), "index": 0}
    if codec.code_bytes is not None:
        wanted["codes"] = rows * (codec.code_bytes - codec.side_bytes)
    for part, size in wanted.items():
        if (found := getattr(ledger, part)) != size:
            yield f"the ledger of {contents.path} says {found} bytes of {part}; expected {size}"
    if contents.spec != str(codec.spec):
        yield f"{contents.path} says its codec is {contents.spec}; it is {codec.spec}"


def _batches(contents: Contents, codec: AnyCodec) -> Iterator[str]:
    buffer = np.empty(contents.longest_batch(), np.uint8)
    keys: list[NDArray[np.uint64]] = []
    for index in range(contents.batches):
        try:
            some, found = _batch(contents, codec, index, buffer)
        except VecstoreError as error:
            yield str(error)
            continue
        keys.append(some)
        yield from found
    if len(keys) == contents.batches and contents.rows and not contents.row_number_ids:
        if count := repeats(np.concatenate(keys)):
            distinct = contents.rows - count
            yield f"{contents.path} has {contents.rows} rows but only {distinct} different ids"


def _batch(
    contents: Contents, codec: AnyCodec, index: int, buffer: Bytes
) -> tuple[NDArray[np.uint64], list[str]]:
    """The keys of the ids of a batch, and what is wrong with it."""
    batch = contents.batch(index, buffer)
    where = f"batch {index} of {contents.path}"
    found: list[str] = []
    if isinstance(codec, BlockCodec):
        found += _block(batch, codec, where)
    first, rows = index * contents.batch_rows, batch.num_rows
    if contents.row_number_ids and not batch.column(ID).equals(pa.array(np.arange(first, first + rows))):
        found.append(f"{where} says its ids are the row numbers; they are not")
    return keys_of(batch.column(ID)).copy(), found  # The buffer is filled again.


def _block(batch: pa.RecordBatch, codec: BlockCodec, where: str) -> Iterator[str]:
    try:
        rows = codec.decode_block(block_of(batch), batch.num_rows)
    except CorruptError as error:
        yield f"{where} cannot be decoded: {error}"
        return
    if rows.shape != (batch.num_rows, codec.dim):
        yield f"{where} decodes to {rows.shape}; expected {(batch.num_rows, codec.dim)}"


def _as_arrow(contents: Contents) -> Iterator[str]:
    """What other Arrow readers go by: the footer, and the schema in it."""
    if contents.is_stream:
        return
    with os.fdopen(os.dup(contents.descriptor), "rb") as file:
        try:
            reader = pa.ipc.open_file(pa.PythonFile(file, mode="r"))
            if reader.num_record_batches != contents.batches + 2:
                yield f"the footer of {contents.path} lists {reader.num_record_batches} batches"
            if not reader.schema.equals(contents.schema, check_metadata=True):
                yield f"the footer of {contents.path} has another schema than its head"
        except (pa.ArrowException, OSError) as error:
            yield f"the footer of {contents.path} cannot be read: {error}"
