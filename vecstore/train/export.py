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
        self.ids = self.codec.ids
        self.dim, self.dtype = self.codec.dim, np.dtype(np.float32)
        self.rows = self.codec.cardinality if self.ids is None else len(self.ids)

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """All rows in order of their ids."""
        for first, ids in _ids(self.codec, batch_rows):
            yield Batch(self.rows_of(ids), pa.array(ids), None, self.path, first)

    def take(self, numbers: NDArray[np.int64]) -> Rows:
        """The rows (n, dim) by their numbers (n,)."""
        return self.rows_of(numbers if self.ids is None else self.ids[numbers])

    def rows_of(self, ids: NDArray[np.int64]) -> Rows:
        """The rows (n, dim) of ids (n,)."""
        return self.codec.decode(self.codec.codes_of(ids))


def field_of(table: Table, field: str | None) -> str:
    """The field that is meant; SpecError where a table has several and none is named."""
    if field is None and len(table.fields) != 1:
        raise SpecError(f"this table has {len(table.fields)} fields; say which: {', '.join(table.fields)}")
    return next(iter(table.fields)) if field is None else field


def dump(
    table: Table,
    path: str | os.PathLike[str],
    field: str | None = None,
    *,
    least: float | None = None,
    force: bool = False,
) -> int:
    """Writes `id` and `vector` of all rows of a field to Parquet, Arrow, .npy, ... by the ending of path, in
    batches; how many there are. `score` is beside them where the method goes by one (`Table.scores`), and
    with least= only ids that have so much are written; SpecError where there is none. Of a `dynamic` table
    ids that have rows of their own are written. ConflictError if it exists, unless force."""
    name = field_of(table, field)
    source = TableSource(table, name)
    scored = table.scores(name, np.empty(0, np.int64)) is not None
    if least is not None and not scored:
        raise SpecError(f"least={least}: this {table.setup.method!r} table keeps no scores of ids")
    sink = open_sink(
        os.fspath(path),
        dim=source.dim,
        dtype=source.dtype,
        id_type=source.id_type,
        rows=source.rows if least is None else None,
        force=force,
        columns=pa.schema([("score", pa.float32())] if scored else []),
    )
    written = 0
    with sink:
        for first, ids in _ids(source.codec, BATCH_ROWS):
            scores = table.scores(name, ids)
            columns = None
            if scores is not None:
                kept = np.full(len(ids), True) if least is None else scores >= least
                ids = ids[kept]
                columns = pa.record_batch({"score": pa.array(scores[kept], pa.float32())})
            if len(ids):
                sink.write(Batch(source.rows_of(ids), pa.array(ids), columns, source.path, first))
            written += len(ids)
    return written


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
        for first, ids in _ids(codec, BATCH_ROWS):
            writer.copy(CodeBatch(first, pa.array(ids), codec.codes_of(ids), None))


def _fill_store(source: TableSource, target: str, codec: str, metric: str) -> None:
    with Store.create(target, dim=source.dim, codec=codec, metric=metric, keep=None) as store:
        for batch in source.batches(_PUT_ROWS):
            store.put(batch.ids, batch.rows, check_space=False)


def _ids(codec: TableRows, step: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The number of the first one, and ids, some at a time."""
    listed = codec.ids
    count = codec.cardinality if listed is None else len(listed)
    for start in range(0, count, step):
        stop = min(start + step, count)
        yield start, np.arange(start, stop) if listed is None else listed[start:stop]
