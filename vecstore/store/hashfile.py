"""Files of ids: a hash table on disk of every row of some segments. docs/store.md has the layout.

Such a file is derived: it can be thrown away, and is, as soon as anything about it is wrong. Its head is
sealed, its slots are verified page by page, and still a kernel believes nothing that it finds in them.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from vecstore.archive.pages import matches, sums_of
from vecstore.archive.picks import AROUND
from vecstore.atomic import AtomicFile, storage_errors
from vecstore.errors import CorruptError, StorageError
from vecstore.kernels import idbuild, idfile
from vecstore.kernels.simd import zeros_in_lines
from vecstore.store import layout
from vecstore.store.ids import U64
from vecstore.store.versions import sync_names

PAGE_BYTES = 1 << 16
_MAGIC = b"VECHASH\0"
_VERSION = 1
_HEAD = struct.Struct("<8sIIQQQQQ")  # magic, version, words of a key, slots, rows, segments, start, size
_NAME_BYTES = 16
_LINE = struct.Struct(f"<{_NAME_BYTES}sQ")  # of a segment: name, rows
_SEAL_BYTES = 16
_LEAST_SLOTS, _MOST_SLOTS = 64, 1 << 32
_MOST_SEGMENTS = 1 << 23
_RUN_BYTES = 6 * PAGE_BYTES  # whole slots of any size; read and compared, they are in the cache
_PART_BITS, _MOST_PART_BITS = 13, 8  # of slots that are filled at a time; of the number of such parts
_AHEAD = 64  # pages that are asked for before the first of them is waited for
_ALL = np.empty(0, np.bool_)  # pages that are verified, where all are


class DamagedFile(CorruptError):
    """A file of ids that cannot be used: what it is derived from is not damaged."""


@dataclass(frozen=True)
class Entry:
    """A segment that a file knows. name: 32 hexadecimal digits."""

    name: str
    rows: int


class HashFile:
    """An open file of ids; DamagedFile if its head is damaged or foreign, or its version too new."""

    def __init__(self, path: str) -> None:
        self.path = path
        with storage_errors(path, "read"):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._read()
            except BaseException:
                os.close(self._descriptor)
                raise

    def _read(self) -> None:
        self.size = os.fstat(self._descriptor).st_size
        facts = os.pread(self._descriptor, _HEAD.size, 0)
        if len(facts) < _HEAD.size or not facts.startswith(_MAGIC):
            raise DamagedFile(f"{self.path} is no file of ids")
        _, version, self.key_words, slots, self.rows, count, start, size = _HEAD.unpack(facts)
        slot_bytes = 8 * (self.key_words + 1)
        pages = -(-slots * slot_bytes // PAGE_BYTES)
        end = _HEAD.size + count * _LINE.size + 8 * pages
        sound = (
            version == _VERSION
            and self.key_words in (1, 2)
            and _LEAST_SLOTS <= slots < _MOST_SLOTS
            and slots % idfile.BUCKET == 0
            and count < _MOST_SEGMENTS
            and start == -(-(end + _SEAL_BYTES) // PAGE_BYTES) * PAGE_BYTES
            and size == self.size == start + slots * slot_bytes
        )
        head = os.pread(self._descriptor, start, 0) if sound else b""
        seal = head[-_SEAL_BYTES:]
        if len(head) != start or not sound or xxhash.xxh3_128_digest(head[:-_SEAL_BYTES]) != seal:
            raise DamagedFile(f"{self.path} is cut, damaged, or of another version")
        lines = _LINE.iter_unpack(head[_HEAD.size : _HEAD.size + count * _LINE.size])
        self.segments = [Entry(name.hex(), rows) for name, rows in lines]
        self._sums = np.frombuffer(head, "<u8", pages, end - 8 * pages)
        self._start = start
        self.verified = np.zeros(pages, np.bool_)
        self._map = mmap.mmap(self._descriptor, self.size, prot=mmap.PROT_READ)
        self._map.madvise(mmap.MADV_RANDOM)
        self._touched = 0
        words = np.frombuffer(self._map, "<u8", slots * (self.key_words + 1), start)
        self.words: U64 = words.reshape(slots, self.key_words + 1)

    @property
    def is_whole(self) -> bool:
        """Whether it has all rows of its segments; `gc` leaves out those that no version has any more."""
        return int(self.rows) == sum(entry.rows for entry in self.segments)

    def ensure_whole(self) -> None:
        """DamagedFile if the file is shorter by now: reading what is mapped would kill the process."""
        if self._map.size() != self.size:
            raise DamagedFile(f"{self.path} has been cut")

    def verify(self, pages: Iterable[int]) -> None:
        """Compares pages of slots with their checksums; DamagedFile."""
        pages = list(pages)
        for number, page in enumerate(pages):
            if number % _AHEAD == 0 and hasattr(os, "posix_fadvise"):  # Read side by side.
                for ahead in pages[number : number + _AHEAD]:
                    start = self._start + ahead * PAGE_BYTES
                    os.posix_fadvise(self._descriptor, start, PAGE_BYTES, os.POSIX_FADV_WILLNEED)
            at = page * PAGE_BYTES
            size = min(PAGE_BYTES, self.size - self._start - at)
            with storage_errors(self.path, "read"):
                data = os.pread(self._descriptor, size, self._start + at)
            if xxhash.xxh3_64_intdigest(data) != int(self._sums[page]):
                raise DamagedFile(f"{self.path} is damaged: page {page} of its slots is not what was written")
            self.verified[page] = True
        if self.verified.all():
            self.verified = _ALL

    @property
    def runs(self) -> int:
        """How many runs of pages there are for `run`."""
        return len(range(self._start, self.size, _RUN_BYTES))

    def run(self, number: int, buffer: U64 | None = None) -> tuple[int, U64]:
        """(the first slot of a run, its slots (n, w + 1)), which are read anew; DamagedFile if they are not
        what was written. buffer: of a run before, which is overwritten."""
        at = self._start + number * _RUN_BYTES
        data = np.empty(_RUN_BYTES, np.uint8) if buffer is None else buffer.reshape(-1).view(np.uint8)
        data = data[: self.size - at]
        with storage_errors(self.path, "read"):
            done = os.preadv(self._descriptor, [data.data], at)
        sums = self._sums[number * _RUN_BYTES // PAGE_BYTES :]
        if done < len(data) or not all(matches(data, sums)):
            raise DamagedFile(f"{self.path} is damaged: its slots are not what was written")
        slots: U64 = data.view("<u8").reshape(-1, self.key_words + 1)
        return number * _RUN_BYTES // slots.strides[0], slots

    def prefetch(self, keys: U64) -> None:
        """Asks the system for the slots where searches for keys begin, before they are waited for."""
        homes = np.empty(len(keys), np.int64)
        idfile.homes(keys, len(self.words), homes)
        starts = self._start + homes * self.words.strides[0]
        for page in np.unique(starts // mmap.PAGESIZE).tolist():
            self._map.madvise(mmap.MADV_WILLNEED, page * mmap.PAGESIZE, mmap.PAGESIZE)

    def touched(self, keys: int, keep: int) -> None:
        """So many ids were looked for: if their pages are more than is to be kept, they are let go."""
        self._touched += keys * AROUND
        if self._touched > keep:
            self.forget()

    def forget(self) -> None:
        """Lets go of what is mapped of the file."""
        self._touched = 0
        self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Lets go of the file; what is still read of it stays mapped."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        if "words" in self.__dict__:
            self.close()


class Draft:
    """A file of ids that is being written: the slots first, of rows in segments that are told later.

    It is durable before it has its name, so that after a power cut nobody takes it for damaged.
    """

    def __init__(self, root: str, version: int, shape: tuple[int, ...], segments: int) -> None:
        """shape: of the slots (s, w + 1), each with the number of one of so many segments."""
        self._root, self._shape, self._segments = root, shape, segments
        pages = -(-8 * math.prod(shape) // PAGE_BYTES)
        self._sums = np.zeros(pages, np.uint64)
        head = _HEAD.size + segments * _LINE.size + 8 * pages + _SEAL_BYTES
        self._start = -(-head // PAGE_BYTES) * PAGE_BYTES
        path = layout.hash_path(root, version)
        with storage_errors(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        self._file = AtomicFile(path, force=True)

    def write(self, first: int, words: U64) -> None:
        """Writes slots (n, w + 1) from `first` on, where a page begins; they are on their way to the disk."""
        data, file = memoryview(words.data).cast("B"), self._file.file
        place = self._start + first * words.strides[0]
        if file.tell() != place:
            file.seek(place)
        for at in range(0, len(data), _RUN_BYTES):
            run = data[at : at + _RUN_BYTES]
            page, sums = (place - self._start + at) // PAGE_BYTES, sums_of(run)
            self._sums[page : page + len(sums)] = sums
            file.write(run)

    def fill(self, keys: U64) -> bool:
        """Writes all slots: of rows with these keys (n, w) in segment 0. False, and the file is of no use, if
        a key repeats, or if more of them than chance allows fall together.

        Slots are filled part by part: a part stays in the cache until it is summed and written.
        """
        slots, width = self._shape[0], keys.shape[1]
        bits = max(_PART_BITS, slots.bit_length() - _MOST_PART_BITS)
        parts, mean = -(-slots >> bits), len(keys) * (1 << bits) / slots
        bins = np.empty((parts, int(mean + 8 * math.sqrt(mean) + 8), width + 1), np.uint64)
        counts = np.zeros(parts, np.uint64)
        if not idbuild.scatter_for[width](keys, slots, bits, bins, counts):
            return False
        insert = idbuild.insert_for[width]
        buffers = [zeros_in_lines((1 << bits, width + 1), np.uint64) for _ in range(2)]
        begin, over, repeats = buffers[0][:slots], bins[0, :0], 0
        for part in range(parts):
            first = part << bits
            words = buffers[part > 0][: slots - first]
            words.fill(idfile.NO_PLACE)
            left = []
            for entries in (over, bins[part, : int(counts[part])]):
                same, count = insert(first, words, entries, slots)
                repeats += same
                left.append(entries[:count])
            over = np.concatenate(left)
            if part:  # The last ones may come to the first part, which is written when it is full.
                self.write(first, words)
        same, count = insert(slots, begin, over, slots)
        self.write(0, begin)
        return not (repeats or same or count)

    def publish(self, segments: Sequence[Entry], rows: int) -> str:
        """Finishes the file in place of all others, its path. rows: how many slots are taken."""
        slots, words = self._shape
        size = self._start + 8 * slots * words
        facts = (_MAGIC, _VERSION, words - 1, slots, rows, self._segments, self._start, size)
        lines = b"".join(_LINE.pack(bytes.fromhex(segment.name), segment.rows) for segment in segments)
        head = _HEAD.pack(*facts) + lines + self._sums.astype("<u8").tobytes()
        head = head.ljust(self._start - _SEAL_BYTES, b"\0")
        with self._file as file:
            file.file.seek(0)
            file.write(head + xxhash.xxh3_128_digest(head))
        remove([other for other in paths(self._root) if other != file.path])
        return file.path

    def abort(self) -> None:
        """Leaves nothing behind; harmless after `publish`."""
        self._file.abort()


def paths(root: str) -> list[str]:
    """All files of ids, the newest first."""
    try:
        names = os.listdir(os.path.join(root, layout.INDEX))
    except (FileNotFoundError, NotADirectoryError):
        return []
    known = sorted((version, name) for name in names if (version := layout.hash_version(name)) is not None)
    return [os.path.join(root, layout.INDEX, name) for _, name in reversed(known)]


def newest(root: str) -> HashFile | None:
    """The newest file of ids that can be used, open."""
    for path in paths(root):
        with contextlib.suppress(CorruptError, StorageError):
            return HashFile(path)
    return None


def remove(gone: Sequence[str]) -> None:
    """Takes files of ids away for good, if they can be: without them everything can still be read."""
    with contextlib.suppress(OSError):
        for path in gone:
            os.unlink(path)
    if gone:
        with contextlib.suppress(OSError):
            sync_names(os.path.dirname(gone[0]))
