"""The full check of an archive: every byte, every count, every block."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.archive.contents import Contents, block_of
from vecstore.archive.layout import ID, AnyCodec
from vecstore.atomic import storage_errors
from vecstore.codecs.base import BlockCodec
from vecstore.errors import CorruptError, VecstoreError
from vecstore.formats.idkeys import keys_of, repeats

U64 = NDArray[np.uint64]


@dataclass
class Findings:
    """What is wrong with an archive but for ids that come twice, and the keys (n, w) of the ids in each batch
    that can be read."""

    faults: list[str] = field(default_factory=list)
    keys: list[U64] = field(default_factory=list)


def inspect(contents: Contents, load_codec: Callable[[], AnyCodec]) -> Findings:
    """Looks at every byte, count and block of an archive that could be opened."""
    found = Findings()
    with storage_errors(contents.path, "read"):
        try:
            codec = load_codec()
        except CorruptError as error:
            found.faults.append(str(error))
            return found
        found.faults += [*_size(contents), *_account(contents, codec)]
        _batches(contents, codec, found)
        found.faults += _as_arrow(contents)
    return found


def faults(contents: Contents, load_codec: Callable[[], AnyCodec]) -> list[str]:
    """What is wrong with an archive that could be opened; an empty list is sound."""
    found = inspect(contents, load_codec)
    if len(found.keys) == contents.batches and contents.rows and not contents.row_number_ids:
        if count := repeats(np.concatenate(found.keys)):
            distinct = contents.rows - count
            found.faults.append(f"{contents.path} has {contents.rows} rows but only {distinct} different ids")
    return list(dict.fromkeys(found.faults))  # A page of two batches is found damaged twice.


def _size(contents: Contents) -> Iterator[str]:
    size = os.fstat(contents.descriptor).st_size
    if size != contents.size:
        yield f"{contents.path} had {contents.size} bytes when opened and has {size} now"


def _account(contents: Contents, codec: AnyCodec) -> Iterator[str]:
    ledger, rows = contents.ledger, contents.rows
    if ledger.total != contents.size:
        yield f"{contents.path} has {contents.size} bytes; its ledger sums to {ledger.total}"
    wanted = {"side": rows * codec.side_bytes, "shared": contents.state_bytes, "index": 0}
    if codec.code_bytes is not None:
        wanted["codes"] = rows * (codec.code_bytes - codec.side_bytes)
    for part, size in wanted.items():
        if (found := getattr(ledger, part)) != size:
            yield f"the ledger of {contents.path} says {found} bytes of {part}; expected {size}"
    if contents.spec != str(codec.spec):
        yield f"{contents.path} says its codec is {contents.spec}; it is {codec.spec}"


def _batches(contents: Contents, codec: AnyCodec, found: Findings) -> None:
    """The head and every batch, read again; the tail's seal was verified at opening."""
    found.faults += contents.pages.damages(0, contents.seal.head_end)
    buffer = np.empty(contents.longest_batch(), np.uint8)
    for index in range(contents.batches):
        try:
            batch = contents.batch(index, buffer, anew=True)
        except VecstoreError as error:
            damaged = list(contents.pages.damages(*contents.offsets[index : index + 2].tolist()))
            found.faults += damaged or [str(error)]
            continue
        found.keys.append(keys_of(batch.column(ID)))
        found.faults += _batch(contents, codec, index, batch)


def _batch(contents: Contents, codec: AnyCodec, index: int, batch: pa.RecordBatch) -> Iterator[str]:
    where = f"batch {index} of {contents.path}"
    if isinstance(codec, BlockCodec):
        yield from _block(batch, codec, where)
    first, rows = index * contents.batch_rows, batch.num_rows
    if contents.row_number_ids and not batch.column(ID).equals(pa.array(np.arange(first, first + rows))):
        yield f"{where} says its ids are the row numbers; they are not"


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
            if reader.num_record_batches != contents.batches + len([*contents.head_batches()]) + 1:
                yield f"the footer of {contents.path} lists {reader.num_record_batches} batches"
            if not reader.schema.equals(contents.schema, check_metadata=True):
                yield f"the footer of {contents.path} has another schema than its head"
        except (pa.ArrowException, OSError) as error:
            yield f"the footer of {contents.path} cannot be read: {error}"
