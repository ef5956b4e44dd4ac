"""A few rows with ids and columns, and short ways to write and read them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from vecstore.formats import Batch, open_sink, open_source

ROWS, DIM = 100, 6


@pytest.fixture
def rows():
    """(100, 6) float32, whole numbers 0 to 100: every format and dtype holds them exactly."""
    return np.random.default_rng(0).integers(0, 101, (ROWS, DIM)).astype(np.float32)


@pytest.fixture
def write():
    """write(path, rows, ids=None, columns=None, counted=True, step=33) -> notes of the sink."""

    def write(path, rows, ids=None, columns=None, counted=True, step=33):
        sink = open_sink(
            str(path),
            dim=rows.shape[1],
            dtype=rows.dtype,
            id_type=None if ids is None else ids.type,
            columns=pa.schema([]) if columns is None else columns.schema,
            rows=len(rows) if counted else None,
        )
        with sink:
            for i in range(0, len(rows), step):
                part = slice(i, i + step)
                kept = None if columns is None else columns.slice(i, step)
                sink.write(Batch(rows[part], None if ids is None else ids[part], kept, "memory", i))
        return sink.notes

    return write


@pytest.fixture
def read():
    """read(path, batch_rows=17, **columns) -> (rows, ids as a list or None, columns as a dict)."""

    def read(path, batch_rows=17, **choice):
        with open_source(str(path), **choice) as source:
            batches = list(source.batches(batch_rows))
            assert all(len(batch) <= batch_rows for batch in batches)
            assert source.rows in (None, sum(map(len, batches)))
            assert all(batch.rows.shape[1] == source.dim for batch in batches)
            empty = np.empty((0, source.dim), source.dtype)
            rows = np.concatenate([batch.rows for batch in batches] or [empty])
            assert rows.dtype == source.dtype
            ids = None
            if source.id_type is not None:
                assert all(batch.ids.type == source.id_type for batch in batches)
                ids = [value for batch in batches for value in batch.ids.to_pylist()]
            columns = {}
            if len(source.columns):
                parts = [batch.columns for batch in batches]
                columns = pa.Table.from_batches(parts, source.columns).to_pydict()
        return rows, ids, columns

    return read
