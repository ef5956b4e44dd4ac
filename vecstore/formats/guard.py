"""The one place where what libraries raise on foreign bytes becomes an error of vecstore."""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from vecstore.errors import InputError, NotFoundError, StorageError, VecstoreError

# What parsers raise on bytes that are not what they expect. A TypeError or an AttributeError is not among
# them: those are faults of ours and must be seen.
_PARSE_ERRORS = (
    ValueError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,  # h5py and zipfile; RecursionError and NotImplementedError are kinds of it
    MemoryError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    pa.ArrowException,
)


@contextmanager
def guard(path: str) -> Iterator[None]:
    """Turns a library's exception into InputError, NotFoundError or StorageError that names path."""
    try:
        yield
    except (VecstoreError, BrokenPipeError):
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"{path} does not exist; check the name") from error
    except OSError as error:
        raise _from_os(path, error) from error
    except _PARSE_ERRORS as error:
        raise InputError(
            f"{path} cannot be read: {_text(error)}; the file is damaged, cut, or of another format"
        ) from error


def _from_os(path: str, error: OSError) -> VecstoreError:
    """pyarrow and h5py report damage as an OSError without a number; the system always gives one."""
    remote = "://" in path and not path.startswith("file://")
    # EINVAL comes of an offset before the file's start, which only a damaged file asks for.
    if (error.errno not in (None, errno.EINVAL)) or remote:
        return StorageError(f"{path}: {error.strerror or _text(error)}")
    return InputError(
        f"{path} cannot be read: {_text(error)}; the file is damaged, cut, or of another format"
    )


def _text(error: BaseException) -> str:
    """The first line of an error, short enough for one line of ours."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


@contextmanager
def write_guard(path: str) -> Iterator[None]:
    """Turns a library's exception while path is written into StorageError or InputError."""
    try:
        yield
    except (VecstoreError, BrokenPipeError):
        raise
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or _text(error)}") from error
    except (ValueError, pa.ArrowException, NotImplementedError) as error:
        raise InputError(f"cannot write {path}: {_text(error)}; choose another format or dtype") from error
