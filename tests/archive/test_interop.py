"""Archives are Arrow files to everybody else."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest

from vecstore.archive import Archive

N = 2500


@pytest.fixture(params=["numbers", "strings"])
def archive(request, tmp_path, write, columns):
    ids = pa.array(np.arange(N) * 3) if request.param == "numbers" else pa.array([f"k{i}" for i in range(N)])
    write(tmp_path / "a.arrow", "sq:bits=8", ids, columns)
    with Archive(tmp_path / "a.arrow") as archive:
        yield archive


def test_pyarrow_reads_the_columns(archive, columns):
    table = pa.ipc.open_file(archive.path).read_all()
    table.validate(full=True)
    assert table.schema.names == ["id", "code", "lang", "year", "tags"]
    assert table.drop_columns(["id", "code"]).to_pydict() == columns.to_pydict()
    codes = np.frombuffer(b"".join(table["code"].to_pylist()), np.uint8).reshape(N, -1)
    assert np.array_equal(archive.codec.decode(codes), archive.get(table["id"]))
    assert table.schema.metadata[b"vecstore.spec"].decode() == str(archive.spec)


def test_pyarrow_maps_it_without_a_copy(archive):
    with pa.memory_map(archive.path) as mapped:
        table = pa.ipc.open_file(mapped).read_all()
        assert table.num_rows == N
        del table


def test_duckdb_reads_it_through_pyarrow(archive):
    duckdb = pytest.importorskip("duckdb")
    table = pa.ipc.open_file(archive.path).read_all()
    with duckdb.connect() as connection:
        connection.register("items", table)
        question = "select count(*), min(octet_length(code)), sum(year) from items where lang = 'de'"
        found = connection.execute(question).fetchone()
    assert found == (625, 16, sum(i % 30 for i in range(0, N, 4)))


def test_polars_reads_it(archive):
    polars = pytest.importorskip("polars")
    frame = polars.read_ipc(archive.path)
    assert frame.columns == ["id", "code", "lang", "year", "tags"]
    assert frame["year"].to_list() == [i % 30 for i in range(N)]
    assert frame["code"][3] == archive.get_codes(frame["id"][3]).tobytes()
    assert polars.scan_ipc(archive.path).filter(polars.col("lang") == "de").collect().height == 625


def test_polars_reads_blocks(tmp_path, write):
    polars = pytest.importorskip("polars")
    write(tmp_path / "a.arrow", "lossless")
    assert polars.read_ipc(tmp_path / "a.arrow")["id"].to_list() == list(range(N))


def test_the_stream_form_is_an_arrow_stream_to_polars(write):
    polars = pytest.importorskip("polars")
    stream = io.BytesIO()
    write(stream, "sq:bits=8")
    assert polars.read_ipc_stream(io.BytesIO(stream.getvalue())).height == N


def test_extension_types_are_carried(tmp_path, rows, write):
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((N, 2, 2), np.float32))
    columns = pa.record_batch({"box": tensor, "when": pa.array(np.arange(N), pa.timestamp("ms", "UTC"))})
    write(tmp_path / "a.arrow", "f32", None, columns)
    with Archive(tmp_path / "a.arrow") as archive:
        assert archive.check() == []
        back = pa.Table.from_batches([batch.columns for batch in archive.batches()])
        assert back.schema.types == columns.schema.types and back.num_rows == N
