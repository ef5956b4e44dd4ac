"""Rows by id that a table has given up, on disk, until their ids come back."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import ShapeError
from vecstore.store.blocks import Blocks
from vecstore.store.ids import NONE, IdMap

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

_LEAST_ROWS = 1024
_ID_BYTES = 8
_READ_ROWS = 1 << 16


class SpilledRows:
    """What `Table.spill` takes for a keeper: rows of one size by id, in blocks that change in place.

    A row's id is kept in front of it, behind a row for how many there are; so 16 bytes an id are in memory.
    Rows are durable once `commit` has returned.
    """

    def __init__(self, path: str | os.PathLike[str], *, row_bytes: int) -> None:
        """Opens a folder, or makes one. row_bytes: of what `put` is given. ShapeError if it has others."""
        if os.path.exists(path):
            self._blocks = Blocks(path)
        else:
            self._blocks = Blocks.create(path, row_bytes=row_bytes + _ID_BYTES, rows=_LEAST_ROWS)
        if self._blocks.row_bytes != row_bytes + _ID_BYTES:
            found = self._blocks.row_bytes - _ID_BYTES
            self._blocks.close()
            raise ShapeError(f"{os.fspath(path)} has rows of {found} bytes; expected {row_bytes}")
        self._map = IdMap()
        self._count = int(self._blocks.get(np.zeros(1, np.int64))[:, :_ID_BYTES].copy().view("<i8")[0, 0])
        for first in range(1, self._count + 1, _READ_ROWS):
            places = np.arange(first, min(first + _READ_ROWS, self._count + 1))
            ids = self._blocks.get(places)[:, :_ID_BYTES].copy().view("<u8")
            self._map.put(ids.astype(np.uint64), places)

    def __len__(self) -> int:
        """How many ids it has."""
        return self._count

    def put(self, ids: I64, rows: U8) -> None:
        """Keeps rows (n, row_bytes) of ids (n,), none twice, which take the place of older ones."""
        keys = np.ascontiguousarray(ids, np.int64).reshape(-1, 1)
        places = self._map.find(keys.view(np.uint64))
        new = np.flatnonzero(places == NONE)
        places[new] = self._count + 1 + np.arange(len(new))
        if self._count + len(new) >= len(self._blocks):
            self._blocks.grow(max(2 * len(self._blocks), self._count + len(new) + 1))
        self._blocks.put(places, np.concatenate([keys.astype("<i8").view(np.uint8), rows], axis=1))
        self._map.put(keys[new].view(np.uint64), places[new])
        self._count += len(new)

    def get(self, ids: I64) -> tuple[NDArray[np.bool_], U8]:
        """Which of the ids (n,) it has, and their rows (n, row_bytes), zeros for the others."""
        keys = np.ascontiguousarray(ids, np.int64).reshape(-1, 1)
        places = self._map.find(keys.view(np.uint64))
        there = places != NONE
        out = np.zeros((len(keys), self._blocks.row_bytes - _ID_BYTES), np.uint8)
        out[there] = self._blocks.get(places[there])[:, _ID_BYTES:]
        return there, out

    def commit(self) -> None:
        """Makes all that was put durable."""
        head = np.zeros((1, self._blocks.row_bytes), np.uint8)
        head[0, :_ID_BYTES] = np.array([self._count], "<i8").view(np.uint8)
        self._blocks.put(np.zeros(1, np.int64), head)
        self._blocks.commit()

    def close(self) -> None:
        """Lets go of the files; what was not committed is gone."""
        self._blocks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
