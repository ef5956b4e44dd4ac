"""What is written into an archive is what comes out of it."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vecstore.archive import Archive, ArchiveWriter, is_archive, layout
from vecstore.archive import ids as ids_module
from vecstore.codecs.base import BlockCodec
from vecstore.errors import (
    ConflictError,
    CorruptError,
    FormatError,
    InputError,
    NotFoundError,
    ShapeError,
    SpecError,
)
from vecstore.formats.base import Batch
from vecstore.kernels.threads import set_threads
from vecstore.registry import fit

ROOT = Path(__file__).parents[2]
SPECS = ["f32", "sq:bits=4", "normalize+sq:bits=8", "lossless"]
N = 2500


def id_kinds():
    rng = np.random.default_rng(1)
    return {
        "none": None,
        "row numbers": pa.array(np.arange(N)),
        "shuffled": pa.array(rng.permutation(N)),
        "ascending": pa.array(np.arange(N) * 1000 - 5),
        "sparse": pa.array(rng.choice(np.iinfo(np.int64).max, N)),
        "strings": pa.array([f"ключ-{i}" for i in rng.permutation(N)]),
    }


def expected(spec, rows):
    codec = fit(spec, rows)
    return rows if isinstance(codec, BlockCodec) else codec.decode(codec.encode(rows))


@pytest.mark.parametrize("kind", id_kinds())
@pytest.mark.parametrize("spec", SPECS)
def test_rows_ids_and_columns_come_back(tmp_path, write, rows, columns, spec, kind):
    ids, want = id_kinds()[kind], expected(spec, rows)
    names = np.arange(N) if ids is None else ids.to_numpy(zero_copy_only=False)
    ledger = write(tmp_path / "a", spec, ids, columns)
    assert ledger.total == (tmp_path / "a").stat().st_size
    with Archive(tmp_path / "a") as archive:
        assert len(archive) == N and archive.dim == rows.shape[1] and archive.metric == "ip"
        assert archive.spec == archive.codec.spec and archive.format_version == 1
        assert archive.ledger() == ledger
        some = np.random.default_rng(2).integers(0, N, 400)
        assert np.array_equal(archive.get(names[some]), want[some])
        scanned = list(archive.scan(batch_rows=600))
        assert [len(part) for _, part in scanned] == [600, 600, 600, 600, 100]
        assert np.array_equal(np.concatenate([part for _, part in scanned]), want)
        assert np.array_equal(np.concatenate([part for part, _ in scanned]), names)
        parts = list(archive.batches(300))
        assert np.array_equal(np.concatenate([part.rows for part in parts]), want)
        assert [part.first for part in parts[:3]] == [0, 300, 512]
        carried = pa.Table.from_batches([part.columns for part in parts])
        assert carried.to_pydict() == columns.to_pydict()
        assert archive.check() == []


@pytest.mark.parametrize("ids", [7, np.int32(7), [7], (7,), np.array([7]), np.uint8([7]), pa.array([7])])
def test_ids_are_taken_in_any_form(tmp_path, write, rows, ids):
    write(tmp_path / "a", "f32")
    with Archive(tmp_path / "a") as archive:
        assert np.array_equal(archive.get(ids), rows[7:8])
        assert np.array_equal(archive.get_codes(ids).view(np.float32), rows[7:8])


@pytest.mark.parametrize("ids", ["k7", np.str_("k7"), ["k7"], np.array(["k7"]), pa.array(["k7"])])
def test_strings_are_taken_in_any_form(tmp_path, write, rows, ids):
    write(tmp_path / "a", "f32", pa.array([f"k{i}" for i in range(N)]))
    with Archive(tmp_path / "a") as archive:
        assert np.array_equal(archive.get(ids), rows[7:8])


def test_no_ids_give_no_rows(tmp_path, write):
    write(tmp_path / "a", "f32", pa.array([f"k{i}" for i in range(N)]))
    with Archive(tmp_path / "a") as archive:
        assert archive.get([]).shape == (0, 16) and archive.get_codes([]).shape == (0, 64)


def test_strings_with_the_same_hash_are_told_apart(tmp_path, write, rows, monkeypatch):
    monkeypatch.setattr(ids_module, "_hashes", lambda ids: np.full(len(ids), 5, np.uint64))
    names = pa.array([f"k{i}" for i in range(N)])
    write(tmp_path / "a", "f32", names)
    with Archive(tmp_path / "a") as archive:
        assert np.array_equal(archive.get(["k3", "k2499", "k0"]), rows[[3, 2499, 0]])
        with pytest.raises(NotFoundError):
            archive.get("k2500")


@pytest.mark.parametrize("kind", ["none", "shuffled", "sparse", "strings"])
def test_the_first_unknown_id_is_named(tmp_path, write, kind):
    ids = id_kinds()[kind]
    write(tmp_path / "a", "f32", ids)
    known = 0 if ids is None else ids[0].as_py()
    wrong = ["nope", "nada"] if kind == "strings" else [-9, -8]
    with (
        Archive(tmp_path / "a") as archive,
        pytest.raises(NotFoundError, match=f"has no id {wrong[0]!r} .nor 1"),
    ):
        archive.get([known, *wrong])


@pytest.mark.parametrize(
    "wrong", ["7", [7, "7"], 1.5, np.array([1.0]), True, None, b"7", np.zeros((2, 2), int), 2**70]
)
def test_ids_of_another_kind_are_refused(tmp_path, write, wrong):
    write(tmp_path / "a", "f32")
    with Archive(tmp_path / "a") as archive, pytest.raises(InputError):
        archive.get(wrong)


def test_numbers_are_refused_where_ids_are_strings(tmp_path, write):
    write(tmp_path / "a", "f32", id_kinds()["strings"])
    with Archive(tmp_path / "a") as archive, pytest.raises(InputError, match="strings for ids; 3 is a int"):
        archive.get(["x", 3])


def test_an_empty_archive_is_sound(tmp_path, rows):
    with ArchiveWriter(tmp_path / "a", fit("sq:bits=8", rows), card={}) as writer:
        pass
    with Archive(tmp_path / "a") as archive:
        assert len(archive) == 0 and archive.check() == [] and list(archive.scan()) == []
        assert writer.close().total == (tmp_path / "a").stat().st_size
        assert archive.get([]).shape == (0, 16)
        with pytest.raises(NotFoundError):
            archive.get(0)


@pytest.mark.parametrize("spec", ["sq:bits=8", "lossless"])
def test_batches_have_one_power_of_two_of_rows(tmp_path, write, spec):
    write(tmp_path / "a", spec)
    reader = pa.ipc.open_file(tmp_path / "a")
    sizes = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
    assert sizes == [0, 512, 512, 512, 512, 452, 0]


@pytest.mark.parametrize("spec", SPECS)
def test_bytes_do_not_depend_on_threads_or_on_how_rows_come(tmp_path, write, spec, columns):
    try:
        for index, (threads, step) in enumerate([(1, 700), (3, 64), (2, N)]):
            set_threads(threads)
            write(tmp_path / str(index), spec, None, columns, step=step)
    finally:
        set_threads(0)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int8"])
@pytest.mark.parametrize("spec", ["f32", "lossless"])
def test_any_real_dtype_is_taken(tmp_path, dtype, spec):
    rows = np.arange(9600).reshape(600, 16).astype(dtype)
    with ArchiveWriter(tmp_path / "a", fit(spec, rows), card={"dtype": dtype}) as writer:
        writer.write(Batch(rows, None, None, "m", 0))
    with Archive(tmp_path / "a") as archive:
        assert np.array_equal(archive.get(np.arange(600)), rows.astype(np.float32))
        assert archive.card == {"dtype": dtype, "dim": 16}


def test_the_ledger_counts_what_is_there(tmp_path, write, columns):
    ids = pa.array([f"k{i:05}" for i in range(N)])
    ledger = write(tmp_path / "a", "normalize+sq:bits=8", ids, columns)
    assert ledger.codes == N * 16 and ledger.side == N * 2 and ledger.index == 0
    assert ledger.ids == N * 6 + 4 * (N + 5)
    plain = write(tmp_path / "b", "normalize+sq:bits=8", ids)
    assert plain.carried == 0 and 0 < plain.format < 6000
    assert ledger.total - plain.total == pytest.approx(ledger.carried, rel=0.05)


def test_the_stream_form_holds_the_same(tmp_path, write, rows, columns):
    stream = io.BytesIO()
    ledger = write(stream, "sq:bits=8", None, columns)
    assert ledger.total == len(stream.getvalue())
    (tmp_path / "a").write_bytes(stream.getvalue())
    assert Archive.examine(tmp_path / "a") == [] and is_archive(tmp_path / "a")
    with Archive(tmp_path / "a") as archive:
        assert np.array_equal(archive.get([5, 2000]), expected("sq:bits=8", rows)[[5, 2000]])
    stream.seek(0)
    assert pa.ipc.open_stream(stream).read_all().num_rows == N


def test_an_archive_comes_through_a_pipe(write, rows):
    stream = io.BytesIO()
    write(stream, "f32")
    code = """
