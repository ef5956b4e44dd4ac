"""Rows of a table for those that only read them: as an archive, a store, or a file of rows."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore import registry
from vecstore.archive import ArchiveWriter
from vecstore.archive.contents import CodeBatch
from vecstore.codecs.base import Rows
from vecstore.codecs.tables.served import TableRows
from vecstore.codecs.tables.table import Table
from vecstore.errors import SpecError
from vecstore.formats import open_sink
from vecstore.formats.base import Batch, Source
from vecstore.store import Store
from vecstore.stream.compress import Job, compress

BATCH_ROWS = 8192
_PUT_ROWS = 1 << 16


class TableSource(Source):
    """The rows of a field of a table, id by id, never all of them at once."""

    id_type = pa.int64()

    def __init__(self, table: Table, field: str) -> None:
        self.codec = TableRows.of(table, field)
        self.path = f"field {field!r}"
        self.dim, self.rows, self.dtype = self.codec.dim, self.codec.cardinality, np.dtype(np.float32)

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """All rows in order of their ids."""
        for ids in _ids(self.codec.cardinality, batch_rows):
            yield Batch(self.take(ids), pa.array(ids), None, self.path, int(ids[0]))

    def take(self, numbers: NDArray[np.int64]) -> Rows:
        """The rows of ids (n,)."""
        return self.codec.decode(self.codec.codes_of(numbers))


def field_of(table: Table, field: str | None) -> str:
    """The field that is meant; SpecError where a table has several and none is named."""
    if field is None and len(table.fields) != 1:
        raise SpecError(f"this table has {len(table.fields)} fields; say which: {', '.join(table.fields)}")
    return next(iter(table.fields)) if field is None else field


def dump(table: Table, path: str | os.PathLike[str], field: str | None = None, *, force: bool = False) -> int:
    """Writes `id` and `vector` of all rows of a field to Parquet, Arrow, .npy, ... by the ending of path, in
    batches; how many there are. ConflictError if it exists, unless force."""
    source = TableSource(table, field_of(table, field))
    sink = open_sink(
        os.fspath(path),
        dim=source.dim,
        dtype=source.dtype,
        id_type=source.id_type,
        rows=source.rows,
        force=force,
    )
    with sink:
        for batch in source.batches(BATCH_ROWS):
            sink.write(batch)
    return source.codec.cardinality


def export(
    table: Table,
    path: str | os.PathLike[str],
    field: str | None = None,
    *,
    codec: str | None = None,
    metric: str = "ip",
    force: bool = False,
) -> None:
    """A field's rows for `vs.open`: `get`, `scan`, `search` by id.

    Without a codec the archive holds parameters and maps, and rows are computed when they are read, bit for
    bit the table's. With one (a spec), or where path ends in `.store`, it holds codes of rows, float32 by
    default. ConflictError if path exists, unless force.
    """
    name = field_of(table, field)
    target = os.fspath(path)
    if target.rstrip("/").endswith(".store"):
        _fill_store(TableSource(table, name), target, codec or "f32", metric)
    elif codec is None:
        _write_table(TableRows.of(table, name), target, metric, force)
    else:
        compress(
            TableSource(table, name),
            lambda _source, _sample, rows: registry.fit(codec, rows),
            Job(target=target, metric=metric, force=force),
        )


def _write_table(codec: TableRows, target: str, metric: str, force: bool) -> None:
    card = {"metric": metric, "source_dtype": "float32"}
    with ArchiveWriter(target, codec, card=card, id_type=pa.int64(), force=force) as writer:
        for ids in _ids(codec.cardinality, BATCH_ROWS):
            writer.copy(CodeBatch(int(ids[0]), pa.array(ids), codec.codes_of(ids), None))


def _fill_store(source: TableSource, target: str, codec: str, metric: str) -> None:
    with Store.create(target, dim=source.dim, codec=codec, metric=metric, keep=None) as store:
        for batch in source.batches(_PUT_ROWS):
            store.put(batch.ids, batch.rows, check_space=False)


def _ids(count: int, step: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, step):
        yield np.arange(start, min(start + step, count))
