"""How large an archive will be, to the byte, before there is one."""

from __future__ import annotations

import pyarrow as pa

from vecstore.archive import layout
from vecstore.archive.seal import Seal

_WRITTEN = 2  # of the whole batches, which are all alike
_BLOCK_BYTES = 24  # where a batch is, in the footer


def archive_bytes(spec: str, sizes: tuple[int, int], rows: int, card: layout.Card) -> int:
    """Of so many rows with numbers as ids and nothing carried, by a codec of one code a row.

    spec: the codec's, in full; sizes: bytes of a code, and of what the codec learned; card: with the dim.
    """
    code_bytes, state_bytes = sizes
    dim, columns = card["dim"], pa.schema([])
    assert isinstance(dim, int)
    schema = layout.schema_of(spec, [pa.binary(code_bytes)], card, pa.int64(), columns)
    batch_rows = layout.rows_of_a_batch(dim, code_bytes, columns)
    whole, rest = divmod(rows, batch_rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(_zeros(schema, 0), custom_metadata={layout.STATE_KEY: b"\0" * state_bytes})
        ends = [sink.tell()]
        for _ in range(min(whole, _WRITTEN)):
            writer.write_batch(_zeros(schema, batch_rows))
            ends.append(sink.tell())
        left_out = max(0, whole - _WRITTEN)
        more = left_out * (ends[-1] - ends[-2]) if left_out else 0
        if rest:
            writer.write_batch(_zeros(schema, rest))
        batches, end = whole + (rest > 0), sink.tell() + more
        metadata = {
            layout.SEAL_KEY: Seal(end, ends[0], "0" * 32).text(),
            layout.SUMMARY_KEY: b"?" * layout.SUMMARY_BYTES,
            layout.SUMS_KEY: b"\0" * (8 * -(-end // layout.PAGE_BYTES)),
            layout.OFFSETS_KEY: b"\0" * (8 * batches),
        }
        writer.write_batch(_zeros(schema, 0), custom_metadata=metadata)
    return int(sink.tell()) + more + left_out * _BLOCK_BYTES


def _zeros(schema: pa.Schema, rows: int) -> pa.RecordBatch:
    width = schema.field(layout.CODE).type.byte_width
    ids = pa.Array.from_buffers(pa.int64(), rows, [None, pa.py_buffer(bytes(8 * rows))])
    codes = pa.Array.from_buffers(pa.binary(width), rows, [None, pa.py_buffer(bytes(width * rows))])
    return pa.RecordBatch.from_arrays([ids, codes], schema=schema)
