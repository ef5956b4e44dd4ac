"""What is written in a format is read back the same, over dtypes, ids and columns."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest

from vecstore.formats import open_sink, open_source
from vecstore.formats.registry import READERS, WRITERS

FLOATS = {".npy", ".npz", ".parquet", ".arrow", ".arrows", ".safetensors", ".h5"}
INTEGERS = FLOATS | {".bvecs", ".u8bin", ".ivecs", ".ibin"}
TABLES = {".parquet", ".pq", ".arrow", ".feather", ".ipc", ".arrows"}
WORDS = {".txt", ".vec", ".glove", ".bin"}
TORCH = {".pt", ".pth"}


def needs(suffix):
    """Skips where a format's optional package is missing."""
    if suffix in TORCH:
        pytest.importorskip("torch", reason="torch is not installed")
    if suffix in {".h5", ".hdf5", ".hdf"}:
        pytest.importorskip("h5py", reason="h5py is not installed")


def row_columns(suffix):
    return {"vectors": ",".join(f"vector_{i}" for i in range(6))} if suffix == ".csv" else {}


def test_every_reader_has_a_writer():
    assert set(READERS) == set(WRITERS)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_rows_come_back_exactly(suffix, counted, tmp_path, rows, write, read):
    needs(suffix)
    write(tmp_path / f"x{suffix}", rows, counted=counted)
    back, _, _ = read(tmp_path / f"x{suffix}")
    assert np.array_equal(back.astype(np.float32), rows)


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_the_same_rows_give_the_same_bytes(suffix, tmp_path, rows, write):
    needs(suffix)
    if suffix in TORCH | {".h5", ".hdf5", ".hdf"}:
        pytest.skip("the library decides about its bytes")
    write(tmp_path / f"a{suffix}", rows)
    write(tmp_path / f"b{suffix}", rows)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_extensions_may_be_in_upper_case(suffix, tmp_path, rows, write, read):
    needs(suffix)
    write(tmp_path / f"x{suffix.upper()}", rows)
    assert np.array_equal(read(tmp_path / f"x{suffix.upper()}")[0].astype(np.float32), rows)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int8, np.int32])
@pytest.mark.parametrize("suffix", sorted(FLOATS))
def test_dtypes_are_kept_where_the_format_has_them(suffix, dtype, tmp_path, rows, write, read):
    needs(suffix)
    write(tmp_path / f"x{suffix}", rows.astype(dtype))
    back, _, _ = read(tmp_path / f"x{suffix}")
    assert back.dtype == dtype
    assert np.array_equal(back, rows.astype(dtype))


@pytest.mark.parametrize("suffix", sorted(set(WRITERS) - TORCH))
def test_bfloat16_rows_are_kept_or_widened(suffix, tmp_path, rows, write, read):
    needs(suffix)
    half = rows.astype(ml_dtypes.bfloat16)
    write(tmp_path / f"x{suffix}", half)
    back, _, _ = read(tmp_path / f"x{suffix}")
    assert np.array_equal(back.astype(np.float32), half.astype(np.float32))
    assert (back.dtype == ml_dtypes.bfloat16) == (suffix == ".safetensors")


def test_all_bits_of_a_float_survive_text(tmp_path, write, read):
    bits = np.random.default_rng(0).integers(0, 2**32, (2000, 4), dtype=np.uint32)
    values = bits.view(np.float32)
    values = np.where(np.isfinite(values), values, np.float32(1e-45))
    for suffix in (".txt", ".glove", ".csv", ".bin"):
        write(tmp_path / f"x{suffix}", values)
        assert np.array_equal(read(tmp_path / f"x{suffix}")[0], values), suffix


@pytest.mark.parametrize("kind", ["int64", "string"])
@pytest.mark.parametrize("suffix", sorted(TABLES | WORDS | {".csv"}))
def test_ids_come_back(suffix, kind, tmp_path, rows, write, read):
    ids = pa.array(range(-3, 97)) if kind == "int64" else pa.array([f"w-{i}-ä" for i in range(100)])
    write(tmp_path / f"x{suffix}", rows, ids=ids)
    _, back, _ = read(tmp_path / f"x{suffix}")
    wanted = ids.to_pylist()
    assert back == ([str(i) for i in wanted] if suffix in WORDS else wanted)


