"""The names, numbers and sizes of the archive format; docs/format.md explains them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise

import pyarrow as pa

from vecstore.codecs.base import BlockCodec, Codec
from vecstore.codecs.tiers import tier
from vecstore.errors import CorruptError, FormatError, InputError, ShapeError, SpecError
from vecstore.space.card import checked_card

PLAIN, TIERED, PIECED = 1, 2, 3  # versions; an archive is written as the first that has what it needs
VERSION = PIECED  # the newest
PAGE_BYTES = 1 << 16  # one checksum each
MAGIC = b"ARROW1\0\0"  # how an Arrow IPC file begins; a stream begins with its schema

ID, CODE = "id", "code"
TIERS = "tiers"  # in the card
# What carried columns may not be called: the columns of archives, and of what is restored from them.
RESERVED = (ID, CODE, "vector")

# Schema metadata.
VERSION_KEY = b"vecstore.version"
SPEC_KEY = b"vecstore.spec"
CARD_KEY = b"vecstore.card"
# Custom metadata of the first batch, and of the last.
STATE_KEY = b"vecstore.state"
CODEC_KEY = b"vecstore.codec"  # in place of the state: the identity of a codec that lies elsewhere
SEAL_KEY = b"vecstore.seal"
SUMMARY_KEY = b"vecstore.summary"
SUMS_KEY = b"vecstore.sums"
OFFSETS_KEY = b"vecstore.offsets"

PIECE_BYTES = 1 << 20  # of a large state: Arrow holds a batch's metadata several times while it writes it

# The ledger is part of the file that it counts, so its text has a fixed size.
SUMMARY_BYTES = 512

_BATCH_BYTES = 1 << 21  # codes of a batch, at most, where _FEW_ROWS leave the choice
_BLOCK_BYTES = 1 << 22  # rows of a block: one of half the size is coded a quarter slower, and a little worse
_ROW_BYTES = 1 << 25  # its rows as float32, whatever the codes
_FEW_ROWS, _MAX_ROWS = 1 << 10, 1 << 16
_MAX_ROWS_OF_TEXT = 1 << 13  # A column of text in one batch ends at 2 GiB: 262 kB a row.

AnyCodec = Codec | BlockCodec
Card = Mapping[str, object]


def batch_rows(codec: AnyCodec, columns: pa.Schema) -> int:
    """Rows of every batch but the last, a power of two: 1-2 MiB of codes, or 2-4 MiB of rows of a block."""
    return rows_of_a_batch(codec.dim, codec.code_bytes, columns)


def rows_of_a_batch(dim: int, code_bytes: int | None, columns: pa.Schema) -> int:
    """The same from what it depends on."""
    fitting = _BLOCK_BYTES // (4 * dim) if code_bytes is None else _BATCH_BYTES // code_bytes
    most = _MAX_ROWS_OF_TEXT if len(columns) else _MAX_ROWS
    rows = min(max(fitting, _FEW_ROWS), most, max(_ROW_BYTES // (4 * dim), 1))
    return int(1 << (rows.bit_length() - 1))


def code_names(card: Card) -> list[str]:
    """The columns of codes: one, and one more for each tier that is stored apart."""
    tiers = card.get(TIERS, [])
    if not isinstance(tiers, list) or not all(type(part) in (int, str) for part in tiers):
        raise ValueError(f"tiers {tiers!r} where a list of numbers was expected")
    return [CODE, *(f"{CODE}.{number}" for number in range(1, len(tiers) + 1))]


def code_types(codec: AnyCodec, card: Card) -> list[pa.DataType]:
    """The types of these columns. SpecError for tiers that the codec has not, or that do not grow."""
    parts: list[int | str] = list(card.get(TIERS, []))  # type: ignore[call-overload]
    if not isinstance(codec, Codec):
        if parts:
            raise SpecError(f"{codec.spec} works block by block; its codes have no tiers")
        return [pa.binary()]
    ends = [0, *(tier(codec, part).code_bytes for part in parts), codec.code_bytes]
    widths = [stop - start for start, stop in pairwise(ends)]
    if min(widths) < 1:
        sizes = ", ".join(map(str, ends[1:]))
        raise SpecError(
            f"tiers {', '.join(map(str, parts))} and the whole are {sizes} bytes; each has to add some"
        )
    return [pa.binary(width) for width in widths]


def make_schema(codec: AnyCodec, card: Card, id_type: pa.DataType, columns: pa.Schema) -> pa.Schema:
    """The schema of an archive: id, code, carried columns. InputError if a carried name is taken."""
    if card.get("dim", codec.dim) != codec.dim:
        raise ShapeError(f"the card says dim {card['dim']}; the codec has {codec.dim}")
    whole = {**card, "dim": codec.dim}
    schema = schema_of(str(codec.spec), code_types(codec, card), whole, id_type, columns)
    if not in_pieces(codec):
        return schema
    return schema.with_metadata({**schema.metadata, VERSION_KEY: str(PIECED)})


def in_pieces(codec: AnyCodec) -> bool:
    """Whether the state of a codec is so large that it stands in pieces."""
    return codec.grows and sum(array.nbytes for array in codec.arrays().values()) > PIECE_BYTES


def schema_of(
    spec: str, types: list[pa.DataType], card: Card, id_type: pa.DataType, columns: pa.Schema
) -> pa.Schema:
    """The same from a codec's spec and the types of its code columns; the card has the dim."""
    codes = code_names(card)
    for name in columns.names:
        if name in (*RESERVED, *codes) or columns.names.count(name) > 1:
            raise InputError(f"column {name!r} cannot be carried: that name is taken; rename or drop it")
    fields = [pa.field(ID, id_type, nullable=False)]
    fields += [pa.field(name, kind, nullable=False) for name, kind in zip(codes, types, strict=True)]
    fields += [pa.field(f.name, plain_type(f.type, f.name), f.nullable, f.metadata) for f in columns]
    metadata = {
        VERSION_KEY: str(TIERED if len(codes) > 1 else PLAIN),
        SPEC_KEY: spec,
        CARD_KEY: json.dumps(card, allow_nan=False),
    }
    return pa.schema(fields, metadata=metadata)


