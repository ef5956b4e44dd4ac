"""A sink's file appears whole or not at all, and what it cannot hold is said."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vecstore.errors import ConflictError, InputError, NotFoundError, ShapeError
from vecstore.formats import Batch, open_sink, open_source
from vecstore.formats.registry import WRITERS

OPTIONAL = {".pt": "torch", ".pth": "torch", ".h5": "h5py", ".hdf5": "h5py", ".hdf": "h5py"}
PLAIN = {".npy", ".npz", ".fvecs", ".bvecs", ".ivecs", ".fbin", ".u8bin", ".safetensors", ".h5", ".pt"}


@pytest.fixture(params=sorted(WRITERS))
def suffix(request):
    if request.param in OPTIONAL:
        pytest.importorskip(OPTIONAL[request.param])
    return request.param


def batch(rows, first=0):
    return Batch(rows, None, None, "memory", first)


def test_nothing_appears_before_the_end(suffix, tmp_path, rows):
    path = tmp_path / f"x{suffix}"
    sink = open_sink(str(path), dim=6)
    sink.write(batch(rows))
    assert not path.exists()
    sink.close()
    assert path.exists()
    assert os.listdir(tmp_path) == [path.name]
    sink.abort()
    assert path.exists()


def test_an_error_or_an_interruption_leaves_nothing(suffix, tmp_path, rows):
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), open_sink(f"{tmp_path}/x{suffix}", dim=6) as sink:
            sink.write(batch(rows))
            raise error
    assert os.listdir(tmp_path) == []


def test_an_existing_file_is_kept_without_force(suffix, tmp_path, rows, read):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"precious")
    with pytest.raises(ConflictError, match="--force"):
        open_sink(str(path), dim=6)
    assert path.read_bytes() == b"precious"
    with open_sink(str(path), dim=6, force=True) as sink:
        sink.write(batch(rows))
    assert np.array_equal(read(path)[0].astype(np.float32), rows)


def test_a_missing_folder_is_not_found(suffix, tmp_path):
    for folder in (f"{tmp_path}/none", f"{tmp_path.as_uri()}/none"):
        with pytest.raises(NotFoundError):
            open_sink(f"{folder}/x{suffix}", dim=6, rows=1)


def test_another_count_than_promised_is_refused(suffix, tmp_path, rows):
    with pytest.raises(InputError, match="was to get 99 rows and got 100"):
        with open_sink(f"{tmp_path}/x{suffix}", dim=6, rows=99) as sink:
            sink.write(batch(rows))
    assert os.listdir(tmp_path) == []


def test_rows_of_another_width_are_refused(suffix, tmp_path, rows):
    with (
        pytest.raises(ShapeError, match=r"expected \(n, 5\)"),
        open_sink(f"{tmp_path}/x{suffix}", dim=5) as sink,
    ):
        sink.write(batch(rows))
    with pytest.raises(ShapeError, match="at least one"):
        open_sink(f"{tmp_path}/x{suffix}", dim=0)
    assert os.listdir(tmp_path) == []


def test_what_a_target_cannot_hold_is_said_once(suffix, tmp_path, rows, write):
    columns = pa.record_batch({"tag": ["a"] * 100, "n": range(100)})
    notes = write(tmp_path / f"x{suffix}", rows, ids=pa.array(range(100)), columns=columns)
    if suffix in PLAIN:
        assert len(notes) == 2
        assert "cannot hold ids" in notes[0]
        assert "cannot hold columns; left out: tag, n" in notes[1]
    elif suffix in {".parquet", ".arrow", ".arrows"}:
        assert notes == []
    assert len(set(notes)) == len(notes)


def test_parquet_pages_carry_checksums(tmp_path, rows, write):
    write(tmp_path / "x.parquet", rows, ids=pa.array(range(100)))
    data = bytearray((tmp_path / "x.parquet").read_bytes())
    data[200] ^= 1
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(pa.BufferReader(bytes(data)), page_checksum_verification=True)
    kind = pq.read_schema(tmp_path / "x.parquet").field("vector").type
    assert kind == pa.list_(pa.float32(), 6)


def test_a_carried_column_of_the_outputs_own_name_is_refused(tmp_path):
    for suffix, name in ((".parquet", "vector"), (".arrow", "id"), (".csv", "vector_0")):
        with pytest.raises(InputError, match="rename it"):
            open_sink(
                f"{tmp_path}/x{suffix}", dim=6, id_type=pa.int64(), columns=pa.schema([(name, pa.int64())])
            )
    assert os.listdir(tmp_path) == []


def test_a_dictionary_too_large_for_its_index_is_refused(tmp_path, rows):
    schema = pa.schema([("tag", pa.dictionary(pa.int8(), pa.string()))])
    with pytest.raises(InputError, match="more than its int8 index can count"):
        with open_sink(f"{tmp_path}/x.arrow", dim=6, columns=schema) as sink:
            for start in (0, 100):
                words = pa.array([str(i) for i in range(start, start + 100)])
                tags = pa.DictionaryArray.from_arrays(pa.array(range(100), pa.int8()), words)
                sink.write(Batch(rows, None, pa.record_batch([tags], schema=schema), "memory", start))
    assert os.listdir(tmp_path) == []


def test_float16_rows_go_into_integers_wider_than_float16_without_a_warning(tmp_path):
    rows = np.array([[65504, -65504], [1.4, -1.6]], np.float16)
    path = str(tmp_path / "x.ivecs")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_sink(path, dim=2, dtype=rows.dtype) as sink:
            sink.write(Batch(rows, None, None, "x", 0))
    with open_source(path) as source:
        assert next(iter(source.batches(10))).rows.tolist() == [[65504, -65504], [1, -2]]
