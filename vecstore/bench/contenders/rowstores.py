"""What `bench store` reads from: ours, and the same rows in what others keep rows in."""

from __future__ import annotations

import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module, util
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore import registry
from vecstore.archive.reader import CodeBatch
from vecstore.codecs.base import Codec, Codes
from vecstore.store import Store, files, versions
from vecstore.store.manifest import Manifest

WIDTH = 96  # bytes of a code
DIM, SPEC = 384, f"pq:m={WIDTH}"
_FIT_ROWS = 8192
_PIECE_ROWS = 1 << 17
_MAP_BYTES = 1 << 36

I64 = NDArray[np.int64]


def ids_of(rows: int) -> I64:
    """Ids in no order, some way apart."""
    return np.random.default_rng(1).permutation(rows) * 7 + 3


def pieces(rows: int, piece: int = _PIECE_ROWS) -> Iterator[tuple[int, Codes]]:
    """Codes (n, WIDTH), and the number of the first, piece by piece."""
    rng = np.random.default_rng(2)
    for first in range(0, rows, piece):
        yield first, rng.integers(0, 256, (min(piece, rows - first), WIDTH), dtype=np.uint8)


def make_store(path: str, rows: int, segments: int = 1, index: bool = True) -> None:
    """A store of these codes under `ids_of`, in so many segments of about the same size."""
    sample = np.random.default_rng(0).standard_normal((_FIT_ROWS, DIM), dtype=np.float32)
    codec = registry.fit(SPEC, sample)
    assert isinstance(codec, Codec) and codec.code_bytes == WIDTH
    ids = ids_of(rows)
    with Store.create(path, dim=DIM, codec=SPEC, keep=None) as store:
        manifest: Manifest = replace(
            store.view.manifest, version=1, id_type=pa.int64(), columns=pa.schema([]),
            codec=files.write_codec(path, codec),
        )  # fmt: skip
    size = -(-rows // segments)
    made = []
    for begin, codes in pieces(rows, size):
        found = ids[begin : begin + len(codes)]
        batches: Iterator[files.Rows] = (
            (CodeBatch(at, pa.array(found[at : at + _PIECE_ROWS]), codes[at : at + _PIECE_ROWS], None), None)
            for at in range(0, len(codes), _PIECE_ROWS)
        )
        made.append(files.write_segment(path, manifest, codec, None, batches))
    versions.publish(path, replace(manifest, segments=tuple(segment for segment in made if segment)))
    if index:
        with Store.open(path) as store:
            store.reindex()


class RowStore(ABC):
    """Rows of WIDTH bytes in a folder."""

    label: str
    needs: str | None = None  # a package

    def missing(self) -> str | None:
        """The package that is not installed, if any."""
        return self.needs if self.needs and util.find_spec(self.needs) is None else None

    @abstractmethod
    def build(self, folder: str, rows: int) -> None:
        """Writes the codes of `pieces` under `ids_of`, and opens them."""

    @abstractmethod
    def get(self, ids: I64, numbers: I64) -> Any:
        """The codes of rows, which are given by id and by number in the order in which they were written."""


class Take(RowStore):
    """np.take of a mapped file, by the number of the row: nothing is looked up, nothing is checked."""

    label = "np.take"

    def build(self, folder: str, rows: int) -> None:
        """One plain file."""
        path = os.path.join(folder, "codes.bin")
        with open(path, "wb") as file:
            for _, codes in pieces(rows):
                file.write(codes.data)
        self._codes = np.memmap(path, np.uint8, "r", shape=(rows, WIDTH))

    def get(self, ids: I64, numbers: I64) -> Any:
        """A new array, as ours."""
        return np.take(self._codes, numbers, axis=0, mode="clip")


class Lance(RowStore):
    """A Lance data set, by the number of the row."""

    label, needs = "Lance", "lance"

    def build(self, folder: str, rows: int) -> None:
        """Fixed-size binary, in Lance's default format."""
        lance = import_module("lance")
        ids = ids_of(rows)
        schema = pa.schema([("id", pa.int64()), ("code", pa.binary(WIDTH))])

        def batches() -> Iterator[pa.RecordBatch]:
            for first, codes in pieces(rows):
                column = pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(WIDTH), len(codes), [None, pa.py_buffer(codes)]
                )
                names = pa.array(ids[first : first + len(codes)])
                yield pa.RecordBatch.from_arrays([names, column], schema=schema)

        path = os.path.join(folder, "rows.lance")
        self._data = lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), path)

    def get(self, ids: I64, numbers: I64) -> Any:
        """As Arrow gives it."""
        return self._data.take(numbers, columns=["code"])


class Lmdb(RowStore):
    """LMDB, one key a row; the quickest way to get many of py-lmdb."""

    label, needs = "LMDB", "lmdb"

    def build(self, folder: str, rows: int) -> None:
        """In the order of keys, as is quickest and smallest."""
        lmdb = import_module("lmdb")
        ids = ids_of(rows)
        codes = np.concatenate([codes for _, codes in pieces(rows)])
        self._environment = lmdb.open(os.path.join(folder, "lmdb"), map_size=_MAP_BYTES, readahead=False)
        order = np.argsort(ids)
        keys = ids[order].astype(">i8").view("V8")
        with self._environment.begin(write=True) as writing:
            for key, row in zip(keys, order, strict=True):
                writing.put(key.tobytes(), codes[row].tobytes(), append=True)
        self._reading = self._environment.begin()

    def get(self, ids: I64, numbers: I64) -> Any:
        """All in one array."""
        data = ids.astype(">i8").tobytes()
        found = map(self._reading.get, (data[at : at + 8] for at in range(0, len(data), 8)))
        return np.frombuffer(b"".join(found), np.uint8).reshape(-1, WIDTH)


class Sqlite(RowStore):
    """SQLite, a table with the id for its key."""

    label = "sqlite"

    def build(self, folder: str, rows: int) -> None:
        """One transaction, in the order of keys."""
        ids = ids_of(rows)
        codes = np.concatenate([codes for _, codes in pieces(rows)])
        self._base = sqlite3.connect(os.path.join(folder, "rows.sqlite"))
        self._base.execute("pragma mmap_size=68719476736")
        self._base.execute("create table rows (id integer primary key, code blob)")
        order = np.argsort(ids)
        entries = ((int(ids[row]), codes[row].tobytes()) for row in order)
        with self._base:
            self._base.executemany("insert into rows values (?, ?)", entries)

    def get(self, ids: I64, numbers: I64) -> Any:
        """One statement for all, joined with the ids as JSON."""
        text = "[" + ",".join(map(str, ids.tolist())) + "]"
        asked = "select code from json_each(?) join rows on rows.id = value"
        found = self._base.execute(asked, (text,)).fetchall()
        return np.frombuffer(b"".join(row[0] for row in found), np.uint8).reshape(-1, WIDTH)


PEERS: tuple[type[RowStore], ...] = (Take, Lance, Lmdb, Sqlite)
