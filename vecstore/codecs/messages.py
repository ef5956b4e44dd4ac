"""Arrow messages, looked at before Arrow reads them: whether their buffers are compressed.

What vecstore writes as Arrow is not compressed by Arrow: a compressed buffer says itself how long it becomes,
and Arrow believes it, so that a short file could take all memory. Only the few fields of the flatbuffers are
read that say so (Arrow's format/Message.fbs).
"""

from __future__ import annotations

import struct

from vecstore.errors import CorruptError

_SCHEMA, _RECORD_BATCH = 1, 3  # kinds of header
_KIND, _HEADER, _BODY_LENGTH = 1, 2, 3  # fields of a message
_COMPRESSION = 3  # field of a record batch
_LEAD = b"\xff\xff\xff\xff"


def refuse_compressed(stream: bytes | memoryview, what: str) -> None:
    """CorruptError unless these are messages of a schema and plain batches, to an end marker or the end."""
    data = memoryview(stream)
    at = 0
    try:
        while at < len(data):
            length = refuse_compressed_message(data[at:], what)
            if not length:
                return
            at += length
    except (struct.error, IndexError, ValueError) as error:
        raise CorruptError(f"{what} is no sequence of Arrow messages: {error}") from error


def refuse_compressed_message(data: memoryview, what: str) -> int:
    """The bytes of the first message, 0 for an end marker; CorruptError for a compressed one, struct.error,
    IndexError or ValueError for what is none."""
    data = data.cast("B")
    if data[:4] != _LEAD:
        raise ValueError("a message does not begin with ffffffff")
    (size,) = struct.unpack_from("<i", data, 4)
    if not size:
        return 0
    if size < 0 or size > len(data) - 8:
        raise ValueError(f"a message's description has {size} bytes of {len(data) - 8}")
    described = data[8 : 8 + size]
    message = struct.unpack_from("<I", described)[0]
    kind = _field(described, message, _KIND)
    if kind is None or described[kind] not in (_SCHEMA, _RECORD_BATCH):
        raise ValueError("a message is neither a schema nor a batch")
    header = _field(described, message, _HEADER)
    if described[kind] == _RECORD_BATCH and header is not None:
        batch = header + struct.unpack_from("<I", described, header)[0]
        if _field(described, batch, _COMPRESSION) is not None:
            raise CorruptError(f"{what} holds compressed Arrow buffers, which vecstore never writes")
    body = _field(described, message, _BODY_LENGTH)
    length = 0 if body is None else struct.unpack_from("<q", described, body)[0]
    if length < 0:
        raise ValueError(f"a message's body has {length} bytes")
    return int(8 + size + length)


def _field(data: memoryview, table: int, number: int) -> int | None:
    """Where a field of a flatbuffers table lies, None if it is not there."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if vtable < 0:
        raise ValueError("a table's description lies outside of it")
    (size,) = struct.unpack_from("<H", data, vtable)
    if 4 + 2 * number >= size:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + 4 + 2 * number)
    return table + int(offset) if offset else None
