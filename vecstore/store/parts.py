"""Segments as they are read: their files, opened when they are needed, and which of their rows are live."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vecstore.archive.reader import Archive
from vecstore.atomic import storage_errors
from vecstore.errors import CorruptError
from vecstore.registry import AnyCodec
from vecstore.search.terms import Decode
from vecstore.store import files, layout
from vecstore.store.manifest import Segment

try:
    import resource
except ImportError:  # No such limits there.
    resource = None  # type: ignore[assignment]

I64 = NDArray[np.int64]
CODES, FINE = "codes", "fine"
_SEGMENT_BYTES = 1 << 20  # of a budget, for each segment that is open
_USUAL_LIMIT = 256  # open files of a process, where the system does not tell


class Pool:
    """Which segments of a store are open: a bound, and who is closed when it is reached.

    A segment that is closed opens again when it is needed, and whoever is reading it goes on. `lock` is held
    by the thread that opens files or changes what is known of ids; in the child of a fork it is a new one.
    """

    def __init__(self, memory: int | None = None) -> None:
        """memory: bytes that codes may take; None where all of a store may be in memory."""
        self.memory = memory
        self.lock = threading.RLock()
        _POOLS.add(self)
        self.cold: set[str] = set()  # kinds of files that are not kept in memory
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else _USUAL_LIMIT
        limit = _USUAL_LIMIT * 256 if limit < 0 else limit
        self.most = max(4, limit // 8)  # segments; each has two files, opened and mapped
        if memory is not None:
            self.most = max(4, min(self.most, memory // _SEGMENT_BYTES))
        self.keep = 0  # bytes of each cold file that may stay mapped
        self.held = limit // 4  # files of which no more than the descriptor is held
        self.closings = 0
        self._open: deque[weakref.ref[SegmentFiles]] = deque()

    def measure(self, codes: int, segments: int) -> None:
        """What is cold in a version of so many bytes and segments: finer rows, and codes if too many."""
        if self.memory is not None:
            self.cold = {FINE} if codes <= self.memory else {CODES, FINE}
            self.keep = self.memory // (4 * max(1, min(segments, self.most)))

    @property
    def at_once(self) -> int:
        """Rows that are taken, and ids that are looked for, at a time: each touches a page or two."""
        return max(64, (self.memory or 0) // (4 * mmap.PAGESIZE)) if CODES in self.cold else 1 << 62

    def note(self, opened: SegmentFiles) -> None:
        """One more is open; the one that has been for longest may be let go."""
        self._open.append(weakref.ref(opened))
        while len(self._open) > self.most:
            if (oldest := self._open.popleft()()) is not None:
                oldest.let_go()
                self.closings += 1


_POOLS: weakref.WeakSet[Pool] = weakref.WeakSet()


def _unlock() -> None:
    for pool in _POOLS:
        pool.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


class SegmentFiles:
    """The files of a segment, whichever version it is read in."""

    def __init__(
        self, root: str, segment: Segment, kind: files.Kind, codecs: dict[str, AnyCodec], pool: Pool
    ) -> None:
        self._kind = kind
        self._root, self._segment, self._codecs, self.pool = root, segment, codecs, pool
        self._archives: dict[str, Archive] = {}
        self._still: weakref.WeakSet[Archive] = weakref.WeakSet()  # and those that somebody reads since
        self._descriptors: dict[str, int] = {}
        self.closed = False
        if pool.held > 1:
            # Held, a file can be read even when it has been collected since.
            self._hold(CODES, layout.segment_path(root, segment.name))
            if segment.fine_codec:
                self._hold(FINE, layout.fine_path(root, segment.name))

    def hold_deletes(self, names: Iterable[str]) -> None:
        """The same for files of deleted rows."""
        for name in names:
            if self.pool.held > 1 and name not in self._descriptors:
                self._hold(name, layout.deletes_path(self._root, name))

    def held(self, kind: str) -> int | None:
        """The descriptor of a file that is held, for whoever closes it."""
        found = self._descriptors.pop(kind, None)
        self.pool.held += found is not None
        return found

    def _hold(self, kind: str, path: str) -> None:
        with storage_errors(path, "read"):
            try:
                self._descriptors[kind] = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except FileNotFoundError as error:
                raise CorruptError(f"{path} is missing; restore it from a copy") from error
        self.pool.held -= 1

    def archive(self, kind: str) -> Archive:
        """An open file; CorruptError unless it is the one that the manifest means."""
        found = self._archives.get(kind)
        if found is None:
            with self.pool.lock:
                found = self._archives.get(kind) or self._opened(kind)
        return found

    def _opened(self, kind: str) -> Archive:
        identity = self._segment.codec if kind == CODES else self._segment.fine_codec
        assert identity is not None
        opener: Callable[..., Archive] = files.open_segment if kind == CODES else files.open_fine
        found = opener(self._root, self._segment, self._codecs[identity], self.held(kind))
        if kind == CODES:
            self._kind.check(found)
        found.picks.cold, found.picks.keep = kind in self.pool.cold, self.pool.keep
        if self.closed:
            found.close()
            return found
        if not self._archives:
            self.pool.note(self)
        self._archives[kind] = found
        self._still.add(found)
        return found

    @property
    def archives(self) -> list[Archive]:
        """Those that are open."""
        return list(self._archives.values())

    def opened(self) -> bool:
        """Whether the codes are open."""
        return CODES in self._archives

    def let_go(self) -> None:
        """Closes the files as soon as nobody reads them any more; they are held as before."""
        for kind, archive in self._archives.items():
            if self.pool.held > 1 and kind not in self._descriptors:
                self._descriptors[kind] = archive.duplicate()
                self.pool.held -= 1
        self._archives = {}

    def close(self) -> None:
        """Closes the files; whoever reads them gets a StorageError."""
        self.closed = True
        for archive in list(self._still):
            archive.close()
        self._release()

    def _release(self) -> None:
        while self._descriptors:
            with contextlib.suppress(OSError):
                os.close(self._descriptors.popitem()[1])
            self.pool.held += 1

    def __del__(self) -> None:
        if "_descriptors" in self.__dict__:
            self._release()


class Part:
    """A segment of a version. Its open files serve later versions too."""

    def __init__(
        self, root: str, segment: Segment, files: SegmentFiles, number: int, known: Part | None = None
    ) -> None:
        """number: one that no other segment has, whichever version it is read in. known: the same segment in
        another version."""
        self.segment = segment
        self.number = number
        self.files = files
        self._root = root
        self._live: NDArray[np.bool_] | None = None
        self._read = 0  # files of deleted rows that `_live` has
        if known is not None and segment.deletes[: known._read] == known.segment.deletes[: known._read]:
            self._live, self._read = known._live, known._read
        files.hold_deletes(deletes.name for deletes in segment.deletes[self._read :])

    def again_as(self, segment: Segment) -> bool:
        """Whether the same files are meant."""
        same = segment == self.segment  # as nearly all are
        return same or replace(segment, deletes=()) == replace(self.segment, deletes=())

    def again(self, segment: Segment) -> Part:
        """The same segment in another version."""
        if segment == self.segment:
            return self
        return Part(self._root, segment, self.files, self.number, self)

    @property
    def archive(self) -> Archive:
        """Codes, ids and carried columns."""
        return self.files.archive(CODES)

    @property
    def fine(self) -> Archive:
        """The finer rows that are kept, or those that there are."""
        return self.archive if self.segment.fine_codec is None else self.files.archive(FINE)

    @property
    def finer(self) -> Decode | None:
        """Decodes the finer rows that are kept, if any."""
        return None if self.segment.fine_codec is None else lambda numbers: self.fine.rows_at(numbers)

    @property
    def live(self) -> NDArray[np.bool_] | None:
        """Whether each row (rows,) is live; None: all are."""
        if not self.knows_live:
            with self.files.pool.lock:
                while not self.knows_live:
                    self._read_next()
        return self._live

    @property
    def known_live(self) -> NDArray[np.bool_] | None:
        """`live` as far as it is known."""
        return self._live

    def _read_next(self) -> None:
        deletes = self.segment.deletes[self._read]
        _ = self.archive  # Only then it is sure that there are so many rows.
        live = np.ones(self.segment.rows, np.bool_) if self._live is None else self._live.copy()
        held = self.files.held(deletes.name)
        live[files.read_deletes(self._root, deletes, self.segment.rows, held)] = False
        self._live = live
        self._read += 1  # at last: others may be looking

    @property
    def knows_live(self) -> bool:
        """Whether `live` can be had without reading a file."""
        return self._read == len(self.segment.deletes)

    def live_rows(self) -> I64:
        """Numbers of rows that are not deleted, ascending."""
        live = self.live
        return np.arange(self.segment.rows) if live is None else np.flatnonzero(live)

    def close(self) -> None:
        """Lets go of the files."""
        self.files.close()
