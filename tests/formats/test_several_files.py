"""Globs, folders, URIs, selectors: which files are meant, and that they must agree."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vecstore.errors import ConflictError, FormatError, InputError, NotFoundError, VecstoreError
from vecstore.formats import open_sink, open_source
from vecstore.formats.registry import WRITERS


def test_a_glob_reads_its_files_in_the_order_of_their_names(tmp_path, rows, write, read):
    for name, part in (("b", slice(40, 70)), ("a", slice(0, 40)), ("c", slice(70, 100))):
        write(tmp_path / f"x-{name}.npy", rows[part])
    back, _, _ = read(tmp_path / "x-*.npy")
    assert np.array_equal(back, rows)
    with open_source(f"{tmp_path}/x-[abc].npy") as source:
        assert source.rows == 100
        numbers = np.array([0, 39, 40, 69, 70, 99])
        assert np.array_equal(source.take(numbers), rows[numbers])
        batches = list(source.batches(1000))
    # Messages name the file and the row in it.
    assert [(batch.path[-7:], batch.first, len(batch)) for batch in batches] == [
        ("x-a.npy", 0, 40),
        ("x-b.npy", 0, 30),
        ("x-c.npy", 0, 30),
    ]


def test_a_folder_of_parquet_files_is_read(tmp_path, rows, write, read):
    (tmp_path / "deep").mkdir()
    write(tmp_path / "part-0.parquet", rows[:50], ids=pa.array(range(50)))
    write(tmp_path / "deep" / "part-1.parquet", rows[50:], ids=pa.array(range(50, 100)))
    (tmp_path / "_SUCCESS").write_bytes(b"")
    (tmp_path / ".part.parquet.crc").write_bytes(b"")
    (tmp_path / "_metadata.parquet").write_bytes(b"")
    for name in (tmp_path, f"{tmp_path}/", f"{tmp_path}/**/part*.parquet", tmp_path.as_uri()):
        back, ids, _ = read(name)
        assert sorted(ids) == list(range(100))
        assert np.array_equal(back[np.argsort(ids)], rows)


def test_a_partition_folder_is_refused_rather_than_its_column_lost(tmp_path, rows, write, read):
    (tmp_path / "lang=de").mkdir()
    write(tmp_path / "lang=de" / "x.parquet", rows)
    with pytest.raises(InputError, match="partition folder"):
        read(tmp_path)
    assert np.array_equal(read(f"{tmp_path}/lang=*/x.parquet")[0], rows)


def test_what_matches_nothing_is_not_found(tmp_path, read):
    for name in ("*.npy", "x-?.parquet", "nothing.npy", "nothing", ""):
        with pytest.raises(NotFoundError):
            read(f"{tmp_path}/{name}")
    with pytest.raises(NotFoundError, match="matches no file"):
        read(f"{tmp_path.as_uri()}/*.npy")


def test_files_that_do_not_agree_are_refused_by_name(tmp_path, rows, write, read):
    write(tmp_path / "a.parquet", rows, ids=pa.array(range(100)))
    for rest, reason in (
        ({"rows": rows[:, :5], "ids": pa.array(range(100))}, "dimensions 5"),
        ({"rows": rows.astype(np.float16), "ids": pa.array(range(100))}, "dtype float16"),
        ({"rows": rows}, "ids None"),
        ({"rows": rows, "ids": pa.array(["x"] * 100)}, "ids string"),
        (
            {"rows": rows, "ids": pa.array(range(100)), "columns": pa.record_batch({"n": range(100)})},
            "columns",
        ),
    ):
        write(tmp_path / "b.parquet", **rest)
        with pytest.raises(InputError, match=rf"b\.parquet has {reason}.*a\.parquet has"):
            read(tmp_path / "*.parquet")
        (tmp_path / "b.parquet").unlink()


def test_a_file_without_rows_agrees_with_all(tmp_path, rows, read):
    table = pa.table({"v": pa.array([], pa.list_(pa.float32()))})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(pa.table({"v": pa.array(rows.tolist(), pa.list_(pa.float32()))}), tmp_path / "b.parquet")
    assert np.array_equal(read(tmp_path / "*.parquet")[0], rows)


def test_a_name_with_the_signs_of_a_glob_is_that_file(tmp_path, rows, write, read):
    for name in ("x[1].npy", "what*.npy", "a::b.npy"):
        np.save(tmp_path / name, rows)
        assert np.array_equal(read(tmp_path / name)[0], rows)


@pytest.mark.parametrize("suffix", sorted(set(WRITERS) - {".pt", ".pth", ".h5", ".hdf5", ".hdf"}))
def test_file_uris_are_read_and_written_through_their_file_system(suffix, tmp_path, rows, write, read):
    uri = f"{tmp_path.as_uri()}/with%20blank{suffix}"
    write(uri, rows)
    assert np.array_equal(read(uri)[0].astype(np.float32), rows)
    assert np.array_equal(read(f"{tmp_path}/with blank{suffix}")[0].astype(np.float32), rows)
    with pytest.raises(ConflictError, match="exists"):
        write(uri, rows)
    assert [path.name for path in tmp_path.iterdir()] == [f"with blank{suffix}"]


def test_globs_in_uris_match_like_paths(tmp_path, rows, write, read):
    (tmp_path / "d").mkdir()
    write(tmp_path / "d" / "a.npy", rows[:50])
    write(tmp_path / "d" / "b.npy", rows[50:])
    for pattern in ("d/*.npy", "*/[ab].npy", "**/*.npy"):
        assert np.array_equal(read(f"{tmp_path.as_uri()}/{pattern}")[0], rows)
    with pytest.raises(NotFoundError):
        read(f"{tmp_path.as_uri()}/*.npy")


def test_uris_that_cannot_be_opened_are_refused(read, tmp_path, rows):
    for uri in ("nothing://x/y.npy", "http://x/y.npy", "://x.npy", "file://relative/x.npy"):
        with pytest.raises(VecstoreError) as caught:
            read(uri)
        assert isinstance(caught.value, InputError | FormatError | NotFoundError)
    with pytest.raises(NotFoundError):
        read(f"{tmp_path.as_uri()}/x.npy")


def test_headers_that_count_rows_need_the_count_on_a_uri(tmp_path, rows, write):
    for suffix in (".npy", ".fbin", ".safetensors", ".vec", ".bin"):
        with pytest.raises(VecstoreError, match="--rows"):
            write(f"{tmp_path.as_uri()}/x{suffix}", rows, counted=False)
    assert list(tmp_path.iterdir()) == []


def test_unknown_extensions_list_the_known_ones(tmp_path, read):
    (tmp_path / "x.jsonl").write_text("{}")
    with pytest.raises(InputError, match=r"extension '.jsonl'.*\.npy"):
        read(tmp_path / "x.jsonl")
    with pytest.raises(InputError, match=r"no extension.*\.npy"):
        open_sink(f"{tmp_path}/x", dim=3)


def test_a_selector_is_refused_where_there_is_nothing_to_select(tmp_path, rows, write, read):
    write(tmp_path / "x.npy", rows)
    with pytest.raises(InputError, match="no named parts"):
        read(f"{tmp_path}/x.npy::train")
    with pytest.raises(InputError, match="no named parts"):
        open_sink(f"{tmp_path}/y.parquet::train", dim=3)
