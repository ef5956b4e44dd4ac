"""safetensors: a bounded JSON header, then the tensors; the format of Hugging Face's safetensors 0.4.

Layout: uint64 header size, JSON {name: {dtype, shape, data_offsets}}, the bytes. They must follow each
other without hole or overlap up to the end of the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np

from vecstore.codecs.base import BFLOAT16
from vecstore.errors import InputError, NotFoundError
from vecstore.formats.base import RowLayout
from vecstore.formats.files import Bytes, Location
from vecstore.formats.matrix import MatrixSource, Place
from vecstore.formats.raw import RawSink

_HEADER_LIMIT = 100_000_000  # That of the reference implementation.
_WRITTEN_HEADER = 256
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def open_safetensors(location: Location) -> MatrixSource:
    """The rows of the tensor behind `::`, else of the only 2-D tensor of real numbers."""
    data = Bytes(location)
    start, entries = _entries(data)
    name = _chosen(location, entries)
    dtype, shape, (begin, _) = entries[name]
    if dtype not in _DTYPES or len(shape) != 2:
        raise InputError(
            f"{location.path}: tensor {name!r} is {dtype} {shape}; expected a real dtype, (rows, dimensions)"
        )
    return MatrixSource(data, Place(start + begin, shape[0], shape[1], _DTYPES[dtype]))


Entry = tuple[str, list[int], tuple[int, int]]


def _entries(data: Bytes) -> tuple[int, dict[str, Entry]]:
    """Offset of the first tensor, and dtype, shape and place of each. InputError."""
    if data.size < 8:
        raise InputError(f"{data.path} has {data.size} bytes; a safetensors file has 8 and a header")
    length = int(data.read(0, 8).view("<u8")[0])
    if length > min(_HEADER_LIMIT, data.size - 8):
        raise InputError(f"{data.path}: its header says it has {length} bytes, the file has {data.size}")
    header = json.loads(data.read(8, length).tobytes().decode(), object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise InputError(f"{data.path}: its header is a {type(header).__name__}; expected an object")
    entries = {name: _entry(data.path, name, e) for name, e in header.items() if name != "__metadata__"}
    position = 0
    for name, (_, _, (begin, end)) in sorted(entries.items(), key=lambda item: item[1][2]):
        if begin != position:
            raise InputError(
                f"{data.path}: tensor {name!r} starts at {begin}, the one before ends at {position}; tensors "
                "must follow each other without hole or overlap"
            )
        position = end
    if 8 + length + position != data.size:
        raise InputError(
            f"{data.path} has {data.size} bytes; its header says {8 + length + position}: it is cut or "
            "damaged"
        )
    return 8 + length, entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise ValueError("a name stands twice in its header")
    return keys


def _entry(path: str, name: str, entry: Any) -> Entry:
    bad = InputError(f"{path}: the header's entry for tensor {name[:80]!r} is not valid: {str(entry)[:80]}")
    if not isinstance(entry, dict):
        raise bad
    dtype, shape, place = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or not _are_sizes(shape) or not _are_sizes(place) or len(place) != 2:
        raise bad
    begin, end = place
    known = _DTYPES.get(dtype)
    if begin > end or (known is not None and end - begin != math.prod(shape) * known.itemsize):
        raise bad
    return dtype, shape, (begin, end)


def _are_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 1 << 62 for size in value)


def _chosen(location: Location, entries: dict[str, Entry]) -> str:
    listed = ", ".join(sorted(entries)[:20]) or "nothing"
    if location.selector is not None:
        if location.selector not in entries:
            raise NotFoundError(f"{location.path} has no tensor {location.selector!r}; it has {listed}")
        return location.selector
    fitting = sorted(n for n, (dtype, shape, _) in entries.items() if len(shape) == 2 and dtype in _DTYPES)
    if len(fitting) != 1:
        found = ", ".join(fitting[:20]) if fitting else f"none among {listed}"
        raise InputError(
            f"{location.path} has {len(fitting)} tensors that could be rows: {found}; name one as file::name"
        )
    return fitting[0]


class SafetensorsSink(RawSink):
    """A safetensors file with one tensor, `vector` or the name behind `::`."""

    def _kept(self, layout: RowLayout) -> np.dtype[Any]:
        dtype = layout.dtype if layout.dtype == BFLOAT16 else layout.dtype.newbyteorder("<")
        return dtype if dtype in _NAMES else np.dtype("<f4")

    def _header(self, rows: int) -> bytes:
        size = rows * self._layout.dim * self._dtype.itemsize
        entry = {"dtype": _NAMES[self._dtype], "shape": [rows, self._layout.dim], "data_offsets": [0, size]}
        text = json.dumps({self._output.selector or "vector": entry}).encode()
        # Blanks behind the JSON are allowed, and leave room for the true count.
        width = _WRITTEN_HEADER + 12 * len(self._output.selector or "")
        return width.to_bytes(8, "little") + text.ljust(width)
