"""Rows regrouped and encoded into the equal batches of an archive."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.codecs.base import BlockCodec, Codec, Codes, as_float32, check_rows
from vecstore.codecs.grouped import Grouped
from vecstore.errors import InputError
from vecstore.kernels.threads import get_threads

# Takes the code columns of a batch and its ids with the carried columns.
Emit = Callable[[list[pa.Array], pa.RecordBatch], None]


class Packer(Protocol):
    """Turns rows that come in any number into batches."""

    saturated: int  # of the rows encoded so far, as `Codec.encode` marks them

    def add(self, rows: NDArray[Any], extra: pa.RecordBatch) -> None:
        """Takes n rows with their ids and carried columns."""

    def finish(self) -> None:
        """Emits what is left."""

    def cancel(self) -> None:
        """Drops what is left."""


class RowPacker:
    """Batches of codes of one size."""

    def __init__(self, codec: Codec, batch_rows: int, kinds: Sequence[pa.DataType], emit: Emit) -> None:
        """kinds: of the columns, each of which takes the next bytes of codes."""
        self._codec = codec
        self._emit = emit
        self._kinds = kinds
        self._codes = np.empty((batch_rows, codec.code_bytes), np.uint8)
        self._extra = _Pieces()
        self.saturated = 0

    def add(self, rows: NDArray[Any], extra: pa.RecordBatch) -> None:
        """Encodes and takes n rows."""
        start = 0
        while start < len(rows):
            have = self._extra.rows
            stop = min(len(rows), start + len(self._codes) - have)
            some = extra.slice(start, stop - start)
            try:
                self._encode(rows[start:stop], some, self._codes[have : have + stop - start])
            except InputError:
                if start:  # Said of all rows, with the number among them.
                    self._encode(rows, extra, None)
                raise
            self._taken(some)
            start = stop

    def _encode(self, rows: NDArray[Any], extra: pa.RecordBatch, out: Codes | None) -> None:
        marks = np.empty(len(rows), np.bool_)
        if isinstance(self._codec, Grouped):
            groups = self._groups(self._codec.column, extra)
            self._codec.encode_by(rows, groups, out=out, saturated=marks)
        else:
            self._codec.encode(rows, out=out, saturated=marks)
        self.saturated += int(marks.sum())

    def _groups(self, column: str, extra: pa.RecordBatch) -> pa.Array:
        """The values of the carried column that the codec groups rows by."""
        names = extra.schema.names[1:]  # the ids stand first
        column = column if column in names else f"{column}_"  # as one is carried whose name an archive needs
        if column not in names:
            raise InputError(
                f"the codec groups rows by a column {column!r}; the rows carry "
                f"{', '.join(names) or 'no columns'}"
            )
        return extra.column(1 + names.index(column))

    def add_codes(self, codes: Codes, extra: pa.RecordBatch) -> None:
        """Takes n rows that are encoded already."""
        start = 0
        while start < len(codes):
            have = self._extra.rows
            take = min(len(codes) - start, len(self._codes) - have)
            self._codes[have : have + take] = codes[start : start + take]
            self._taken(extra.slice(start, take))
            start += take

    def _taken(self, extra: pa.RecordBatch) -> None:
        self._extra.add(extra)
        if self._extra.rows == len(self._codes):
            self.finish()

    def finish(self) -> None:
        """Emits what is left."""
        if self._extra.rows:
            rows, columns, start = self._extra.rows, [], 0
            for kind in self._kinds:
                codes = np.ascontiguousarray(self._codes[:rows, start : start + kind.byte_width])
                columns.append(pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(codes)]))
                start += kind.byte_width
            self._emit(columns, self._extra.take())

    def cancel(self) -> None:
        """Drops what is left."""
        self._extra.take()


class BlockPacker:
    """Blocks of one row count, encoded on several threads and emitted in order.

    At most one block more than there are threads is held, raw and encoded together.
    """

    saturated = 0

    def __init__(self, codec: BlockCodec, batch_rows: int, emit: Emit) -> None:
        self._codec = codec
        self._batch_rows = batch_rows
        self._emit = emit
        self._rows: NDArray[Any] | None = None
        self._extra = _Pieces()
        self._flying: deque[tuple[Future[bytes], pa.RecordBatch]] = deque()
        self._threads = get_threads()
        self._pool: ThreadPoolExecutor | None = None

    def add(self, rows: NDArray[Any], extra: pa.RecordBatch) -> None:
        """Takes n rows; encodes every block that they fill."""
        rows = check_rows(rows, self._codec.dim)
        start = 0
        while start < len(rows):
            have = self._extra.rows
            take = min(len(rows) - start, self._batch_rows - have)
            self._block(rows.dtype)[have : have + take] = rows[start : start + take]
            self._extra.add(extra.slice(start, take))
            start += take
            if self._extra.rows == self._batch_rows:
                self._submit()

    def _block(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        if self._rows is None:
            self._rows = np.empty((self._batch_rows, self._codec.dim), dtype)
        elif self._rows.dtype != dtype:
            # Only an archive that is continued mixes dtypes; float32 holds what both decode to.
            self._rows = as_float32(self._rows)
        return self._rows

    def _submit(self) -> None:
        assert self._rows is not None
        rows, self._rows = self._rows[: self._extra.rows], None
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="vecstore-blocks")
        self._flying.append((self._pool.submit(self._codec.encode_block, rows), self._extra.take()))
        while len(self._flying) > self._threads:
            self._land()

    def _land(self) -> None:
        future, extra = self._flying.popleft()
        self._emit([block_column(future.result(), extra.num_rows)], extra)

    def finish(self) -> None:
        """Emits what is left."""
        if self._extra.rows:
            self._submit()
        while self._flying:
            self._land()
        self.cancel()

    def cancel(self) -> None:
        """Drops what is left."""
        self._flying.clear()
        self._rows = None
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def block_column(block: bytes | memoryview, rows: int) -> pa.Array:
    """The code column of a block: the first row has all of its bytes, the others have none."""
    offsets = np.full(rows + 1, len(block), np.int32)
    offsets[0] = 0
    return pa.Array.from_buffers(pa.binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(block)])


class _Pieces:
    """Slices of record batches on their way to becoming one."""

    def __init__(self) -> None:
        self.rows = 0
        self._list: list[pa.RecordBatch] = []

    def add(self, piece: pa.RecordBatch) -> None:
        self._list.append(piece)
        self.rows += piece.num_rows

    def take(self) -> pa.RecordBatch | None:
        pieces, self._list, self.rows = self._list, [], 0
        if not pieces:
            return None
        # A single piece, too, is copied: of a slice, Arrow would write the bits of its neighbours along.
        try:
            columns = [pa.concat_arrays(parts) for parts in zip(*(p.columns for p in pieces), strict=True)]
        except pa.ArrowInvalid as error:
            raise InputError(
                f"carried values are too large: {error}; a column may have 2 GiB in one batch"
            ) from error
        return pa.RecordBatch.from_arrays(columns, names=pieces[0].schema.names)
