"""What blocks of rows look like inside LMDB, and a look at all of them in a process that may die of it.

    python -m vecstore.store.blockcheck FOLDER NUMBER [COPY]

Keys: `facts`, the number of rows, bytes of one, commits, and the xxh3 of each group of sums; `sums` and a
number, the xxh3 of 512 blocks each; and the number of each block that was put.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import lmdb
import numpy as np
import xxhash
from numpy.typing import NDArray

from vecstore.atomic import storage_errors
from vecstore.errors import CorruptError, FormatError, StorageError

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

DATA, SEAL = "data.mdb", "seal"
VERSION = 1
MAP_BYTES = 1 << 40  # address space, not memory; the file is as long as what it holds
_COPY, _COPY_BLOCKS = "mended", 256
_GROUP = 512
_BLOCK_ROWS = 1024
_FACTS = b"facts"
_SUM = struct.Struct("<Q")
_KEY = struct.Struct(">Q")
# Until a look at a file is taken to hang: so many seconds, and one for so many of its bytes.
_START_S, _BYTES_S = 300, 20_000_000


class Contents:
    """How many rows of how many bytes there are after so many commits, and the xxh3 of each block."""

    def __init__(self, row_bytes: int, rows: int, number: int) -> None:
        self.row_bytes, self.rows, self.number = row_bytes, rows, number
        self.sums: U64 = np.zeros(0, np.uint64)  # 0 for a block that was never put
        self.grow(rows)

    def grow(self, rows: int) -> None:
        """So many rows."""
        before, self.rows = self.sums, rows
        groups = -(-rows // (_BLOCK_ROWS * _GROUP))
        self.sums = np.zeros(groups * _GROUP, np.uint64)
        self.sums[: len(before)] = before

    def numbered(self, number: int) -> Self:
        """The same after another commit."""
        self.number = number
        return self

    @classmethod
    def read(cls, transaction: Any, path: str) -> Self:
        """What a transaction sees; CorruptError for what does not match, FormatError for a newer format."""
        data = bytes(transaction.get(_FACTS) or b"")
        head, body = data[: _SUM.size], data[_SUM.size :]
        if not body or xxhash.xxh3_64_intdigest(body) != _SUM.unpack(head)[0]:
            raise CorruptError(f"{path} does not say what rows it has; go back to a copy")
        facts = json.loads(body)
        if facts["format"] > VERSION:
            raise FormatError(
                f"{path} has format {facts['format']}; this vecstore reads 1 to {VERSION}: upgrade"
            )
        found = cls(facts["row_bytes"], facts["rows"], facts["number"])
        for group, expected in enumerate(facts["sums"]):
            if expected:
                sums = bytes(transaction.get(_group_key(group)) or b"")
                if len(sums) != 8 * _GROUP or xxhash.xxh3_64_intdigest(sums) != expected:
                    raise CorruptError(f"checksums of {path} do not match theirs; go back to a copy")
                found.sums[group * _GROUP : (group + 1) * _GROUP] = np.frombuffer(sums, "<u8")
        return found

    def put(self, transaction: Any, block: int, values: U8) -> None:
        """Writes a block and notes its sum."""
        data = values.tobytes()
        self.sums[block] = _sum_of(data, block)
        transaction.put(_KEY.pack(block), data)

    def write(self, transaction: Any, blocks: Iterable[int]) -> None:
        """Writes all but the blocks themselves, of which these have changed."""
        for group in {block // _GROUP for block in blocks}:
            transaction.put(_group_key(group), self._group(group))
        sums = [
            xxhash.xxh3_64_intdigest(self._group(group)) if self._group(group).strip(b"\0") else 0
            for group in range(len(self.sums) // _GROUP)
        ]
        facts = {"format": VERSION, "row_bytes": self.row_bytes, "rows": self.rows, "number": self.number}
        data = json.dumps({**facts, "sums": sums}).encode()
        transaction.put(_FACTS, _SUM.pack(xxhash.xxh3_64_intdigest(data)) + data)

    def _group(self, group: int) -> bytes:
        return self.sums[group * _GROUP : (group + 1) * _GROUP].astype("<u8").tobytes()

    def block(self, transaction: Any, block: int, path: str) -> U8 | None:
        """The bytes of a block where LMDB has them, None for zeros; CorruptError for others than were put."""
        if not self.sums[block]:
            return None
        data = transaction.get(_KEY.pack(block))
        found = np.frombuffer(b"" if data is None else data, np.uint8)
        if len(found) != _BLOCK_ROWS * self.row_bytes or _sum_of(found, block) != self.sums[block]:
            raise CorruptError(f"block {block} of {path} does not match its checksum; go back to a copy")
        return found

    def check(self, transaction: Any, path: str) -> None:
        """CorruptError unless every block is what was put."""
        for block in np.flatnonzero(self.sums).tolist():
            self.block(transaction, block, path)


def _group_key(group: int) -> bytes:
    return b"sums" + _KEY.pack(group)


def _sum_of(data: Any, block: int) -> int:
    """The xxh3 of a block's bytes by its number, so that no block passes for another; never 0."""
    return xxhash.xxh3_64_intdigest(data, seed=block) or 1


