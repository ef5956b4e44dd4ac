"""What every reader and writer of vectors offers, and the batches that move between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """A few rows on their way.

    rows: (n, dim), writable, the dtype of the source (float32, float16, bfloat16, uint8, ...). ids: (n,)
    int64 or string, None where the source has none (the row number is the id). columns: whatever else is
    carried, n rows, or None. path and first: the file, and the number in it of the first row, for messages.
    """

    rows: NDArray[Any]
    ids: pa.Array | None
    columns: pa.RecordBatch | None
    path: str
    first: int
    bad: NDArray[np.bool_] | None = None  # (n,) true where a row could not be read and stands as zeros

    def __len__(self) -> int:
        return len(self.rows)


class Source(ABC):
    """Vectors that are read in one pass, batch by batch, in bounded memory."""

    path: str
    dim: int
    dtype: np.dtype[Any]
    rows: int | None = None  # how many there are, where the format says so
    id_type: pa.DataType | None = None  # int64 or string; None: the source has no ids
    columns: pa.Schema = pa.schema([])  # the carried columns
    rereadable: bool = True  # False for a pipe
    skip: bool = False  # set to have nulls and ragged rows marked in `Batch.bad`, where the format can tell
    lost: int = 0  # with `skip`: rows of the pass so far that could not even be marked

    @abstractmethod
    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """All rows in order, in batches of at most batch_rows; InputError names the file and the row."""

    def take(self, numbers: NDArray[np.int64]) -> NDArray[Any] | None:
        """The rows with these ascending numbers, (n, dim); None where only a pass can find them."""
        return None

    def close(self) -> None:  # noqa: B027 - most sources hold a file, some hold none
        """Lets go of files; nothing is read after it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class RowLayout:
    """What a sink is told before the first row: width and dtype of rows, kind of ids, carried columns.

    dtype is what the target keeps where it can (float32, float16, ...). id_type: pa.int64(), pa.string(),
    or None if there are no ids to write.
    """

    dim: int
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float32))
    id_type: pa.DataType | None = None
    columns: pa.Schema = field(default_factory=lambda: pa.schema([]))


class Sink(ABC):
    """A file being written; it appears under its name when `close` is called and not before."""

    path: str
    notes: list[str]  # what the target cannot hold, for people; complete once the sink is open

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """Appends the rows, with ids and columns where the format can hold them."""

    @abstractmethod
    def close(self) -> None:
        """Finishes the file, makes it durable and publishes it under its name."""

    @abstractmethod
    def abort(self) -> None:
        """Leaves nothing behind; harmless after `close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
