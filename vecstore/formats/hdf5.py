"""HDF5 data sets of two dimensions, read slab by slab; h5py is an optional package."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import BFLOAT16
from vecstore.errors import FormatError, InputError, NotFoundError
from vecstore.formats.base import Batch, RowLayout
from vecstore.formats.files import Location, check_dim, fitting_rows
from vecstore.formats.fit import fit
from vecstore.formats.guard import guard
from vecstore.formats.matrix import FileSource, check_real, native
from vecstore.formats.writing import FileSink

_CHUNK_LIMIT = 1 << 28  # HDF5 unpacks a chunk as a whole.
_WRITTEN_CHUNK = 1 << 20
_TAKE_GAP = 64


def _h5py(path: str) -> ModuleType:
    try:
        import h5py
    except ImportError as error:
        raise FormatError(f"{path} is HDF5, which needs h5py: pip install 'vecstore[hdf5]'") from error
    return h5py  # type: ignore[no-any-return]


class Hdf5Source(FileSource):
    """The rows of the data set behind `::`, else of the only one with two dimensions."""

    def __init__(self, location: Location) -> None:
        """NotFoundError for a name, InputError for damage, FormatError without h5py."""
        self.path = location.path
        h5py = _h5py(self.path)
        self._native = location.native()
        self._file = h5py.File(self._native, "r")
        self._set = _chosen(self._file, h5py, location)
        shape, dtype = self._set.shape, self._set.dtype
        if shape is None or len(shape) != 2:
            raise InputError(f"{self.path}: {self._set.name} has shape {shape}; expected (rows, dimensions)")
        check_real(self.path, dtype, self._set.name)
        if self._set.is_virtual or self._set.external:
            # HDF5 gives zeros for a part whose file is missing, without a word.
            raise InputError(f"{self.path}: {self._set.name} lies in other files; copy it into one file")
        check_dim(self.path, shape[1])
        if self._set.chunks and math.prod(self._set.chunks) * dtype.itemsize > _CHUNK_LIMIT:
            raise InputError(
                f"{self.path}: {self._set.name} has chunks {self._set.chunks}; they are too large"
            )
        if shape[0] and self._set.chunks and not self._set.id.get_num_chunks():
            raise InputError(f"{self.path}: {self._set.name} has {shape[0]} rows of which none was written")
        self.rows, self.dim = shape
        self.dtype = dtype.newbyteorder("=")

    def _batches(self, batch_rows: int) -> Iterator[Batch]:
        step = fitting_rows(batch_rows, self.dim * self.dtype.itemsize)
        for first in range(0, self._set.shape[0], step):
            rows = native(self._set[first : min(first + step, self._set.shape[0])])
            yield Batch(rows, None, None, self.path, first)

    def take(self, numbers: NDArray[np.int64]) -> NDArray[Any] | None:
        """The rows with these ascending numbers, (n, dim); None for chunks, of which each would be "
        "unpacked."""
        if self._set.chunks:
            return None
        out = np.empty((len(numbers), self.dim), self.dtype)
        cuts = np.flatnonzero(np.diff(numbers) > _TAKE_GAP) + 1
        longest = fitting_rows(1 << 14, self.dim * self.dtype.itemsize)
        with guard(self.path):
            for part in np.split(np.arange(len(numbers)), cuts):
                for i in range(0, len(part), longest):
                    run = part[i : i + longest]
                    low, high = int(numbers[run[0]]), int(numbers[run[-1]])
                    out[run] = self._set[low : high + 1][numbers[run] - low]
        return out

    def close(self) -> None:
        """Closes the file."""
        with guard(self.path):
            self._file.close()
        self._native.close()


def _chosen(file: Any, h5py: ModuleType, location: Location) -> Any:
    found: dict[str, Any] = {}

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None and len(item.shape) == 2:
            found[name] = item

    if location.selector is not None:
        item = file.get(location.selector)
        if isinstance(item, h5py.Dataset):
            return item
    file.visititems(look)
    listed = ", ".join(sorted(found)[:20]) or "none"
    if location.selector is not None:
        raise NotFoundError(
            f"{location.path} has no data set {location.selector!r}; two-dimensional: {listed}"
        )
    if len(found) != 1:
        raise InputError(
            f"{location.path} has {len(found)} two-dimensional data sets: {listed}; name one as file::name"
        )
    return next(iter(found.values()))


class _Patient:
    """A file for HDF5, which must never hear of a full disk: it crashes the process when it closes after it.

    A failed write is kept in `error` and passed off as done; `settle` raises it.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.error: OSError | None = None

    def settle(self) -> None:
        """Raises what went wrong."""
        if self.error is not None:
            raise self.error

    def _attempt(self, work: Callable[[], Any], otherwise: Any) -> Any:
        """What work gives; `otherwise` after the first error."""
        if self.error is None:
            try:
                return work()
            except OSError as error:
                self.error = error
        return otherwise

    def seek(self, place: int, whence: int = 0) -> int:
        """Moves, or seems to."""
        return int(self._attempt(lambda: self._file.seek(place, whence), place))

    def tell(self) -> int:
        """Where it stands."""
        return int(self._attempt(self._file.tell, 0))

    def write(self, data: bytes) -> int:
        """Writes all of data, or seems to."""
        self._attempt(lambda: self._file.write(data), None)
        return len(data)

    def truncate(self, size: int) -> int:
        """Sets the size, or seems to."""
        self._attempt(lambda: self._file.truncate(size), None)
        return size

    def flush(self) -> None:
        """Hands buffers on, or seems to."""
        self._attempt(self._file.flush, None)

    def read(self, size: int = -1) -> bytes:
        """The bytes at the place; after an error none."""
        return bytes(self._attempt(lambda: self._file.read(size), b""))

    def readinto(self, target: memoryview) -> int:
        """Fills target, after an error with zeros: what is read then is thrown away."""
        target[:] = self.read(len(target)).ljust(len(target), b"\0")
        return len(target)


class Hdf5Sink(FileSink):
    """An HDF5 file with one data set, `vector` or the name behind `::`, under Fletcher-32 checksums."""

    holds_ids = False
    holds_columns = False

    def _begin(self, file: BinaryIO, layout: RowLayout) -> None:
        h5py = _h5py(self.path)
        wide = layout.dtype == BFLOAT16 or layout.dtype.itemsize > 8
        self._dtype = np.dtype(np.float32) if wide else layout.dtype
        # HDF5 goes back and forth while it writes; a target that cannot is given a finished file.
        self._spool = None if self._output.seekable else tempfile.TemporaryFile()
        self._patient = _Patient(self._spool or file)
        self._file = h5py.File(self._patient, "w")
        rows = max(1, _WRITTEN_CHUNK // (layout.dim * self._dtype.itemsize))
        self._set = self._file.create_dataset(
            self._output.selector or "vector",
            shape=(0, layout.dim),
            maxshape=(None, layout.dim),
            dtype=self._dtype,
            chunks=(rows, layout.dim),
            fletcher32=True,
        )

    def _append(self, batch: Batch) -> None:
        self._set.resize(self.count + len(batch), axis=0)
        self._set[self.count :] = fit(batch, self._dtype)
        self._patient.settle()

    def _finish(self) -> None:
        self._file.close()
        self._patient.settle()
        if self._spool is not None:
            self._spool.seek(0)
            while data := self._spool.read(_WRITTEN_CHUNK):
                self._output.file.write(data)
            self._spool.close()

    def _drop(self) -> None:
        self._file.close()
        if self._spool is not None:
            self._spool.close()
