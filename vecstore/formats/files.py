"""Where a file is, how its name is read, and its bytes at any offset."""

from __future__ import annotations

import glob
import os
import stat
import threading
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import fs

from vecstore.codecs.parts import MAX_DIM
from vecstore.errors import FormatError, InputError, NotFoundError, StorageError
from vecstore.formats.guard import guard

BATCH_BYTES = 1 << 26  # Batches are cut shorter than asked for where they would be larger than this.


@dataclass(frozen=True)
class Location:
    """A file on some file system, and the part of it that is meant (`file::selector`)."""

    path: str  # as messages name it, without the selector
    where: str  # as the file system names it
    filesystem: Any = None  # pyarrow.fs.FileSystem; None: the local one
    selector: str | None = None

    @property
    def suffix(self) -> str:
        """The extension in lower case, with its dot; empty if there is none."""
        return os.path.splitext(self.where.rstrip("/"))[1].lower()

    def is_folder(self) -> bool:
        """True for a folder that exists."""
        if self.filesystem is None:
            return os.path.isdir(self.where)
        return bool(self.filesystem.get_file_info(self.where).type == fs.FileType.Directory)

    def native(self) -> pa.NativeFile:
        """The open file. NotFoundError, StorageError; InputError for what is no regular file."""
        with guard(self.path):
            if self.filesystem is not None:
                return self.filesystem.open_input_file(self.where)
            if not stat.S_ISREG(os.stat(self.where).st_mode):
                raise InputError(
                    f"{self.path} is no regular file; expected a file that can be read at any offset"
                )
            return pa.OSFile(self.where, "rb")


def locate(path: str) -> Location:
    """Takes `file`, `file::selector` or a URI apart; touches no file system of a URI but to build it."""
    name, mark, selector = path.partition("::")
    if mark and "://" not in path and os.path.exists(path):
        name, selector = path, ""
    if "://" not in name:
        return Location(name, name, None, selector or None)
    try:
        # The signs of a glob, and blanks, are no characters of a URI.
        escaped = name.replace("[", "%5B").replace("]", "%5D").replace(" ", "%20")
        filesystem, where = fs.FileSystem.from_uri(escaped)
    except ImportError as error:
        raise FormatError(f"{name} needs a package that is not installed: {error}") from error
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{name} names no file system that can be opened: {error}") from error
    except OSError as error:
        raise StorageError(f"{name} cannot be reached: {error}") from error
    return Location(name, where, filesystem, selector or None)


def is_pattern(location: Location) -> bool:
    """True for a glob; a file whose name holds the characters of one is taken as that file."""
    if location.filesystem is not None:
        return any(sign in location.where for sign in "*[")
    return glob.has_magic(location.where) and not os.path.lexists(location.where)


def expand(location: Location) -> list[Location]:
    """The files that a glob matches, sorted by name. NotFoundError if there are none."""
    if location.filesystem is None:
        names = sorted(name for name in glob.glob(location.where, recursive=True) if os.path.isfile(name))
        found = [replace(location, path=name, where=name) for name in names]
    else:
        found = _expand_uri(location)
    if not found:
        raise NotFoundError(f"{location.path} matches no file; check the pattern")
    return found


def _expand_uri(location: Location) -> list[Location]:
    parts = location.where.split("/")
    first = next(i for i, part in enumerate(parts) if any(sign in part for sign in "*["))
    pattern = parts[first:]
    base = "/".join(parts[:first])
    with guard(location.path):
        listed = location.filesystem.get_file_info(
            fs.FileSelector(base, allow_not_found=True, recursive=True)
        )
    names = []
    for info in listed:
        tail = info.path[len(base) :].lstrip("/").split("/")
        if info.type == fs.FileType.File and _matches(tail, pattern):
            names.append(info.path)
    # A name with escapes or a query differs from its path; then the path alone is shown.
    prefix = location.path[: max(0, location.path.find("/".join(pattern)))]
    return [
        replace(location, path=prefix + name[len(base) :].lstrip("/"), where=name) for name in sorted(names)
    ]


def _matches(tail: list[str], pattern: list[str]) -> bool:
    """Path segments against glob segments; `**` stands for any number of folders."""
    if not pattern:
        return not tail
    if pattern[0] == "**":
        return any(_matches(tail[skip:], pattern[1:]) for skip in range(len(tail) + 1))
    return bool(tail) and fnmatchcase(tail[0], pattern[0]) and _matches(tail[1:], pattern[1:])


class Bytes:
    """A file's bytes, read at offsets into memory of our own.

    Not mapped: a file that another program cuts while it is mapped kills the reader with SIGBUS, and pages
    that were read would count as this process's memory until they are dropped by hand.
    """

    def __init__(self, location: Location) -> None:
        self.path = location.path
        self._file = location.native()
        self._lock = threading.Lock()  # One position for all threads: seek and read belong together.
        with guard(self.path):
            self.size: int = self._file.size()

    def read(self, offset: int, length: int) -> NDArray[np.uint8]:
        """The bytes [offset, offset + length), writable. InputError if the file ends before."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise InputError(
                f"{self.path} has {self.size} bytes; expected {offset + length} or more: it is cut or damaged"
            )
        out = np.empty(length, np.uint8)
        with guard(self.path), self._lock:
            self._file.seek(offset)
            done = 0
            while done < length:
                got = self._file.readinto(out.data[done:])
                if not got:
                    raise InputError(f"{self.path} ended at byte {offset + done} while it was read")
                done += got
        return out

    def close(self) -> None:
        """Closes the file; harmless if it is closed already."""
        self._file.close()


def check_dim(path: str, dim: int, what: str = "rows") -> None:
    """InputError if dim is not one that rows can have."""
    if not 1 <= dim <= MAX_DIM:
        raise InputError(f"{path}: {what} have {dim} dimensions; expected 1 to {MAX_DIM}")


def fitting_rows(batch_rows: int, row_bytes: int) -> int:
    """How many rows a batch takes: at most batch_rows, at most 64 MiB, at least one."""
    return max(1, min(batch_rows, BATCH_BYTES // max(1, row_bytes)))
