"""Arrow streams: pipes, end markers, and a file told from a stream by its bytes."""

from __future__ import annotations

import io
import sys

import numpy as np
import pyarrow as pa
import pytest

from vecstore.errors import InputError
from vecstore.formats import Batch, open_sink, open_source


class Pipe(io.BytesIO):
    """Bytes that come in one direction, at most 1000 at a time to whoever asks for less than all."""

    def seekable(self):
        return False

    def seek(self, *_):
        raise io.UnsupportedOperation("a pipe")


def stdin(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Pipe(data))))


def stream(rows, list_size=-1, batch_rows=30):
    kind = pa.list_(pa.float32(), list_size)
    table = pa.table({"id": np.arange(len(rows)), "v": pa.array(rows.tolist(), kind)})
    target = io.BytesIO()
    with pa.ipc.new_stream(target, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return target.getvalue()


@pytest.mark.parametrize("list_size", [-1, 6])
def test_standard_input_is_an_arrow_stream(list_size, monkeypatch, rows):
    stdin(monkeypatch, stream(rows, list_size))
    with open_source("-") as source:
        assert not source.rereadable
        assert (source.dim, source.rows, source.id_type) == (6, None, pa.int64())
        back = np.concatenate([batch.rows for batch in source.batches(7)])
        assert np.array_equal(back, rows)
        with pytest.raises(InputError, match="read once"):
            list(source.batches(7))


def test_a_stream_cut_anywhere_is_refused(monkeypatch, tmp_path, rows):
    whole = stream(rows[:20], 6, batch_rows=5)
    for end in range(0, len(whole)):
        stdin(monkeypatch, whole[:end])
        (tmp_path / "x.arrows").write_bytes(whole[:end])
        for name in ("-", str(tmp_path / "x.arrows")):
            with pytest.raises(InputError), open_source(name) as source:
                list(source.batches(100))


def test_a_stream_that_ends_between_messages_says_that_rows_may_be_missing(monkeypatch, rows):
    stdin(monkeypatch, stream(rows)[:-8])
    with pytest.raises(InputError, match="standard input has no end marker"), open_source("-") as source:
        list(source.batches(100))


def test_standard_output_is_an_arrow_stream(monkeypatch, rows):
    target = io.BytesIO()
    wrapper = io.TextIOWrapper(target)
    monkeypatch.setattr(sys, "stdout", wrapper)
    with open_sink("-", dim=6, id_type=pa.string()) as sink:
        sink.write(Batch(rows, pa.array([f"w{i}" for i in range(100)]), None, "memory", 0))
    stdin(monkeypatch, target.getvalue())
    with open_source("-") as source:
        batch = next(source.batches(100))
    assert np.array_equal(batch.rows, rows)
    assert batch.ids[99].as_py() == "w99"


def test_a_stream_under_the_name_of_a_file_is_read(tmp_path, rows, read):
    (tmp_path / "x.arrow").write_bytes(stream(rows))
    back, ids, _ = read(tmp_path / "x.arrow")
    assert np.array_equal(back, rows)
    assert ids == list(range(100))


def test_dictionaries_may_be_replaced_within_a_stream(tmp_path, rows, read):
    schema = pa.schema({"v": pa.list_(pa.float32(), 6), "tag": pa.dictionary(pa.int8(), pa.string())})
    with pa.ipc.new_stream(str(tmp_path / "x.arrows"), schema) as writer:
        for i, words in enumerate((["a", "b"], ["c", "d"])):
            tags = pa.DictionaryArray.from_arrays(pa.array([0, 1] * 25, pa.int8()), pa.array(words))
            vectors = pa.array(rows[i * 50 : i * 50 + 50].tolist(), schema.field("v").type)
            writer.write_batch(pa.record_batch([vectors, tags], schema=schema))
    assert read(tmp_path / "x.arrows")[2] == {"tag": ["a", "b"] * 25 + ["c", "d"] * 25}


def test_an_arrow_file_of_one_large_batch_is_mapped(tmp_path, rows, monkeypatch, read):
    monkeypatch.setattr("vecstore.formats.arrow._MAPPED_BYTES", 100)
    vectors = pa.array(rows.tolist(), pa.list_(pa.float32(), 6))
    table = pa.table({"v": vectors, "tag": pa.array(["a", "b"] * 50)})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table)
    back, _, columns = read(tmp_path / "x.arrow")
    assert np.array_equal(back, rows)
    assert columns == {"tag": ["a", "b"] * 50}
    with open_source(str(tmp_path / "x.arrow")) as source:
        assert np.array_equal(source.take(np.array([3, 77])), rows[[3, 77]])


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_arrow_files_are_read(codec, tmp_path, rows, read):
    table = pa.table({"v": pa.array(rows.tolist(), pa.list_(pa.float32(), 6))})
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_file(str(tmp_path / "x.feather"), table.schema, options=options) as writer:
        writer.write_table(table)
    assert np.array_equal(read(tmp_path / "x.feather")[0], rows)