def check_apart(path: str, number: int, *, mend: bool) -> None:
    """Looks at everything in a process of its own; CorruptError if that fails, dies, or hangs.

    number: of the least commit that must be there. mend: the file becomes a copy without what a crash left.
    """
    copy = os.path.join(path, _COPY)
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    shutil.rmtree(copy, ignore_errors=True)
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, path, str(number), *([copy] if mend else [])],
            env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
            timeout=_START_S + os.path.getsize(os.path.join(path, DATA)) / _BYTES_S,
        )  # fmt: skip
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] or [f"reading it ended by signal {-done.returncode}"]
            raise CorruptError(f"{path} was not closed, and is damaged: {said[0]}")
        if mend:
            with storage_errors(path):
                os.replace(os.path.join(copy, DATA), os.path.join(path, DATA))
    except subprocess.TimeoutExpired as error:
        raise CorruptError(f"{path} was not closed, and is damaged: reading it does not end") from error
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _look(path: str, number: int, copy: str | None) -> None:
    """What the other process does."""
    # Who mends is the only writer, and needs no locks, of which a killed one may have left some.
    alone = copy is not None
    with (
        lmdb_errors(path),
        lmdb.open(path, map_size=MAP_BYTES, create=False, readonly=True, lock=not alone) as environment,
    ):
        with environment.begin(buffers=True) as transaction:
            contents = Contents.read(transaction, path)
            if contents.number < number:
                raise CorruptError(f"it has {contents.number} commits of {number}; go back to a copy")
            contents.check(transaction, path)
            if copy is not None:
                _copy(contents, transaction, copy)


def _copy(contents: Contents, transaction: Any, folder: str) -> None:
    """Writes all that a transaction sees into a new folder."""
    blocks = np.flatnonzero(contents.sums).tolist()
    with lmdb.open(folder, map_size=MAP_BYTES, sync=False) as environment:
        for first in range(0, len(blocks), _COPY_BLOCKS):
            some = blocks[first : first + _COPY_BLOCKS]
            with environment.begin(write=True) as target:
                for block in some:
                    values = contents.block(transaction, block, folder)
                    assert values is not None
                    contents.put(target, block, values)
                contents.write(target, some)
        with environment.begin(write=True) as target:
            contents.write(target, [])
        environment.sync(True)


@contextmanager
def lmdb_errors(path: str) -> Iterator[None]:
    """Turns LMDB's errors into ours."""
    try:
        yield
    except lmdb.CorruptedError as error:
        raise CorruptError(f"{path} is damaged: {error}; go back to a copy") from error
    except lmdb.Error as error:
        raise StorageError(f"cannot read or write {path}: {error}") from error


if __name__ == "__main__":
    try:
        _look(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
    except (CorruptError, FormatError, StorageError, ValueError, KeyError) as problem:
        sys.exit(str(problem))
