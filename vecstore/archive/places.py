"""Where an archive lies: a path, a pipe, or a URI, opened as a local descriptor."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
import tempfile
from collections.abc import Callable

from pyarrow import fs

from vecstore.archive.seal import head_is_ours, tail_is_ours
from vecstore.atomic import storage_errors
from vecstore.errors import InputError, NotFoundError, VecstoreError
from vecstore.formats.files import Location, locate

_COPY_BYTES = 1 << 20
_LOOK_BYTES = 1 << 16  # enough to tell an archive by its head


def open_descriptor(path: str) -> int:
    """A descriptor of the archive; what cannot be sought in is first kept in a nameless file.

    Checksums stand at the end: only whole can an archive be verified before any row is given out.
    """
    if path == "-":
        return _seekable(os.dup(sys.stdin.fileno()), "stdin")
    location = _remote(path)
    if location is not None:
        with location.native() as file:
            return _spool(lambda: bytes(file.read(_COPY_BYTES)), path)
    try:
        # Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
        descriptor = os.open(local_name(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}") from error
    except OSError as error:
        with storage_errors(path, "read"):
            raise error
    return regular(path, descriptor)


def regular(path: str, descriptor: int) -> int:
    """The open descriptor if it is of a regular file; closes it and raises InputError otherwise."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise InputError(f"{path} is no regular file, so no vecstore archive ('-' reads one from stdin)")


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a file, by path or URI, is an archive or its stream form, be it damaged or cut."""
    path = os.fspath(path)
    try:
        location = _remote(path)
        if location is None:
            descriptor = os.open(local_name(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        else:
            with location.native() as file, tempfile.TemporaryFile() as head:
                head.write(file.read(_LOOK_BYTES))
                head.flush()
                return head_is_ours(head.fileno())
    except (OSError, VecstoreError):
        return False
    try:
        return head_is_ours(descriptor) or tail_is_ours(descriptor, os.fstat(descriptor).st_size)
    except OSError:  # A folder, a pipe.
        return False
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> bool:
    """Keeps others from locking the same file until it is closed; False if one has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # A mount without locks; whoever locks has a second guard.
        pass
    return True


def unlock(descriptor: int) -> None:
    """Lets others lock it, though a process that was forked meanwhile has it open still."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def local_name(path: str) -> str:
    """The path that a file:// URI names; any other path as it is."""
    if "://" not in path:
        return path
    location = locate(path)
    return location.where if isinstance(location.filesystem, fs.LocalFileSystem) else path


def _remote(path: str) -> Location | None:
    """The place of a URI on another file system than the local one."""
    if "://" not in path:
        return None
    location = locate(path)
    return None if isinstance(location.filesystem, fs.LocalFileSystem) else location


def _seekable(descriptor: int, path: str) -> int:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    try:
        return _spool(lambda: os.read(descriptor, _COPY_BYTES), path)
    finally:
        os.close(descriptor)


def _spool(read: Callable[[], bytes], path: str) -> int:
    with storage_errors(f"a temporary copy of {path}"), tempfile.TemporaryFile() as copy:
        while data := read():
            copy.write(data)
        copy.flush()
        return os.dup(copy.fileno())
