"""Checksums: one per page, and the seal that covers the head and the tail of an archive.

The seal is text of fixed width inside the last batch's metadata,

    VECSTORE-TAIL <tail start, 20 digits> <head end, 20 digits> <head hash> <tail hash>

The hashes are xxh3_128 in 32 hexadecimal digits: of the bytes before the first data batch, and of all
from the tail's start to the end of the file, the tail hash itself taken as zeros. So every byte of Arrow's
own is checked, too, before Arrow reads it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from vecstore.archive.layout import MAGIC, PAGE_BYTES, VERSION_KEY
from vecstore.errors import CorruptError, InputError

Sums = NDArray[np.uint64]

_SEAL = re.compile(rb"VECSTORE-TAIL ([0-9]{20}) ([0-9]{20}) ([0-9a-f]{32}) ([0-9a-f]{32})")
_ZEROS = b"0" * 32
_HEAD_BYTES = 1 << 16
# Between the seal and the end lie the last batch's buffer list and the footer.
_NEAR_BYTES, _FAR_BYTES = 1 << 16, 1 << 26
_MAX_TRIES = 16


@dataclass(frozen=True)
class Seal:
    """Where the parts of an archive lie, in bytes from its start, and the hash of its head."""

    tail_start: int
    head_end: int
    head_hash: str

    def text(self, tail_hash: bytes = _ZEROS) -> bytes:
        """The seal as it stands in the file."""
        return (
            f"VECSTORE-TAIL {self.tail_start:020d} {self.head_end:020d} {self.head_hash} ".encode()
            + tail_hash
        )


class PageSums:
    """Checksums of the pages of bytes that come in pieces."""

    def __init__(self) -> None:
        self._done: list[int] = []
        self._page = xxhash.xxh3_64()
        self._filled = 0

    def update(self, data: bytes | memoryview) -> None:
        """Takes the next bytes."""
        view = memoryview(data).cast("B")
        start = 0
        while start < len(view):
            piece = view[start : start + PAGE_BYTES - self._filled]
            self._page.update(piece)
            self._filled += len(piece)
            start += len(piece)
            if self._filled == PAGE_BYTES:
                self._done.append(self._page.intdigest())
                self._page.reset()
                self._filled = 0

    def sums(self) -> Sums:
        """One xxh3_64 for each page, the last one maybe shorter."""
        last = [self._page.intdigest()] if self._filled else []
        return np.array(self._done + last, np.uint64)


def hash128(data: bytes | memoryview) -> str:
    """xxh3_128 as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


def set_seal(tail: bytearray, seal: Seal) -> None:
    """Writes the tail's hash into the seal that stands in it with zeros."""
    place = tail.index(seal.text())
    digest = hash128(memoryview(tail)).encode()
    tail[place : place + len(seal.text())] = seal.text(digest)


def sealed(tail: bytes, match: re.Match[bytes]) -> bool:
    """Whether the tail, which holds the seal at `match`, is the one that was sealed."""
    hasher = xxhash.xxh3_128()
    start, stop = match.span(4)
    hasher.update(memoryview(tail)[:start])
    hasher.update(_ZEROS)
    hasher.update(memoryview(tail)[stop:])
    return hasher.hexdigest().encode() == match[4]


def seals_in(data: bytes) -> Iterator[re.Match[bytes]]:
    """Everything that looks like a seal, the last first, few in number."""
    # A carried column may be named like a seal; only a true one has the right hash.
    yield from list(_SEAL.finditer(data))[: -_MAX_TRIES - 1 : -1]


def read_seal(match: re.Match[bytes]) -> Seal:
    """The seal at a place."""
    return Seal(int(match[1]), int(match[2]), match[3].decode())


def find_seal(descriptor: int, size: int, path: str) -> tuple[Seal, bytes]:
    """The seal of an open file of `size` bytes and the bytes of its tail, checked.

    Raises InputError if the file is no archive, CorruptError if it is one and is damaged or cut.
    """
    for reach in (_near(descriptor, size), _FAR_BYTES):
        start = max(0, size - reach)
        window = os.pread(descriptor, size - start, start)
        found = False
        for match in seals_in(window):
            found = True
            seal = read_seal(match)
            # The tail grows with the file: 32 bytes a batch and 8 a page. A larger one is a wrong number.
            if not 0 < seal.head_end <= seal.tail_start <= start + match.start():
                continue
            if size - seal.tail_start > _FAR_BYTES + size // 256:
                continue
            tail = os.pread(descriptor, size - seal.tail_start, seal.tail_start)
            within = _SEAL.match(tail, start + match.start() - seal.tail_start)
            if len(tail) == size - seal.tail_start and within and sealed(tail, within):
                return seal, tail
        if found:
            raise CorruptError(
                f"{path} is cut or damaged near its end (its seal does not match); restore it from a copy"
            )
    if head_is_ours(descriptor):
        raise CorruptError(
            f"{path} ends without a seal: it was cut or damaged at the end; restore it from a copy"
        )
    raise InputError(f"{path} is no vecstore archive (make one with 'vecstore compress')")


def head_is_ours(descriptor: int) -> bool:
    """Whether the first bytes are those of an archive, whole or not."""
    head = os.pread(descriptor, _HEAD_BYTES, 0)
    return VERSION_KEY in head and (head.startswith(MAGIC) or head.startswith(b"\xff\xff\xff\xff"))


def tail_is_ours(descriptor: int, size: int) -> bool:
    """Whether something that looks like a seal stands near the end."""
    start = max(0, size - _near(descriptor, size))
    return any(True for _ in seals_in(os.pread(descriptor, size - start, start)))


def _near(descriptor: int, size: int) -> int:
    """How far from the end the seal should be, by the length of the footer that the last bytes tell."""
    end = os.pread(descriptor, 10, max(0, size - 10))
    footer = int.from_bytes(end[:4], "little") if end[4:] == MAGIC[:6] else 0
    return min(footer + _NEAR_BYTES, _FAR_BYTES)
