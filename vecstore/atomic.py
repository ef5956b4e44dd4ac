"""Output files that appear under their name complete and durable, or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from vecstore.errors import ConflictError, NotFoundError, StorageError

_BUFFER_BYTES = 1 << 16
_STEP_BYTES = 1 << 23  # that are written before the disk is told to begin with them
# What a file system says that has no nameless files, and what one says that has no hard links.
_NO_TMPFILE = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}


@contextlib.contextmanager
def storage_errors(path: str, verb: str = "write") -> Iterator[None]:
    """Turns an OSError of the block into a StorageError that says path and reason."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise StorageError(f"cannot {verb} {path}: {reason}") from error


def sync_folder(descriptor: int) -> None:
    """Makes the names in an open folder durable, where the mount can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # Some mounts cannot sync folders.
            raise


class AtomicFile:
    """A file under construction: write to `file`, then `commit` publishes it under its name.

    It has no name while it is written (a temporary one where the file system knows no nameless files), so
    that a killed process leaves nothing under `path`. `commit` makes it durable before it can be seen.
    Without `force` an existing file is a ConflictError, at the start and again at the end; with it the old
    file is replaced in one step, and readers that have it open keep the old content. As a context manager
    it commits, or aborts on any exception. Errors of the system are StorageErrors with path and reason; a
    failed fsync is not tried again, since the next one would not say that bytes were lost.
    """

    def __init__(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        self.path = os.fspath(path)
        self._force = force
        self._temporary: str | None = None
        # A link is written through, as by every other program: its target is what is replaced.
        target = os.path.realpath(self.path)
        folder, self._name = os.path.split(target)
        mode = self._check_target(target)
        try:
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFoundError(
                f"cannot write {self.path}: there is no folder {folder}; create it"
            ) from error
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror}") from error
        try:
            with storage_errors(self.path):
                descriptor = self._open(folder)
                if mode is not None:
                    os.fchmod(descriptor, mode)
        except BaseException:
            os.close(self._folder)
            raise
        raw = _Output(descriptor, "wb+")
        raw.target = self.path
        self.file: BinaryIO = cast("BinaryIO", io.BufferedRandom(raw, _BUFFER_BYTES))
        self._open_now = True

    def _check_target(self, target: str) -> int | None:
        """The permissions of the file to be replaced, None where there is none."""
        try:
            found = os.stat(target)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror}") from error
        if not stat.S_ISREG(found.st_mode):
            # Replacing a device or a pipe would take it away from everybody else.
            raise ConflictError(f"{self.path} exists and is no regular file; choose another name")
        if not self._force:
            raise self._exists()
        return stat.S_IMODE(found.st_mode)

    def _exists(self) -> ConflictError:
        return ConflictError(
            f"{self.path} exists; choose another name, or replace it with --force (force=True)"
        )

    def _open(self, folder: str) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        if hasattr(os, "O_TMPFILE"):
            try:
                descriptor = os.open(folder, flags | os.O_TMPFILE, 0o666)
            except OSError as error:
                if error.errno not in _NO_TMPFILE:
                    raise
            else:
                if os.path.exists(f"/proc/self/fd/{descriptor}"):
                    return descriptor
                os.close(descriptor)  # Without /proc a nameless file cannot be given a name.
        self._temporary = self._new_name()
        return os.open(self._temporary, flags | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=self._folder)

    @staticmethod
    def _new_name() -> str:
        return f".vecstore-{secrets.token_hex(8)}.tmp"

    def write(self, data: Any) -> int:
        """Appends bytes; the same as `file.write`."""
        return self.file.write(data)

    def commit(self) -> None:
        """Makes the file durable and gives it its name; ConflictError if another took the name."""
        if not self._open_now:
            return
        try:
            with storage_errors(self.path):
                self.file.flush()
                os.fsync(self.file.fileno())
                self._publish()
                try:
                    sync_folder(self._folder)
                except OSError:
                    # What was not acknowledged should not be found; an old file that it replaced is gone.
                    if not self._force:
                        with contextlib.suppress(OSError):
                            os.unlink(self._name, dir_fd=self._folder)
                    raise
        finally:
            self.abort()

    def _publish(self) -> None:
        if self._temporary is None:
            if self._link(self._name):
                return
            if not self._force:
                raise self._exists()
            self._temporary = self._new_name()
            self._link(self._temporary)
        elif not self._force:
            try:
                os.link(
                    self._temporary,
                    self._name,
                    src_dir_fd=self._folder,
                    dst_dir_fd=self._folder,
                    follow_symlinks=False,
                )
                return
            except FileExistsError as error:
                raise self._exists() from error
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
            # No hard links here (FAT, some network mounts): look, then rename. Two writers may race.
            if os.path.lexists(f"{os.path.dirname(os.path.realpath(self.path))}/{self._name}"):
                raise self._exists()
        os.rename(self._temporary, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._temporary = None

    def _link(self, name: str) -> bool:
        """Gives the nameless file a name; False if the name is taken."""
        try:
            # The folder is passed as the source's, too: only so does Python follow the link in /proc.
            os.link(
                f"/proc/self/fd/{self.file.fileno()}", name, src_dir_fd=self._folder, dst_dir_fd=self._folder
            )
        except FileExistsError:
            return False
        return True

    def abort(self) -> None:
        """Leaves nothing behind; harmless after `commit`."""
        if not self._open_now:
            return
        self._open_now = False
        with contextlib.suppress(OSError):
            # The raw file, so that nothing buffered is written any more.
            cast("io.BufferedRandom", self.file).raw.close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._folder)
        with contextlib.suppress(OSError):
            os.close(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()

    def __del__(self) -> None:
        if getattr(self, "_open_now", False):
            self.abort()


class _Output(io.FileIO):
    """The raw file; its errors say the path, even when a buffer above it writes late."""

    target: str
    _written = _begun = 0

    def write(self, data: Any) -> int:
        """Writes some of the bytes; how many."""
        with storage_errors(self.target):
            done = super().write(memoryview(data).cast("B")[:_STEP_BYTES])
        self._written += done
        if self._written - self._begun >= _STEP_BYTES:
            self._begin()
        return done

    def _begin(self) -> None:
        """Has the disk begin with what was written, so that less is left to wait for in the end."""
        start, self._begun = self._begun, self._written
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):  # What is not to be kept is written now; till then it stays.
                os.posix_fadvise(self.fileno(), start, self._begun - start, os.POSIX_FADV_DONTNEED)
