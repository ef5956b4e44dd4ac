"""Files that appear complete or not at all."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vecstore import atomic
from vecstore.atomic import AtomicFile
from vecstore.errors import ConflictError, NotFoundError, StorageError

ROOT = Path(__file__).parent.parent


@pytest.fixture(params=["nameless", "named", "no links"])
def any_mount(request, monkeypatch):
    """File systems with nameless files, without them, and without hard links, too."""
    if request.param == "nameless" and not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no nameless files")
    if request.param != "nameless":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    if request.param == "no links":

        def refuse(*args, **kwargs):
            raise OSError(errno.EPERM, "no hard links")

        monkeypatch.setattr(os, "link", refuse)


def test_a_file_appears_at_commit_and_not_before(tmp_path, any_mount):
    path = tmp_path / "out"
    with AtomicFile(path) as file:
        file.write(b"one ")
        file.file.write(b"two")
        assert not path.exists()
    assert path.read_bytes() == b"one two"
    assert os.listdir(tmp_path) == ["out"]


def test_an_exception_leaves_nothing(tmp_path, any_mount):
    with pytest.raises(KeyboardInterrupt), AtomicFile(tmp_path / "out") as file:
        file.write(b"x" * 3_000_000)
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_an_existing_file_is_refused_at_the_start(tmp_path, any_mount):
    (tmp_path / "out").write_text("old")
    with pytest.raises(ConflictError, match=r"out exists.*--force"):
        AtomicFile(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "old"


def test_a_name_taken_meanwhile_is_refused_at_the_end(tmp_path, any_mount):
    file = AtomicFile(tmp_path / "out")
    file.write(b"new")
    (tmp_path / "out").write_text("other")
    with pytest.raises(ConflictError, match="exists"):
        file.commit()
    assert (tmp_path / "out").read_text() == "other"
    assert os.listdir(tmp_path) == ["out"]


def test_force_replaces_in_one_step_and_keeps_permissions(tmp_path, any_mount):
    path = tmp_path / "out"
    path.write_text("old")
    path.chmod(0o640)
    with path.open() as reader:
        with AtomicFile(path, force=True) as file:
            file.write(b"new")
            assert path.read_text() == "old"
        assert reader.read() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["out"]


def test_force_takes_a_free_name_too(tmp_path, any_mount):
    with AtomicFile(tmp_path / "out", force=True) as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == ["out"]


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    with AtomicFile(tmp_path / "link", force=True) as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_devices_and_folders_are_never_replaced(tmp_path):
    for path in ("/dev/null", tmp_path):
        with pytest.raises(ConflictError, match="no regular file"):
            AtomicFile(path, force=True)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"no folder .*gone; create it"):
        AtomicFile(tmp_path / "gone" / "out")


def test_a_folder_that_cannot_be_written_is_a_storage_error():
    with pytest.raises(StorageError, match="cannot write /proc/vecstore: "):
        AtomicFile("/proc/vecstore")


def test_commit_and_abort_can_be_repeated(tmp_path):
    file = AtomicFile(tmp_path / "out")
    file.commit()
    file.commit()
    file.abort()
    assert (tmp_path / "out").read_bytes() == b""
    file = AtomicFile(tmp_path / "other")
    file.abort()
    file.commit()
    assert not (tmp_path / "other").exists()


def test_a_forgotten_file_leaves_nothing(tmp_path, any_mount):
    AtomicFile(tmp_path / "out").write(b"x")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_a_storage_error_that_says_so(tmp_path, any_mount):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, old[1]))
        with pytest.raises(StorageError, match=r"cannot write .*out: File too large"):
            with AtomicFile(tmp_path / "out") as file:
                for _ in range(10):
                    file.write(b"x" * 1_000_000)
        assert os.listdir(tmp_path) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("fails", ["write", "fsync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_system_errors_become_storage_errors(tmp_path, monkeypatch, fails, code):
    def broken(*args):
        raise OSError(code, os.strerror(code))

    file = AtomicFile(tmp_path / "out")
    if fails == "fsync":
        monkeypatch.setattr(atomic.os, "fsync", broken)
    else:
        monkeypatch.setattr(atomic._Output, "write", lambda self, data: _through(self, broken))
    file.write(b"x")
    with pytest.raises(StorageError, match=f"cannot write .*out: {os.strerror(code)}"):
        file.commit()
    assert os.listdir(tmp_path) == []


def _through(output, broken):
    with atomic.storage_errors(output.target):
        broken()


@pytest.mark.parametrize("named", [False, True])
def test_kill_9_at_any_moment_leaves_nothing_or_the_whole(tmp_path, named):
    code = f"""
import os, sys
{"del os.O_TMPFILE" if named else ""}
from vecstore.atomic import AtomicFile
print("go", flush=True)
with AtomicFile(sys.argv[1]) as file:
    for _ in range(400):
        file.write(bytes(100_000))
"""
    for trial in range(4):
        path = tmp_path / f"out{trial}"
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.012 * trial)
            child.send_signal(signal.SIGKILL)
        assert not path.exists() or path.stat().st_size == 40_000_000
