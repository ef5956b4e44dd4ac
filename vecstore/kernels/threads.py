"""One setting for all threads, and the splitting of a call's rows over them."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from queue import SimpleQueue
from typing import TypeVar

import numpy as np

from vecstore.errors import SpecError
from vecstore.kernels.waiting import await_flags

T = TypeVar("T")

_threads = 0
_here = threading.local()
_beside: list[None] = []  # one for each thread that does work for `beside`


def set_threads(threads: int) -> None:
    """How many threads a call may use from now on in this process; 0 means one for each processor."""
    global _threads
    if threads < 0:
        raise SpecError(f"threads is {threads}; expected 0 (one for each processor) or more")
    _threads = threads


def get_threads() -> int:
    """How many threads a call uses."""
    if _threads:
        return _threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _pool(threads: int, pid: int) -> ThreadPoolExecutor:
    # The process id is part of the key: a pool does not survive a fork.
    return ThreadPoolExecutor(threads, thread_name_prefix="vecstore")


class _Crew:
    """Threads that run what is sent to them. Lighter than an executor, whose futures take longer than many a
    kernel."""

    def __init__(self) -> None:
        self._todo: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._count = 0
        self._lock = threading.Lock()

    def send(self, count: int, run: Callable[[], None]) -> Callable[[], None]:
        """So many threads run it, which raises nothing; waits, when this is called, until they are done."""
        with self._lock:
            for _ in range(count - self._count):
                threading.Thread(target=self._work, name="vecstore", daemon=True).start()
            self._count = max(self._count, count)
        done: SimpleQueue[None] = SimpleQueue()
        flags = np.zeros(count, np.int64)

        def job(at: int) -> None:
            run()
            done.put(None)
            flags[at] = 1

        for at in range(count):
            self._todo.put(partial(job, at))

        def wait() -> None:
            await_flags(flags)
            for _ in range(count):
                done.get()

        return wait

    def _work(self) -> None:
        while True:
            self._todo.get()()


@lru_cache(maxsize=1)
def _crew(pid: int) -> _Crew:
    # The process id is part of the key: threads do not survive a fork.
    return _Crew()


def beside(work: Callable[[], T]) -> Callable[[], T]:
    """Begins work on another thread, where more than one may be used; else it is done when it is asked for.

    What this gives waits for the result and raises what the work did.
    """
    if (threads := get_threads()) == 1 or getattr(_here, "busy", False):
        return work

    def run() -> T:
        try:
            return work()
        finally:
            _beside.pop()

    _beside.append(None)
    return _pool(threads, os.getpid()).submit(run).result


def spread(rows: int, block_rows: int, work: Callable[[int, int], None]) -> None:
    """Calls work(start, stop) for blocks of `block_rows` rows, on all threads; waits for all of them.

    Work must depend on its own rows alone. If blocks fail, the error of the first of them is raised, so
    that the same input gives the same message on any number of threads. Called by such work, it goes on in
    that thread.
    """
    starts = range(0, rows, block_rows)
    # A thread of the pool that waited for the pool could wait for ever.
    if len(starts) < 2 or getattr(_here, "busy", False) or (threads := get_threads()) == 1:
        for start in starts:
            work(start, min(start + block_rows, rows))
        return
    # Each thread takes the next block when it is done with one; this thread is one of them, since to wake
    # another takes as long as many a block.
    turn, errors = itertools.count(), dict[int, BaseException]()

    def run() -> None:
        _here.busy = True
        try:
            while (at := next(turn)) < len(starts):
                try:
                    work(starts[at], min(starts[at] + block_rows, rows))
                except BaseException as error:
                    errors[at] = error
        finally:
            _here.busy = False

    # Threads with other work would come to this when it is done with, and be waited for.
    others = max(0, min(threads - len(_beside), len(starts)) - 1)
    wait = _crew(os.getpid()).send(others, run)
    run()
    wait()
    if errors:
        raise errors[min(errors)]
