"""Rows that lie at fixed places in a file, whatever the format that says where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import BFLOAT16
from vecstore.errors import InputError
from vecstore.formats.base import Batch, Source
from vecstore.formats.files import Bytes, check_dim, fitting_rows
from vecstore.formats.guard import guard

_SPAN_BYTES = 1 << 22  # One read of `take` is at most this long,
_GAP_BYTES = 1 << 14  # and skips over gaps between rows that are shorter than this.


class FileSource(Source):
    """A source whose library errors become ours, in one place."""

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """All rows in order, in batches of at most batch_rows; InputError names the file and the row."""
        with guard(self.path):
            yield from self._batches(max(1, batch_rows))

    def _batches(self, batch_rows: int) -> Iterator[Batch]:
        raise NotImplementedError


@dataclass(frozen=True)
class Place:
    """Where a matrix lies: rows of dim values from byte `offset` on, `lead` bytes before each row."""

    offset: int
    rows: int
    dim: int
    dtype: np.dtype[Any]
    lead: int = 0
    by_column: bool = False  # Fortran order

    @property
    def row_bytes(self) -> int:
        """Bytes from one row to the next."""
        return self.lead + self.dim * self.dtype.itemsize

    @property
    def end(self) -> int:
        """The offset of the first byte behind the matrix."""
        return self.offset + self.rows * self.row_bytes


class MatrixSource(FileSource):
    """Rows at fixed places of a file: a pass, and any rows by number."""

    def __init__(self, data: Bytes, place: Place) -> None:
        """InputError if the file is too short for the place, before anything is allocated for it."""
        self.path = data.path
        self._bytes = data
        self._place = place
        check_dim(self.path, place.dim)
        if place.end > data.size:
            raise InputError(
                f"{self.path} has {data.size} bytes; its header says {place.rows} rows of {place.dim} "
                f"{place.dtype}, which end at byte {place.end}: it is cut, or the header is wrong"
            )
        self.dim, self.rows = place.dim, place.rows
        self.dtype = place.dtype.newbyteorder("=")

    def _batches(self, batch_rows: int) -> Iterator[Batch]:
        step = fitting_rows(batch_rows, self._place.row_bytes)
        for first in range(0, self._place.rows, step):
            count = min(step, self._place.rows - first)
            rows = self._columns(first, count) if self._place.by_column else self._rows(first, count)
            yield Batch(rows, None, None, self.path, first)

    def _rows(self, first: int, count: int) -> NDArray[Any]:
        place = self._place
        raw = self._bytes.read(place.offset + first * place.row_bytes, count * place.row_bytes)
        records = raw.reshape(count, place.row_bytes)
        if place.lead:
            self._check_leads(records[:, : place.lead], first)
            records = np.ascontiguousarray(records[:, place.lead :])
        return native(records.view(place.dtype))

    def _columns(self, first: int, count: int) -> NDArray[Any]:
        place = self._place
        size = place.dtype.itemsize
        rows = np.empty((count, place.dim), self.dtype)
        for column in range(place.dim):
            start = place.offset + (column * place.rows + first) * size
            rows[:, column] = self._bytes.read(start, count * size).view(place.dtype)
        return rows

    def _check_leads(self, leads: NDArray[np.uint8], first: int) -> None:
        dims = np.ascontiguousarray(leads).view("<i4").reshape(-1)
        wrong = np.flatnonzero(dims != self._place.dim)
        if wrong.size:
            row = first + int(wrong[0])
            raise InputError(
                f"{self.path}: row {row} (counted from 0) says it has {dims[wrong[0]]} dimensions, the first "
                f"row {self._place.dim}; all rows must have the same, so the file is damaged"
            )

    def take(self, numbers: NDArray[np.int64]) -> NDArray[Any] | None:
        """The rows with these ascending numbers, (n, dim); near ones are read together."""
        if self._place.by_column:
            return None
        numbers = np.asarray(numbers, np.int64)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < self._place.rows:
            raise InputError(f"{self.path} has rows 0 to {self._place.rows - 1}; asked for {numbers.max()}")
        out = np.empty((len(numbers), self.dim), self.dtype)
        with guard(self.path):
            for start, stop in _spans(numbers, self._place.row_bytes):
                first, last = int(numbers[start]), int(numbers[stop - 1])
                out[start:stop] = self._rows(first, last - first + 1)[numbers[start:stop] - first]
        return out

    def close(self) -> None:
        """Closes the file."""
        self._bytes.close()


def _spans(numbers: NDArray[np.int64], row_bytes: int) -> Iterator[tuple[int, int]]:
    """Runs [start, stop) of ascending numbers that are worth one read."""
    gap = max(1, _GAP_BYTES // row_bytes)
    longest = max(1, _SPAN_BYTES // row_bytes)
    start = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] - numbers[i - 1] > gap or numbers[i] - numbers[start] >= longest:
            yield start, i
            start = i


def native(rows: NDArray[Any]) -> NDArray[Any]:
    """The rows in this machine's byte order; the same array if they are."""
    return rows if rows.dtype.isnative else rows.astype(rows.dtype.newbyteorder("="))


def check_real(path: str, dtype: np.dtype[Any], what: str = "it") -> None:
    """InputError if dtype is not one of real numbers."""
    if dtype == BFLOAT16 or (dtype.kind in "fiu" and dtype.names is None and dtype.subdtype is None):
        return
    hint = ""
    if dtype.kind == "V" and dtype.names is None and dtype.itemsize == 2:
        hint = " (bfloat16 saved by numpy loses its type: save rows.view(numpy.uint16) as safetensors BF16)"
    raise InputError(f"{path}: {what} holds {dtype}; expected real numbers: float, int or uint{hint}")
