"""What has changed in a table since it was saved: blocks of its arrays, as a file behind the one before.

A delta names the sha256 of the file that it goes behind, so that a chain of files is as one: what is read
from it is what was saved, bit for bit, or an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.parts import Part, Scalar
from vecstore.codecs.tables.state import TableState, identity_of
from vecstore.errors import CorruptError, FormatError, InputError
from vecstore.kernels.blockmarks import mark_blocks

Marks = dict[str, tuple[tuple[int, ...], NDArray[np.uint64]]]  # of each array its shape, marks of blocks

BLOCK_BYTES = 256  # the marks of a table take a 32nd of its bytes
_VERSION = 1
_BLOCKS, _VALUES, _WHOLE = "blocks of ", "values of ", "whole "


class Delta(Part):
    """The blocks that changed, by array, or all of one that has grown; since: identity of the file before."""

    name = "table_delta"

    def __init__(self, since: str, updates: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.since = since
        self.updates = updates
        self._arrays = dict(arrays)

    def config(self) -> dict[str, Scalar]:
        return {"version": _VERSION, "since": self.since, "updates": self.updates}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return self._arrays

    @classmethod
    def from_parts(cls, config: Mapping[str, Scalar], arrays: Mapping[str, NDArray[Any]]) -> Self:
        given: dict[str, Any] = dict(config)
        if given["version"] > _VERSION:
            raise FormatError(f"a delta of version {given['version']}; this vecstore reads 1 to {_VERSION}")
        return cls(given["since"], given["updates"], arrays)

    @classmethod
    def between(cls, since: str, marks: Marks, state: TableState) -> Self:
        """The blocks of a state whose marks are others than they were."""
        changed: dict[str, NDArray[Any]] = {}
        for name, array in state.arrays().items():
            shape, before = marks[name]
            if array.shape != shape:
                changed[_WHOLE + name] = array
                continue
            blocks = np.flatnonzero(marks_of(array) != before)
            if len(blocks):
                changed[_BLOCKS + name] = blocks
                changed[_VALUES + name] = _blocks_at(array, blocks)
        return cls(since, state.updates, changed)

    def onto(self, state: TableState, path: str) -> TableState:
        """The state with these blocks put into its arrays; CorruptError where they do not fit."""
        arrays = state.arrays()
        arrays |= {
            name.removeprefix(_WHOLE): array
            for name, array in self._arrays.items()
            if name.startswith(_WHOLE) and name.removeprefix(_WHOLE) in arrays
        }
        for name in [name.removeprefix(_BLOCKS) for name in self._arrays if name.startswith(_BLOCKS)]:
            blocks, values = self._arrays[_BLOCKS + name], self._arrays.get(_VALUES + name)
            flat = _bytes_of(arrays[name]) if name in arrays else np.empty(0, np.uint8)
            if (
                values is None
                or values.dtype != np.uint8
                or values.shape != (len(blocks), BLOCK_BYTES)
                or not (len(blocks) and 0 <= blocks.min() <= blocks.max() < -(-len(flat) // BLOCK_BYTES))
            ):
                raise CorruptError(f"{path} has blocks of {name!r} that this table does not have")
            body, rest = _split(flat)
            inside = blocks < len(body)
            body[blocks[inside]] = values[inside]
            if not inside.all():
                rest[:] = values[~inside][0, : len(rest)]
        return TableState(state.setup, self.updates, state.finished, arrays)


class Saved:
    """A file that a table was saved as or read from, and what it was like then."""

    def __init__(self, identity: str | None = None) -> None:
        self.identity = identity
        self.marks: Marks | None = None

    def note(self, state: TableState) -> None:
        """Before the first change: marks of all blocks, and the sha256 if nobody knows it."""
        if self.marks is None:
            self.identity = self.identity or state.identity
            self.marks = {name: (array.shape, marks_of(array)) for name, array in state.arrays().items()}

    def delta(self, state: TableState, path: str | os.PathLike[str]) -> Delta:
        """What has changed since the file was written; InputError if it is another one."""
        self.note(state)
        found = identity_of(path)
        if found != self.identity or self.marks is None:
            raise InputError(
                f"{os.fspath(path)} is not what this table was last saved as or read from; "
                "name that file, or save the whole table"
            )
        return Delta.between(found, self.marks, state)


def marks_of(array: NDArray[Any]) -> NDArray[np.uint64]:
    """The mark of each block of an array's bytes."""
    body, rest = _split(_bytes_of(array))
    out = np.empty(len(body) + (len(rest) > 0), np.uint64)
    mark_blocks(body.reshape(-1).view(np.uint64), BLOCK_BYTES // 8, out[: len(body)])
    if len(rest):
        mark_blocks(_filled(rest).view(np.uint64), BLOCK_BYTES // 8, out[len(body) :])
    return out


def _blocks_at(array: NDArray[Any], blocks: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Copies of ascending blocks (n,), (n, BLOCK_BYTES), zeros behind the last byte."""
    body, rest = _split(_bytes_of(array))
    out = np.empty((len(blocks), BLOCK_BYTES), np.uint8)
    inside = int(np.searchsorted(blocks, len(body)))
    out[:inside] = body[blocks[:inside]]
    if inside < len(blocks):
        out[inside] = _filled(rest)
    return out


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)


def _split(flat: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Whole blocks (n, BLOCK_BYTES), and the bytes behind them."""
    whole = len(flat) // BLOCK_BYTES * BLOCK_BYTES
    return flat[:whole].reshape(-1, BLOCK_BYTES), flat[whole:]


def _filled(rest: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A block that ends in zeros."""
    out = np.zeros(BLOCK_BYTES, np.uint8)
    out[: len(rest)] = rest
    return out
