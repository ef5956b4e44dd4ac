"""From a path to its reader or writer, by extension."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Required, TypedDict, Unpack

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike
from pyarrow import fs

from vecstore.errors import InputError, NotFoundError
from vecstore.formats import bigann, vecs
from vecstore.formats.arrow import ArrowFileSink, ArrowStreamSink, ArrowStreamSource, open_arrow
from vecstore.formats.base import RowLayout, Sink, Source
from vecstore.formats.delimited import CsvSink, CsvSource
from vecstore.formats.files import Location, expand, is_pattern, locate
from vecstore.formats.guard import guard
from vecstore.formats.hdf5 import Hdf5Sink, Hdf5Source
from vecstore.formats.npy import NpySink, open_npy
from vecstore.formats.npz import NpzSink, NpzSource
from vecstore.formats.parquet import ParquetSink, ParquetSource
from vecstore.formats.safetensors_file import SafetensorsSink, open_safetensors
from vecstore.formats.several import SeveralSource
from vecstore.formats.torch_state import TorchSink, TorchSource
from vecstore.formats.word_binary import WordBinarySink, WordBinarySource
from vecstore.formats.word_text import WordTextSink, WordTextSource
from vecstore.formats.writing import FileSink, Output

Reader = Callable[[Location, str | None, str | None], Source]


def _plain(opener: Callable[[Location], Source]) -> Reader:
    """A reader of a format without columns; choosing one is an error there."""

    def read(location: Location, vectors: str | None, ids: str | None) -> Source:
        if vectors is not None or ids is not None:
            raise InputError(f"{location.path} has no columns, so --vectors and --ids name nothing in it")
        return opener(location)

    return read


def _open_bin(location: Location) -> Source:
    """A .bin is word2vec's; with a tensor's name behind it, torch's."""
    return WordBinarySource(location) if location.selector is None else TorchSource(location)


_SELECTABLE = {".npz", ".safetensors", ".pt", ".pth", ".bin", ".h5", ".hdf5", ".hdf"}

READERS: Mapping[str, Reader] = {
    ".npy": _plain(open_npy),
    ".npz": _plain(NpzSource),
    ".parquet": ParquetSource,
    ".pq": ParquetSource,
    ".arrow": open_arrow,
    ".feather": open_arrow,
    ".ipc": open_arrow,
    ".arrows": open_arrow,
    **dict.fromkeys(vecs.DTYPES, _plain(vecs.open_vecs)),
    **dict.fromkeys(bigann.DTYPES, _plain(bigann.open_bigann)),
    ".safetensors": _plain(open_safetensors),
    ".pt": _plain(TorchSource),
    ".pth": _plain(TorchSource),
    ".bin": _plain(_open_bin),
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), _plain(Hdf5Source)),
    **dict.fromkeys((".txt", ".vec", ".glove"), _plain(WordTextSource)),
    ".csv": CsvSource,
}

WRITERS: Mapping[str, type[FileSink]] = {
    ".npy": NpySink,
    ".npz": NpzSink,
    ".parquet": ParquetSink,
    ".pq": ParquetSink,
    ".arrow": ArrowFileSink,
    ".feather": ArrowFileSink,
    ".ipc": ArrowFileSink,
    ".arrows": ArrowStreamSink,
    **dict.fromkeys(vecs.DTYPES, vecs.VecsSink),
    **dict.fromkeys(bigann.DTYPES, bigann.BigannSink),
    ".safetensors": SafetensorsSink,
    ".pt": TorchSink,
    ".pth": TorchSink,
    ".bin": WordBinarySink,
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), Hdf5Sink),
    **dict.fromkeys((".txt", ".vec", ".glove"), WordTextSink),
    ".csv": CsvSink,
}


