"""The manifest: what one version of a store consists of. Immutable, checksummed, the only source of truth."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import xxhash

from vecstore.codecs.parts import MAX_DIM
from vecstore.errors import CorruptError, FormatError
from vecstore.space.card import checked_card
from vecstore.store.layout import VERSION, checked_identity, checked_name

_SUM = "vecstore-sum xxh3_128 "
MOST_BYTES = 1 << 30  # of a manifest: a longer one is a lie
_MOST_ROWS = 1 << 40  # of a segment
_SHAPES = (KeyError, TypeError, ValueError, AttributeError, RecursionError, pa.ArrowException)


@dataclass(frozen=True)
class Deletes:
    """A file of deleted rows of one segment. rows: how many; seal: xxh3_128 of the file."""

    name: str
    rows: int
    size: int
    seal: str


@dataclass(frozen=True)
class Segment:
    """Some rows, never changed. name: of its files. seal: `Archive.tail_hash`, which stands for all bytes."""

    name: str
    rows: int
    size: int  # bytes of the file of codes
    seal: str
    codec: str  # sha256
    fine_codec: str | None = None  # of the finer codes that are kept beside, if any
    fine_size: int = 0
    fine_seal: str = ""
    deletes: tuple[Deletes, ...] = ()

    @property
    def deleted(self) -> int:
        """Rows that are deleted."""
        return sum(part.rows for part in self.deletes)


@dataclass(frozen=True)
class Manifest:
    """One version. card: what is known of the space. sources: how far each stream has been taken in."""

    version: int
    created: str  # UTC, ISO 8601
    card: Mapping[str, Any]  # with `dim`
    spec: str  # of the codec of rows to come
    keep: str | None  # the spec of the finer codes that are kept of rows to come
    codec: str | None = None  # sha256 of the codec of rows to come; None until there are rows to fit it on
    fine: str | None = None  # sha256 of the codec of their finer codes
    id_type: pa.DataType | None = None  # None until there are rows
    columns: pa.Schema | None = None  # the carried ones; None until there are rows
    segments: tuple[Segment, ...] = ()
    sources: Mapping[str, int] = field(default_factory=dict)
    note: str | None = None  # what a repair did, in the version that it made

    @property
    def dim(self) -> int:
        """Dimensions of a row."""
        return int(self.card["dim"])

    @property
    def made(self) -> datetime.datetime:
        """When."""
        return datetime.datetime.fromisoformat(self.created).astimezone(datetime.UTC)

    @property
    def rows(self) -> int:
        """Rows that are not deleted."""
        return sum(segment.rows - segment.deleted for segment in self.segments)

    @property
    def codecs(self) -> set[str]:
        """All codecs that are needed to read it, and the one of rows to come."""
        fine = {segment.fine_codec for segment in self.segments if segment.fine_codec}
        own = {identity for identity in (self.codec, self.fine) if identity}
        return {*own, *(segment.codec for segment in self.segments), *fine}

    def facts(self) -> dict[str, Any]:
        """It as JSON has it."""
        facts: dict[str, Any] = {
            "format": VERSION,
            "version": self.version,
            "created": self.created,
            "card": dict(self.card),
            "spec": self.spec,
            "keep": self.keep,
            "codec": self.codec,
            "fine": self.fine,
            "id_type": None if self.id_type is None else str(self.id_type),
            "columns": None if self.columns is None else base64.b64encode(self.columns.serialize()).decode(),
            "segments": [_segment_facts(segment) for segment in self.segments],
            "sources": dict(self.sources),
        }
        return facts if self.note is None else {**facts, "note": self.note}

    def dumps(self) -> bytes:
        """The file of a version."""
        return sealed(self.facts())

    @classmethod
    def loads(cls, data: bytes, path: str) -> Manifest:
        """The inverse of `dumps`; CorruptError, or FormatError for a newer format."""
        return cls.of(unsealed(data, path), path)

    @classmethod
    def of(cls, facts: Any, path: str) -> Manifest:
        """The inverse of `facts`; CorruptError, or FormatError for a newer format."""
        try:
            if facts["format"] > VERSION:
                raise FormatError(
                    f"{path} has format {facts['format']}; this vecstore reads 1 to {VERSION} (upgrade it)"
                )
            return cls(**_parsed(facts, path))
        except _SHAPES as error:
            raise CorruptError(f"{path} is not laid out as a manifest: {error!r}") from error


def sealed(facts: Mapping[str, Any]) -> bytes:
    """JSON, and behind it a line with the checksum of what stands before."""
    body = json.dumps(facts, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    return body + f"{_SUM}{xxhash.xxh3_128_hexdigest(body)}\n".encode()


def unsealed(data: bytes, path: str) -> Any:
    """The inverse of `sealed`; CorruptError."""
    body, found, digest = data.rpartition(_SUM.encode())
    if not found or digest != f"{xxhash.xxh3_128_hexdigest(body)}\n".encode():
        raise CorruptError(f"{path} is damaged: it does not match its checksum; restore it from a copy")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"{path} is no JSON: {error}") from error


def _segment_facts(segment: Segment) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": segment.name,
        "rows": segment.rows,
        "size": segment.size,
        "seal": segment.seal,
        "codec": segment.codec,
    }
    if segment.fine_codec:
        facts["fine"] = {"codec": segment.fine_codec, "size": segment.fine_size, "seal": segment.fine_seal}
    if segment.deletes:
        facts["deletes"] = [
            {"name": part.name, "rows": part.rows, "size": part.size, "seal": part.seal}
            for part in segment.deletes
        ]
    return facts


def _parsed(facts: dict[str, Any], path: str) -> dict[str, Any]:
    card = facts["card"]
    if type(card["dim"]) is not int or not 1 <= card["dim"] <= MAX_DIM:
        raise CorruptError(f"{path} says dim {str(card['dim'])[:40]}; expected 1 to {MAX_DIM}")
    checked_card(card, card["dim"])
    segments = tuple(_segment(entry, path) for entry in facts["segments"])
    names = [segment.name for segment in segments]
    names += [part.name for segment in segments for part in segment.deletes]
    if len(set(names)) != len(names):
        raise CorruptError(f"{path} names a file twice")
    columns = facts["columns"]
    return {
        "version": _count(facts["version"]),
        "created": datetime.datetime.fromisoformat(facts["created"]).isoformat(),
        "card": card,
        "spec": str(facts["spec"]),
        "keep": None if facts["keep"] is None else str(facts["keep"]),
        "codec": None if facts["codec"] is None else checked_identity(facts["codec"], path),
        "fine": None if facts["fine"] is None else checked_identity(facts["fine"], path),
        "id_type": _ID_TYPES[facts["id_type"]],
        "columns": None if columns is None else pa.ipc.read_schema(pa.py_buffer(base64.b64decode(columns))),
        "segments": segments,
        "sources": {str(source): _offset(offset) for source, offset in facts["sources"].items()},
        "note": None if facts.get("note") is None else str(facts["note"]),
    }


_ID_TYPES = {None: None, "int64": pa.int64(), "string": pa.string()}


def _segment(entry: dict[str, Any], path: str) -> Segment:
    fine = entry.get("fine")
    found = Segment(
        checked_name(entry["name"], path),
        _count(entry["rows"]),
        _count(entry["size"]),
        str(entry["seal"]),
        checked_identity(entry["codec"], path),
        None if fine is None else checked_identity(fine["codec"], path),
        0 if fine is None else _count(fine["size"]),
        "" if fine is None else str(fine["seal"]),
        tuple(
            Deletes(checked_name(d["name"], path), _count(d["rows"]), _count(d["size"]), str(d["seal"]))
            for d in entry.get("deletes", ())
        ),
    )
    if found.rows > _MOST_ROWS or found.deleted > found.rows:
        raise CorruptError(f"{path} says that {found.deleted} of {found.rows} rows of a segment are deleted")
    # Ids alone take as many bytes; a lie would make memory for rows that are not there.
    if 4 * found.rows > found.size or any(8 * part.rows > part.size for part in found.deletes):
        raise CorruptError(f"{path} says that files have more rows than they can hold")
    return found


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"{str(value)[:40]} where a count was expected")
    return value


def _offset(value: Any) -> int:
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{str(value)[:40]} where an offset was expected")
    return value
