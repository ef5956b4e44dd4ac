"""A thread that waits for a silent pipe ends when it is told to, and so does an interrupted command."""

import io
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pytest

from vecstore.formats import pipe
from vecstore.stream.prefetch import prefetch

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes cannot be waited for there")


def chunks(stream):
    while data := stream.read(4):
        yield data


def test_a_thread_that_waits_for_a_silent_pipe_ends():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as source, os.fdopen(writing, "wb", 0) as sink:
        ahead = prefetch(chunks(pipe.Pipe(source)))
        sink.write(b"abcd")
        assert next(ahead) == b"abcd"
        before = threading.active_count()
        started = time.monotonic()
        ahead.close()
        assert time.monotonic() - started < 5 and threading.active_count() == before - 1


def test_a_pipe_gives_what_there_is_and_its_end():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as source:
        with os.fdopen(writing, "wb", 0) as sink:
            sink.write(b"abcdef")
        assert list(prefetch(chunks(pipe.Pipe(source)))) == [b"abcd", b"ef"]
    assert list(prefetch(chunks(pipe.Pipe(io.BytesIO(b"abcdef"))))) == [b"abcd", b"ef"]
    assert list(chunks(pipe.Pipe(io.BytesIO(b"abc")))) == [b"abc"]


def test_an_interrupted_command_does_not_wait_for_its_input(tmp_path):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(80, dtype=np.float32)), 8)
    records, begun = pa.record_batch({"vector": vectors}), io.BytesIO()
    with pa.ipc.new_stream(begun, records.schema) as writer:
        writer.write_batch(records)
        command = [sys.executable, "-m", "vecstore", "compress", "-", str(tmp_path / "x"), "--codec", "f16"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdin.write(begun.getvalue())
        child.stdin.flush()
    time.sleep(4)
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=30) == 130  # its input is still open
    assert b"nothing was left behind" in child.communicate()[1]
    assert list(tmp_path.iterdir()) == []
