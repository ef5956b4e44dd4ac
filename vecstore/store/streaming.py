"""Writing a stream into a store so that after any interruption nothing of it is lost or there twice."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from vecstore.errors import InputError, SpecError, WidthError
from vecstore.formats.base import Batch
from vecstore.formats.columns import choose, vector_type
from vecstore.formats.idkeys import keys_of
from vecstore.store.ids import IdMap
from vecstore.store.manifest import Manifest

# Takes rows and the offset that they end at, and commits both at once.
Commit = Callable[[list[Batch], str, int], None]
# Gives a batch as the store takes it, of the kind of one that waits, if any does.
Check = Callable[[Batch, Batch | None], Batch]


class StreamWriter:
    """Batches of one source, whose offset is committed together with their rows.

    A producer that was interrupted goes on behind `last_offset`; what it sends again up to there is left out.
    """

    def __init__(self, source: str, manifest: Callable[[], Manifest], check: Check, commit: Commit) -> None:
        """manifest: gives the newest. check, commit: see `Check` and `Commit`."""
        if not source or not isinstance(source, str):
            raise SpecError(f"source is {source!r}; expected the name of a stream")
        self.source = source
        self._manifest, self._check, self._commit = manifest, check, commit
        self._waiting: list[Batch] = []
        self._offset = self.last_offset
        self._rows = 0

    @property
    def last_offset(self) -> int | None:
        """The offset of the last batch that is committed; None if none is."""
        return self._manifest().sources.get(self.source)

    def write(self, batch: pa.RecordBatch, offset: int) -> bool:
        """Takes rows to be committed: an id column, a vector column, and the carried ones.

        offset: of the batch in its stream, larger than that of the one before. False if it is committed
        already, and is left out. An id that comes again in a later batch stands for the later row. Raises
        InputError and WidthError for a batch that the store does not take, which is left out as well.
        """
        if not isinstance(batch, pa.RecordBatch):
            raise InputError(f"a batch of {self.source} is a {type(batch).__name__}; expected a RecordBatch")
        if type(offset) is not int:
            raise SpecError(f"offset is {offset!r}; expected a whole number")
        last = self.last_offset
        if last is not None and offset <= last:
            return False
        if self._waiting and self._offset is not None and offset <= self._offset:
            raise InputError(
                f"offset {offset} of {self.source} comes behind {self._offset}; offsets must rise"
            )
        choice = choose(batch.schema, self.source, None, None)
        if choice.id is None:
            raise InputError(f"a batch of {self.source} has no id column; it has {batch.schema.names}")
        dim, kind = self._manifest().dim, vector_type(batch.schema.field(choice.vector).type)
        if kind is not None and kind[1] not in (None, dim):
            raise WidthError(f"a batch of {self.source} has {kind[1]} dimensions; expected {dim}")
        given = choice.batch(batch, dim, self._rows)
        self._waiting.append(self._check(given, self._waiting[0] if self._waiting else None))
        self._rows += len(batch)
        self._offset = offset
        return True

    def commit(self) -> None:
        """Makes what was written durable, rows and offset at once; nothing to do if nothing was."""
        if self._waiting and self._offset is not None:
            self._commit(self._waiting, self.source, self._offset)
            self._waiting = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commits what waits, unless an error came."""
        if kind is None:
            self.commit()


def joined(batches: list[Batch]) -> Batch:
    """One batch of several with ids; of rows of one id the last."""
    ids = pa.concat_arrays([batch.ids for batch in batches])
    numbers = np.arange(len(ids))
    places, keys = IdMap(), keys_of(ids)
    places.put(keys, numbers)
    keep = pa.array(np.flatnonzero(places.find(keys) == numbers))
    columns = None
    if batches[0].columns is not None:
        table = pa.Table.from_batches([batch.columns for batch in batches])
        picked = table.combine_chunks().take(keep).to_batches()
        columns = picked[0] if picked else batches[0].columns.slice(0, 0)
    rows = np.concatenate([batch.rows for batch in batches])
    return Batch(rows[keep.to_numpy()], ids.take(keep), columns, batches[0].path, batches[0].first)
