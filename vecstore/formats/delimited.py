"""CSV with a header: the numeric columns are the row, one may be the id, the others are carried."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from vecstore.errors import InputError, NotFoundError
from vecstore.formats.base import Batch, RowLayout
from vecstore.formats.columns import ID_NAMES, first_true, id_column
from vecstore.formats.files import Location, check_dim, fitting_rows
from vecstore.formats.fit import fit
from vecstore.formats.matrix import FileSource
from vecstore.formats.writing import FileSink

_BLOCK_BYTES = 1 << 23
_NULLS = ["", "NA", "N/A", "NULL", "null"]  # Not "nan", which is a number that is not one.
_WHOLE = r"^(0|-?[1-9][0-9]{0,18})$"


class CsvSource(FileSource):
    """The rows of a CSV file as float32, block by block."""

    _handler: Callable[[csv.InvalidRow], str] | None = None

    def __init__(self, location: Location, vectors: str | None = None, ids: str | None = None) -> None:
        """NotFoundError for a column, InputError for what is no CSV and for one without numeric columns."""
        self.path = location.path
        self._location = location
        self._peeking = True
        try:
            schema, head = self._peek()
        except InputError as error:
            if "Expected" not in str(error) or not self._is_text():
                raise
            self._handler = self._ragged  # The pass reports a row of too few or too many fields, or skips it.
            schema, head = self._peek()
        names = list(schema.names)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"{self.path} has several columns {twice[0]!r}; names must be unique")
        key = self._id(schema, ids)
        self._id_name = None if key is None else names[key]
        self._vectors = self._vector_names(schema, vectors, head)
        check_dim(self.path, len(self._vectors))
        self.dim, self.dtype = len(self._vectors), np.dtype(np.float32)
        special = {*self._vectors, self._id_name}
        self.columns = pa.schema([_carried(field) for field in schema if field.name not in special])
        self._types: dict[str, pa.DataType] = dict.fromkeys(self._vectors, pa.float32())
        if self._id_name is not None:
            self._types[self._id_name] = pa.string()
            self.id_type = self._id_type()
        self._peeking = False
        if head is None:
            self.rows = 0

    @contextmanager
    def _open(self, types: dict[str, pa.DataType]) -> Iterator[csv.CSVStreamingReader]:
        """The reader; its errors count rows from 1 with the header, ours from 0 without."""
        try:
            with csv.open_csv(
                self._location.native(),
                csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
                csv.ParseOptions(newlines_in_values=True, invalid_row_handler=self._handler),
                csv.ConvertOptions(column_types=types, null_values=_NULLS, strings_can_be_null=True),
            ) as reader:
                yield reader
        except pa.ArrowInvalid as error:
            text = str(error).splitlines()[0]
            text = re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - 2} (counted from 0)", text)
            raise InputError(
                f"{self.path}: {text}; expected a header, then rows whose columns keep the type that they "
                "have at the start of the file"
            ) from error

    def _ragged(self, row: csv.InvalidRow) -> str:
        """What Arrow is to do with a row of too few or too many fields."""
        self.lost += 1
        return "skip" if self.skip or self._peeking else "error"

    def _is_text(self) -> bool:
        """Whether the first block is UTF-8: Arrow shows its handler the rows as strings."""
        with self._location.native() as file:
            block: bytes = file.read(_BLOCK_BYTES)
        try:
            block.decode()
        except UnicodeDecodeError as error:
            # A character may be cut by the block's end.
            return len(block) == _BLOCK_BYTES and error.start > len(block) - 4
        return True

    def _peek(self) -> tuple[pa.Schema, pa.RecordBatch | None]:
        """The types that the first block suggests, and its rows; None if there are none."""
        with self._open({}) as reader:
            for records in reader:
                if records.num_rows:
                    return reader.schema, records
            return reader.schema, None

    def _id(self, schema: pa.Schema, ids: str | None) -> int | None:
        if ids is not None and ids in schema.names:
            return int(schema.get_field_index(ids))  # Whatever it looks like, its text is the id.
        empty = [
            i for i, field in enumerate(schema) if field.name in ID_NAMES and pa.types.is_null(field.type)
        ]
        return empty[0] if empty else id_column(schema, self.path, ids)

    def _vector_names(self, schema: pa.Schema, vectors: str | None, head: pa.RecordBatch | None) -> list[str]:
        numeric = [
            f.name for f in schema if _is_number(f.type) or (head is None and pa.types.is_null(f.type))
        ]
        if vectors is not None:
            wanted = [name.strip() for name in vectors.split(",")]
            missing = [name for name in wanted if name not in schema.names]
            if missing:
                raise NotFoundError(
                    f"{self.path} has no column {missing[0]!r}; it has {', '.join(schema.names[:20])}"
                )
            if len(set(wanted)) != len(wanted) or self._id_name in wanted:
                raise InputError(f"{self.path}: a column of {vectors!r} is named twice, or is the id")
            texts = [name for name in wanted if name not in numeric and not _starts_with_number(head, name)]
            if texts:
                raise InputError(f"{self.path}: column {texts[0]!r} does not start with numbers")
            return wanted
        found = [name for name in numeric if name != self._id_name]
        if not found:
            raise InputError(
                f"{self.path} has no numeric columns among {', '.join(schema.names[:20])}; expected a "
                "header, then rows of numbers"
            )
        return found

    def _id_type(self) -> pa.DataType:
        """int64 if all ids of the first block are whole numbers as a computer writes them."""
        with self._open(dict.fromkeys(self._types, pa.string())) as reader:
            for records in reader:
                if records.num_rows:
                    whole = pc.match_substring_regex(records.column(self._id_name), _WHOLE)
                    return pa.int64() if pc.all(whole).as_py() else pa.string()
        return pa.string()

    def _batches(self, batch_rows: int) -> Iterator[Batch]:
        # The types of carried columns are those of the first block for the whole file.
        types = {**{field.name: field.type for field in self.columns}, **self._types}
        if self.skip:  # As text, so that a value that is no number is one row's fault and not the block's.
            types |= dict.fromkeys(self._vectors, pa.string())
            self._handler = self._ragged
        self.lost = 0
        step = fitting_rows(batch_rows, 4 * self.dim)
        first = 0
        with self._open(types) as reader:
            for records in reader:
                for start in range(0, records.num_rows, step):
                    part = records.slice(start, step)
                    yield self._batch(part, first + start)
                first += records.num_rows

    def _batch(self, records: pa.RecordBatch, first: int) -> Batch:
        rows = np.empty((records.num_rows, self.dim), np.float32)
        bad = np.zeros(records.num_rows, bool)
        for i, name in enumerate(self._vectors):
            column = _numbers(records.column(name))
            if column.null_count:
                row = first + first_true(pc.is_null(column))
                if not self.skip:
                    raise InputError(
                        f"{self.path}: row {row} (counted from 0) has no value in column {name!r}; "
                        "fill it in, or leave such rows out with --on-error skip"
                    )
                bad |= column.is_null().to_numpy(zero_copy_only=False)
                column = column.fill_null(0)
            rows[:, i] = column.to_numpy()
        ids = None if self._id_name is None else self._ids(records.column(self._id_name), first, bad)
        columns = records.select(self.columns.names) if len(self.columns) else None
        return Batch(rows, ids, columns, self.path, first, bad if bad.any() else None)

    def _ids(self, column: pa.Array, first: int, bad: NDArray[np.bool_]) -> pa.Array:
        """The ids; with `skip` those that are missing are marked in `bad`, and stand as 0."""
        if column.null_count:
            row = first + first_true(pc.is_null(column))
            if not self.skip:
                raise InputError(f"{self.path}: row {row} (counted from 0) has no id")
            bad |= column.is_null().to_numpy(zero_copy_only=False)
            column = column.fill_null("0")
        if self.id_type == pa.string():
            return column
        whole = pc.match_substring_regex(column, _WHOLE)
        if not pc.all(whole).as_py():
            row = first_true(pc.invert(whole))
            raise InputError(
                f"{self.path}: row {first + row} (counted from 0) has id {column[row].as_py()[:60]!r}; the "
                "ids before are whole numbers. Put the text ids first, or use another format"
            )
        return column.cast(pa.int64())


def _starts_with_number(head: pa.RecordBatch | None, name: str) -> bool:
    """Whether a column of text begins as one of numbers, so that what is none is a fault of its row."""
    column = None if head is None else head.column(name)
    return column is not None and pa.types.is_string(column.type) and _number(column[0].as_py()) is not None


def _numbers(column: pa.Array) -> pa.Array:
    """A column of numbers, or of text that should be; null where it is not."""
    if not pa.types.is_string(column.type):
        return column
    try:
        return column.cast(pa.float32())
    except pa.ArrowInvalid:
        return pa.array([_number(text) for text in column.to_pylist()], pa.float32())


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(pa.scalar(text).cast(pa.float32()).as_py())
    except pa.ArrowInvalid:
        return None


def _carried(field: pa.Field) -> pa.Field:
    """A column that is empty at the start may hold text later on."""
    return pa.field(field.name, pa.string()) if pa.types.is_null(field.type) else field


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


class CsvSink(FileSink):
    """A CSV file: `id`, `vector_0` and so on, carried columns that are no lists."""

    def _begin(self, file: BinaryIO, layout: RowLayout) -> None:
        vectors = [f"vector_{i}" for i in range(layout.dim)]
        nested = [field.name for field in layout.columns if pa.types.is_nested(field.type)]
        if nested:
            self.notes.append(f"{self.path} cannot hold lists; left out: {', '.join(nested)}")
        kept = [field for field in layout.columns if field.name not in nested]
        if any(_is_number(field.type) for field in kept):
            self.notes.append(
                f"{self.path} has numeric columns that are no part of the row; to read it again, name the "
                "row's with --vectors"
            )
        fields = [] if layout.id_type is None else [pa.field("id", layout.id_type)]
        fields += [pa.field(name, pa.float32()) for name in vectors]
        taken = {field.name for field in fields}
        clash = [field.name for field in kept if field.name in taken]
        if clash:
            raise InputError(
                f"{self.path}: a carried column is called {clash[0]!r}, as the output's own; rename it"
            )
        self._schema = pa.schema([*fields, *(pa.field(f.name, _flat(f.type)) for f in kept)])
        self._kept = [field.name for field in kept]
        self._writer = csv.CSVWriter(file, self._schema)

    def _append(self, batch: Batch) -> None:
        rows: NDArray[Any] = fit(batch, np.dtype(np.float32))
        arrays: list[Any] = [] if self._layout.id_type is None else [batch.ids]
        arrays += [pa.array(np.ascontiguousarray(rows[:, i])) for i in range(rows.shape[1])]
        for name in self._kept:
            assert batch.columns is not None, "a layout with columns, a batch without"
            column = batch.columns.column(name)
            arrays.append(column.cast(_flat(column.type)))
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def _finish(self) -> None:
        self._writer.close()

    def _drop(self) -> None:
        self._writer.close()


def _flat(kind: pa.DataType) -> pa.DataType:
    """A dictionary's values; CSV knows no dictionaries."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind
