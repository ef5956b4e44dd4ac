"""What commands say and where, when output, names or arguments are awkward."""

import contextlib
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import vecstore as vs
from vecstore.cli.main import main


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def make(n=500, dim=16):
    return np.random.default_rng(0).standard_normal((n, dim)).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", make())
    return tmp_path


def test_columns_with_names_of_our_own_are_renamed_and_it_is_said(folder):
    table = pa.table({"id": ["a", "b"], "word": ["x", "y"], "emb": [[1.0, 2], [3, 4]], "vector": ["p", "q"]})
    pq.write_table(table, "t.parquet")
    noted = run("compress", "t.parquet", "a.arrow", "--codec", "f32", "--ids", "word", "--vectors", "emb")
    assert "carried as 'id_'" in noted.stderr and "carried as 'vector_'" in noted.stderr
    run("decompress", "a.arrow", "b.parquet")
    back = pq.read_table("b.parquet")
    assert back.column_names == ["id", "vector", "id_", "vector_"]
    assert back["id"].to_pylist() == ["x", "y"] and back["id_"].to_pylist() == ["a", "b"]
    table = table.set_column(1, "word", pa.array(["v", "w"]))
    pq.write_table(table, "more.parquet")
    run("compress", "more.parquet", "a.arrow", "--append", "--ids", "word", "--vectors", "emb")
    run("check", "a.arrow")


def test_output_that_cannot_be_written_is_exit_code_6(folder):
    run("compress", "rows.npy", "a.arrow", "--codec", "f32")
    for command in (
        "info a.arrow",
        "cat a.arrow",
        "get a.arrow 3",
        "compress rows.npy - --codec f32",
        "decompress a.arrow -",
    ):
        found = subprocess.run(
            f"{sys.executable} -m vecstore {command} > /dev/full",
            shell=True,
            capture_output=True,
            check=False,
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        )
        assert found.returncode == 6, (command, found.stderr)
        assert found.stderr.startswith(b"Error: ") and len(found.stderr.splitlines()) == 1
    closed = f"exec 1>&-; {sys.executable} -m vecstore compress rows.npy b.arrow --codec f32"
    assert subprocess.run(closed, shell=True, capture_output=True, check=False).returncode in (0, 6)
    assert vs.check("b.arrow") == []


def test_a_negative_seed_is_a_usage_error(folder):
    run("compress", "rows.npy", "a.arrow", "--codec", "f32", "--seed", "-1", code=2)
    with pytest.raises(vs.SpecError):
        vs.fit("f32", make(), seed=1.5)
    with pytest.raises(vs.SpecError):
        vs.fit(None, make())
    with pytest.raises(vs.ShapeError):
        vs.fit("sq", [[1, 2], [3]])


def test_a_closed_archive_says_so(folder):
    run("compress", "rows.npy", "a.arrow", "--codec", "sq")
    archive = vs.open("a.arrow")
    archive.close()
    with vs.open("a.arrow"):
        for use in (lambda: archive.get([3]), lambda: list(archive.scan()), lambda: list(archive.batches())):
            with pytest.raises(vs.StorageError, match="closed"):
                use()


def test_a_terminal_sees_how_far_choosing_and_compressing_are(folder):
    here, there = pty.openpty()
    command = [sys.executable, "-m", "vecstore", "compress", "rows.npy", "a.arrow", "--budget", "40%"]
    environment = {**os.environ, "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=there, env=environment)
    os.close(there)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while piece := os.read(here, 4096):
            shown += piece
    os.close(here)
    assert process.wait() == 0
    assert b"choose" in shown and 0 <= shown.index(b"codecs") < shown.rindex(b"rows")


def test_json_has_no_nan(folder):
    np.save("nan.npy", np.array([[np.nan, 1, np.inf]], np.float32))
    run("compress", "nan.npy", "a.arrow", "--codec", "f32")
    assert json.loads(run("cat", "a.arrow", "--json").stdout)["vector"] == [None, 1.0, None]
    assert json.loads(run("get", "a.arrow", "0", "--json").stdout)["vectors"] == [[None, 1.0, None]]
