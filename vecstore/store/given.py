"""What is given to a store to be put into it, checked once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from vecstore.archive.ids import as_ids
from vecstore.archive.layout import RESERVED, plain_type
from vecstore.codecs.base import Array, check_rows, overflows
from vecstore.errors import InputError, ShapeError
from vecstore.formats.base import Batch
from vecstore.formats.idkeys import keys_of
from vecstore.kernels import idfile
from vecstore.store.hashfile import Draft
from vecstore.store.ids import NONE, U64, IdMap
from vecstore.store.manifest import Manifest


@dataclass(frozen=True)
class Given:
    """Rows that a store takes. keys (n, w): of their ids; slots: gives these as a file of ids has them, with
    the numbers of rows for places, or InputError where an id repeats. file: does so, and gives the file of
    these rows alone, where one is begun (`index.begun`). Both may be called again."""

    batch: Batch
    keys: U64
    slots: Callable[[], U64]
    file: Callable[[], Draft | None]

    def __len__(self) -> int:
        return len(self.batch)


def checked(manifest: Manifest, ids: Any, rows: Array, columns: Mapping[str, Any] | None) -> Given:
    """Rows with ids and columns as the store takes them."""
    rows = check_rows(rows, manifest.dim)
    kind = manifest.id_type or _kind_of(ids)
    wanted = as_ids(ids, kind, "this store")
    names = wanted if isinstance(wanted, pa.Array) else pa.array(wanted)
    if len(names) != len(rows):
        raise ShapeError(f"there are {len(names)} ids for {len(rows)} rows; expected one each")
    if (over := overflows(rows)).any():
        raise InputError(f"row {int(over.argmax())} is {rows.dtype}, too large for float32")
    if names.null_count:
        raise InputError(f"row {int(np.asarray(names.is_null()).argmax())} has no id; every row needs one")
    keys = keys_of(names)
    if manifest.card.get("metric") == "cosine":
        zero = ~np.asarray(rows != 0).any(axis=1)
        if zero.any():
            raise InputError(f"row {int(zero.argmax())} is all zeros, which has no direction for cosine")
    batch = Batch(rows, names, _columns(manifest, columns or {}, len(rows)), "the rows given", 0)
    slots = cache(lambda: _slots(names, keys))
    return Given(batch, keys, slots, lambda: None)


def checked_batch(manifest: Manifest, batch: Batch, like: Batch | None = None) -> Given:
    """The same of a batch with ids. like: one before it, where the store has no rows yet."""
    if manifest.columns is None and like is not None and like.ids is not None:
        schema = pa.schema([]) if like.columns is None else like.columns.schema
        manifest = replace(manifest, id_type=like.ids.type, columns=schema)
    columns = batch.columns
    carried = {} if columns is None else dict(zip(columns.schema.names, columns.columns, strict=True))
    return checked(manifest, batch.ids, batch.rows, carried)


def _slots(names: pa.Array, keys: U64) -> U64:
    """Keys as `Given.slots` has them."""
    slots = idfile.free_slots(len(keys), keys.shape[1])
    if idfile.fill(slots, keys, np.arange(len(keys)), False):
        row = int((IdMap().put(keys, np.zeros(len(keys), np.int64)) != NONE).argmax())
        raise InputError(f"row {row} repeats the id {names[row].as_py()!r}; an id may come once in a call")
    return slots


def _kind_of(ids: Any) -> pa.DataType:
    """int64 or string, by what the first ids are."""
    if isinstance(ids, pa.Array | pa.ChunkedArray):
        return pa.int64() if pa.types.is_integer(ids.type) else pa.string()
    first = np.asarray(ids).reshape(-1)[:1]
    return pa.string() if first.dtype.kind in "UO" and not isinstance(first[:1].item(), int) else pa.int64()


def _is_text(name: object) -> bool:
    """Whether Arrow takes it for a name."""
    try:
        str.encode(name)  # type: ignore[arg-type]
    except (TypeError, UnicodeError):
        return False
    return True


def _columns(manifest: Manifest, given: Mapping[str, Any], rows: int) -> pa.RecordBatch | None:
    """The carried values as the store has them, or None where it has none."""
    if not isinstance(given, Mapping):
        raise InputError(f"columns is a {type(given).__name__}; expected a dict, name -> one value a row")
    if odd := [name for name in given if not _is_text(name)]:
        raise InputError(f"columns are named by text; {odd[0]!r} is none")
    names = list(given) if manifest.columns is None else manifest.columns.names
    if set(names) != set(given):
        raise InputError(f"the rows carry the columns {sorted(given)}; this store has {sorted(names)}")
    arrays = []
    for name in names:
        if name in RESERVED:
            raise InputError(f"column {name!r} cannot be carried: that name is taken; rename or drop it")
        if isinstance(given[name], str | bytes):  # which Arrow takes for a list of its characters
            raise InputError(f"column {name!r} is one {type(given[name]).__name__}; expected one value a row")
        try:
            array = pa.array(given[name])
            kind = (
                plain_type(array.type, name)
                if manifest.columns is None
                else manifest.columns.field(name).type
            )
            array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
            arrays.append(array.cast(kind))
        except (pa.ArrowException, TypeError, OverflowError, UnicodeError) as error:
            raise InputError(f"column {name!r} cannot be taken: {error}") from error
        if len(arrays[-1]) != rows:
            raise InputError(f"column {name!r} has {len(arrays[-1])} values for {rows} rows")
    return pa.RecordBatch.from_arrays(arrays, names=names) if names else None
