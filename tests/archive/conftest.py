"""Small archives: rows, ids and columns to write, and batches small enough that there are several."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from vecstore.archive import ArchiveWriter, layout
from vecstore.formats.base import Batch
from vecstore.registry import fit

N, DIM = 2500, 16


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Batches of 512 rows."""
    monkeypatch.setattr(layout, "_FEW_ROWS", 512)
    monkeypatch.setattr(layout, "_BATCH_BYTES", 1024)
    monkeypatch.setattr(layout, "_BLOCK_BYTES", 1024)


@pytest.fixture(scope="session")
def rows():
    return np.random.default_rng(0).standard_normal((N, DIM)).astype(np.float32)


@pytest.fixture(scope="session")
def columns():
    text = pa.array([["de", "en", None, "a much longer text"][i % 4] for i in range(N)])
    lists = pa.array([list(range(i % 3)) for i in range(N)], pa.list_(pa.int16()))
    return pa.record_batch({"lang": text.dictionary_encode(), "year": np.arange(N) % 30, "tags": lists})


@pytest.fixture
def write(rows):
    """write(target, spec, ids=None, columns=None, **more): an archive of `rows`; its ledger."""

    def write(target, spec="sq:bits=8", ids=None, columns=None, *, step=700, **more):
        codec = fit(spec, rows)
        schema = pa.schema([]) if columns is None else columns.schema
        kind = None if ids is None else ids.type
        more = {"card": {"metric": "ip"}, **more}
        with ArchiveWriter(target, codec, id_type=kind, columns=schema, **more) as writer:
            for start in range(0, len(rows), step):
                writer.write(
                    Batch(
                        rows[start : start + step],
                        None if ids is None else ids[start : start + step],
                        None if columns is None else columns.slice(start, step),
                        "memory",
                        start,
                    )
                )
        return writer.close()

    return write
