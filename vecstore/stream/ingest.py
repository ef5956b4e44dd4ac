"""Taking a stream into a store as it comes: committed every so many rows or seconds, with how far it came."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from vecstore.errors import ConflictError, InputError, SpecError, VecstoreError, WidthError
from vecstore.formats.base import Batch, Source
from vecstore.space.card import NOTHING, Claim, check_names
from vecstore.store import Store
from vecstore.stream.compress import Progress
from vecstore.stream.prefetch import waking

_WAITING_BYTES = 1 << 28  # of rows that wait for their commit
_PATIENCE_S = 60.0  # with another writer
_PAUSE_S = 0.05


@dataclass(frozen=True)
class Terms:
    """How a stream is taken in. name: under which the store keeps how far it came; None: it does not.

    offset: the number of the first row that the stream brings. rows, seconds: after which what came is
    committed. progress: called with (rows done, rows in all or None). claim: what is said of their space.
    """

    name: str | None = None
    offset: int = 0
    rows: int = 1 << 16
    seconds: float = 5.0
    progress: Progress | None = None
    claim: Claim = NOTHING

    def __post_init__(self) -> None:
        if self.rows < 1 or not self.seconds > 0 or self.offset < 0:
            raise SpecError(
                f"a commit every {self.rows} rows or {self.seconds} seconds, from row {self.offset} on; "
                "expected 1 row or more, more than 0 seconds, row 0 or more"
            )


@dataclass(frozen=True)
class Ingested:
    """What `ingest` did. offset: the number of the row to go on with. skipped: rows that were there."""

    rows: int
    skipped: int
    offset: int
    version: int


class _Taken:
    """Rows on their way into a store, and the number of the next one."""

    def __init__(self, store: Store, source: Source, terms: Terms) -> None:
        self._store, self._source, self._terms = store, source, terms
        known = self._known()
        self.committed = terms.offset if known is None else known
        if known is not None and terms.offset > known:
            raise InputError(
                f"{source.path} begins with row {terms.offset}; of {terms.name} the store has those before "
                f"{known}: go on with row {known}"
            )
        self.rows = self.skipped = 0
        self._next = terms.offset
        self._waiting: list[Batch] = []
        self._since = time.monotonic()

    def _known(self) -> int | None:
        return None if self._terms.name is None else self._store.writer(self._terms.name).last_offset

    def take(self, batch: Batch) -> None:
        """Lets rows wait for their commit, but for those that are in the store."""
        first, self._next = self._next, self._next + len(batch)
        if (done := min(self.committed - first, len(batch))) > 0:
            self.skipped += done
            batch, first = _behind(batch, done), first + done
        if not len(batch):
            return
        if batch.rows.dtype.kind == "f" and not (sound := np.isfinite(batch.rows).all(axis=1)).all():
            row = first + int(sound.argmin())
            raise InputError(f"{batch.path}: row {row} (counted from 0) holds NaN or infinity; mend it")
        if batch.ids is None:
            batch = replace(batch, ids=pa.array(np.arange(first, first + len(batch))))
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(batch)

    @property
    def due(self) -> bool:
        """Whether a commit is."""
        count = sum(map(len, self._waiting))
        late = time.monotonic() - self._since >= self._terms.seconds
        full = count >= self._terms.rows or 4 * count * self._store.dim >= _WAITING_BYTES
        return count > 0 and (late or full)

    def commit(self) -> None:
        """Makes what waits durable, and waits for another writer to be done."""
        if not self._waiting:
            return
        patience = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self._store.take_in(self._waiting, self._terms.name, self._next, claim=self._terms.claim)
                break
            except ConflictError:
                self._store.refresh()
                if self._known() not in (None, self.committed) or time.monotonic() > patience:
                    raise
                time.sleep(_PAUSE_S)
        self.rows += sum(map(len, self._waiting))
        self._waiting, self.committed = [], self._next
        if self._terms.progress is not None:
            self._terms.progress(self.rows + self.skipped, self._source.rows)

    def end(self) -> Ingested:
        """Commits the rest."""
        self.commit()
        if self._next < self.committed:
            raise InputError(
                f"{self._source.path} ends before row {self._next}; of {self._terms.name} those before "
                f"{self.committed} were taken in earlier: it is another stream, which needs another name"
            )
        return Ingested(self.rows, self.skipped, self._next, self._store.version)

    def standing(self) -> str:
        """What a person should know after an interruption."""
        self._store.refresh()
        if self._terms.name is None:
            return f"{self.rows} rows are committed"
        known = self._known() or 0
        return f"rows before {known} are committed; send all again, or those from {known} on"


def _behind(batch: Batch, rows: int) -> Batch:
    """A batch without its first rows."""
    ids = None if batch.ids is None else batch.ids.slice(rows)
    columns = None if batch.columns is None else batch.columns.slice(rows)
    return Batch(batch.rows[rows:], ids, columns, batch.path, batch.first + rows)


def ingest(store: Store, source: Source, terms: Terms) -> Ingested:
    """Takes all rows of a source into a store; those without ids get their numbers.

    Of a stream that fails or is interrupted, what was committed stays: the error, or KeyboardInterrupt, says
    how far that is. Raises InputError for a stream that ends without its end marker.
    """
    if source.dim not in (0, store.dim):
        raise WidthError(f"{source.path} has {source.dim} dimensions; {store.path} has {store.dim}")
    check_names(store.card, terms.claim, "rows", store.path)
    taken = _Taken(store, source, terms)
    try:
        with closing(waking(source.batches(terms.rows), terms.seconds / 4)) as batches:
            for batch in batches:
                if batch is not None:
                    taken.take(batch)
                if taken.due:
                    taken.commit()
        return taken.end()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {taken.standing()}") from None
    except VecstoreError as error:
        raise _told(error, taken.standing()) from error


def _told(error: VecstoreError, more: str) -> VecstoreError:
    told: Any = type(error)(f"{error}; {more}")
    return told  # type: ignore[no-any-return]
