"""Ragged rows: several vectors to a row, and the codecs that stand behind what makes one vector of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.codecs.base import (
    LARGEST,
    Codec,
    Codes,
    Rows,
    as_float32,
    block_rows,
    check_rows,
    refusal,
    unsound,
)
from vecstore.codecs.joined import Joined
from vecstore.codecs.parts import Part
from vecstore.codecs.scan import Scan
from vecstore.errors import CorruptError, InputError, ShapeError
from vecstore.kernels.threads import spread

_EXPECTED = "a list of (tokens, dim) arrays or an Arrow list of fixed-size lists"


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of several tokens each: token t of row i is values[starts[i] + t]."""

    values: Rows  # (tokens, dim) float32, all finite
    starts: NDArray[np.int64]  # (n + 1,), ascending, from 0 to len(values)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def dim(self) -> int:
        """Width of a token."""
        return int(self.values.shape[1])

    @classmethod
    def of(cls, rows: Any, dim: int | None = None) -> Ragged:
        """From a list of (tokens, dim) arrays of a real dtype, or an Arrow list of fixed-size lists.

        Raises ShapeError for what is neither, InputError for a row with NaN, infinity or a null.
        """
        if isinstance(rows, Ragged):
            found = rows
        elif isinstance(rows, pa.Array | pa.ChunkedArray):
            found = _of_arrow(rows)
        elif isinstance(rows, list | tuple) or (isinstance(rows, np.ndarray) and rows.ndim == 3):
            found = _of_arrays(rows, dim)
        else:
            shape = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
            raise ShapeError(f"ragged rows are {shape}; expected {_EXPECTED}")
        if dim is not None and found.dim != dim:
            raise ShapeError(f"tokens have {found.dim} dimensions; expected {dim}")
        bad = unsound(found.values, LARGEST)
        if bad.any():
            token = int(bad.argmax())
            row = int(np.searchsorted(found.starts, token, side="right")) - 1
            place = refusal(found.values[token], row, "a codec of ragged rows")
            raise InputError(f"token {token - found.starts[row]} of {place}")
        return found

    def part(self, start: int, stop: int) -> Ragged:
        """Rows start to stop."""
        first, last = self.starts[start], self.starts[stop]
        return Ragged(self.values[first:last], self.starts[start : stop + 1] - first)


class RaggedTransform(Part):
    """A fitted, immutable map from ragged rows to rows of one width, of which there is no way back.

    Rows that are kept (documents) and rows that are asked for (queries) are mapped differently; the inner
    product of the two is what matters.
    """

    dim: int  # width of a token

    @classmethod
    @abstractmethod
    def fit(cls, sample: Ragged, *, seed: int = 0) -> Self:
        """Learns from ragged rows. Configuration comes by keyword."""

    @property
    @abstractmethod
    def dim_out(self) -> int:
        """Width of the rows that it gives."""

    @abstractmethod
    def apply_documents(self, rows: Any) -> Rows:
        """Ragged rows (n) that are kept -> rows (n, dim_out)."""

    @abstractmethod
    def apply_queries(self, rows: Any) -> Rows:
        """Ragged rows (n) that are asked for -> rows (n, dim_out)."""