import sys
from vecstore.archive import Archive
sys.stdout.buffer.write(Archive('-').get([9]).tobytes())
"""
    whole = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, input=stream.getvalue(), capture_output=True
    )
    assert whole.stdout == rows[9].tobytes(), whole.stderr
    cut = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, input=stream.getvalue()[:-99], capture_output=True
    )
    assert b"CorruptError: stdin is cut or damaged near its end" in cut.stderr


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("with_ids", [False, True])
def test_an_archive_can_be_continued(tmp_path, write, rows, columns, spec, with_ids):
    ids = pa.array([f"k{i}" for i in range(2 * N)]) if with_ids else None
    path = tmp_path / "a"
    write(path, spec, ids[:N] if ids else None, columns)
    with Archive(path) as old:
        with ArchiveWriter.append_to(path) as writer:
            assert pa.chunked_array(list(writer.previous.ids())).length() == N
            for start in range(0, N, 900):
                part = slice(start, start + 900)
                more = None if ids is None else ids[N:][part]
                writer.write(Batch(rows[part], more, columns.slice(start, 900), "m", start))
        assert writer.close().total == path.stat().st_size
        assert np.array_equal(old.get(old.ids().__next__()[:3]), expected(spec, rows)[:3])
    with Archive(path) as archive:
        assert archive.check() == [] and len(archive) == 2 * N
        both = np.concatenate([part for _, part in archive.scan()])
        assert np.array_equal(both, np.tile(expected(spec, rows), (2, 1)))
        assert archive.has_row_number_ids == (not with_ids)
    reader = pa.ipc.open_file(path)
    assert {reader.get_batch(i).num_rows for i in range(1, reader.num_record_batches - 2)} == {512}


def test_continuing_gives_the_bytes_of_one_pass(tmp_path, write, rows, columns):
    write(tmp_path / "half", "sq:bits=8", None, columns)
    with ArchiveWriter.append_to(tmp_path / "half") as writer:
        writer.write(Batch(rows, None, columns, "m", 0))
    with ArchiveWriter(
        tmp_path / "whole", fit("sq:bits=8", rows), card={"metric": "ip"}, columns=columns.schema
    ) as writer:
        writer.write(Batch(rows, None, columns, "m", 0))
        writer.write(Batch(rows, None, columns, "m", 0))
    assert (tmp_path / "half").read_bytes() == (tmp_path / "whole").read_bytes()


def test_two_cannot_continue_one_archive_at_a_time(tmp_path, write, rows):
    path = tmp_path / "a"
    write(path, "f32")
    first = ArchiveWriter.append_to(path)
    with pytest.raises(ConflictError, match="is being appended to"):
        ArchiveWriter.append_to(path)
    write(path, "f32", force=True)
    with pytest.raises(ConflictError, match="was replaced"):
        first.close()
    with Archive(path) as archive:
        assert len(archive) == N
    assert os.listdir(tmp_path) == ["a"]


def test_archives_are_pickled_by_path(tmp_path, write, rows, monkeypatch):
    write(tmp_path / "a", "f32")
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(Archive("a"))
    monkeypatch.chdir("/")
    assert np.array_equal(pickle.loads(data).get([3]), rows[3:4])


def test_an_open_archive_works_after_a_fork(tmp_path, write, rows):
    write(tmp_path / "a", "f32", id_kinds()["strings"])
    code = """
