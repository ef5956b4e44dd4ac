"""NumPy's .npy: its header, and rows behind it in C or Fortran order."""

from __future__ import annotations

import ast
import warnings
from typing import Any

import numpy as np

from vecstore.codecs.base import BFLOAT16
from vecstore.errors import InputError
from vecstore.formats.base import RowLayout
from vecstore.formats.files import Bytes, Location, check_dim
from vecstore.formats.matrix import MatrixSource, Place, check_real
from vecstore.formats.raw import RawSink

MAGIC = b"\x93NUMPY"
HEAD_BYTES = 1 << 16  # A header of two numbers and a dtype is far shorter.
_TEXT_LIMIT = 10_000  # That of numpy.
_WRITTEN_HEADER = 128


def open_npy(location: Location) -> MatrixSource:
    """The rows of a 2-D array of real numbers. Nothing is ever unpickled."""
    data = Bytes(location)
    place = parse_header(data.read(0, min(data.size, HEAD_BYTES)).tobytes(), location.path)
    if place.end < data.size:
        raise InputError(
            f"{location.path} has {data.size} bytes; its header says that it ends at {place.end}; one of the "
            "two is wrong"
        )
    return MatrixSource(data, place)


def parse_header(head: bytes, path: str) -> Place:
    """Where the array lies in a file that starts with these bytes. InputError."""
    if head[:6] != MAGIC:
        raise InputError(f"{path} starts with {head[:6]!r}; a .npy file starts with {MAGIC!r}")
    width = {1: 2, 2: 4, 3: 4}.get(head[6] if len(head) > 6 else 0)
    if width is None or len(head) < 8 + width:
        raise InputError(f"{path} has .npy version {head[6:8]!r}; versions 1 to 3 can be read")
    length = int.from_bytes(head[8 : 8 + width], "little")
    start = 8 + width
    if start + length > len(head):
        raise InputError(f"{path}: its .npy header of {length} bytes does not end within {len(head)} bytes")
    text = head[start : start + length].decode("latin-1" if width == 2 else "utf-8", "replace")
    descr, by_column, shape = _fields(text, path)
    dtype = _dtype(descr, path)
    if len(shape) != 2:
        raise InputError(f"{path} holds an array of shape {shape}; expected (rows, dimensions)")
    check_dim(path, shape[1])
    # A single row or column is in both orders at once; as rows it can be read faster.
    by_column = by_column and min(shape) > 1
    return Place(start + length, shape[0], shape[1], dtype, by_column=by_column)


def _fields(text: str, path: str) -> tuple[Any, bool, tuple[int, ...]]:
    try:
        if len(text) > _TEXT_LIMIT:
            raise ValueError("longer than any header of numbers")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns about odd escapes in what it parses.
            header = ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise InputError(f"{path}: its .npy header cannot be parsed: {text[:80]!r}") from error
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise InputError(f"{path}: its .npy header has not the three entries expected: {text[:80]!r}")
    shape = header["shape"]
    whole = isinstance(shape, tuple) and all(type(size) is int and 0 <= size < 1 << 62 for size in shape)
    if not whole or not isinstance(header["fortran_order"], bool):
        raise InputError(f"{path}: its .npy header has an impossible shape or order: {text[:80]!r}")
    return header["descr"], header["fortran_order"], shape


def _dtype(descr: Any, path: str) -> np.dtype[Any]:
    if isinstance(descr, str) and descr.lstrip("<>|=").startswith("O"):
        raise InputError(f"{path} holds Python objects, which are never unpickled; save it as float32")
    if not isinstance(descr, str):
        raise InputError(f"{path} holds records {str(descr)[:80]}; expected one real number per value")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dtype = np.dtype(descr)
    except (TypeError, ValueError, SyntaxError, Warning) as error:
        raise InputError(f"{path} has dtype {descr[:40]!r}, which numpy does not know") from error
    check_real(path, dtype)
    return dtype


def header(dtype: np.dtype[Any], rows: int, dim: int) -> bytes:
    """A .npy header of 128 bytes, however many rows there are."""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
    padded = text.encode().ljust(_WRITTEN_HEADER - 11) + b"\n"
    return MAGIC + b"\x01\x00" + len(padded).to_bytes(2, "little") + padded


def stored_dtype(layout: RowLayout) -> np.dtype[Any]:
    """The layout's dtype; float32 for bfloat16, whose type numpy's files lose."""
    return np.dtype(np.float32) if layout.dtype == BFLOAT16 else layout.dtype.newbyteorder("=")


class NpySink(RawSink):
    """A C-order .npy file."""

    def _kept(self, layout: RowLayout) -> np.dtype[Any]:
        return stored_dtype(layout)

    def _header(self, rows: int) -> bytes:
        return header(self._dtype, rows, self._layout.dim)
