"""Every error that vecstore raises on purpose: one base and its few kinds.

A message says what was found, what was expected, where, and what to do next. Each kind carries the
exit code that the command line ends with.
"""

from __future__ import annotations

from typing import ClassVar


class VecstoreError(Exception):
    """Base of all errors that vecstore raises on purpose."""

    exit_code: ClassVar[int] = 1


class SpecError(VecstoreError, ValueError):
    """A spec or an option that names something unknown or takes an impossible value."""

    exit_code = 2


class BudgetError(VecstoreError, ValueError):
    """A budget that cannot be read or cannot be kept; says the least feasible one."""

    exit_code = 2


class ShapeError(VecstoreError, ValueError):
    """An array of the wrong shape or dtype."""

    exit_code = 3


class InputError(VecstoreError, ValueError):
    """Data that cannot be taken as it is; names the file and the row."""

    exit_code = 3


class NotFoundError(VecstoreError, LookupError):
    """An id, a file, a column or a tensor that is not there."""

    exit_code = 3


class SpaceMismatchError(VecstoreError, ValueError):
    """Rows from another embedding space than the collection's."""

    exit_code = 3


class WidthError(ShapeError, SpaceMismatchError):
    """Rows of another width than the collection's: of the wrong shape, and of another embedding space."""


class CorruptError(VecstoreError):
    """Bytes on disk that are not what was written; names the file and the offset."""

    exit_code = 4


class ConflictError(VecstoreError):
    """Something else is in the way: an output that exists, a lock, another writer."""

    exit_code = 5


class StorageError(VecstoreError, OSError):
    """The operating system failed a read or a write: disk full, no permission, I/O error."""

    exit_code = 6


class FormatError(VecstoreError):
    """A file of a newer format, or one that needs a codec or a package that is not installed."""

    exit_code = 7


def said(error: Exception) -> str:
    """An error in one line; the kind stands before those that vecstore does not raise on purpose."""
    words = " ".join(str(error).split())
    return words if isinstance(error, VecstoreError) else f"{type(error).__name__}: {words}"
