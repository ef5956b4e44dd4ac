"""Ids that come twice, found as they stream by."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.errors import ShapeError
from vecstore.formats.idkeys import keys_of
from vecstore.store.ids import NONE, IdMap


class UniqueIds:
    """A set of ids, int64 or string, of up to 64 (int64) to 96 (string) bytes each."""

    def __init__(self, id_type: pa.DataType) -> None:
        self._integers = pa.types.is_integer(id_type)
        self._known = IdMap()

    def add(self, ids: pa.Array) -> NDArray[np.bool_]:
        """Adds ids (n,); true where an id was there already, in this call or before it."""
        if pa.types.is_integer(ids.type) != self._integers:
            raise ShapeError(f"ids are {ids.type}; those before were of another kind")
        known: NDArray[np.bool_] = self._known.put(keys_of(ids), np.zeros(len(ids), np.int64)) != NONE
        return known