def open_source(path: str, *, vectors: str | None = None, ids: str | None = None) -> Source:
    """Opens a file, `file::selector`, folder of Parquet files, glob, URI, or `-` (Arrow on standard input).

    vectors and ids name columns. Raises NotFoundError for a file, column or tensor that is not there,
    InputError for what cannot be read as vectors, StorageError if the system fails, FormatError if a
    package is missing.
    """
    if path == "-":
        with guard("standard input"):
            return ArrowStreamSource(Location("-", "-"), vectors, ids)

    def opener(location: Location) -> Source:
        with guard(location.path):
            return _reader(location)(location, vectors, ids)

    location = locate(path)
    with guard(location.path):
        if is_pattern(location):
            return SeveralSource(path, expand(location), opener)
        if location.is_folder():
            return SeveralSource(path, _parquet_files(location), opener)
    return opener(location)


class Fields(TypedDict, total=False):
    """What `open_sink` is told about the rows, as in RowLayout; dim is needed, the rest has defaults."""

    dim: Required[int]
    dtype: DTypeLike
    id_type: pa.DataType | None
    columns: pa.Schema


def open_sink(path: str, *, rows: int | None = None, force: bool = False, **layout: Unpack[Fields]) -> Sink:
    """Opens an output by its extension; `-` is an Arrow stream on standard output.

    rows is the row count, if it is known: a target that cannot be sought in may need it. The sink's
    `notes` say what the target cannot hold. Raises ConflictError if the output exists and not force,
    NotFoundError if its folder does not exist, InputError for an unknown extension, StorageError.
    """
    dtype = np.dtype(layout.get("dtype", np.float32))
    columns = layout.get("columns", pa.schema([]))
    kept = RowLayout(layout["dim"], dtype, layout.get("id_type"), columns)
    if path == "-":
        return ArrowStreamSink(Output(Location("-", "-"), force), kept, rows)
    location = locate(path)
    writer = WRITERS.get(location.suffix)
    if writer is None:
        raise InputError(_unknown(location, sorted(WRITERS), "written"))
    if location.suffix == ".bin" and location.selector is not None:
        writer = TorchSink
    _check_selector(location)
    return writer(Output(location, force), kept, rows)


def _check_selector(location: Location) -> None:
    if location.selector is not None and location.suffix not in _SELECTABLE:
        raise InputError(
            f"{location.path}::{location.selector}: {location.suffix} files have no named parts to choose "
            "from"
        )


def _reader(location: Location) -> Reader:
    reader = READERS.get(location.suffix)
    if reader is None:
        if location.filesystem is None and not os.path.exists(location.where):
            raise NotFoundError(f"{location.path} does not exist; check the name")
        raise InputError(_unknown(location, sorted(READERS), "read"))
    _check_selector(location)
    return reader


def _unknown(location: Location, known: list[str], verb: str) -> str:
    found = f"extension {location.suffix!r}" if location.suffix else "no extension"
    return f"{location.path} has {found}; formats that can be {verb}: {' '.join(known)}"


def _parquet_files(folder: Location) -> list[Location]:
    """The Parquet files of a folder and its subfolders, sorted; hidden and `_` names are not data."""
    system = folder.filesystem or fs.LocalFileSystem()
    base = folder.where.rstrip("/")
    found = []
    for info in system.get_file_info(fs.FileSelector(base, recursive=True)):
        tail = info.path[len(base) :].lstrip("/")
        hidden = any(part.startswith((".", "_")) for part in tail.split("/"))
        if info.type == fs.FileType.File and not hidden and info.extension.lower() in ("parquet", "pq"):
            if any("=" in part for part in tail.split("/")[:-1]):
                raise InputError(
                    f"{folder.path}/{tail} lies in a partition folder, whose column would be lost; "
                    "name the files by a glob to read them without it"
                )
            found.append(replace(folder, path=f"{folder.path.rstrip('/')}/{tail}", where=info.path))
    if not found:
        raise NotFoundError(f"{folder.path} is a folder without Parquet files; name a file, or use a glob")
    return sorted(found, key=lambda part: part.where)
