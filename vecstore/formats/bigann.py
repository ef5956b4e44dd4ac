"""The Big-ANN formats .fbin, .u8bin, .i8bin, .f16bin and .ibin: uint32 rows, uint32 dim, then the values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vecstore.errors import InputError
from vecstore.formats.base import RowLayout
from vecstore.formats.files import Bytes, Location, check_dim
from vecstore.formats.matrix import MatrixSource, Place
from vecstore.formats.raw import RawSink

DTYPES: Mapping[str, np.dtype[Any]] = {
    ".fbin": np.dtype("<f4"),
    ".u8bin": np.dtype("u1"),
    ".i8bin": np.dtype("i1"),
    ".f16bin": np.dtype("<f2"),
    ".ibin": np.dtype("<i4"),
}
_HEADER_BYTES = 8


def open_bigann(location: Location) -> MatrixSource:
    """The rows of a file whose size is exactly what its header says. InputError."""
    data = Bytes(location)
    if data.size < _HEADER_BYTES:
        raise InputError(f"{location.path} has {data.size} bytes; expected a header of {_HEADER_BYTES}")
    rows, dim = (int(value) for value in data.read(0, _HEADER_BYTES).view("<u4"))
    check_dim(location.path, dim)
    place = Place(_HEADER_BYTES, rows, dim, DTYPES[location.suffix])
    if place.end != data.size:
        raise InputError(
            f"{location.path} has {data.size} bytes; its header says {rows} rows of {dim} {place.dtype}, "
            f"which are {place.end}: it is cut, or the header is wrong"
        )
    return MatrixSource(data, place)


class BigannSink(RawSink):
    """A Big-ANN file, its dtype by the extension."""

    def _kept(self, layout: RowLayout) -> np.dtype[Any]:
        return DTYPES[self._output.suffix]

    def _header(self, rows: int) -> bytes:
        if rows >= 1 << 32:
            raise InputError(f"{self.path}: {rows} rows; this format counts them in 32 bits, so write .npy")
        return np.array([rows, self._layout.dim], "<u4").tobytes()
