"""Rows of one size that change in place: blocks of them in LMDB, for tables larger than memory.

A block is 1,024 rows. LMDB checks nothing, and damaged pages of its tree can end a process, so a file is
held against its seal (`blockseal.py`) before LMDB sees it; after a crash, when there is no seal, a process of
its own looks at all of it first (`blockcheck.py`). The xxh3 of each block is kept apart from it, and checked
when a block is first looked at. What lies here is the state of a training, not a collection.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

import lmdb
import numpy as np
from numpy.typing import NDArray

from vecstore.archive.places import lock
from vecstore.atomic import storage_errors
from vecstore.errors import ConflictError, CorruptError, NotFoundError, ShapeError, SpecError, StorageError
from vecstore.kernels import gather
from vecstore.store.blockcheck import DATA, MAP_BYTES, SEAL, Contents, check_apart, lmdb_errors
from vecstore.store.blockseal import Seal, read_seal, sealed, write_seal

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

BLOCK_BITS = 10  # of a row's number: its place in a block
BLOCK_ROWS = 1 << BLOCK_BITS
_LOCK = "writer.lock"


class Blocks:
    """Rows (n, row_bytes) uint8 by number. One process writes at a time; readers stay at their snapshot.

    Rows that were never put are zeros. What was put is seen at once by whoever put it, by others and after a
    crash once `commit` has returned. A process opens a folder once at a time, and not before a fork.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        """Opens what `create` made. NotFoundError, CorruptError, FormatError for a newer one, ConflictError
        while another process writes."""
        self.path = os.fspath(path)
        self.read_only = read_only
        self._dirty: dict[int, U8] = {}
        self._environment: Any = None
        self._writer = -1
        if not os.path.isfile(self._data):
            raise NotFoundError(f"there are no blocks of rows in {self.path}")
        if not read_only:
            self._lock()
        try:
            self._seal = self._checked_seal()
            with lmdb_errors(self.path):
                self._environment = lmdb.open(
                    self.path, map_size=MAP_BYTES, readahead=False, create=False, readonly=read_only
                )
                self._environment.reader_check()  # of processes that were killed
            self._pid, self._transaction = os.getpid(), None
            self._renew()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, row_bytes: int, rows: int) -> Self:
        """A folder with rows of zeros; ConflictError or StorageError if it cannot be made."""
        if row_bytes < 1 or rows < 0:
            raise SpecError(f"there are to be {rows} rows of {row_bytes} bytes; expected 0 and 1 or more")
        root = os.fspath(path)
        if os.path.exists(root):
            raise ConflictError(f"{root} exists; choose another name")
        with storage_errors(root, "create"):
            os.mkdir(root)
        with lmdb_errors(root), lmdb.open(root, map_size=MAP_BYTES, readahead=False) as environment:
            with environment.begin(write=True) as transaction:
                Contents(row_bytes, rows, 1).write(transaction, [])
        seal = sealed(os.path.join(root, DATA), 1, 0)
        write_seal(os.path.join(root, SEAL), seal, durable=True)
        return cls(root)

    @property
    def _data(self) -> str:
        return os.path.join(self.path, DATA)

    def _lock(self) -> None:
        with storage_errors(self.path, "open"):
            name = os.path.join(self.path, _LOCK)
            self._writer = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if not lock(self._writer):
            os.close(self._writer)
            raise ConflictError(f"another process writes to {self.path}; wait for it, or open to read only")

    def _checked_seal(self) -> Seal:
        """The seal, once the file is known to be sound."""
        path = os.path.join(self.path, SEAL)
        seal = read_seal(path)
        if seal.clean and not seal.fits(self._data):
            if self.read_only and (later := read_seal(path)) != seal:  # a writer has begun meanwhile
                seal = later
            else:
                raise CorruptError(f"{self._data} is damaged or cut short; go back to a copy")
        if not seal.clean:
            check_apart(self.path, seal.number, mend=not self.read_only)
            if not self.read_only:
                seal = sealed(self._data, seal.number, seal.order + 1)
                write_seal(path, seal, durable=True)
        return seal

    def refresh(self) -> None:
        """Sees what has been committed since. StorageError while there are rows that are not committed."""
        self._here()
        if self._dirty:
            raise StorageError(f"rows of {self.path} were put and not committed; commit them first")
        self._renew()

    def _renew(self) -> None:
        with lmdb_errors(self.path):
            if self._transaction is not None:
                self._transaction.abort()
            self._transaction = self._environment.begin(buffers=True)
            self._contents = Contents.read(self._transaction, self.path)
        self._zeros = np.zeros((BLOCK_ROWS, self.row_bytes), np.uint8)
        self._addresses = np.zeros((-(-self.rows // BLOCK_ROWS), 2), np.int64)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._contents.rows

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self._contents.row_bytes

    def __len__(self) -> int:
        return self.rows

    def get(self, rows: I64) -> U8:
        """Copies (n, row_bytes) of the rows with these numbers (n,); ShapeError beyond the last, CorruptError
        for a block that does not match its checksum."""
        numbers = self._checked(rows)
        self._find(np.unique(numbers >> BLOCK_BITS))
        line = np.zeros((1, gather.FACTS), np.int64)
        line[0, [gather.BATCHES, gather.SHIFT, gather.ROWS]] = (
            self._addresses.ctypes.data, BLOCK_BITS, self.rows,
        )  # fmt: skip
        out = np.empty((len(numbers), self.row_bytes), np.uint8)
        missing = gather.gather(numbers, line, out, np.empty(len(numbers), np.int64))
        assert not missing
        return out

    def put(self, rows: I64, values: U8) -> None:
        """Sets rows by number to values (n, row_bytes); of a number that comes twice the last one stands."""
        numbers = self._checked(rows)
        if self.read_only:
            raise StorageError(f"{self.path} is open to read only")
        if values.shape != (len(numbers), self.row_bytes) or values.dtype != np.uint8:
            raise ShapeError(
                f"values are {values.dtype} {values.shape}; expected uint8 {(len(numbers), self.row_bytes)}"
            )
        order = np.argsort(numbers, kind="stable")
        blocks = numbers[order] >> BLOCK_BITS
        starts = np.flatnonzero(np.diff(blocks, prepend=-1))
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
            some = order[start:stop]
            self._writable(int(blocks[start]))[numbers[some] & (BLOCK_ROWS - 1)] = values[some]

    def grow(self, rows: int) -> None:
        """Makes room for so many rows in all; what is there stays. Takes effect for others with `commit`."""
        self._here()
        if rows < self.rows:
            raise SpecError(f"{self.path} has {self.rows} rows and cannot shrink to {rows}")
        self._contents.grow(rows)
        grown = np.zeros((-(-rows // BLOCK_ROWS), 2), np.int64)
        grown[: len(self._addresses)] = self._addresses
        self._addresses = grown

    def commit(self) -> None:
        """Makes what was put durable, all or nothing; StorageError if it cannot be: it stays to be put."""
        self._here()
        if self.read_only:
            raise StorageError(f"{self.path} is open to read only")
        seal, number = os.path.join(self.path, SEAL), self._contents.number + 1
        if self._seal.clean:  # from here on the file is another one than was sealed
            self._seal = self._seal._replace(order=self._seal.order + 1, clean=False)
            write_seal(seal, self._seal, durable=True)
        with lmdb_errors(self.path), self._environment.begin(write=True) as transaction:
            for block, values in sorted(self._dirty.items()):
                self._contents.put(transaction, block, values)
            self._contents.numbered(number).write(transaction, list(self._dirty))
        self._seal = self._seal._replace(order=self._seal.order + 1, number=number)
        write_seal(seal, self._seal, durable=False)
        self._dirty = {}
        self._renew()

    def _checked(self, rows: I64) -> I64:
        self._here()
        numbers = np.ascontiguousarray(rows, np.int64)
        if numbers.ndim != 1 or (len(numbers) and not 0 <= numbers.min() <= numbers.max() < self.rows):
            raise ShapeError(f"{self.path} has the rows 0 to {self.rows - 1}; expected numbers (n,) of these")
        return numbers

    def _here(self) -> None:
        if self._environment is None:
            raise StorageError(f"{self.path} is closed; open it again")
        if self._pid != os.getpid():
            raise StorageError(f"{self.path} was opened before this process was forked; open it here")

    def _find(self, blocks: I64) -> None:
        """Addresses of blocks, each checked when it is first looked at."""
        for block in blocks[self._addresses[blocks, 0] == 0].tolist():
            found = self._block(block)
            self._addresses[block, 0] = (self._zeros if found is None else found).ctypes.data

    def _block(self, block: int) -> U8 | None:
        with lmdb_errors(self.path):
            found = self._contents.block(self._transaction, block, self.path)
        return None if found is None else found.reshape(self._zeros.shape)

    def _writable(self, block: int) -> U8:
        found = self._dirty.get(block)
        if found is None:
            known = self._block(block)
            found = self._dirty[block] = (self._zeros if known is None else known).copy()
            self._addresses[block, 0] = found.ctypes.data
        return found

    def close(self) -> None:
        """Lets go of the files, and seals them; what was not committed is gone."""
        environment, self._environment = self._environment, None
        if environment is not None and self._pid == os.getpid():
            if self._transaction is not None:
                self._transaction.abort()
            environment.close()
            if not self.read_only and not self._seal.clean:
                seal = sealed(self._data, self._seal.number, self._seal.order + 1)
                write_seal(os.path.join(self.path, SEAL), seal, durable=True)
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
