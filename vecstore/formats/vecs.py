"""The TEXMEX formats .fvecs, .bvecs and .ivecs: each row is an int32 dimension and its values.

Source: Jegou, Douze, Schmid 2011, the corpus page of "Product quantization for nearest neighbor search".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from vecstore.errors import InputError
from vecstore.formats.base import Batch, RowLayout
from vecstore.formats.files import Bytes, Location, check_dim
from vecstore.formats.fit import fit
from vecstore.formats.matrix import MatrixSource, Place
from vecstore.formats.writing import FileSink

DTYPES: Mapping[str, np.dtype[Any]] = {
    ".fvecs": np.dtype("<f4"),
    ".bvecs": np.dtype("u1"),
    ".ivecs": np.dtype("<i4"),
}
_LEAD_BYTES = 4


def open_vecs(location: Location) -> MatrixSource:
    """The rows of a file whose first row says how wide all are. InputError."""
    data = Bytes(location)
    if data.size < _LEAD_BYTES:
        raise InputError(
            f"{location.path} has {data.size} bytes; expected rows that start with their dimension"
        )
    dim = int(data.read(0, _LEAD_BYTES).view("<i4")[0])
    check_dim(location.path, dim)
    dtype = DTYPES[location.suffix]
    record = _LEAD_BYTES + dim * dtype.itemsize
    rows, rest = divmod(data.size, record)
    if rest:
        raise InputError(
            f"{location.path} has {data.size} bytes; expected a multiple of {record} (rows of {dim} "
            f"{dtype}): it is cut or damaged"
        )
    return MatrixSource(data, Place(0, rows, dim, dtype, lead=_LEAD_BYTES))


class VecsSink(FileSink):
    """A .fvecs, .bvecs or .ivecs file, by the extension."""

    holds_ids = False
    holds_columns = False

    def _begin(self, file: BinaryIO, layout: RowLayout) -> None:
        self._dtype = DTYPES[self._output.suffix]
        self._record = np.dtype([("dim", "<i4"), ("row", self._dtype, (layout.dim,))])

    def _append(self, batch: Batch) -> None:
        records = np.empty(len(batch), self._record)
        records["dim"] = self._layout.dim
        records["row"] = fit(batch, self._dtype)
        self._output.file.write(records.view(np.uint8).data)

    def _finish(self) -> None:
        pass
