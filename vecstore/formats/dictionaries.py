"""Dictionary columns whose dictionaries only grow, as an Arrow file demands it of its batches."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from vecstore.errors import InputError


class Dictionaries:
    """The dictionaries of a schema's columns so far; each batch's values are looked up in them."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self._path = path
        self._known: dict[int, pa.Array] = {
            i: pa.array([], field.type.value_type)
            for i, field in enumerate(schema)
            if pa.types.is_dictionary(field.type)
        }

    def unify(self, records: pa.RecordBatch) -> pa.RecordBatch:
        """The same values over dictionaries that start with those of the batches before."""
        if not self._known:
            return records
        arrays = list(records.columns)
        for i, known in self._known.items():
            arrays[i] = self._unified(i, known, arrays[i])
        return pa.RecordBatch.from_arrays(arrays, schema=records.schema)

    def _unified(self, index: int, known: pa.Array, column: pa.DictionaryArray) -> pa.DictionaryArray:
        values = column.dictionary.drop_null().unique()
        fresh = values.filter(pc.invert(pc.is_in(values, value_set=known)))
        if len(fresh):
            known = pa.concat_arrays([known, fresh])
            self._known[index] = known
        places = pc.index_in(column.dictionary, value_set=known, skip_nulls=True)
        try:
            indices = places.take(column.indices).cast(column.type.index_type)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"cannot write {self._path}: a dictionary column has {len(known)} values, more than its "
                f"{column.type.index_type} index can count; write Parquet or an Arrow stream"
            ) from error
        return pa.DictionaryArray.from_arrays(indices, known, ordered=column.type.ordered)