@pytest.mark.parametrize("suffix", sorted(TABLES))
def test_columns_come_back_with_their_types(suffix, tmp_path, rows, write, read):
    columns = pa.record_batch(
        {
            "tag": pa.array(["a", None, "b", "a"] * 25).dictionary_encode(),
            "many": pa.array([["x"], [], None, ["y", None]] * 25),
            "when": pa.array(range(100), pa.timestamp("us", tz="UTC")),
            "part": pa.array([{"n": i} for i in range(100)]),
            "blob": pa.array([b"\0\xff"] * 100),
        }
    )
    write(tmp_path / f"x{suffix}", rows, ids=pa.array(range(100)), columns=columns)
    with open_source(str(tmp_path / f"x{suffix}")) as source:
        assert source.columns.types == columns.schema.types
    assert read(tmp_path / f"x{suffix}")[2] == columns.to_pydict()


@pytest.mark.parametrize("suffix", sorted(TABLES))
def test_dictionaries_that_differ_between_batches_keep_their_values(suffix, tmp_path, rows, write, read):
    tags = pa.chunked_array(
        [
            pa.DictionaryArray.from_arrays(pa.array([0, 1] * 25), pa.array(["b", "a"])),
            pa.DictionaryArray.from_arrays(pa.array([1, 0] * 25), pa.array(["c", "b"])),
        ]
    )
    table = pa.table({"tag": tags})
    sink = open_sink(str(tmp_path / f"x{suffix}"), dim=6, columns=table.schema)
    with sink:
        from vecstore.formats import Batch

        for i, part in enumerate(table.to_batches()):
            sink.write(Batch(rows[i * 50 : (i + 1) * 50], None, part, "memory", i * 50))
    assert read(tmp_path / f"x{suffix}")[2] == table.to_pydict()


def test_csv_keeps_columns_that_are_no_lists(tmp_path, rows, write, read):
    columns = pa.record_batch(
        {
            "text": pa.array(['a "b", c', "line\nbreak"] * 50),
            "n": pa.array(range(100)),
            "many": pa.array([["x"]] * 100),
        }
    )
    notes = write(tmp_path / "x.csv", rows, ids=pa.array(range(100)), columns=columns)
    assert any("lists; left out: many" in note for note in notes)
    assert any("--vectors" in note for note in notes)
    back, ids, kept = read(tmp_path / "x.csv", **row_columns(".csv"))
    assert np.array_equal(back, rows)
    assert ids == list(range(100))
    assert kept == columns.select(["text", "n"]).to_pydict()


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_taken_rows_are_those_of_a_pass(suffix, tmp_path, rows, write):
    needs(suffix)
    write(tmp_path / f"x{suffix}", rows)
    numbers = np.array([0, 1, 5, 33, 34, 98, 99])
    with open_source(str(tmp_path / f"x{suffix}")) as source:
        taken = source.take(numbers)
        list(source.batches(10))
        again = source.take(numbers[:0])
    assert taken is None or np.array_equal(taken.astype(np.float32), rows[numbers])
    assert again is None or again.shape == (0, 6)
    if suffix in {".npy", ".fbin", ".fvecs", ".safetensors", ".parquet", ".arrow"}:
        assert taken is not None


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_a_source_can_be_read_again_even_after_half_a_pass(suffix, tmp_path, rows, write):
    needs(suffix)
    write(tmp_path / f"x{suffix}", rows)
    with open_source(str(tmp_path / f"x{suffix}")) as source:
        assert source.rereadable
        next(iter(source.batches(7)))
        for _ in range(2):
            back = np.concatenate([batch.rows for batch in source.batches(7)])
            assert np.array_equal(back.astype(np.float32), rows)
            assert [batch.first for batch in source.batches(40)][:2] == [0, len(next(source.batches(40)))]


@pytest.mark.parametrize("suffix", sorted(set(WRITERS) - {".csv", ".glove"} - {*TORCH}))
def test_no_rows_are_no_rows(suffix, tmp_path, rows, write):
    needs(suffix)
    write(tmp_path / f"x{suffix}", rows[:0])
    if suffix in {".fvecs", ".bvecs", ".ivecs"}:
        assert (tmp_path / f"x{suffix}").stat().st_size == 0  # Such a file has no width, and is refused.
        return
    with open_source(str(tmp_path / f"x{suffix}")) as source:
        assert source.dim == 6
        assert list(source.batches(10)) == []
        assert source.rows in (0, None)


def test_a_csv_of_a_header_has_no_rows(tmp_path):
    (tmp_path / "x.csv").write_text("id,a,b\n")
    with open_source(str(tmp_path / "x.csv")) as source:
        assert (source.rows, source.dim) == (0, 2)
        assert list(source.batches(10)) == []
