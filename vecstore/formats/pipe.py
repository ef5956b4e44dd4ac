"""Reads from a pipe that may stay silent, in threads that can be told to end.

A thread that hangs in a read cannot be ended, and one that comes back from it into C++ while the interpreter
ends takes the process down with it.
"""

from __future__ import annotations

import os
import select
import threading
from typing import Any

_WAKES_S = 0.1  # how long a thread goes on after it was told to end

_told = threading.local()


def until(stop: threading.Event) -> None:
    """From now on this thread's reads from pipes end once it is set."""
    _told.stop = stop


class Pipe:
    """A raw stream that is read when there is something to read."""

    def __init__(self, stream: Any) -> None:
        """stream: with read(size); where it has no descriptor that can be waited for, as on Windows, its
        reads take as long as they take."""
        self._stream = stream
        try:
            self._number = -1 if os.name == "nt" else int(stream.fileno())
        except (AttributeError, OSError, ValueError):
            self._number = -1

    def read(self, size: int) -> bytes:
        """At most so many bytes, none at the end; InterruptedError in a thread that was told to end."""
        stop: threading.Event | None = getattr(_told, "stop", None)
        if stop is not None and self._number >= 0:
            while not select.select([self._number], [], [], _WAKES_S)[0]:
                if stop.is_set():
                    raise InterruptedError("the reading was ended")
        found: bytes = self._stream.read(size)
        return found
