"""What libraries and the system raise becomes an error of ours, of the right kind."""

from __future__ import annotations

import errno
import os

import pyarrow as pa
import pytest

from vecstore.errors import InputError, NotFoundError, StorageError
from vecstore.formats.guard import guard, write_guard


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (FileNotFoundError(errno.ENOENT, "gone"), NotFoundError),
        (NotADirectoryError(errno.ENOTDIR, "a file"), NotFoundError),
        (PermissionError(errno.EACCES, "Permission denied"), StorageError),
        (OSError(errno.EIO, "Input/output error"), StorageError),
        (OSError(errno.EINVAL, "Invalid argument"), InputError),
        (OSError("Unexpected end of stream"), InputError),
        (pa.ArrowInvalid("bad"), InputError),
        (pa.lib.ArrowMemoryError("malloc of size 1 failed"), InputError),
        (MemoryError(), InputError),
        (RecursionError("too deep"), InputError),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), InputError),
        (EOFError(), InputError),
    ],
)
def test_an_error_while_reading_gets_its_kind_and_the_path(raised, kind):
    with pytest.raises(kind, match=r"x\.npy") as caught, guard("x.npy"):
        raise raised
    assert caught.value.__cause__ is raised


def test_errors_of_ours_and_of_a_closed_pipe_pass():
    for error in (
        NotFoundError("id 3"),
        BrokenPipeError(errno.EPIPE, "closed"),
        TypeError("a fault of ours"),
    ):
        for block in (guard, write_guard):
            with pytest.raises(type(error)) as caught, block("x.npy"):
                raise error
            assert caught.value is error


def test_a_remote_file_system_that_fails_is_no_bad_input():
    with pytest.raises(StorageError), guard("s3://bucket/x.npy"):
        raise OSError("When reading information for key: AWS Error NETWORK_CONNECTION")


def test_a_full_disk_is_a_storage_error():
    with pytest.raises(StorageError, match="No space left"), write_guard("x.npy"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path, read):
    os.mkfifo(tmp_path / "x.npy")
    with pytest.raises(InputError, match="no regular file"):
        read(tmp_path / "x.npy")
    (tmp_path / "y.npy").mkdir()
    with pytest.raises(NotFoundError, match="folder without Parquet files"):
        read(tmp_path / "y.npy")


def test_a_file_without_permission_is_a_storage_error(tmp_path, read):
    (tmp_path / "x.npy").write_bytes(b"")
    (tmp_path / "x.npy").chmod(0)
    if os.access(tmp_path / "x.npy", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(StorageError, match="Permission denied"):
        read(tmp_path / "x.npy")


def test_a_full_disk_leaves_no_file_and_no_complaint(tmp_path, rows, monkeypatch):
    from vecstore import atomic
    from vecstore.formats import Batch, open_sink
    from vecstore.formats.registry import WRITERS

    def full(self, data):
        raise StorageError("cannot write: No space left on device")

    monkeypatch.setattr(atomic._Output, "write", full)
    for suffix in sorted(set(WRITERS) - {".pt", ".pth", ".h5", ".hdf5", ".hdf"}):
        with pytest.raises(StorageError, match="No space left"):
            with open_sink(f"{tmp_path}/x{suffix}", dim=6) as sink:
                sink.write(Batch(rows, None, None, "memory", 0))
    assert os.listdir(tmp_path) == []