import os, sys, numpy as np
from vecstore.archive import Archive
archive = Archive(sys.argv[1])
names = [name for part in archive.ids() for name in part.to_pylist()]
want = archive.get(names[:50])
children = []
for start in (0, 1000, 2000):
    child = os.fork()
    if child == 0:
        same = np.array_equal(archive.get(names[:50]), want)
        same &= len(archive.get(names[start:])) == 2500 - start
        os._exit(0 if same and archive.check() == [] else 1)
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
assert np.array_equal(archive.get(names[:50]), want)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "a")], cwd=ROOT, check=True)


def test_a_codec_without_row_codes_has_none_to_give(tmp_path, write):
    write(tmp_path / "a", "lossless")
    with Archive(tmp_path / "a") as archive, pytest.raises(SpecError, match="block by block; use get"):
        archive.get_codes([1])


def test_code_batches_hold_the_codes(tmp_path, write, rows):
    write(tmp_path / "a", "sq:bits=8")
    with Archive(tmp_path / "a") as archive:
        parts = list(archive.code_batches())
        assert [part.first for part in parts] == [0, 512, 1024, 1536, 2048]
        assert np.array_equal(np.concatenate([part.codes for part in parts]), archive.codec.encode(rows))
        assert np.array_equal(archive.get_codes(np.arange(N)), archive.codec.encode(rows))


