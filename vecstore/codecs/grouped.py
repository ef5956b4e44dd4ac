"""groupcenter: subtracts the mean row of each row's group, which a carried column names.

side_bytes  1: the group's number; 2 where there are more than 255 groups of their own. 0 is all other groups
inverse     exact up to one rounding
shared      4 dim (groups + 1) bytes, and the groups' names
groups      those with `least` rows or more in the sample, at most 65,535; the names are the column's values
            as text. Rows of other groups, and rows that come without the column, share the mean of the rest
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vecstore.codecs.base import (
    LARGEST,
    Array,
    Codec,
    Codes,
    Rows,
    as_float32,
    block_rows,
    check_rows,
    unsound,
)
from vecstore.codecs.joined import Joined
from vecstore.codecs.parts import Part, require
from vecstore.codecs.scan import AroundScan, Scan
from vecstore.codecs.transforms.center import mean_row, offsets
from vecstore.errors import CorruptError, InputError, ShapeError, SpecError
from vecstore.kernels.threads import spread

_MOST = 65_535


@dataclass(frozen=True, eq=False)
class GroupCenter(Part):
    """Transform: subtracts the mean of a row's group, the value of its column by=; groups of least= rows."""

    name: ClassVar[str] = "groupcenter"
    dim: int
    by: str
    least: int
    labels: str  # a JSON list of the groups' names, ascending
    means: NDArray[np.float32]  # (groups + 1, dim): of all others, then of each

    def __post_init__(self) -> None:
        try:
            names = json.loads(self.labels)
        except RecursionError:
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("groupcenter's labels are no list of names")
        if sorted(set(names)) != names or len(names) > _MOST:
            raise ValueError(f"groupcenter has {len(names)} names that are not ascending, or too many")
        require(self.means, (len(names) + 1, self.dim), np.float32)

    @classmethod
    def fit(
        cls, sample: Rows, *, seed: int = 0, groups: Any = None, by: str | None = None, least: int = 100
    ) -> Self:
        """groups: the value of each row's column. by: the column's name. least: rows that a group needs in
        the sample for a mean of its own."""
        if by is None:
            raise SpecError("groupcenter needs the name of a column, as in 'groupcenter:by=lang+sq'")
        if least < 1:
            raise SpecError(f"groupcenter has least={least}; expected 1 or more")
        if groups is None:
            raise InputError(
                f"groupcenter is fitted on rows with their column {by!r}: "
                f"fit(..., columns={{{by!r}: [...]}}), or a source that carries it"
            )
        keys = as_text(groups, len(sample), by)
        counts = pc.value_counts(keys.drop_null()).to_pylist()
        frequent = sorted(counts, key=lambda entry: (-entry["counts"], entry["values"]))[:_MOST]
        names = sorted(entry["values"] for entry in frequent if entry["counts"] >= least)
        numbers = _numbers(keys, names)
        others = sample[numbers == 0] if (numbers == 0).any() else sample
        means = [mean_row(others), *(mean_row(sample[numbers == at + 1]) for at in range(len(names)))]
        return cls(sample.shape[1], by, least, json.dumps(names), np.stack(means))

    @classmethod
    def option_names(cls) -> list[str]:
        """Without the column's values, which come beside the rows."""
        return ["by", "least"]

    @property
    def side_bytes(self) -> int:
        """The group's number."""
        return 1 if len(self.means) <= 256 else 2

    @cached_property
    def names(self) -> list[str]:
        """The groups with a mean of their own, in order of their numbers from 1."""
        return list(json.loads(self.labels))

    def numbers(self, groups: Any, rows: int) -> NDArray[np.int64]:
        """The number (n,) of each row's group: 0 for those without a mean of their own."""
        return _numbers(as_text(groups, rows, self.by), self.names)


