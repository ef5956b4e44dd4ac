"""Rows and ids made fit for an archive: numbered, checked, and the bad ones refused or skipped."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.codecs.base import as_float32
from vecstore.errors import InputError
from vecstore.formats.base import Batch
from vecstore.kernels.finite import first_bad_row
from vecstore.stream.unique import UniqueIds


@dataclass
class Cleaner:
    """Checks batches one after the other.

    finite: refuse NaN and infinity. nonzero: refuse rows of length zero, which have no direction. skip:
    leave bad rows out and count them in `skipped` instead of raising.
    """

    finite: bool
    nonzero: bool
    skip: bool
    skipped: int = 0
    seen: int = 0
    _unique: UniqueIds | None = field(default=None, repr=False)

    def remember(self, ids: pa.Array) -> None:
        """Ids that are taken already, as those of an archive that is appended to."""
        if self._unique is None:
            self._unique = UniqueIds(ids.type)
        self._unique.add(ids)

    def clean(
        self, batches: Iterable[Batch], first_number: int = 0
    ) -> Generator[tuple[int, Batch], None, None]:
        """Yields (rows seen before, batch with ids); ids of sources without any are row numbers."""
        for batch in batches:
            start = self.seen
            self.seen += len(batch)
            if batch.ids is None:
                numbers = np.arange(first_number + start, first_number + self.seen, dtype=np.int64)
                batch = replace(batch, ids=pa.array(numbers))
                fresh = self._unique is None
            else:
                fresh = False
            bad = self._bad_values(batch)
            if not fresh:
                bad |= self._repeats(batch)
            if bad.any():
                self.skipped += int(bad.sum())
                batch = _select(batch, ~bad)
            yield start, batch

    def _bad_values(self, batch: Batch) -> NDArray[np.bool_]:
        bad = np.zeros(len(batch), bool)
        # Integers are finite; a zero row is rare in them, but can be.
        if self.finite and batch.rows.dtype.kind not in "iu":
            bad |= self._nonfinite(batch)
        if self.nonzero and len(batch):
            zero = ~np.asarray(batch.rows != 0).any(axis=1)
            if zero.any() and not self.skip:
                raise _error(batch, int(zero.argmax()), "is all zeros, which has no direction for cosine")
            bad |= zero
        return bad

    def _nonfinite(self, batch: Batch) -> NDArray[np.bool_]:
        bad = np.zeros(len(batch), bool)
        step = max(1, (1 << 17) // batch.rows.shape[1])
        for start in range(0, len(batch), step):  # block by block: no float32 copy of the whole
            rows = as_float32(batch.rows[start : start + step])
            row = first_bad_row(rows)
            if row < 0:
                continue
            if not self.skip:
                dim = int(np.argmin(np.isfinite(rows[row])))
                what = f"holds {rows[row, dim]} in dimension {dim}"
                raise _error(batch, start + row, what)
            bad[start : start + step] = ~np.isfinite(rows).all(axis=1)
        return bad

    def _repeats(self, batch: Batch) -> NDArray[np.bool_]:
        ids: Any = batch.ids
        if self._unique is None:
            self._unique = UniqueIds(ids.type)
        repeats = self._unique.add(ids)
        if repeats.any() and not self.skip:
            row = int(repeats.argmax())
            raise _error(batch, row, f"repeats the id {ids[row].as_py()!r}")
        return repeats


def _error(batch: Batch, row: int, what: str) -> InputError:
    return InputError(
        f"{batch.path}: row {batch.first + row} (counted from 0) {what}; mend it, or leave such rows out "
        "with --on-error skip"
    )


def _select(batch: Batch, keep: NDArray[np.bool_]) -> Batch:
    mask = pa.array(keep)
    return replace(
        batch,
        rows=batch.rows[keep],
        ids=None if batch.ids is None else batch.ids.filter(mask),
        columns=None if batch.columns is None else batch.columns.filter(mask),
    )