def plain_type(kind: pa.DataType, name: str) -> pa.DataType:
    """The type a carried column is stored in: a dictionary's values are written out, views are copied.

    Arrow cannot pick rows of a view or of runs, so what was stored so could never be written anew.
    """
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type, name)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_run_end_encoded(kind):
        raise InputError(f"column {name!r} is {kind}; cast it to plain values")
    inner = [kind.field(i).type for i in range(kind.num_fields)] if pa.types.is_nested(kind) else []
    if any(plain_type(field, name) != field for field in inner):
        # An Arrow file may hold each dictionary once only, and batches bring their own.
        raise InputError(
            f"column {name!r} has a dictionary inside {kind}, or a view; cast it to plain values"
        )
    return kind


def read_version(schema: pa.Schema, path: str) -> int:
    """The format version; InputError if there is none, FormatError if it is newer than this code."""
    text = (schema.metadata or {}).get(VERSION_KEY)
    if text is None:
        raise InputError(
            f"{path} is an Arrow file but no vecstore archive (make one with 'vecstore compress')"
        )
    if not text.isdigit() or int(text) < 1:
        raise CorruptError(f"{path} has format {text!r}; expected a number")
    if int(text) > VERSION:
        raise FormatError(
            f"{path} has format {int(text)}; this vecstore reads 1 to {VERSION} (upgrade vecstore to read it)"
        )
    return int(text)


def read_card(schema: pa.Schema, path: str) -> tuple[dict[str, object], int]:
    """The space card, and the `dim` in it; CorruptError if it cannot be read."""
    try:
        card: dict[str, object] = json.loads(schema.metadata[CARD_KEY])
        dim = card["dim"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorruptError(f"the space card of {path} cannot be read: {error!r}") from error
    if not isinstance(dim, int) or dim < 1:
        raise CorruptError(f"the space card of {path} says dim {dim!r}; expected a positive number")
    try:
        checked_card(card, dim)
    except ValueError as error:
        raise CorruptError(f"the space card of {path} cannot be read: {error}") from error
    return card, dim


def check_schema(schema: pa.Schema, codes: list[str], path: str) -> None:
    """CorruptError unless the columns are those of an archive whose code columns have these names."""
    names, wanted = schema.names, [ID, *codes]
    if names[: len(wanted)] != wanted or len(set(names)) != len(names):
        raise CorruptError(f"{path} has the columns {names}; expected {wanted} and others")
    if schema.field(ID).type not in (pa.int64(), pa.string()):
        raise CorruptError(f"{path} has ids of type {schema.field(ID).type}; expected int64 or string")
    for kind in (schema.field(name).type for name in codes):
        if not pa.types.is_fixed_size_binary(kind) and (kind != pa.binary() or len(codes) > 1):
            raise CorruptError(f"{path} has codes of type {kind}; expected binary of fixed size, or binary")