@dataclass(frozen=True, eq=False)
class Grouped(Joined):
    """Group means in front of a codec. `encode_by` takes rows with their groups, `encode` without."""

    example: ClassVar[str] = "fit('groupcenter:by=lang+sq', rows, ...)"
    center: GroupCenter
    codec: Codec

    def __post_init__(self) -> None:
        if self.center.dim != self.codec.dim:
            raise CorruptError(f"groupcenter has {self.center.dim} dimensions; {self.codec.dim} stand behind")

    @property
    def dim(self) -> int:  # type: ignore[override]
        """Width of the rows."""
        return self.codec.dim

    @property
    def column(self) -> str:
        """The carried column that names the groups."""
        return self.center.by

    @property
    def steps(self) -> Sequence[Part]:
        """The group means, then the codec's."""
        return (self.center, *self.codec.steps)

    @property
    def code_bytes(self) -> int:
        """The group's number, then the codec's code."""
        return self.center.side_bytes + self.codec.code_bytes

    @property
    def side_bytes(self) -> int:
        """The group's number, and the codec's own."""
        return self.center.side_bytes + self.codec.side_bytes

    @property
    def safe_size(self) -> float:
        """Any of the means may add to what comes out."""
        return min(self.codec.safe_size, LARGEST) - float(np.abs(self.center.means).max())

    def refused(self, rows: Rows) -> NDArray[np.bool_]:
        """Rows that are too large whatever their group: it is not known here."""
        return unsound(rows, self.safe_size)

    def encode_by(
        self,
        rows: Array,
        groups: Any,
        *,
        out: Codes | None = None,
        saturated: NDArray[np.bool_] | None = None,
    ) -> Codes:
        """rows (n, dim) with their groups (n,), Arrow or a list -> codes. The rest as in `encode`."""
        rows = check_rows(rows, self.dim)
        numbers = self.center.numbers(groups, len(rows))
        codes = np.empty((len(rows), self.code_bytes), np.uint8) if out is None else out
        if codes.shape != (len(rows), self.code_bytes):
            raise ShapeError(f"out is {codes.shape}; expected {(len(rows), self.code_bytes)}")

        def work(start: int, stop: int) -> None:
            block = as_float32(rows[start:stop])
            self.admit(block, start)
            marks = None if saturated is None else saturated[start:stop]
            self._code_by(block, numbers[start:stop], codes[start:stop], marks)

        spread(len(rows), block_rows(self.dim), work)
        return codes

    def scan(self, codes: Codes) -> Scan:
        """The codec's own, and for each row the product of the query with its group's mean."""
        side = self.center.side_bytes
        return GroupedScan(
            self.codec.scan(np.ascontiguousarray(codes[:, side:])), self._read(codes), self.center
        )

    def _code(self, rows: Rows, codes: Codes, marks: NDArray[np.bool_] | None = None) -> None:
        self._code_by(rows, np.zeros(len(rows), np.int64), codes, marks)

    def _code_by(
        self, rows: Rows, numbers: NDArray[np.int64], codes: Codes, marks: NDArray[np.bool_] | None
    ) -> None:
        side = self.center.side_bytes
        codes[:, :side] = numbers.astype("<u2").view(np.uint8).reshape(-1, 2)[:, :side]
        own = np.empty((len(rows), self.codec.code_bytes), np.uint8)
        self.codec._code(rows - self.center.means[numbers], own, marks)
        codes[:, side:] = own

    def _decode(self, codes: Codes, rows: Rows) -> None:
        own = np.ascontiguousarray(codes[:, self.center.side_bytes :])
        self.codec._decode(own, rows)
        rows += self.center.means[self._read(codes)]

    def _read(self, codes: Codes) -> NDArray[np.int64]:
        """The group of each code; what no group has is the others'."""
        numbers = codes[:, 0].astype(np.int64)
        if self.center.side_bytes == 2:
            numbers += codes[:, 1].astype(np.int64) << 8
        return np.where(numbers < len(self.center.means), numbers, 0)


class GroupedScan(AroundScan):
    """A scan of rows to which their group's mean is added."""

    def __init__(self, inner: Scan, numbers: NDArray[np.int64], center: GroupCenter) -> None:
        self._numbers = numbers.astype(np.uint16)
        self._means = center.means
        super().__init__(inner, self._numbers.nbytes)

    def prepare(self, queries: Rows) -> Any:
        """The inner scan's, and each query's products with the means (q, groups + 1)."""
        products = np.stack([offsets(queries, mean) for mean in self._means], axis=1)
        return self.inner.prepare(queries), products.astype(np.float32)

    def dots(self, prepared: Any, start: int, stop: int, out: Rows) -> None:
        """The inner scan's, and the product of the row's group."""
        inner, products = prepared
        self.inner.dots(inner, start, stop, out)
        out += products[:, self._numbers[start:stop]]

    def rescore(self, prepared: Any, numbers: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """The inner scan's, and the product of the row's group."""
        inner, products = prepared
        found = self.inner.rescore(inner, numbers)
        return None if found is None else found + np.take_along_axis(products, self._numbers[numbers], axis=1)


def as_text(values: Any, rows: int, name: str) -> pa.Array:
    """A column's values (n,) as text, nulls kept; InputError where they have none or are not one a row."""
    try:
        column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        found = pc.cast(column, pa.string())
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"the values of column {name!r} are no names of groups: {error}") from error
    if len(found) != rows:
        raise InputError(f"column {name!r} has {len(found)} values for {rows} rows; expected one each")
    return found


def _numbers(keys: pa.Array, names: list[str]) -> NDArray[np.int64]:
    places = pc.index_in(keys, value_set=pa.array(names, pa.string()))
    found: NDArray[np.int64] = pc.fill_null(places, -1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
    return found
