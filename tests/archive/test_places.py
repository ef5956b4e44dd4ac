import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from pyarrow import fs

import vecstore as vs
from vecstore.archive import is_archive, places
from vecstore.formats import files

ROWS = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)


def test_a_file_uri_is_the_file(tmp_path):
    path = tmp_path / "a b.arrow"
    uri = path.as_uri()
    vs.compress(ROWS, uri, "f32")
    assert path.exists() and is_archive(uri)
    with vs.open(uri) as archive:
        assert np.array_equal(archive.get([5]), ROWS[[5]])
    with pytest.raises(vs.ConflictError):
        vs.compress(ROWS, uri, "f32")
    vs.compress(ROWS, uri, "sq", force=True)
    vs.decompress(uri, (tmp_path / "b.npy").as_uri())
    assert np.load(tmp_path / "b.npy").shape == (300, 8)


def test_a_remote_archive_is_written_whole_and_read_through_a_copy(tmp_path, monkeypatch):
    # The local file system under another class stands for one that is not local.
    class Remote(fs.SubTreeFileSystem):
        pass

    remote = Remote(str(tmp_path), fs.LocalFileSystem())
    opener = SimpleNamespace(from_uri=lambda uri: (remote, uri.partition("://")[2]))
    monkeypatch.setattr(files, "fs", SimpleNamespace(FileSystem=opener, FileType=fs.FileType))
    vs.compress(ROWS, "far://a.arrow", "pq:m=2")
    assert [path.name for path in tmp_path.iterdir()] == ["a.arrow"]
    assert is_archive("far://a.arrow") and not is_archive("far://gone.arrow")
    assert vs.check("far://a.arrow") == [] and vs.check(tmp_path / "a.arrow") == []
    with vs.open("far://a.arrow") as archive:
        assert len(archive) == 300
    with pytest.raises(vs.ConflictError):
        vs.compress(ROWS, "far://a.arrow", "f32")
    with pytest.raises(vs.InputError):
        vs.compress(np.full((3, 2), np.nan, np.float32), "far://b.arrow", "sq")
    assert [path.name for path in tmp_path.iterdir()] == ["a.arrow"]
    with pytest.raises(vs.NotFoundError):
        vs.open("far://gone.arrow")


def test_an_unknown_scheme_says_so():
    with pytest.raises(vs.VecstoreError, match="nothing://"):
        vs.open("nothing://x/a.arrow")


def test_stdin_that_is_a_file_is_read_in_place(tmp_path):
    vs.compress(ROWS, tmp_path / "a.arrow", "f32")
    code = "import vecstore as vs; print(len(vs.open('-')))"
    with open(tmp_path / "a.arrow", "rb") as file:
        found = subprocess.run([sys.executable, "-c", code], stdin=file, capture_output=True, check=True)
    assert found.stdout == b"300\n"


def test_a_folder_and_a_pipe_are_no_archives(tmp_path):
    assert not is_archive(tmp_path)
    with pytest.raises(vs.InputError):
        vs.open(tmp_path)
    assert places.local_name("plain.arrow") == "plain.arrow"
