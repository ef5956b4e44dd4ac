"""Rows that cannot be taken are named by file and row, or left out and counted."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vecstore as vs


def rows_of(n=3000, dim=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ("f16", 1e6), ("bf16", 3.4e38), ("pq:m=2", 1e30), ("sq", -3e38), ("center+f32", 2e17),
        ("pca+sq", 1e25), ("rotate+sq:bits=4", 1e20), ("normalize+sq", 1e25), ("center+f16", 1e5),
        ("rotate+normalize+pq:m=2", 1e20),
    ],
)  # fmt: skip
def test_a_row_far_beyond_all_others_is_named_or_left_out(tmp_path, spec, value):
    rows = rows_of()
    codec = vs.fit(spec, rows)
    rows[2345, 3] = value
    np.save(tmp_path / "far.npy", rows)
    with pytest.raises(vs.InputError, match=r"far\.npy: row 2345 .* dimension 3"):
        vs.compress(tmp_path / "far.npy", tmp_path / "a.arrow", codec)
    with pytest.raises(vs.InputError, match=r"row 2345 .* dimension 3"):
        codec.encode(rows)
    summary = vs.compress(tmp_path / "far.npy", tmp_path / "a.arrow", codec, on_error="skip")
    assert summary.skipped == 1 and summary.rows == 2999
    with vs.open(tmp_path / "a.arrow") as archive:
        kept = np.delete(np.arange(3000), 2345)
        assert np.array_equal(archive.get(kept), codec.decode(codec.encode(rows[kept])))


@pytest.mark.parametrize("spec", ["normalize+sq", "center+f32", "rotate+f32", "pca+f16", "f16", "sq"])
def test_large_but_takeable_values_are_taken(spec):
    rows = rows_of() * 100
    codec = vs.fit(spec, rows)
    rows[5] *= 20
    back = codec.decode(codec.encode(rows))
    assert np.isfinite(back).all()
    assert not codec.refused(rows).any()


def test_left_out_rows_do_not_shift_what_is_measured(tmp_path):
    rows = rows_of(200)
    rows[3] = np.nan
    summary = vs.compress(rows, tmp_path / "a.arrow", "sq:bits=4", on_error="skip")
    assert summary.held_out and summary.rows == 199
    from vecstore.formats.base import Batch
    from vecstore.stream.clean import Cleaned

    kept = np.ones(10, bool)
    kept[[0, 4]] = False
    cleaned = Cleaned(Batch(rows[:8], None, None, "x", 0), 20, 30, kept)
    assert cleaned.places(np.array([20, 21, 23, 24, 25, 29])).tolist() == [0, 2, 3, 7]


def test_a_left_out_row_does_not_take_its_id_away(tmp_path):
    rows = rows_of(3)
    rows[0] = np.inf
    summary = vs.compress(rows, tmp_path / "a.arrow", "f16", ids=["a", "b", "a"], on_error="skip")
    assert (summary.rows, summary.skipped) == (2, 1)


def test_appending_another_kind_of_ids_is_refused(tmp_path):
    strings, numbers = tmp_path / "s.arrow", tmp_path / "n.arrow"
    vs.compress(rows_of(20), strings, "f32", ids=[str(i) for i in range(20)])
    vs.compress(rows_of(20), numbers, "f32")
    for path, ids in (
        (strings, list(range(30, 40))),
        (strings, None),
        (numbers, [f"k{i}" for i in range(10)]),
    ):
        with pytest.raises(vs.InputError, match="cannot be appended"):
            vs.compress(rows_of(10), path, append=True, ids=ids)
    assert vs.check(strings) == [] and vs.check(numbers) == []
    vs.compress(rows_of(10), strings, append=True, ids=[f"x{i}" for i in range(10)])
    with pytest.raises(vs.InputError, match="repeats the id 'x3'"):
        vs.compress(rows_of(1), strings, append=True, ids=["x3"])
    assert len(vs.open(strings)) == 30


def test_appending_keeps_metric_and_model(tmp_path):
    path = tmp_path / "a.arrow"
    vs.compress(rows_of(20), path, "f32", metric="cosine", model="one")
    with pytest.raises(vs.InputError, match="all zeros"):
        vs.compress(np.zeros((3, 8), np.float32), path, append=True)
    with pytest.raises(vs.SpecError, match="metric 'cosine'"):
        vs.compress(rows_of(3), path, append=True, metric="l2")
    with pytest.raises(vs.SpaceMismatchError, match="'one'"):
        vs.compress(rows_of(3), path, append=True, model="two")
    summary = vs.compress(rows_of(3), path.as_uri(), append=True, model="one")
    assert (summary.rows, summary.total_rows) == (3, 23) and summary.bytes == path.stat().st_size
    assert vs.open(path).metric == "cosine"


def test_integers_that_float32_does_not_hold_are_counted(tmp_path):
    rows = np.array([[2**24 + 1, 0], [5, 6], [-(2**24) - 3, 2]], np.int32)
    summary = vs.compress(rows, tmp_path / "a.arrow", "lossless")
    assert summary.notes and summary.notes[0].startswith("2 rows")
    exact = vs.compress(rows[1:2].astype(np.float64), tmp_path / "b.arrow", "f32")
    assert exact.notes == ()
    with pytest.raises(vs.InputError, match=r"row 1 .* too large for float32"):
        vs.compress(np.array([[1.0, 2], [3, 1e300]]), tmp_path / "d.arrow", "lossless")
    nan = np.array([[np.nan, 1.5]])
    assert vs.compress(nan, tmp_path / "c.arrow", "f32").notes == ()


@pytest.mark.parametrize("n", [65_536, 65_566, 70_000])
def test_a_pipe_that_just_fills_the_sample_is_measured(tmp_path, n):
    rows = rows_of(n, 8)
    reader = pa.table({"vector": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 8)}).to_reader()
    summary = vs.compress(reader, tmp_path / "a.arrow", "pq:m=2")
    assert summary.measured_rows >= 1000 and 0.01 < summary.relative_mse < 1


def test_ids_of_an_archive_cannot_be_named(tmp_path):
    vs.compress(rows_of(20), tmp_path / "a.arrow", "f32")
    with pytest.raises(vs.SpecError, match="its own ids"):
        vs.compress(tmp_path / "a.arrow", tmp_path / "b.arrow", "f16", ids="other")


def test_a_refused_budget_leaves_no_archive_on_a_pipe(tmp_path):
    import subprocess
    import sys

    ids = [f"{i}" if i < 66_000 else f"{i}" + "x" * 4000 for i in range(70_000)]
    table = pa.table(
        {"id": ids, "vector": pa.FixedSizeListArray.from_arrays(pa.array(rows_of(70_000).ravel()), 8)}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    command = [sys.executable, "-m", "vecstore", "compress", tmp_path / "t.parquet", "-", "--budget", "60%"]
    found = subprocess.run(command, capture_output=True, check=False)
    assert found.returncode == 2 and b"was not kept" in found.stderr
    (tmp_path / "out.arrow").write_bytes(found.stdout)
    with pytest.raises(vs.VecstoreError):
        vs.open(tmp_path / "out.arrow")


@pytest.mark.parametrize("bad", [16.0, "16", 0, -1, 10**12, None, True, [16]])
def test_forged_scalars_of_a_codec_are_corrupt(bad):
    import json

    for spec in (
        "f32",
        "sq",
        "pq:m=2",
        "lossless",
        "center+f16",
        "normalize+sq",
        "pca+sq",
        "rotate+sq",
        "prefix:dim=3+sq",
    ):
        data = vs.dumps(vs.fit(spec, rows_of(50)))
        with pa.ipc.open_stream(data) as reader:
            header = json.loads(reader.schema.metadata[b"vecstore.codec"])
            table = reader.read_all()
        for step in header["steps"]:
            for key in step["config"]:
                if step["config"][key] == bad and type(step["config"][key]) is type(bad):
                    continue
                kept, step["config"][key] = step["config"][key], bad
                sink = pa.BufferOutputStream()
                schema = table.schema.with_metadata({b"vecstore.codec": json.dumps(header).encode()})
                with pa.ipc.new_stream(sink, schema) as writer:
                    writer.write_table(table.cast(schema))
                step["config"][key] = kept
                try:
                    codec = vs.loads(bytes(sink.getvalue()))
                except vs.VecstoreError:
                    continue
                # What loads is as good as any codec.
                if hasattr(codec, "encode"):
                    codec.decode(codec.encode(np.zeros((2, codec.dim), np.float32)))
                else:
                    codec.decode_block(codec.encode_block(np.zeros((2, codec.dim), np.float32)))


def ragged_table(n=40):
    rows = rows_of(n, 4)
    vectors, ids = rows.tolist(), [f"k{i}" for i in range(n)]
    vectors[3], vectors[7] = None, [1.0, 2.0]
    vectors[9][2] = None
    ids[11] = None
    return rows, pa.table({"id": ids, "vector": vectors, "n": list(range(n))})


@pytest.mark.parametrize("kind", ["parquet", "arrow", "glob", "table", "reader"])
@pytest.mark.parametrize("spec", ["f32", "sq", "lossless"])
def test_nulls_and_ragged_rows_of_tables_are_left_out(tmp_path, kind, spec):
    rows, table = ragged_table()
    source = {
        "parquet": tmp_path / "t.parquet",
        "arrow": tmp_path / "t.arrow",
        "glob": str(tmp_path / "*.parquet"),
    }
    pq.write_table(table, tmp_path / "t.parquet")
    with pa.ipc.new_file(str(tmp_path / "t.arrow"), table.schema) as writer:
        writer.write_table(table)

    def opened():
        return source.get(kind) or (table if kind == "table" else table.to_reader())

    with pytest.raises(vs.InputError, match="row 3 "):
        vs.compress(opened(), tmp_path / "a.arrow", spec)
    summary = vs.compress(opened(), tmp_path / "a.arrow", spec, on_error="skip")
    assert (summary.rows, summary.skipped) == (36, 4)
    with vs.open(tmp_path / "a.arrow") as archive:
        kept = [i for i in range(40) if i not in (3, 7, 9, 11)]
        back = archive.get([f"k{i}" for i in kept])
        assert np.abs(back - rows[kept]).max() < (0.2 if spec == "sq" else 1e-9)
        with pytest.raises(vs.NotFoundError):
            archive.get(["k3"])
        carried = pa.concat_arrays([batch.columns.column(0) for batch in archive.batches()])
        assert carried.to_pylist() == kept
    assert vs.check(tmp_path / "a.arrow") == []


def test_row_numbers_stay_those_of_the_source_when_rows_are_left_out(tmp_path):
    rows, table = ragged_table()
    vs.compress(table.drop_columns(["id"]), tmp_path / "a.arrow", "f32", on_error="skip")
    with vs.open(tmp_path / "a.arrow") as archive:
        assert np.array_equal(archive.get([39, 11, 8]), rows[[39, 11, 8]])
        with pytest.raises(vs.NotFoundError):
            archive.get([7])


def text_of(rows, first):
    return [f"w{i} " + " ".join(map(repr, row.tolist())) for i, row in enumerate(rows, first)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("short 1 2", "has 2 values"),
        ("odd 1 2 3 4 5 6 7 0x8", "where a number should be"),
        (b"\xff\xfe 1 2 3 4 5 6 7 8", "not UTF-8"),
        ("nan 1 2 3 4 nan 6 7 8", "dimension 4"),
    ],
)
def test_lines_of_word_vectors_that_cannot_be_read_are_named_or_left_out(tmp_path, line, message):
    rows = rows_of(1500)
    lines = [text.encode() for text in text_of(rows, 0)]
    lines.insert(1200, line if isinstance(line, bytes) else line.encode())
    path = tmp_path / "words.glove"
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(vs.InputError, match=rf"words\.glove: row 1200 .*{message}"):
        vs.compress(path, tmp_path / "a.arrow", "sq")
    summary = vs.compress(path, tmp_path / "a.arrow", "f16", on_error="skip")
    assert (summary.skipped, summary.rows) == (1, 1500)
    with vs.open(tmp_path / "a.arrow") as archive:
        assert np.allclose(archive.get(["w1199", "w1200"]), rows[1199:1201], atol=2e-3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7000,1,2,3", "Expected 9 columns, got 4"),
        ("7000,1,2,3,4,5,6,7,8,9", "Expected 9 columns, got 10"),
        ("7000,1,,3,4,5,6,7,8", "has no value in column 'b'"),
        ("7000,1,x,3,4,5,6,7,8", "row"),
        (",1,2,3,4,5,6,7,8", "has no id"),
    ],
)
def test_rows_of_csv_that_cannot_be_read_are_named_or_left_out(tmp_path, line, message):
    rows = rows_of(1500)
    lines = [f"{i}," + ",".join(map(repr, row.tolist())) for i, row in enumerate(rows)]
    lines.insert(1200, line)
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["id,a,b,c,d,e,f,g,h", *lines]) + "\n")
    with pytest.raises(vs.InputError, match=message):
        vs.compress(path, tmp_path / "a.arrow", "sq", vectors="a,b,c,d,e,f,g,h")
    summary = vs.compress(path, tmp_path / "a.arrow", "f16", vectors="a,b,c,d,e,f,g,h", on_error="skip")
    assert (summary.skipped, summary.rows) == (1, 1500)
    with vs.open(tmp_path / "a.arrow") as archive:
        assert np.allclose(archive.get([1199, 1200]), rows[1199:1201], atol=2e-3)


def test_a_row_longer_than_its_norm_can_say_is_kept_and_counted(tmp_path):
    rows = rows_of()
    codec = vs.fit("normalize+sq", rows)
    rows[2345, 3] = 1e9
    summary = vs.compress(rows, tmp_path / "a.arrow", codec)
    assert summary.saturated == 1 and summary.rows == 3000


@pytest.mark.parametrize(("rows", "message"), [(0, "no rows to write;"), (3, "all 3 were left out;")])
def test_a_source_without_rows_to_write_is_told_from_one_whose_rows_are_all_bad(tmp_path, rows, message):
    bad = np.full((rows, 8), np.nan, np.float32)
    with pytest.raises(vs.InputError, match=message):
        vs.compress(bad, tmp_path / "a.arrow", vs.fit("sq", rows_of(50)), on_error="skip")
    assert not (tmp_path / "a.arrow").exists()
