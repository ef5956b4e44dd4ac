"""Saving and loading of codecs and transforms: configuration as JSON, learned state as named arrays.

The bytes are one Arrow IPC stream: the configuration stands in its schema's metadata, each array is one
column with one list value. Nothing is pickled and nothing that is read is executed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.codecs.messages import refuse_compressed
from vecstore.errors import CorruptError, FormatError
from vecstore.spec import Spec, Step, Value

_KEY = b"vecstore.codec"
_VERSION = 1
MAX_DIM = 1 << 20  # A wider row is a lying header: no embedding has a million dimensions.
_DTYPES = {"float32", "float64", "float16", "uint8", "uint16", "uint32", "uint64", "int32", "int64"}

# Metadata of a field that a part did not have when it was first stored. At its default it is not stored, so
# that older parts can be read and keep their identity.
LATER = {"later": True}

Scalar = Value | None
Finder = Callable[[str], "type[Part]"]


class Part:
    """What can stand in a chain: a frozen dataclass of scalars (configuration) and arrays (state)."""

    name: ClassVar[str]  # on disk for ever: other bytes need another name
    learns: ClassVar[bool] = False  # True where it is another one on other rows, whatever its options
    grows: ClassVar[bool] = False  # True where its state may be as large as a collection

    def config(self) -> dict[str, Scalar]:
        """The scalar fields."""
        return {key: value for key, value in self._fields().items() if not isinstance(value, np.ndarray)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The array fields."""
        return {key: value for key, value in self._fields().items() if isinstance(value, np.ndarray)}

    @classmethod
    def from_parts(cls, config: Mapping[str, Scalar], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `config` and `arrays`; CorruptError if fields are missing or do not fit."""
        fields = [field for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
        names = {field.name for field in fields}
        needed = {field.name for field in fields if not _is_later(field)}
        given = {**config, **arrays}
        if not needed <= set(given) <= names or not set(arrays).isdisjoint(config):
            raise CorruptError(
                f"codec {cls.name!r} is stored with fields {sorted(given)}; expected {sorted(names)}"
            )
        hints = typing.get_type_hints(cls)
        for key, value in config.items():
            kinds = typing.get_args(hints[key]) or (hints[key],)
            if type(value) not in kinds:
                raise CorruptError(f"codec {cls.name!r} is stored with {key}={value!r}, which is no {kinds}")
        if not 1 <= typing.cast("int", config.get("dim", 1)) <= MAX_DIM:
            raise CorruptError(f"codec {cls.name!r} is stored with {config['dim']} dimensions")
        try:
            return cls(**given)
        except (TypeError, ValueError, OverflowError) as error:
            raise CorruptError(
                f"codec {cls.name!r} is stored with values that do not fit: {error}"
            ) from error

    @property
    def steps(self) -> Sequence[Part]:
        """The parts of a chain, in order; of anything else, itself."""
        return (self,)

    @property
    def spec(self) -> Spec:
        """The text form in full; `fit` with it and the same sample and seed gives the same part."""
        return Spec(tuple(Step(part.name, part.options()) for part in self.steps))

    @property
    def identity(self) -> str:
        """sha256, hexadecimal, over configuration and state."""
        return _identity(self.steps)

    @classmethod
    def option_names(cls) -> list[str]:
        """The keywords of `fit` that a spec may give."""
        parameters = inspect.signature(cls.fit).parameters.values()  # type: ignore[attr-defined]
        return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "seed"]

    def options(self) -> dict[str, Value]:
        """The configuration that a spec gives, without what was left to chance or choice (None)."""
        config = self.config()
        found = {key: config.get(key) for key in self.option_names()}
        return {key: value for key, value in found.items() if value is not None}

    def _fields(self) -> dict[str, Any]:
        found = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.init and not (_is_later(field) and np.array_equal(value, _default(field))):
                found[field.name] = value
        return found


def _is_later(field: dataclasses.Field[Any]) -> bool:
    return bool(field.metadata.get("later"))


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def require(array: NDArray[Any], shape: tuple[int | None, ...], dtype: type[np.generic]) -> None:
    """ValueError unless array has this dtype and shape (None: any length) and, if float, finite values."""
    fits = array.ndim == len(shape) and all(
        want in (None, have) for have, want in zip(array.shape, shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise ValueError(f"an array is {array.dtype} {array.shape}; expected {np.dtype(dtype)} {shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("an array holds NaN or infinity; expected finite values")


def dumps(part: Part) -> bytes:
    """The part as bytes that `loads` takes; the same part gives the same bytes."""
    sink = pa.BufferOutputStream()
    write(part, sink)
    return bytes(sink.getvalue())


def write(part: Part, sink: Any) -> str:
    """Writes the bytes of `dumps` to an open file, without a copy of its arrays; gives the identity."""
    described, columns, names = [], [], []
    for index, step in enumerate(part.steps):
        shapes = {}
        for key, array in step.arrays().items():
            shapes[key] = list(array.shape)
            values = pa.array(np.ascontiguousarray(array).reshape(-1))
            offsets = pa.array([0, len(values)], pa.int64())
            columns.append(pa.LargeListArray.from_arrays(offsets, values))
            names.append(f"{index}.{key}")
        described.append({"name": step.name, "config": step.config(), "shapes": shapes})
    identity = part.identity
    facts = {"version": _VERSION, "identity": identity, "steps": described}
    header = json.dumps(facts, sort_keys=True, allow_nan=False)
    fields = [pa.field(name, column.type) for name, column in zip(names, columns, strict=True)]
    schema = pa.schema(fields, metadata={_KEY: header.encode()})
    with pa.ipc.new_stream(sink, schema) as writer:
        if columns:
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return identity


def stored_identity(source: Any) -> str:
    """The identity in the head of an open file of `write`, which is not looked at further."""
    try:
        with pa.ipc.open_stream(source) as reader:
            return str(json.loads((reader.schema.metadata or {})[_KEY])["identity"])
    except (pa.ArrowException, KeyError, TypeError, ValueError, OSError, RecursionError) as error:
        raise CorruptError(f"these bytes are no codec: {error}") from error


def loads(data: bytes | memoryview, find: Finder) -> list[Part]:
    """The parts of a chain from the bytes of `dumps`; `find` gives the class of a name.

    Raises CorruptError for bytes that cannot be a codec, FormatError for a newer version.
    """
    try:
        refuse_compressed(data, "codec state")
        source = pa.BufferReader(pa.py_buffer(data))
        with pa.ipc.open_stream(source) as reader:
            header = json.loads((reader.schema.metadata or {})[_KEY])
            table = reader.read_all()
            table.validate(full=True)
        if source.tell() != len(data):
            raise CorruptError(f"these bytes go on for {len(data) - source.tell()} behind the codec's end")
    except (pa.ArrowException, KeyError, ValueError, OSError, RecursionError) as error:
        raise CorruptError(f"these bytes are no codec: {error}") from error
    try:
        if header["version"] > _VERSION:
            raise FormatError(
                f"codec state has version {header['version']}; this vecstore reads 1 to {_VERSION}: upgrade"
            )
        parts = [_part(index, entry, table, find) for index, entry in enumerate(header["steps"])]
        if header["identity"] != _identity(parts):
            raise CorruptError("codec state does not match its sha256: it is damaged; restore it from a copy")
        return parts
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"codec state is not laid out as expected: {error!r}") from error


def _part(index: int, entry: dict[str, Any], table: pa.Table, find: Finder) -> Part:
    arrays = {}
    for key, shape in entry["shapes"].items():
        column = table.column(f"{index}.{key}")
        # One piece is taken as it is: pieces put together stay in Arrow's allocator when they are copied.
        whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        values = whole.flatten().to_numpy(zero_copy_only=False)
        if str(values.dtype) not in _DTYPES or any(not isinstance(size, int) or size < 0 for size in shape):
            raise CorruptError(f"array {key!r} of codec {entry['name']!r} is {values.dtype} {shape}")
        if int(np.prod(shape, dtype=object)) != values.size:
            raise CorruptError(
                f"array {key!r} of codec {entry['name']!r} has {values.size} values; expected {shape}"
            )
        # Copied: kernels are compiled anew for arrays that cannot be written to, or are not aligned.
        arrays[key] = np.array(values.reshape(shape), order="C")
    return find(entry["name"]).from_parts(entry["config"], arrays)


def _identity(steps: Sequence[Part]) -> str:
    digest = hashlib.sha256()
    for step in steps:
        described = {"name": step.name, "config": step.config()}
        digest.update(json.dumps(described, sort_keys=True, allow_nan=False).encode())
        for key, array in sorted(step.arrays().items()):
            digest.update(f"{key} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