def test_what_does_not_fit_is_refused(tmp_path, rows, columns):
    codec = fit("f32", rows)
    text, numbers = pa.array(["x"] * 5), pa.array([1, 2, None, 3, 4])
    with pytest.raises(InputError, match="ids are double"):
        ArchiveWriter(tmp_path / "a", codec, card={}, id_type=pa.float64())
    with pytest.raises(InputError, match="column 'code' cannot be carried"):
        ArchiveWriter(tmp_path / "a", codec, card={}, columns=pa.schema([("code", pa.int8())]))
    nested = pa.list_(pa.dictionary(pa.int8(), pa.string()))
    with pytest.raises(InputError, match="column 'x' has a dictionary inside"):
        ArchiveWriter(tmp_path / "a", codec, card={}, columns=pa.schema([("x", nested)]))
    with pytest.raises(ShapeError, match="the card says dim 3"):
        ArchiveWriter(tmp_path / "a", codec, card={"dim": 3})
    writer = ArchiveWriter(tmp_path / "a", codec, card={}, columns=columns.schema)
    for batch, message in [
        (Batch(rows[:5], text, columns.slice(0, 5), "in", 0), "ids from in are string; expected int64"),
        (Batch(rows[:5], numbers, columns.slice(0, 5), "in", 10), "row 12 of in has no id"),
        (Batch(rows[:5], numbers[:2], columns.slice(0, 5), "in", 10), "5 rows from in have 2 ids"),
        (Batch(rows[:5], None, None, "in", 0), "carry ..; expected the columns"),
        (Batch(rows[:5], None, columns.slice(0, 4), "in", 0), "carry 4 values a column"),
        (Batch(rows[:5, :3], None, columns.slice(0, 5), "in", 0), "expected a real dtype"),
    ]:
        with pytest.raises((InputError, ShapeError), match=message):
            writer.write(batch)
    writer.abort()
    with ArchiveWriter(tmp_path / "b", codec, card={}, id_type=pa.string()) as writer:
        with pytest.raises(InputError, match="rows from in have no ids"):
            writer.write(Batch(rows[:5], None, None, "in", 0))
        writer.write(Batch(rows[:5], pa.array(list("abcde"), pa.large_string()), None, "in", 0))
    assert os.listdir(tmp_path) == ["b"]


def test_a_missing_or_foreign_file_is_told_apart(tmp_path, write):
    with pytest.raises(NotFoundError, match="there is no file"):
        Archive(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InputError, match="no regular file"):
            Archive(path)
        assert not is_archive(path)
    (tmp_path / "text").write_text("hello " * 99)
    (tmp_path / "empty").write_text("")
    plain = pa.table({"id": [1], "code": [b"x"]})
    with pa.ipc.new_file(tmp_path / "plain", plain.schema) as writer:
        writer.write_table(plain)
    for name in ("text", "empty", "plain"):
        with pytest.raises(InputError, match="is no vecstore archive"):
            Archive(tmp_path / name)
        assert not is_archive(tmp_path / name)


def test_a_newer_format_is_refused_by_name(tmp_path, write, monkeypatch):
    monkeypatch.setattr(layout, "TIERED", 4)
    write(tmp_path / "a", card={"tiers": [4]})
    with pytest.raises(FormatError, match="a has format 4; this vecstore reads 1 to 3"):
        Archive(tmp_path / "a")


def test_a_codec_that_is_not_installed_still_lets_the_file_be_described(tmp_path, write, monkeypatch):
    write(tmp_path / "a", "sq:bits=8")

    def missing(data):
        raise FormatError("this needs the codec 'new', which is not installed")

    monkeypatch.setattr("vecstore.archive.reader.loads", missing)
    with Archive(tmp_path / "a") as archive:
        assert len(archive) == N and archive.ledger().codes == N * 16
        with pytest.raises(FormatError, match="'new'"):
            archive.get([1])


def test_a_codec_of_another_width_is_noticed(tmp_path, write, rows, monkeypatch):
    write(tmp_path / "a", "sq:bits=8")
    monkeypatch.setattr("vecstore.archive.reader.loads", lambda data: fit("f32", rows))
    with Archive(tmp_path / "a") as archive, pytest.raises(CorruptError, match="not fixed_size_binary"):
        archive.get([1])
