"""Reading ahead: the next batch is read while the last one is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Generic, TypeVar

from vecstore.formats.pipe import until

T = TypeVar("T")


class _Ahead(Generic[T]):
    """Items that a thread produces, at most `depth` of them before they are asked for."""

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._items = items
        self._ready: queue.Queue[tuple[list[T], BaseException | None]] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._produce, name="vecstore-read", daemon=True)
        self._thread.start()

    def _put(self, found: list[T], error: BaseException | None = None) -> bool:
        while not self._stop.is_set():
            try:
                self._ready.put((found, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _produce(self) -> None:
        until(self._stop)
        try:
            for item in self._items:
                if not self._put([item]):
                    return
            self._put([])
        except BaseException as error:
            self._put([], error)
        finally:
            if isinstance(self._items, Generator):
                self._items.close()  # lets go of files at once, not when it is collected

    def next(self, timeout: float | None = None) -> list[T]:
        """The next item, nothing at the end; queue.Empty, or the error of the producer at its place."""
        found, error = self._ready.get(timeout=timeout)
        if error is not None:
            raise error
        return found

    def close(self, patience_s: float | None = None) -> None:
        """Ends the thread, and waits for it; for so long, since a read may hang that cannot be ended."""
        self._stop.set()
        self._thread.join(patience_s)


def prefetch(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """The same items, produced by a thread that runs up to `depth` of them ahead.

    An error of the producer is raised at its place in the order. Closing the iterator ends the thread.
    """
    ahead = _Ahead(items, depth)
    try:
        while found := ahead.next():
            yield found[0]
    finally:
        ahead.close()


def waking(items: Iterable[T], seconds: float) -> Generator[T | None, None, None]:
    """The same items, and None whenever none has come for so many seconds.

    They may come from far away: after an error a thread that still waits for them is left behind.
    """
    ahead = _Ahead(items, 1)
    try:
        while True:
            try:
                found = ahead.next(seconds)
            except queue.Empty:
                yield None
                continue
            if not found:
                return
            yield found[0]
    finally:
        ahead.close(patience_s=1.0)
