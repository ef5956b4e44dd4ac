"""The seal of a file that changes in place: two small records beside it, of which the later one counts.

A clean record has the xxh3 of the whole file; it is written when a writer closes. A writer that begins puts
an unclean one before it changes a byte, and after each commit one with the commit's number.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

import xxhash

from vecstore.atomic import storage_errors
from vecstore.errors import CorruptError

_RECORD = struct.Struct("<QQ?7xQ16s")  # order, commits, clean, size of the file, its xxh3
_SUM = struct.Struct("<Q")
_SLOT_BYTES = 64
_READ_BYTES = 1 << 24


class Seal(NamedTuple):
    """What is known of a file from outside."""

    order: int  # of records
    number: int  # of commits
    clean: bool
    size: int
    digest: bytes

    def fits(self, path: str) -> bool:
        """Whether the file is the one that was sealed, byte for byte."""
        return os.path.getsize(path) == self.size and digest_of(path) == self.digest


def digest_of(path: str) -> bytes:
    """The xxh3 of a file, 16 bytes."""
    found = xxhash.xxh3_128()
    with open(path, "rb", buffering=0) as file:
        while data := file.read(_READ_BYTES):
            found.update(data)
    return found.digest()


def sealed(path: str, number: int, order: int) -> Seal:
    """A clean seal of a file as it is."""
    return Seal(order, number, True, os.path.getsize(path), digest_of(path))


def write_seal(path: str, seal: Seal, *, durable: bool) -> None:
    """Puts a record into the place of the older of the two; it is whole or does not count."""
    body = _RECORD.pack(*seal)
    slot = (body + _SUM.pack(xxhash.xxh3_64_intdigest(body))).ljust(_SLOT_BYTES, b"\0")
    with storage_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.pwrite(descriptor, slot, seal.order % 2 * _SLOT_BYTES)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_seal(path: str) -> Seal:
    """The later record; CorruptError if there is none that is whole."""
    with storage_errors(path, "read"), open(path, "rb") as file:
        data = file.read(2 * _SLOT_BYTES)
    found = []
    for at in (0, _SLOT_BYTES):
        body, rest = data[at : at + _RECORD.size], data[at + _RECORD.size : at + _RECORD.size + _SUM.size]
        if len(rest) == _SUM.size and xxhash.xxh3_64_intdigest(body) == _SUM.unpack(rest)[0]:
            found.append(Seal(*_RECORD.unpack(body)))
    if not found:
        raise CorruptError(f"{path} is damaged; go back to a copy")
    return max(found)
