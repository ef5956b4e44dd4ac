"""Which Arrow column is the vector, which the id, and what the rest is: from record batches to rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vecstore.errors import InputError, NotFoundError
from vecstore.formats.base import Batch
from vecstore.formats.files import check_dim

ID_NAMES = ("id", "_id")


@dataclass(frozen=True)
class Choice:
    """The columns of a schema by their part: the vector, the id or None, the others in order."""

    path: str
    schema: pa.Schema
    vector: int
    id: int | None
    rest: tuple[int, ...]

    @property
    def vector_name(self) -> str:
        """Name of the vector column."""
        return str(self.schema.names[self.vector])

    @property
    def carried(self) -> pa.Schema:
        """Schema of the other columns."""
        return pa.schema([self.schema.field(i) for i in self.rest])

    @property
    def id_type(self) -> pa.DataType | None:
        """int64 or string; None without an id column."""
        return None if self.id is None else _id_type(self.schema.field(self.id).type)

    def batch(self, records: pa.RecordBatch, dim: int, first: int) -> Batch:
        """Rows (n, dim), ids and carried columns of a record batch whose first row has the number first."""
        rows = vectors_of(records.column(self.vector), dim, self.path, first)
        if not rows.flags.writeable:
            # Every kernel would be compiled a second time for arrays that cannot be written to.
            rows = rows.copy()
        ids = None if self.id is None else ids_of(records.column(self.id), self.path, first)
        columns = None
        if self.rest:
            columns = pa.RecordBatch.from_arrays([records.column(i) for i in self.rest], schema=self.carried)
        return Batch(rows, ids, columns, self.path, first)

    def marked_batch(self, records: pa.RecordBatch, dim: int, first: int) -> Batch:
        """As `batch`, but rows that it would refuse for a null or another width are marked as bad."""
        sound = _readable(records.column(self.vector), dim)
        if self.id is not None:
            sound &= records.column(self.id).is_valid().to_numpy(zero_copy_only=False)
        if sound.all():
            return self.batch(records, dim, first)
        good = self.batch(records.filter(pa.array(sound)), dim, first)
        rows = np.zeros((len(sound), dim), good.rows.dtype)
        rows[sound] = good.rows
        ids, columns = None, None
        if good.ids is not None:
            # A bad row has to have some id until it is left out.
            some = good.ids if len(good) else pa.array([0 if pa.types.is_integer(good.ids.type) else ""])
            ids = some.take(pa.array(np.maximum(np.cumsum(sound) - 1, 0)))
        if self.rest:
            columns = pa.RecordBatch.from_arrays([records.column(i) for i in self.rest], schema=self.carried)
        return Batch(rows, ids, columns, self.path, first, ~sound)


def choose(schema: pa.Schema, path: str, vectors: str | None, ids: str | None) -> Choice:
    """Finds the vector and the id column. NotFoundError for a wrong name, InputError if it is not clear."""
    names = list(schema.names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path} has several columns {_listed(twice)}; rename them so that names are unique")
    vector = _vector_column(schema, path, vectors)
    key = id_column(schema, path, ids)
    if key == vector:
        raise InputError(f"{path}: column {names[vector]!r} is the vector; it cannot be the id as well")
    rest = tuple(i for i in range(len(names)) if i not in (vector, key))
    return Choice(path, schema, vector, key, rest)


def _vector_column(schema: pa.Schema, path: str, wanted: str | None) -> int:
    if wanted is not None:
        index = _named(schema, path, wanted)
        if vector_type(schema.field(index).type, told=True) is None:
            raise InputError(
                f"{path}: column {wanted!r} is {schema.field(index).type}; expected a list of real numbers"
            )
        return index
    found = [i for i, field in enumerate(schema) if vector_type(field.type) is not None]
    if len(found) == 1:
        return found[0]
    if "vector" in (schema.names[i] for i in found):  # as it is called in what is written here
        return int(schema.get_field_index("vector"))
    if found:
        listed = _listed([schema.names[i] for i in found])
        raise InputError(f"{path} has several vector columns: {listed}; name one with --vectors")
    raise InputError(
        f"{path} has no column of vectors (a list or tensor of numbers) among {_listed(schema.names)}; "
        "name one with --vectors"
    )


def id_column(schema: pa.Schema, path: str, wanted: str | None) -> int | None:
    """Index of the id column; without a name the one called id or _id, if its type is one that ids have."""
    if wanted is not None:
        index = _named(schema, path, wanted)
        if _id_type(schema.field(index).type) is None:
            raise InputError(
                f"{path}: column {wanted!r} is {schema.field(index).type}; ids are integers or strings"
            )
        return index
    for name in ID_NAMES:
        if name in schema.names and _id_type(schema.field(name).type) is not None:
            return int(schema.get_field_index(name))
    return None


def _named(schema: pa.Schema, path: str, name: str) -> int:
    if name not in schema.names:
        raise NotFoundError(f"{path} has no column {name!r}; it has {_listed(schema.names)}")
    return int(schema.get_field_index(name))


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown or "no columns"


def _id_type(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return None


def vector_type(kind: pa.DataType, told: bool = False) -> tuple[np.dtype[Any], int | None] | None:
    """(dtype, dim or None if rows may differ) of a column type; None if it holds no vectors.

    Fixed-size binary holds them only if the column was named: its bytes are float32 then.
    """
    if isinstance(kind, pa.FixedShapeTensorType):
        return vector_type(kind.storage_type) if len(kind.shape) == 1 else None
    if pa.types.is_fixed_size_binary(kind):
        fits = told and kind.byte_width > 0 and kind.byte_width % 4 == 0
        return (np.dtype("<f4"), kind.byte_width // 4) if fits else None
    if not _is_list(kind):
        return None
    value = kind.value_type
    if not (pa.types.is_floating(value) or pa.types.is_integer(value)):
        return None
    dim = kind.list_size if pa.types.is_fixed_size_list(kind) else None
    return np.dtype(value.to_pandas_dtype()), dim


def _is_list(kind: pa.DataType) -> bool:
    tests = (
        pa.types.is_fixed_size_list,
        pa.types.is_list,
        pa.types.is_large_list,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
    )
    return any(test(kind) for test in tests)


def width_of(records: pa.RecordBatch, choice: Choice, first: int) -> int:
    """The width of the first row, for lists that may differ."""
    column = records.column(choice.vector)
    if not column[0].is_valid:
        raise _null(choice.path, first, "vector")
    width = len(column[0])
    check_dim(choice.path, width)
    return width


def vectors_of(column: pa.Array, dim: int, path: str, first: int) -> NDArray[Any]:
    """Rows (n, dim) of a column, a view where Arrow allows; InputError for nulls and ragged rows."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if column.null_count:
        raise _null(path, first + first_true(pc.is_null(column)), "vector")
    if pa.types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        data = np.frombuffer(column.buffers()[1], np.uint8, len(column) * width, column.offset * width)
        return data.view("<f4").reshape(len(column), dim).copy()
    if not pa.types.is_fixed_size_list(column.type):
        _check_widths(column, dim, path, first)
    values = column.flatten()
    if values.null_count:
        raise _null(path, first + first_true(pc.is_null(values)) // dim, "value")
    rows: NDArray[Any] = values.to_numpy(zero_copy_only=True).reshape(len(column), dim)
    return rows if rows.flags.aligned else rows.copy()  # A file may put its buffers anywhere.


def _readable(column: pa.Array, dim: int) -> NDArray[np.bool_]:
    """True for the rows (n,) that are dim values, none of them null."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    sound: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False).copy()
    if pa.types.is_fixed_size_binary(column.type):
        return sound
    sound &= pc.fill_null(pc.equal(pc.list_value_length(column), dim), False).to_numpy(zero_copy_only=False)
    values = column.filter(pa.array(sound)).flatten()
    if values.null_count:
        whole = values.is_valid().to_numpy(zero_copy_only=False).reshape(-1, dim).all(axis=1)
        sound[np.flatnonzero(sound)[~whole]] = False
    return sound


def _check_widths(column: pa.Array, dim: int, path: str, first: int) -> None:
    widths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(widths != dim)
    if wrong.size:
        raise InputError(
            f"{path}: row {first + int(wrong[0])} (counted from 0) has {widths[wrong[0]]} dimensions; the "
            f"rows before have {dim}, and all rows must be equally wide"
        )


def ids_of(column: pa.Array, path: str, first: int) -> pa.Array:
    """Ids (n,) as int64 or string; InputError for a null and for what int64 cannot hold."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count:
        raise _null(path, first + first_true(pc.is_null(column)), "id")
    wanted = _id_type(column.type)
    if pa.types.is_uint64(column.type):
        high = pc.greater(column, pa.scalar(2**63 - 1, pa.uint64()))
        if pc.any(high).as_py():
            row = first_true(high)
            raise InputError(
                f"{path}: row {first + row} (counted from 0) has id {column[row].as_py()}; ids are signed "
                "64-bit integers, so write it as a string"
            )
    return column.cast(wanted)


def first_true(mask: pa.Array) -> int:
    """Position of the first true value of a mask that has one."""
    return int(pc.index(mask, pa.scalar(True)).as_py())


def _null(path: str, row: int, what: str) -> InputError:
    return InputError(f"{path}: row {row} (counted from 0) has no {what} (null); drop the row or fill it in")
