"""Whatever rows come from, as one kind of source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.archive import Archive, is_archive
from vecstore.errors import ShapeError, SpecError
from vecstore.formats import open_source
from vecstore.formats.base import Batch, Source
from vecstore.stream.memory import ArraySource, ReaderSource


class ArchiveSource(Source):
    """An archive, decoded: so that it can be compressed again with another codec."""

    def __init__(self, path: str) -> None:
        self._archive = Archive(path)
        self.path = path
        self.dim = self._archive.dim
        self.dtype = np.dtype(np.float32)
        self.rows = len(self._archive)
        self.id_type = self._archive.id_type
        self.columns = self._archive.columns

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """Decoded rows with their ids and carried columns."""
        return self._archive.batches()

    def close(self) -> None:
        """Closes the archive."""
        self._archive.close()


def _without(source: Source, path: str, ids: Any, vectors: str | None) -> Source:
    """The source, which has its ids and vectors already; SpecError if others are named."""
    if ids is None and vectors is None:
        return source
    source.close()
    raise SpecError(f"{path} has its own ids and vectors; leave out --ids and --vectors")


def as_source(source: object, *, ids: Any = None, vectors: str | None = None) -> Source:
    """A Source from a path, an archive's path, an array (n, dim), an Arrow table or reader, or a Source."""
    if isinstance(source, Source):
        return _without(source, source.path, ids, vectors)
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if is_archive(path):
            return _without(ArchiveSource(path), path, ids, vectors)
        return open_source(path, vectors=vectors, ids=ids)
    if isinstance(source, pa.Table | pa.RecordBatch | pa.RecordBatchReader):
        return ReaderSource(source, vectors=vectors, ids=ids)
    if isinstance(source, np.ndarray):
        array: NDArray[Any] = source
        return ArraySource(array, ids)
    raise ShapeError(
        f"source is a {type(source).__name__}; expected a path, an array (n, dim), an Arrow table or reader"
    )
