"""Whatever rows come from, as one kind of source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.codecs.base import Rows, as_float32
from vecstore.errors import ShapeError, SpecError
from vecstore.formats import open_source
from vecstore.formats.base import Batch, Source
from vecstore.store import is_collection, open_collection
from vecstore.stream.memory import ArraySource, ReaderSource

_ROWS = 8192  # read at a time


class CollectionSource(Source):
    """An archive or a store, decoded: so that it can be compressed again with another codec."""

    def __init__(self, path: str) -> None:
        self._rows = open_collection(path)
        self.path = path
        self.dim = self._rows.dim
        self.dtype = np.dtype(np.float32)
        self.rows = len(self._rows)
        self.id_type = self._rows.id_type
        self.columns = self._rows.columns

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """Decoded rows with their ids and carried columns."""
        return self._rows.batches()

    def close(self) -> None:
        """Closes the collection."""
        self._rows.close()


def _without(source: Source, path: str, ids: Any, vectors: str | None) -> Source:
    """The source, which has its ids and vectors already; SpecError if others are named."""
    if ids is None and vectors is None:
        return source
    source.close()
    raise SpecError(f"{path} has its own ids and vectors; leave out --ids and --vectors")


def as_source(source: object, *, ids: Any = None, vectors: str | None = None) -> Source:
    """A Source from a path (also of an archive or store), an array (n, dim), an Arrow table or reader."""
    if isinstance(source, Source):
        return _without(source, source.path, ids, vectors)
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if is_collection(path):
            return _without(CollectionSource(path), path, ids, vectors)
        return open_source(path, vectors=vectors, ids=ids)
    if isinstance(source, pa.Table | pa.RecordBatch | pa.RecordBatchReader):
        return ReaderSource(source, vectors=vectors, ids=ids)
    if isinstance(source, np.ndarray):
        array: NDArray[Any] = source
        return ArraySource(array, ids)
    raise ShapeError(
        f"source is a {type(source).__name__}; expected a path, an array (n, dim), an Arrow table or reader"
    )


def rows_of(source: Source) -> Rows:
    """All rows of a source (n, dim)."""
    parts = [as_float32(batch.rows) for batch in source.batches(_ROWS)]
    return np.concatenate(parts) if parts else np.empty((0, source.dim), np.float32)
