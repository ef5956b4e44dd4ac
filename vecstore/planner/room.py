"""What a budget leaves room for: the bytes of an archive besides codes and learned state."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import pyarrow as pa

from vecstore.archive.size import archive_bytes
from vecstore.codecs.base import Codec
from vecstore.formats.base import Source
from vecstore.ledger import SHARED_ALLOWANCE, Budget, Ledger, parse_budget
from vecstore.registry import AnyCodec
from vecstore.stream.compress import carried_columns
from vecstore.stream.sample import Sample

# What an archive takes besides columns: schema twice, metadata, footer; something for each batch; checksums.
_FORMAT_BYTES = 2560
_FORMAT_BATCH_BYTES, _BATCH_BYTES, _BATCH_ROWS = 512, 1 << 20, 1 << 15
_CHECKSUM_SHARE = 8 / 65536
_ENDLESS = 1 << 40  # rows of a stream of unknown length: shared bytes are nothing


@dataclass(frozen=True)
class Room:
    """A budget, and what the archive takes besides codes and learned state."""

    budget: Budget
    dim: int
    rows: int | None  # None if unknown
    id_bytes: float  # a row
    dtype: str = ""  # of the source's values, where its ids are numbers and it carries nothing else

    @classmethod
    def of(cls, budget: str, source: Source, sample: Sample, rows: int | None = None) -> Self:
        """What `budget` leaves for a source; rows: how many there will be, where the sample cannot tell.

        Raises BudgetError for a text that is no budget, and for a total of unknown rows.
        """
        total = sample.total if sample.total is not None else rows
        bound = parse_budget(budget)
        bound.row_bytes(source.dim, total)  # a total needs the number of rows: said before anything is tried
        plain = source.id_type in (None, pa.int64()) and not len(carried_columns(source))
        return cls(bound, source.dim, total, _id_bytes(source), str(source.dtype) if plain else "")

    def mostly(self, rows: int) -> bool:
        """Whether a sample of so many rows is most of the collection."""
        return self.rows is not None and self.rows < 2 * rows

    def ledger(self, code_bytes: int, shared: int, side_bytes: int = 0) -> Ledger:
        """The account of an archive with these bytes a row, so many of them side data, and bytes in all."""
        rows = self.rows or _ENDLESS
        codes, ids = rows * code_bytes, math.ceil(rows * self.id_bytes)
        batches = 1 + codes / _BATCH_BYTES + rows / _BATCH_ROWS
        form = _FORMAT_BYTES + batches * _FORMAT_BATCH_BYTES + (codes + ids + shared) * _CHECKSUM_SHARE
        side = rows * side_bytes
        return Ledger(codes=codes - side, side=side, shared=shared, ids=ids, format=math.ceil(form))

    def total(self, spec: str, code_bytes: int, shared: int, metric: str) -> int | None:
        """Bytes of the file, carried columns aside, exact where ids are numbers; None for unknown rows."""
        if self.rows is None or not self.dtype:
            return None if self.rows is None else self.ledger(code_bytes, shared).total
        card = {"metric": metric, "source_dtype": self.dtype, "dim": self.dim}
        return archive_bytes(spec, (code_bytes, shared), self.rows, card)

    def keeps(self, code_bytes: int, shared: int, side_bytes: int = 0) -> bool:
        """Whether a codec with these bytes a row and bytes in all stays inside."""
        ledger = self.ledger(code_bytes, shared, side_bytes)
        return self.budget.keeps(ledger, self.dim, self.rows or _ENDLESS)

    def holds(self, codec: AnyCodec) -> bool:
        """Whether a fitted codec stays inside."""
        return isinstance(codec, Codec) and self.keeps(
            codec.code_bytes, codec.ledger(0).shared, codec.side_bytes
        )

    def smaller(self, row_bytes: float) -> Room:
        """The room that so many bytes a row leave, where they are less than the budget's."""
        return replace(self, budget=Budget(row_bytes, "row", f"{row_bytes:g}B/row"))

    def need(self, code_bytes: int, shared: int) -> float:
        """The amount of budget, in its unit, that such a codec needs."""
        rows, ledger = self.rows or _ENDLESS, self.ledger(code_bytes, shared)
        if self.budget.unit in ("total", "share"):
            return ledger.total / (1 if self.budget.unit == "total" else rows * self.dim * 4)
        a_row = (ledger.codes + max(0.0, shared - SHARED_ALLOWANCE * ledger.codes)) / rows
        return a_row if self.budget.unit == "row" else 8 * a_row / self.dim


def _id_bytes(source: Source) -> float:
    """Bytes per row of ids: of strings, with their offsets, from the first batch and some more."""
    if source.id_type is None or pa.types.is_integer(source.id_type):
        return 8.0
    if not source.rereadable:
        return 32.0
    for batch in source.batches(4096):
        if batch.ids is not None and len(batch.ids):
            return float(batch.ids.nbytes) / len(batch.ids) * 1.25
    return 4.0
