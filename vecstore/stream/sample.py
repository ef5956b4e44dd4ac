"""The rows that a codec is fitted on, and those that it is measured on instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.codecs.grouped import as_text
from vecstore.errors import InputError
from vecstore.formats.base import Batch, Source

SAMPLE_ROWS = 65536
SAMPLE_BYTES = 96 << 20  # as float32, so that wide rows do not fill the memory
HELD_OUT_ROWS = 8192
_PIPE_STRIDE = 64  # of a stream of unknown length every 64th row is measured
_BATCH_BYTES = 4 << 20
RUN_ROWS = 8


@dataclass(frozen=True)
class Sample:
    """rows (n, dim) of the source's dtype with their ascending numbers (n,) in the source.

    total: rows in the source, None for a pipe that goes on. batches: all rows of the source, in order.
    """

    rows: NDArray[Any]
    numbers: NDArray[np.int64]
    total: int | None
    batches: Iterator[Batch]
    groups: NDArray[Any] | None = None  # (n,) values of the column that was asked for, as text

    def held_out(self, start: int, stop: int) -> NDArray[np.int64]:
        """Those of the rows start to stop that were not fitted on and are to be measured, as numbers."""
        stride = _PIPE_STRIDE
        if self.total is not None:
            stride = max(1, (self.total - len(self.numbers)) // HELD_OUT_ROWS)
        numbers = np.arange(start + (-start) % stride, stop, stride, dtype=np.int64)
        if self.total is not None and self.total == len(self.numbers):
            return numbers  # Too few rows to keep any back: measured on what was fitted.
        places = np.searchsorted(self.numbers, numbers)
        places[places == len(self.numbers)] = 0
        fitted = self.numbers[places] == numbers if len(self.numbers) else np.zeros(len(numbers), bool)
        kept: NDArray[np.int64] = numbers[~fitted]
        return kept


def no_sample(source: Source) -> Sample:
    """For a codec that is fitted already: all rows can be measured."""
    empty = np.empty((0, source.dim), source.dtype)
    rows = source.rows if source.rereadable else None
    return Sample(empty, np.empty(0, np.int64), rows, source.batches(_batch_rows(source)))


def draw(source: Source, seed: int, column: str | None = None) -> Sample:
    """A random sample; small collections keep a tenth of their rows back for measuring.

    column: a carried one, whose values come with the rows.

    A source with random access is read in places, any other file in a pass of its own; a pipe gives its
    first rows, which are then encoded with the rest.
    """
    batch_rows = _batch_rows(source)
    count = max(1, min(SAMPLE_ROWS, SAMPLE_BYTES // (4 * source.dim)))
    rng = np.random.default_rng(seed)
    if column is not None and column not in source.columns.names:
        carried = ", ".join(source.columns.names) or "none"
        raise InputError(f"{source.path} carries no column {column!r} to group rows by; it carries {carried}")
    if not source.rereadable:
        return _from_pipe(source, count, rng, column)
    if source.rows is not None and not source.skip and column is None:
        numbers = _choose(source.rows, count, rng)
        rows = source.take(numbers)
        if rows is not None:
            return Sample(rows, numbers, source.rows, source.batches(batch_rows))
    rows, numbers, total, unread = _reservoir(source.batches(batch_rows), count, rng, source)
    kept = _keep_back(numbers, total - unread, rng)
    numbers = numbers[kept]
    groups = None if column is None else _values(source.batches(batch_rows), column, numbers)
    return Sample(rows[kept], numbers, total, source.batches(batch_rows), groups)


def _batch_rows(source: Source) -> int:
    """Rows whose values, as they lie in the source, stay in the processor's caches until they are encoded."""
    return int(np.clip(_BATCH_BYTES // (source.dim * source.dtype.itemsize), 256, 65536))


def _choose(total: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if total >= 4 * count and count >= RUN_ROWS * 1024:
        # Short runs at random places: an eighth of the reads of single rows, from nearly as many places.
        starts = rng.choice(total // RUN_ROWS, count // RUN_ROWS, replace=False) * RUN_ROWS
        starts += rng.integers(total % RUN_ROWS + 1)
        return (np.sort(starts)[:, None] + np.arange(RUN_ROWS)).reshape(-1)
    numbers = np.sort(rng.choice(total, min(count, total), replace=False)).astype(np.int64)
    return numbers[_keep_back(numbers, total, rng)]


def _keep_back(numbers: NDArray[np.int64], total: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions in numbers that stay in the sample, so that of `total` rows enough are left to measure."""
    places = np.arange(len(numbers), dtype=np.int64)
    back = min(total // 10, HELD_OUT_ROWS) if total >= 20 else 0
    many = len(numbers) - (total - back)
    return np.delete(places, rng.choice(len(numbers), many, replace=False)) if many > 0 else places


def _reservoir(
    batches: Iterable[Batch], count: int, rng: np.random.Generator, source: Source
) -> tuple[NDArray[Any], NDArray[np.int64], int, int]:
    """Algorithm R (Vitter 1985, doi:10.1145/3147.3165), a batch at a time; the same for any batch size."""
    rows = np.empty((count, source.dim), source.dtype)
    numbers = np.full(count, -1, np.int64)
    seen = unread = 0
    for batch in batches:
        own = np.arange(seen, seen + len(batch), dtype=np.int64)
        slots = np.where(own < count, own, (rng.random(len(batch)) * (own + 1)).astype(np.int64))
        bad = np.zeros(len(batch), bool) if batch.bad is None else batch.bad
        chosen = np.flatnonzero((slots < count) & ~bad)
        unread += int(bad.sum())
        rows[slots[chosen]] = batch.rows[chosen]  # of two rows for one slot the later one stays
        numbers[slots[chosen]] = own[chosen]
        seen += len(batch)
    filled = np.flatnonzero(numbers >= 0)
    order = filled[np.argsort(numbers[filled])]
    return rows[order], numbers[order], seen, unread


def _values(batches: Iterable[Batch], column: str, numbers: NDArray[np.int64]) -> NDArray[Any]:
    """The column's values, as text, of the rows of these ascending numbers."""
    parts, seen = [], 0
    for batch in batches:
        here = numbers[np.searchsorted(numbers, seen) : np.searchsorted(numbers, seen + len(batch))] - seen
        if len(here):
            assert batch.columns is not None
            taken = batch.columns.column(column).take(pa.array(here))
            parts.append(as_text(taken, len(here), column).to_numpy(zero_copy_only=False))
        seen += len(batch)
    return np.concatenate(parts) if parts else np.empty(0, object)


def _from_pipe(source: Source, count: int, rng: np.random.Generator, column: str | None) -> Sample:
    batches = source.batches(_batch_rows(source))
    buffered: list[Batch] = []
    seen, ended = 0, True
    for batch in batches:
        buffered.append(batch)
        seen += len(batch)
        if seen >= count:
            ended = False
            break
    everything = [batch.rows for batch in buffered] or [np.empty((0, source.dim), source.dtype)]
    rows = np.concatenate(everything)
    numbers = np.arange(seen, dtype=np.int64)
    bad = [np.zeros(len(batch), bool) if batch.bad is None else batch.bad for batch in buffered]
    if bad:
        sound = ~np.concatenate(bad)
        rows, numbers = rows[sound], numbers[sound]
    # Of a pipe that goes on, the rows that `held_out` names are kept back from the start.
    kept = _keep_back(numbers, len(numbers), rng) if ended else np.flatnonzero(numbers % _PIPE_STRIDE)
    rows, numbers = rows[kept], numbers[kept]
    groups = None if column is None else _values(buffered, column, numbers)
    return Sample(rows, numbers, seen if ended else None, chain(buffered, batches), groups)
