"""Names to codecs and transforms: what ships stands in three tables, others' come by entry point.

The third table is of what must stand first in a chain, since it takes more than rows, or other than rows.

Other packages add a codec with an entry point in the group `vecstore.codecs` that names a subclass of
Codec, BlockCodec or Transform; it is loaded only when a name is in no table.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from vecstore.codecs.base import (
    LARGEST,
    LEAST,
    Array,
    BlockCodec,
    Codec,
    Rows,
    Transform,
    as_float32,
    check_rows,
    refusal,
    unsound,
)
from vecstore.codecs.chain import Chain
from vecstore.codecs.grouped import GroupCenter, Grouped
from vecstore.codecs.hadamard import Hadamard
from vecstore.codecs.itq import Itq
from vecstore.codecs.klt import Klt
from vecstore.codecs.lossless import Lossless
from vecstore.codecs.lsq import Lsq
from vecstore.codecs.parts import Part, dumps
from vecstore.codecs.parts import loads as load_parts
from vecstore.codecs.plain import BF16, F16, F32
from vecstore.codecs.pq import Pq
from vecstore.codecs.rabitq import Rabitq
from vecstore.codecs.ragged import Ragged, RaggedCodec, RaggedTransform
from vecstore.codecs.rbe import Rbe
from vecstore.codecs.residual import Prq, Rq
from vecstore.codecs.sign import Sign
from vecstore.codecs.sq import Sq
from vecstore.codecs.tables.presets import PRESETS
from vecstore.codecs.tables.served import TableRows
from vecstore.codecs.tcq import Tcq
from vecstore.codecs.transforms.center import Center
from vecstore.codecs.transforms.fde import Fde
from vecstore.codecs.transforms.jl import Jl
from vecstore.codecs.transforms.normalize import Normalize
from vecstore.codecs.transforms.opq import Opq
from vecstore.codecs.transforms.pca import Pca
from vecstore.codecs.transforms.prefix import Prefix
from vecstore.codecs.transforms.relative import Relative
from vecstore.codecs.transforms.rotate import Rotate
from vecstore.codecs.transforms.whiten import Whiten
from vecstore.errors import CorruptError, FormatError, InputError, SpecError
from vecstore.kernels.finite import largest
from vecstore.spec import Spec, Step, parse, unknown

__all__ = [
    "CODECS", "TRANSFORMS", "check_sample", "dumps", "find", "fit", "learns", "list_codecs", "loads", "names",
    "register",
]  # fmt: skip

AnyCodec = Codec | BlockCodec

CODECS: Mapping[str, type[Codec] | type[BlockCodec]] = {
    codec.name: codec
    for codec in (F32, F16, BF16, Lossless, Sq, Pq, Sign, Itq, Hadamard, Rbe, Klt, Tcq, Rabitq, Rq, Prq, Lsq)
}
TRANSFORMS: Mapping[str, type[Transform]] = {
    transform.name: transform
    for transform in (Center, Normalize, Whiten, Pca, Opq, Rotate, Prefix, Jl, Relative)
}
FIRST: Mapping[str, type[Part]] = {part.name: part for part in (GroupCenter, Fde)}
MADE: Mapping[str, type[Codec]] = {TableRows.name: TableRows}  # read, but never fitted
_FIRST = (RaggedTransform, GroupCenter)
GROUP = "vecstore.codecs"

_registered: dict[str, type[Part]] = {}


def register(part: type[Part]) -> None:
    """Adds a codec or transform for this process; SpecError if its name is taken."""
    if part.name in names():
        raise SpecError(f"the name {part.name!r} is taken; names last on disk, so choose another")
    _registered[part.name] = part


def names() -> list[str]:
    """All names that `find` knows."""
    return [*CODECS, *TRANSFORMS, *FIRST, *MADE, *_registered, *_entry_points()]


def find(name: str) -> type[Part]:
    """The class of a name; SpecError with the near names if nothing carries it."""
    tables: tuple[Mapping[str, type[Part]], ...] = (CODECS, TRANSFORMS, FIRST, MADE, _registered)
    found = next((table[name] for table in tables if name in table), None)
    if found is not None:
        return found
    entry = _entry_points().get(name)
    if entry is None:
        raise unknown("codec", name, names())
    loaded = entry.load()
    if not (
        isinstance(loaded, type) and issubclass(loaded, Codec | BlockCodec | Transform | RaggedTransform)
    ):
        raise SpecError(f"entry point {name!r} gives {loaded!r}; expected a Codec, BlockCodec or Transform")
    if loaded.name != name:
        raise SpecError(f"entry point {name!r} gives a codec named {loaded.name!r}; the two must agree")
    return loaded


def list_codecs() -> dict[str, str]:
    """{name: one-line description} of every codec and transform, and of every method of `vs.table`."""
    found = {name: (inspect.getdoc(find(name)) or "").partition("\n")[0] for name in names()}
    return found | {name: f"Table: {preset.about}." for name, preset in PRESETS.items()}


def column_of(spec: str) -> str | None:
    """The carried column that a codec of this spec needs beside its rows, if any."""
    step = parse(spec).steps[0]
    return str(step.options["by"]) if step.name == GroupCenter.name and "by" in step.options else None


def fit(
    spec: str | Spec, sample: Array, *, seed: int = 0, columns: Mapping[str, Any] | None = None
) -> AnyCodec:
    """A codec for `spec` learned from sample (n, dim) of a real dtype, or a ragged one where it starts so.

    columns: {name: values of each row}, for a spec that groups rows by one of them.
    Raises SpecError for a spec that cannot be, ShapeError and InputError for a sample that cannot.
    """
    if type(seed) is not int or not 0 <= seed < 1 << 63:
        raise SpecError(f"seed is {seed!r}; expected a whole number from 0 to 2**63 - 1")
    spec = spec if isinstance(spec, Spec) else parse(spec)
    classes = _classes(spec)
    if issubclass(classes[0], RaggedTransform):
        return _fit_ragged(spec, classes[0], Ragged.of(sample), seed)
    if classes[0] is GroupCenter:
        return _fit_grouped(spec, sample, columns or {}, seed)
    rows = as_float32(check_rows(sample))
    if any(not issubclass(part, BlockCodec | F32 | F16 | BF16) for part in classes):
        check_sample(spec, rows)
        _check_size(rows)
    transforms: list[Transform] = []
    for step, part in zip(spec.steps[:-1], classes[:-1], strict=True):
        transform = _fit(part, step, rows, seed)
        assert isinstance(transform, Transform)
        rows = transform.apply(rows, np.empty((len(rows), transform.side_bytes), np.uint8))
        transforms.append(transform)
    side = sum(transform.side_bytes for transform in transforms)
    codec = _fit(classes[-1], _without(spec.steps[-1], side), rows, seed)
    if not transforms:
        assert isinstance(codec, Codec | BlockCodec)
        return codec
    assert isinstance(codec, Codec)
    return Chain(tuple(transforms), codec)


def learns(spec: str | Spec) -> bool:
    """Whether a codec of this spec is another one on other rows, where that is known without two of them."""
    return any(part.learns for part in _classes(spec if isinstance(spec, Spec) else parse(spec)))


def check_sample(spec: str | Spec, rows: Rows) -> None:
    """InputError for a sample (n, dim) that nothing can be learned from."""
    if not len(rows):
        raise InputError(f"{spec} is fitted on rows, and there are none")
    if not largest(rows) <= LARGEST:
        row = int(unsound(rows, LARGEST).argmax())
        raise InputError(refusal(rows[row], row, str(spec)))


def _check_size(rows: Rows) -> None:
    """InputError for a sample (n, dim) of rows that products cannot tell apart."""
    if 0 < (most := largest(rows)) < LEAST:
        raise InputError(
            f"no value of the sample is larger than {most:g}, too small for products of rows in float32 "
            "(multiply all rows by a constant, or use lossless or f32)"
        )


def _fit_ragged(spec: Spec, part: type[RaggedTransform], sample: Ragged, seed: int) -> RaggedCodec:
    """What makes rows of ragged ones, and the codec of these rows."""
    first = _fit(part, spec.steps[0], sample, seed)
    assert isinstance(first, RaggedTransform)
    rest = fit(Spec(spec.steps[1:]), first.apply_documents(sample), seed=seed)
    assert isinstance(rest, Codec)
    return RaggedCodec(first, rest)


def _fit_grouped(spec: Spec, sample: Array, columns: Mapping[str, Any], seed: int) -> Grouped:
    """Group means, and the codec of what they leave."""
    rows = as_float32(check_rows(sample))
    check_sample(spec, rows)
    _check_size(rows)
    options: dict[str, Any] = dict(_typed(GroupCenter, spec.steps[0]))
    center = GroupCenter.fit(rows, seed=seed, groups=columns.get(options.get("by", "")), **options)
    *between, last = spec.steps[1:]
    numbers = center.numbers(columns[center.by], len(rows))
    own = Spec((*between, _without(last, center.side_bytes)))
    rest = fit(own, rows - center.means[numbers], seed=seed)
    assert isinstance(rest, Codec)
    return Grouped(center, rest)


def loads(data: bytes | memoryview) -> AnyCodec:
    """The codec from the bytes of `dumps`, with the same identity.

    Raises CorruptError for bytes that are no codec, FormatError for a codec that is not installed.
    """
    parts = load_parts(data, _find_stored)
    if not parts:
        raise CorruptError("codec state holds no codec")
    first = parts.pop(0) if isinstance(parts[0], _FIRST) and len(parts) > 1 else None
    *transforms, codec = parts
    if not isinstance(codec, Codec | BlockCodec) or not all(isinstance(t, Transform) for t in transforms):
        raise CorruptError("codec state does not end in one codec behind transforms")
    if not isinstance(codec, Codec):
        if transforms or first:
            raise CorruptError(f"codec state chains {codec.name!r}, which takes no transforms")
        return codec
    if transforms:
        codec = Chain(tuple(typing.cast("list[Transform]", transforms)), codec)
    if isinstance(first, GroupCenter):
        return Grouped(first, codec)
    return RaggedCodec(first, codec) if isinstance(first, RaggedTransform) else codec


def _find_stored(name: str) -> type[Part]:
    try:
        return find(name)
    except SpecError as error:
        raise FormatError(f"this needs the codec {name!r}, which is not installed: {error}") from error


def _entry_points() -> dict[str, Any]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _classes(spec: Spec) -> list[type[Part]]:
    """The classes of a chain, checked to be transforms and then one codec, with known options."""
    classes = [find(step.name) for step in spec.steps]
    for at, (step, part) in enumerate(zip(spec.steps[:-1], classes[:-1], strict=True)):
        if at and issubclass(part, _FIRST):
            raise SpecError(f"{step.name!r} must come first in a chain; spec is {str(spec)!r}")
        if not issubclass(part, (Transform, *_FIRST)):
            raise SpecError(f"{step.name!r} is a codec and must end the chain; spec {str(spec)!r} goes on")
    if issubclass(classes[-1], (Transform, *_FIRST)):
        raise SpecError(f"spec {str(spec)!r} ends in the transform {classes[-1].name!r}; add a codec, '+pq'")
    if len(classes) > 1 and issubclass(classes[-1], BlockCodec):
        raise SpecError(f"{classes[-1].name!r} takes no transforms: what a transform rounds is lost already")
    for step, part in zip(spec.steps, classes, strict=True):
        for key in step.options:
            if key not in part.option_names():
                raise unknown(f"option of {step.name!r}", key, part.option_names())
    return classes


def _without(step: Step, side: int) -> Step:
    """A chain's last step with `bytes=`, which is the whole row, less the side data of what stands before."""
    size = step.options.get("bytes")
    if type(size) is not int:  # True is an int, too
        return step
    if size <= side:
        before = f", of which what stands before it takes {side}" if side else ""
        raise SpecError(f"{step.name!r} has bytes={size}, the whole row{before}; expected {side + 1} or more")
    return Step(step.name, {**step.options, "bytes": size - side})


def _fit(part: type[Part], step: Step, rows: Rows | Ragged, seed: int) -> Part:
    options = dict(_typed(part, step))
    fitted: Part = part.fit(rows, seed=seed, **options)  # type: ignore[attr-defined]
    return fitted


def _typed(part: type[Part], step: Step) -> Iterator[tuple[str, object]]:
    """The options with the types that `fit` asks for; SpecError where a value has another."""
    hints = typing.get_type_hints(part.fit)  # type: ignore[attr-defined]
    for key, value in step.options.items():
        if typing.get_origin(hints[key]) is typing.Literal:
            choices = typing.get_args(hints[key])
            if value not in choices:
                raise SpecError(
                    f"option {key}={value} of {step.name!r}; expected one of {', '.join(choices)}"
                )
            yield key, value
            continue
        wanted = [kind for kind in typing.get_args(hints[key]) or (hints[key],) if kind is not types.NoneType]
        if float in wanted and type(value) is int:
            value = float(value)
        if type(value) not in wanted:
            kinds = " or ".join(kind.__name__ for kind in wanted)
            raise SpecError(f"option {key}={value} of {step.name!r} is no {kinds}")
        yield key, value
