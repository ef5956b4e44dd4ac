"""Arrow messages are looked at before Arrow reads them: compressed ones are refused."""

import io

import numpy as np
import pyarrow as pa
import pytest

from vecstore.archive import contents
from vecstore.codecs.messages import refuse_compressed
from vecstore.errors import CorruptError


def stream(compression=None, rows=1000):
    batch = pa.record_batch({"a": np.zeros(rows), "b": pa.array([b"x" * 9] * rows, pa.binary(9))})
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(out, batch.schema.with_metadata({"k": "v"}), options=options) as writer:
        writer.write_batch(batch, custom_metadata={"a": "b"})
        writer.write_batch(batch)
    return out.getvalue()


def test_plain_streams_pass():
    refuse_compressed(stream(), "it")
    refuse_compressed(stream()[:-8], "it")
    refuse_compressed(pa.py_buffer(stream()), "it")
    refuse_compressed(b"", "it")


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_ones_are_refused(compression):
    data = stream(compression)
    with pytest.raises(CorruptError, match="compressed Arrow buffers"):
        refuse_compressed(data, "it")
    with pa.ipc.open_stream(data) as reader:
        schema = reader.schema
    start = 8 + int.from_bytes(data[4:8], "little")
    with pytest.raises(CorruptError, match="compressed Arrow buffers"):
        contents._parse(pa.py_buffer(data[start:]), schema)


def test_whatever_is_changed_in_it_ends_in_an_answer():
    rng = np.random.default_rng(0)
    whole = stream(rows=3)
    for _ in range(3000):
        data = bytearray(whole)
        for place in rng.integers(len(data), size=rng.integers(1, 4)):
            data[place] = rng.integers(256)
        try:
            refuse_compressed(bytes(data[: rng.integers(len(data) + 1)]), "it")
        except CorruptError:
            pass
