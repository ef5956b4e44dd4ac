"""What Arrow writes to in place of a file: its bytes are counted and summed, or cut into pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import xxhash

from vecstore.archive.seal import PageSums


class Sink:
    """What Arrow asks of a file that it writes to from its beginning to its end."""

    closed = False

    def __init__(self) -> None:
        self._position = 0

    def write(self, data: bytes) -> int:
        """Takes the next bytes."""
        raise NotImplementedError

    def tell(self) -> int:
        """How many bytes there were."""
        return self._position

    def flush(self) -> None:
        """Nothing to do: the file is flushed when it is finished."""

    def close(self) -> None:
        """Nothing to do: the file is closed by whom it belongs to."""

    def writable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """No."""
        return False

    def seekable(self) -> bool:
        """No."""
        return False


class Tape(Sink):
    """Counts and sums the bytes on their way to a file, and holds back the tail."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._pages = PageSums()
        self._head: xxhash.xxh3_128 | None = xxhash.xxh3_128()
        self._held: bytearray | None = None

    def write(self, data: bytes) -> int:
        self._position += len(data)
        if self._held is not None:
            self._held += data
            return len(data)
        if self._head is not None:
            self._head.update(data)
        self._pages.update(data)
        self._file.write(data)
        return len(data)

    def end_head(self) -> str:
        """The hash of all bytes so far."""
        assert self._head is not None
        digest, self._head = self._head.hexdigest(), None
        return digest

    def hold(self) -> bytearray:
        """From now on bytes go into this array and not into the file."""
        self._held = bytearray()
        return self._held

    def sums(self) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        """The checksums of the pages of all bytes before `hold`."""
        return self._pages.sums()


class Pieces(Sink):
    """Hands bytes on in pieces of one size, the last one shorter, so that never more than one is held."""

    def __init__(self, size: int, take: Callable[[bytes], None]) -> None:
        super().__init__()
        self._size, self._take = size, take
        self._piece = bytearray()

    def write(self, data: bytes) -> int:
        view = memoryview(data).cast("B")
        self._position += len(view)
        start = 0
        while start < len(view):
            stop = start + self._size - len(self._piece)
            self._piece += view[start:stop]
            start = stop
            if len(self._piece) == self._size:
                self.end()
        return len(view)

    def end(self) -> None:
        """Hands on what is left."""
        if self._piece:
            self._take(bytes(self._piece))
            self._piece.clear()
