"""table_rows: the rows of one field of a trained table, computed from ids when they are read.

code_bytes  what ids from 0 to cardinality - 1 need, 1 to 8 bytes, lowest first, or 8 for ids without a
            vocabulary; the shared state is the table
error       none: a row is what the table's own lookup gives, bit for bit
source      made by `vecstore.train.export`, never fitted: a row tells no id
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Codec, Codes, Rows
from vecstore.codecs.parts import Scalar
from vecstore.codecs.tables.dense import DenseStore
from vecstore.codecs.tables.ids import NO_OFFSETS, NO_WEIGHTS, Batch
from vecstore.codecs.tables.making import table_of
from vecstore.codecs.tables.state import TableState
from vecstore.codecs.tables.table import Table
from vecstore.errors import CorruptError, SpecError

_TRAINING = ("optimizer.", "training.")


class TableRows(Codec):
    """Rows of a trained table, computed from ids when they are read."""

    name: ClassVar[str] = "table_rows"
    grows: ClassVar[bool] = True

    def __init__(self, state: TableState, table: Table, field: str, *, wide: bool = False) -> None:
        self._state, self._table, self._field, self._wide = state, table, field, wide
        self.cardinality = table.branch(field).field.cardinality
        self.dim = table.branch(field).field.dim

    @classmethod
    def of(cls, table: Table, field: str) -> Self:
        """The rows of a field as they are now, or will be once the table is finished; it is left as it is.

        Arrays are shared with the table, where it is not made smaller then. SpecError for an unknown field.
        """
        count = table.branch(field).field.cardinality
        if count > 1 << 32 and table.listed(field) is None:
            raise SpecError(
                f"field {field!r} has {count:,} ids, which no file holds, and this method knows not which of "
                "them have come; look up those that are wanted, and write these"
            )
        if not table.finished and any(isinstance(store, DenseStore) for store in table.stores):
            table = table_of(table.state())
            table.finish()
        wide = table.listed(field) is not None
        return cls(_serving(table), table, field, wide=wide)

    @classmethod
    def fit(cls, sample: Rows, *, seed: int = 0) -> Self:
        """Nothing: a table is trained and exported, so this is a SpecError."""
        raise SpecError("table_rows is what a trained table is exported as; it cannot be fitted on rows")

    def config(self) -> dict[str, Scalar]:
        wide = {"wide": True} if self._wide else {}
        return {**self._state.config(), "field": self._field, **wide}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return self._state.arrays()

    @classmethod
    def from_parts(cls, config: Mapping[str, Scalar], arrays: Mapping[str, NDArray[Any]]) -> Self:
        given = dict(config)
        field, wide = given.pop("field", None), bool(given.pop("wide", False))
        state = TableState.from_parts(given, arrays)
        if field not in [name for name, _, _ in state.setup.fields]:
            raise CorruptError(f"a table is stored for its field {field!r}, which it does not have")
        table = table_of(state)
        # The arrays that were read are let go: the table has its own by now.
        return cls(_serving(table), table, str(field), wide=wide)

    @property
    def ids(self) -> NDArray[np.int64] | None:
        """The ids that have rows of their own (n,), where these are not all of a vocabulary."""
        return self._table.listed(self._field)

    @property
    def code_bytes(self) -> int:
        if self._wide:
            return 8
        return max(1, ((self.cardinality - 1).bit_length() + 7) // 8)

    def codes_of(self, ids: NDArray[np.int64]) -> Codes:
        """The codes (n, code_bytes) of ids (n,), from 0 to cardinality - 1, or any where it is wide."""
        every = np.ascontiguousarray(ids, "<i8").view(np.uint8).reshape(-1, 8)
        return np.ascontiguousarray(every[:, : self.code_bytes])

    def _encode(self, rows: Rows, codes: Codes) -> None:
        raise SpecError("rows of a trained table have their codes from ids; change them in the table")

    def _decode(self, codes: Codes, rows: Rows) -> None:
        every = np.zeros((len(codes), 8), np.uint8)
        every[:, : self.code_bytes] = codes
        # Bytes that are no id are a legal code, too: that of the last id.
        ids = every.view("<i8")[:, 0].astype(np.int64)
        if not self._wide:
            ids = np.clip(ids, 0, self.cardinality - 1)
        batch = Batch(ids, NO_OFFSETS, NO_WEIGHTS, False)
        rows[...] = self._table.trace({self._field: batch})[self._field].rows


def _serving(table: Table) -> TableState:
    """A table's state without what only training needs; views of its arrays."""
    state = table.state()
    arrays = {name: array for name, array in state.arrays().items() if not name.startswith(_TRAINING)}
    setup = dataclasses.replace(state.setup, optimizer="sgd")
    return TableState(setup, state.updates, True, arrays)
