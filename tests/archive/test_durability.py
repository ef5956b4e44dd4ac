"""Writers that are killed, disks that are full, files that are replaced under a reader."""

from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vecstore.archive import Archive, ArchiveWriter
from vecstore.errors import ConflictError, StorageError
from vecstore.formats.base import Batch
from vecstore.registry import fit

ROOT = Path(__file__).parents[2]
N = 2500


def test_a_reader_keeps_the_file_that_it_opened(tmp_path, write, rows):
    path = tmp_path / "a"
    write(path, "f32")
    with Archive(path) as old:
        scan = old.scan(batch_rows=1000)
        _, first = next(scan)
        with ArchiveWriter(path, fit("f32", rows), card={}, force=True) as writer:
            writer.write(Batch(-rows, None, None, "m", 0))
        rest = [part for _, part in scan]
        assert np.array_equal(np.concatenate([first, *rest]), rows)
        assert np.array_equal(old.get([2000]), rows[2000:2001]) and old.check() == []
        with Archive(path) as new:
            assert np.array_equal(new.get([2000]), -rows[2000:2001])


def test_nothing_appears_before_close(tmp_path, rows):
    with ArchiveWriter(tmp_path / "a", fit("f32", rows), card={}) as writer:
        writer.write(Batch(rows, None, None, "m", 0))
        assert os.listdir(tmp_path) == []
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("spec", ["f32", "lossless"])
def test_an_interrupt_leaves_nothing(tmp_path, rows, spec):
    with pytest.raises(KeyboardInterrupt), ArchiveWriter(tmp_path / "a", fit(spec, rows), card={}) as writer:
        writer.write(Batch(rows, None, None, "m", 0))
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_an_existing_archive_is_not_touched(tmp_path, write, rows):
    write(tmp_path / "a", "f32")
    before = (tmp_path / "a").read_bytes()
    with pytest.raises(ConflictError, match="exists"):
        write(tmp_path / "a", "f32")
    assert (tmp_path / "a").read_bytes() == before


@pytest.mark.parametrize("spec", ["f32", "lossless"])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, write, spec):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, old[1]))
        with pytest.raises(StorageError, match=r"cannot write .*/a: File too large"):
            write(tmp_path / "a", spec)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert os.listdir(tmp_path) == []


def test_a_small_disk_that_is_full_is_said_and_leaves_nothing(tmp_path, write):
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(mounted)]
    if os.getuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        with pytest.raises(StorageError, match="No space left on device"):
            write(mounted / "a", "f32")
        assert os.listdir(mounted) == []
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


class ClosedPipe(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        raise BrokenPipeError(32, "Broken pipe")


def test_a_closed_pipe_stays_a_broken_pipe(write):
    with pytest.raises(BrokenPipeError):
        write(ClosedPipe(), "f32")


WRITER = """
import sys, numpy as np
from vecstore.archive import Archive, ArchiveWriter
from vecstore.formats.base import Batch
from vecstore.registry import fit
rows = np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32)
codec = fit(sys.argv[2], rows)
print("go", flush=True)
for number in range(int(sys.argv[3])):
    if number:
        with ArchiveWriter.append_to(sys.argv[1]) as writer:
            writer.write(Batch(rows, None, None, "m", 0))
    else:
        with ArchiveWriter(sys.argv[1], codec, card={}) as writer:
            for _ in range(10):
                writer.write(Batch(rows, None, None, "m", 0))
"""


@pytest.mark.parametrize("spec", ["f32", "lossless"])
def test_kill_9_while_writing_leaves_nothing_or_a_sound_archive(tmp_path, spec):
    for trial in range(3):
        path = tmp_path / f"a{trial}"
        kill_after(0.03 * trial, path, spec, rounds=1)
        assert os.listdir(tmp_path) in ([], [path.name])
        if path.exists():
            assert Archive.examine(path) == []
            path.unlink()


def test_kill_9_while_appending_leaves_the_old_or_the_new(tmp_path):
    path = tmp_path / "a"
    for trial in range(3):
        kill_after(0.15 + 0.05 * trial, path, "f32", rounds=50)
        assert not path.exists() or (Archive.examine(path) == [] and len(Archive(path)) % 20_000 == 0)
        path.unlink(missing_ok=True)


def kill_after(seconds, path, spec, rounds):
    command = [sys.executable, "-c", WRITER, str(path), spec, str(rounds)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
