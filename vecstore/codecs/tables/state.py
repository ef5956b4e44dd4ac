"""What a table is as data, and its file: one Arrow stream with a sha256, as codecs are stored."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import pyarrow as pa
from numpy.typing import NDArray

from vecstore.atomic import AtomicFile, storage_errors
from vecstore.codecs.parts import Part, Scalar, loads, stored_identity, write
from vecstore.errors import CorruptError, FormatError, NotFoundError
from vecstore.ledger import TableLedger

_GROWN = 2  # has `begun`; others are written as 1
_VERSION = _GROWN

# Options without which the same bytes would be other rows, as they are in tables that are older.
_MEANINGS: Mapping[str, Any] = {
    **dict.fromkeys(
        ("rows", "combine", "digits", "chunks", "probes", "block", "hashes", "layers", "bits", "parts")
    ),
    "widths": "full",
    "norm": False,
}


@dataclass(frozen=True)
class Setup:
    """All that a table was asked for, and the knobs that its budget came to: enough to make it again."""

    method: str
    fields: tuple[tuple[str, int, int], ...]  # name, ids, dim
    options: Mapping[str, Any]
    knobs: tuple[int, ...]
    optimizer: str
    league: str
    seed: int
    empty_bags: bool = False
    begun: tuple[int, ...] = ()  # ids of each field when it was made, where it has more by now

    def grown(self, fields: Mapping[str, int]) -> Self:
        """With more ids in fields; {name: number of ids} of each."""
        begun = self.begun or tuple(count for _, count, _ in self.fields)
        more = tuple((name, fields[name], dim) for name, _, dim in self.fields)
        return dataclasses.replace(self, fields=more, begun=begun)

    def identity(self) -> dict[str, Any]:
        """What has to be the same for arrays to mean the same: not what only decides how they learn."""
        names = ("method", "fields", "begun", "knobs", "optimizer", "seed")
        found = {name: getattr(self, name) for name in names}
        return found | {name: self.options.get(name, first) for name, first in _MEANINGS.items()}


class TableState(Part):
    """A table's setup, counters and arrays, as `codecs/parts.py` stores them."""

    name = "table"

    def __init__(
        self, setup: Setup, updates: int, finished: bool, arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        self.setup = setup
        self.updates = updates
        self.finished = finished
        self._arrays = dict(arrays)

    def config(self) -> dict[str, Any]:
        described = dataclasses.asdict(self.setup)
        version = _GROWN if self.setup.begun else 1
        if version == 1:
            del described["begun"]
        return {"version": version, "updates": self.updates, "finished": self.finished, **described}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return self._arrays

    @classmethod
    def from_parts(cls, config: Mapping[str, Scalar], arrays: Mapping[str, NDArray[Any]]) -> Self:
        given: dict[str, Any] = dict(config)
        version = given.pop("version")
        if version > _VERSION:
            raise FormatError(f"a table of version {version}; this vecstore reads 1 to {_VERSION}: upgrade")
        updates, finished = given.pop("updates"), given.pop("finished")
        try:
            fields = tuple((name, count, dim) for name, count, dim in given.pop("fields"))
            begun = tuple(given.pop("begun", ()))
            if begun and not all(1 <= one <= now[1] for one, now in zip(begun, fields, strict=True)):
                raise ValueError(f"fields began with {begun} ids and have {fields}")
            setup = Setup(fields=fields, knobs=tuple(given.pop("knobs")), begun=begun, **given)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"a table is stored with a setup that does not fit: {error}") from error
        return cls(setup, updates, finished, arrays)

    def fits(self, setup: Setup, arrays: Mapping[str, NDArray[Any]]) -> None:
        """FormatError unless this is the state of a table with this setup and arrays of these shapes."""
        mine, yours = self.setup.identity(), setup.identity()
        for name in mine | yours:
            found, wanted = mine.get(name), yours.get(name)
            if found != wanted:
                raise FormatError(f"the state of a table with {name} {found!r}; this one has {wanted!r}")
        for name in sorted({*self._arrays, *arrays}):
            given, own = (
                (each[name].dtype.name, each[name].shape) if name in each else None
                for each in (self._arrays, arrays)
            )
            if given != own:
                raise FormatError(f"the state of another table: {name} is {given}, not {own}")


def save(part: Part, path: str | os.PathLike[str], *, force: bool) -> str:
    """Writes a table's file, or a delta's; gives its identity. ConflictError if it is there, unless force."""
    with AtomicFile(path, force=force) as target:
        return write(part, target.file)


def load(path: str | os.PathLike[str]) -> TableState:
    """Reads a table's file. NotFoundError, CorruptError, FormatError name it."""
    return read_part(path, TableState, "table")


def file_ledger(path: str | os.PathLike[str]) -> TableLedger:
    """The bytes of a table's file by what they are for; `total` is its size.

    Raises as `load` does.
    """
    parts: Counter[str] = Counter()
    for name, array in read_part(path, TableState, "table").arrays().items():
        parts[name.partition(".")[0]] += array.nbytes
    parts["format"] = os.path.getsize(path) - parts.total()
    return TableLedger(**parts)


_P = TypeVar("_P", bound=Part)


def read_part(path: str | os.PathLike[str], kind: type[_P], what: str) -> _P:
    """Reads a file of one part of a kind, a `what`. NotFoundError, CorruptError, FormatError name it."""
    name = os.fspath(path)
    with _opened(name, what) as source:
        found = loads(memoryview(source.read_buffer()), lambda _name: kind)
    if len(found) != 1 or not isinstance(found[0], kind):
        raise CorruptError(f"{name} is no {what}")
    return found[0]


def identity_of(path: str | os.PathLike[str]) -> str:
    """The identity of a table's file, or of a delta's, which is not looked at further."""
    with _opened(os.fspath(path), "table") as source:
        return stored_identity(source)


@contextmanager
def _opened(name: str, what: str) -> Iterator[Any]:
    if not os.path.isfile(name):
        raise NotFoundError(f"there is no {what} {name}")
    try:
        with storage_errors(name, "read"), pa.memory_map(name) as source:
            yield source
    except CorruptError as error:
        raise CorruptError(f"{name} is no {what}, or damaged: {error}") from error
    except FormatError as error:
        raise FormatError(f"{name}: {error}") from error
