"""Several files that are read as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InputError
from vecstore.formats.base import Batch, Source
from vecstore.formats.files import Location

Opener = Callable[[Location], Source]


class SeveralSource(Source):
    """The rows of files in the given order; each is open only while it is read."""

    def __init__(self, path: str, parts: list[Location], opener: Opener) -> None:
        """InputError, naming the file, if width, dtype, ids or columns differ from the first file's."""
        self.path = path
        self._parts, self._opener = parts, opener
        self._counts: list[int | None] = []
        first: Source | None = None
        for part in parts:
            with opener(part) as source:
                self._counts.append(source.rows)
                if source.rows == 0 and first is not None:
                    continue
                if first is None or first.rows == 0:
                    first = source
                else:
                    _compare(first, source)
        assert first is not None, "an expanded pattern has a file"
        self.dim, self.dtype = first.dim, first.dtype
        self.id_type, self.columns = first.id_type, first.columns
        known = [count for count in self._counts if count is not None]
        self.rows = sum(known) if len(known) == len(parts) else None

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """All rows, file by file; a batch never spans two files."""
        self.lost = 0
        for part, count in zip(self._parts, self._counts, strict=True):
            if count == 0:
                continue
            with self._opener(part) as source:
                source.skip = self.skip
                yield from source.batches(batch_rows)
                self.lost += source.lost

    def take(self, numbers: NDArray[np.int64]) -> NDArray[Any] | None:
        """The rows with these ascending numbers, (n, dim); None if one of the files cannot."""
        if self.rows is None:
            return None
        out = np.empty((len(numbers), self.dim), self.dtype)
        start, done = 0, 0
        for part, count in zip(self._parts, self._counts, strict=True):
            assert count is not None, "rows is known only if every count is"
            stop = int(np.searchsorted(numbers, start + count))
            if stop > done:
                with self._opener(part) as source:
                    rows = source.take(numbers[done:stop] - start)
                if rows is None:
                    return None
                out[done:stop] = rows
            start, done = start + count, stop
        if done != len(numbers):
            raise InputError(f"{self.path} has rows 0 to {start - 1}; asked for {numbers[-1]}")
        return out


def _compare(first: Source, other: Source) -> None:
    facts = (
        ("dimensions", first.dim, other.dim),
        ("dtype", first.dtype, other.dtype),
        ("ids", first.id_type, other.id_type),
        ("columns", first.columns.names, other.columns.names),
        ("column types", first.columns.types, other.columns.types),
    )
    for what, expected, found in facts:
        if found != expected:
            raise InputError(
                f"{other.path} has {what} {found}, {first.path} has {expected}; files that are read as one "
                "must agree"
            )
