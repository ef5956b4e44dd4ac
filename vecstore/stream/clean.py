"""Rows and ids made fit for an archive: numbered, checked, and the bad ones refused or skipped."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.codecs.base import BlockCodec, Codec, as_float32, block_rows, overflows, refusal
from vecstore.errors import InputError
from vecstore.formats.base import Batch
from vecstore.kernels.finite import largest
from vecstore.stream.unique import UniqueIds


@dataclass(frozen=True)
class Cleaned:
    """A batch with ids, and where it comes from: rows start to stop of the source, `kept` of them."""

    batch: Batch
    start: int
    stop: int
    kept: NDArray[np.bool_] | None  # (stop - start,); None: all of them

    def places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in the batch the source's rows with these numbers stand, left-out ones left out."""
        inside = numbers - self.start
        if self.kept is None:
            return inside
        return (np.cumsum(self.kept) - 1)[inside[self.kept[inside]]]


@dataclass
class Cleaner:
    """Checks batches one after the other against what a codec takes.

    nonzero: refuse rows of length zero, which have no direction. skip: leave bad rows out and count them
    in `skipped` instead of raising.
    """

    codec: Codec | BlockCodec
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

    def clean(self, batches: Iterable[Batch], first_number: int = 0) -> Generator[Cleaned, None, None]:
        """Batches with ids; those of sources without any are row numbers from first_number on."""
        for batch in batches:
            start = self.seen
            self.seen += len(batch)
            numbered = batch.ids is None
            if numbered:
                numbers = np.arange(first_number + start, first_number + self.seen, dtype=np.int64)
                batch = replace(batch, ids=pa.array(numbers))
            bad = self._bad_values(batch)
            if batch.bad is not None:
                bad |= batch.bad
            if not numbered or self._unique is not None:
                bad |= self._repeats(batch, bad)
            kept = None
            if bad.any():
                self.skipped += int(bad.sum())
                kept = ~bad
                batch = _select(batch, kept)
            yield Cleaned(batch, start, self.seen, kept)

    def _bad_values(self, batch: Batch) -> NDArray[np.bool_]:
        bad = np.zeros(len(batch), bool)
        if isinstance(self.codec, Codec) and not self.codec.keeps_nonfinite:
            bad |= self._refused(batch, self.codec)
        else:
            over = overflows(batch.rows)
            if over.any() and not self.skip:
                raise _error(batch, int(over.argmax()), f"is {batch.rows.dtype}, too large for float32")
            bad |= over
        if self.nonzero and len(batch):
            zero = ~np.asarray(batch.rows != 0).any(axis=1)
            if zero.any() and not self.skip:
                raise _error(batch, int(zero.argmax()), "is all zeros, which has no direction for cosine")
            bad |= zero
        return bad

    def _refused(self, batch: Batch, codec: Codec) -> NDArray[np.bool_]:
        bad = np.zeros(len(batch), bool)
        step = block_rows(codec.dim)
        for start in range(0, len(batch), step):  # block by block: no float32 copy of the whole
            rows = as_float32(batch.rows[start : start + step])
            if largest(rows) <= codec.safe_size:
                continue
            found = codec.refused(rows)
            if found.any() and not self.skip:
                row = int(found.argmax())
                what = refusal(rows[row], batch.first + start + row, str(codec.spec))
                raise InputError(f"{batch.path}: {what}; rows count from 0; --on-error skip leaves such out")
            bad[start : start + step] = found
        return bad

    def _repeats(self, batch: Batch, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
        ids: Any = batch.ids
        if self._unique is None:
            self._unique = UniqueIds(ids.type)
        repeats = np.zeros(len(batch), bool)
        # A row that is left out does not take its id away from a later one.
        repeats[~bad] = self._unique.add(ids.filter(pa.array(~bad)) if bad.any() else ids)
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
        bad=None,
        ids=None if batch.ids is None else batch.ids.filter(mask),
        columns=None if batch.columns is None else batch.columns.filter(mask),
    )
