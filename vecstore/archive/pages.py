"""Checked reading of an archive's bytes: each page is verified before anything of it is used."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator

import numpy as np
import xxhash
from numpy.typing import NDArray

from vecstore.archive.layout import PAGE_BYTES
from vecstore.archive.seal import Sums
from vecstore.atomic import storage_errors
from vecstore.errors import CorruptError, StorageError

Bytes = NDArray[np.uint8]

_RUN_BYTES = 8 * PAGE_BYTES  # that are read before they are verified: they are in the cache then
_AHEAD = 64  # pages that are asked for before the first of them is waited for


def matches(data: Bytes, sums: Sums) -> list[bool]:
    """Whether each page of some bytes matches its checksum; the last page may be shorter."""
    found = sums_of(data.data)
    return [one == wanted for one, wanted in zip(found, sums[: len(found)].tolist(), strict=True)]


def sums_of(data: memoryview) -> list[int]:
    """The checksum of each page of some bytes; the last page may be shorter."""
    return [xxhash.xxh3_64_intdigest(data[at : at + PAGE_BYTES]) for at in range(0, len(data), PAGE_BYTES)]


class PageFile:
    """The bytes [0, stop) of an open file under one checksum per page.

    Runs of bytes are read (`read`), which nothing can turn into a crash; single rows all over the file are
    taken from a mapping (`mapped`), whose size is compared with the file's before each use.
    """

    def __init__(self, path: str, descriptor: int, stop: int, sums: Sums) -> None:
        self.path = path
        self._descriptor = descriptor
        self.closed = False
        self._size = os.fstat(descriptor).st_size
        self._stop = stop
        self.sums = sums
        self.verified = np.zeros(len(sums), np.bool_)  # a page each
        self._map: mmap.mmap | None = None
        self._view: Bytes | None = None

    def read(self, start: int, stop: int, buffer: Bytes | None = None, anew: bool = False) -> Bytes:
        """The bytes [start, stop), verified; in `buffer` if one is given that is long enough. anew: even
        those that have been verified before."""
        if not 0 <= start <= stop <= self._stop:
            raise CorruptError(
                f"{self.path} refers to bytes {start} to {stop}; it has rows up to {self._stop}"
            )
        first, last = start // PAGE_BYTES, -(-stop // PAGE_BYTES)
        page_start, page_stop = first * PAGE_BYTES, min(last * PAGE_BYTES, self._stop)
        need = page_stop - page_start
        if buffer is None or len(buffer) < need:
            buffer = np.empty(need, np.uint8)
        buffer = buffer[:need]
        if not anew and self.verified[first:last].all():
            self._fill(buffer, page_start)
        else:
            for at in range(0, need, _RUN_BYTES):
                run = buffer[at : at + _RUN_BYTES]
                self._fill(run, page_start + at)
                for page, same in enumerate(matches(run, self.sums[first + at // PAGE_BYTES :])):
                    if not same:
                        raise self.damaged(first + at // PAGE_BYTES + page)
            self.verified[first:last] = True
        return buffer[start - page_start : stop - page_start]

    def _fill(self, buffer: Bytes, start: int) -> None:
        self.check_open()
        done, view = 0, buffer.data
        while done < len(view):
            with storage_errors(self.path, "read"):
                got = os.preadv(self._descriptor, [view[done:]], start + done)
            if got == 0:
                raise self._shrunk()
            done += got

    def damaged(self, page: int) -> CorruptError:
        """The error for a page whose checksum does not match."""
        start = page * PAGE_BYTES
        stop = min(start + PAGE_BYTES, self._stop)
        return CorruptError(
            f"{self.path} is damaged: bytes {start} to {stop - 1} do not match their checksum; "
            "restore it from a copy"
        )

    def damages(self, start: int, stop: int) -> Iterator[str]:
        """Reads the pages of the bytes [start, stop) anew; says which are damaged."""
        buffer = np.empty(PAGE_BYTES, np.uint8)
        for page in range(start // PAGE_BYTES, -(-stop // PAGE_BYTES)):
            try:
                self.read(page * PAGE_BYTES, min((page + 1) * PAGE_BYTES, self._stop), buffer, anew=True)
            except CorruptError as error:
                self.verified[page] = False
                yield str(error)

    def check_open(self) -> None:
        """StorageError if it is closed."""
        # The descriptor's number may be another file's by now.
        if self.closed:
            raise StorageError(f"{self.path} is closed; open it again")

    def _shrunk(self) -> CorruptError:
        found = os.fstat(self._descriptor).st_size
        return CorruptError(
            f"{self.path} had {self._size} bytes when opened and has {found} now; open it again"
        )

    def mapped(self) -> Bytes:
        """The whole file, mapped; what is read of it must have been verified by `ensure`."""
        self.check_open()
        size = os.fstat(self._descriptor).st_size if self._map is None else self._map.size()
        if size != self._size:
            raise self._shrunk()  # Reading a mapping beyond the end would kill the process.
        if self._view is None:
            with storage_errors(self.path, "map"):
                self._map = mmap.mmap(self._descriptor, self._size, prot=mmap.PROT_READ)
                # Single rows: what stands around them would only push other pages out of memory.
                self._map.madvise(mmap.MADV_RANDOM)
            self._view = np.frombuffer(self._map, np.uint8)
        return self._view

    def ensure(self, starts: NDArray[np.int64], width: int) -> None:
        """Verifies the pages of the bytes [start, start + width) for each of the starts."""
        pages = self._unverified(starts, width).tolist()
        for first in range(0, len(pages), _AHEAD):
            some = pages[first : first + _AHEAD]
            if len(some) > 1:
                self._ask(some)
            for page in some:
                self.read(page * PAGE_BYTES, min((page + 1) * PAGE_BYTES, self._stop))

    def _ask(self, pages: list[int]) -> None:
        """Has the system read pages side by side that are waited for one by one."""
        if hasattr(os, "posix_fadvise"):
            for page in pages:
                os.posix_fadvise(self._descriptor, page * PAGE_BYTES, PAGE_BYTES, os.POSIX_FADV_WILLNEED)

    def prefetch(self, starts: NDArray[np.int64], width: int) -> None:
        """Has the system read the bytes [start, start + width) for each of the starts, side by side.

        Through a mapping, what is not in memory is waited for one by one.
        """
        self.mapped()
        assert self._map is not None
        if not len(starts):
            return
        ends = (starts + max(width, 1) - 1) // mmap.PAGESIZE
        pages = np.unique(np.concatenate([starts // mmap.PAGESIZE, ends]))
        breaks = np.flatnonzero(np.diff(pages) > 1) + 1
        runs = zip(pages[np.r_[0, breaks]].tolist(), pages[np.r_[breaks - 1, -1]].tolist(), strict=True)
        for first, last in runs:
            self._map.madvise(mmap.MADV_WILLNEED, first * mmap.PAGESIZE, (last - first + 1) * mmap.PAGESIZE)

    def _unverified(self, starts: NDArray[np.int64], width: int) -> NDArray[np.int64]:
        if self.verified.all() or len(starts) == 0:
            return np.empty(0, np.int64)
        first, last = starts // PAGE_BYTES, (starts + max(width, 1) - 1) // PAGE_BYTES
        steps = range(int((last - first).max()) + 1)
        pages = np.unique(np.concatenate([np.minimum(first + step, last) for step in steps]))
        found: NDArray[np.int64] = pages[~self.verified[pages]]
        return found

    def forget(self) -> None:
        """Lets go of the pages of the mapping, which are mapped again when they are needed."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)

    def release(self, start: int, stop: int) -> None:
        """Tells the system that the bytes [start, stop) need not stay in memory."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, start, stop - start, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Unmaps the file; the descriptor is the caller's."""
        self._view = None
        if self._map is not None:
            with contextlib.suppress(BufferError):  # A view is still in use; it unmaps when that goes.
                self._map.close()
            self._map = None
