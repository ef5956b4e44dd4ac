"""Measurements under a cap on memory, by a control group: page cache counts."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from vecstore.store import Store

_GROUPS = "/sys/fs/cgroup/memory"
_LIMIT = "memory.limit_in_bytes"


def refusal() -> str:
    """Why memory cannot be capped here; empty where it can."""
    if not os.path.exists(os.path.join(_GROUPS, _LIMIT)):
        return "a control group for memory (version 1)"
    if not os.access(_GROUPS, os.W_OK):
        return "the right to make control groups"
    return ""


def measure(cap: int, folder: str, job: Callable[[Callable[[], None]], int]) -> float:
    """Rows a second of a job that gives how many it read, in a child process.

    From when the job calls its argument on, the child may use so much memory, and files of the folder are out
    of it.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            started = [0.0]

            def begin() -> None:
                _forget(folder)
                join(cap)
                started[0] = time.perf_counter()

            rows = job(begin)
            os.write(writing, json.dumps(rows / (time.perf_counter() - started[0])).encode())
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        found = file.read()
    os.waitpid(child, 0)
    leave(child)
    if not found:
        raise RuntimeError("the process under a cap on memory ended early")
    return float(json.loads(found))


def read_at_random(path: str, width: int, batch: int, begin: Callable[[], None]) -> int:
    """Rows of a plain file, their pages asked for side by side and read: what the disk gives."""
    codes = np.memmap(path, np.uint8, "r").reshape(-1, width)
    mapped = codes.base
    while not isinstance(mapped, mmap.mmap):
        mapped = mapped.base  # type: ignore[union-attr]
    mapped.madvise(mmap.MADV_RANDOM)
    rng, done = np.random.default_rng(5), 0
    begin()
    stop = time.monotonic() + 3
    while time.monotonic() < stop:
        numbers = rng.integers(0, len(codes), batch)
        for page in np.unique(numbers * width // mmap.PAGESIZE).tolist():
            mapped.madvise(mmap.MADV_WILLNEED, page * mmap.PAGESIZE, mmap.PAGESIZE)
        np.take(codes, numbers, axis=0, mode="clip")
        done += batch
    return done


def get_at_random(path: str, memory: int | None, asked: list[Any], begin: Callable[[], None]) -> int:
    """Rows of a store all of whose pages have been verified before."""
    done = 0
    with Store.open(path, read_only=True, memory=memory) as store:
        for ids in asked:
            store.get_codes(ids)
        for part in store.view.parts:
            column = part.archive.picks.whole()
            assert column is not None
            column.open(np.arange(part.segment.rows))
            column.forget()
        if (file := store.view.ids.known.file) is not None:
            file.forget()
        begin()
        stop = time.monotonic() + 3
        for ids in asked:
            store.get_codes(ids)
            done += len(ids)
            if time.monotonic() > stop:
                break
    return done


def _forget(folder: str) -> None:
    """Has the system drop what it holds of the files of a folder."""
    subprocess.run(["sync"], check=False)
    for place, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(os.path.join(place, name), os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def _group(process: int) -> str:
    return os.path.join(_GROUPS, f"vecstore-bench-{process}")


def join(cap: int, owner: int | None = None) -> None:
    """Puts this process into a group that may use so many bytes, named after it or its owner."""
    group = _group(os.getpid() if owner is None else owner)
    os.mkdir(group)
    for name, text in ((_LIMIT, str(cap)), ("cgroup.procs", str(os.getpid()))):
        with open(os.path.join(group, name), "w") as file:
            file.write(text)


def leave(process: int) -> None:
    """Removes the group named after a process, where all in it have ended."""
    if os.path.isdir(group := _group(process)):
        os.rmdir(group)