@dataclass(frozen=True, eq=False)
class RaggedCodec(Joined):
    """A codec of what a ragged transform gives. It decodes to that, not to tokens.

    It takes ragged rows, and also rows (n, dim) that were transformed already.
    """

    example: ClassVar[str] = "vecstore.fit('fde+pq:m=640', ragged)"
    transform: RaggedTransform
    codec: Codec

    def __post_init__(self) -> None:
        if self.transform.dim_out != self.codec.dim:
            raise CorruptError(
                f"{self.transform.name!r} gives {self.transform.dim_out} dimensions; the codec behind takes "
                f"{self.codec.dim}"
            )

    @property
    def dim(self) -> int:  # type: ignore[override]
        """Width of the rows that it decodes to."""
        return self.codec.dim

    @property
    def steps(self) -> Sequence[Part]:
        """The ragged transform, then the codec's."""
        return (self.transform, *self.codec.steps)

    @property
    def code_bytes(self) -> int:
        """The codec's."""
        return self.codec.code_bytes

    @property
    def side_bytes(self) -> int:
        """The codec's."""
        return self.codec.side_bytes

    @property
    def safe_size(self) -> float:
        """The codec's."""
        return self.codec.safe_size

    def refused(self, rows: Rows) -> NDArray[np.bool_]:
        """The codec's."""
        return self.codec.refused(rows)

    def encode(
        self, rows: Any, *, out: Codes | None = None, saturated: NDArray[np.bool_] | None = None
    ) -> Codes:
        """Ragged rows that are kept, or rows (n, dim) that were transformed already, -> codes."""
        if isinstance(rows, np.ndarray) and rows.ndim == 2:
            return super().encode(check_rows(rows, self.dim), out=out, saturated=saturated)
        ragged = Ragged.of(rows, self.transform.dim)
        codes = np.empty((len(ragged), self.code_bytes), np.uint8) if out is None else out
        if codes.shape != (len(ragged), self.code_bytes):
            raise ShapeError(f"out is {codes.shape}; expected {(len(ragged), self.code_bytes)}")

        def work(start: int, stop: int) -> None:
            block = self.transform.apply_documents(ragged.part(start, stop))
            self.admit(block, start, "encoded, ")
            own = np.empty((len(block), self.code_bytes), np.uint8)
            self._code(block, own, None if saturated is None else saturated[start:stop])
            codes[start:stop] = own

        spread(len(ragged), block_rows(self.dim), work)
        return codes

    def queries(self, rows: Any) -> Rows:
        """Ragged rows that are asked for -> rows (n, dim), for `scan`."""
        return self.transform.apply_queries(rows)

    def scan(self, codes: Codes) -> Scan:
        """The codec's own; its queries are those that `queries` gives."""
        return self.codec.scan(codes)

    def _code(self, rows: Rows, codes: Codes, marks: NDArray[np.bool_] | None = None) -> None:
        self.codec._code(rows, codes, marks)

    def _decode(self, codes: Codes, rows: Rows) -> None:
        self.codec._decode(codes, rows)


def _of_arrays(rows: Sequence[Any] | NDArray[Any], dim: int | None) -> Ragged:
    """One array a row, as float32 behind each other."""
    if not len(rows):
        if dim is None:
            raise InputError("ragged rows are fitted on, and there are none")
        return Ragged(np.empty((0, dim), np.float32), np.zeros(1, np.int64))
    parts = []
    for number, row in enumerate(rows):
        try:
            parts.append(as_float32(check_rows(row)))
        except ShapeError as error:
            raise ShapeError(
                f"row {number} is no (tokens, dim) array: {error}; expected {_EXPECTED}"
            ) from None
        if parts[-1].shape[1] != parts[0].shape[1]:
            raise ShapeError(
                f"row {number} has tokens of {parts[-1].shape[1]} dimensions; row 0 of {parts[0].shape[1]}"
            )
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Ragged(np.concatenate(parts), starts)


def _of_arrow(rows: pa.Array | pa.ChunkedArray) -> Ragged:
    """The values of an Arrow list of fixed-size lists, without a copy where they are float32."""
    if isinstance(rows, pa.ChunkedArray):
        rows = rows.combine_chunks()
    lists = pa.types.is_list(rows.type) or pa.types.is_large_list(rows.type)
    if not lists or not pa.types.is_fixed_size_list(rows.type.value_type):
        raise ShapeError(f"ragged rows are Arrow {rows.type}; expected {_EXPECTED}")
    offsets = np.asarray(rows.offsets).astype(np.int64)
    tokens = rows.values.slice(offsets[0], offsets[-1] - offsets[0])
    values = tokens.flatten()
    if rows.null_count or tokens.null_count or values.null_count:
        raise InputError("ragged rows hold nulls; leave such rows out")
    width = rows.type.value_type.list_size
    matrix = check_rows(values.to_numpy(zero_copy_only=False).reshape(-1, width))
    return Ragged(as_float32(matrix), offsets - offsets[0])
