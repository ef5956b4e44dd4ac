"""From ids to rows: each kind of address is a function of the id alone, and of what it keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.bitmaps import Bitmap, bitmap_bytes
from vecstore.codecs.tables.ids import string_keys
from vecstore.kernels.radix import NONE
from vecstore.kernels.tablehash import hash_elements, hash_rows, sequence, split_digits

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


def salts(seed: int, field: str, *shape: int) -> U64:
    """Salts of a field: splitmix64 from the table's seed, exclusive or the hash of the field's name."""
    start = np.uint64(seed) ^ string_keys(np.array([field])).view(np.uint64)[0]
    out = np.empty(int(np.prod(shape)), np.uint64)
    sequence(start, out)
    return out.reshape(shape)


class Address:
    """Rows of ids: called with keys (n,), gives (n, chunks, probes); ~row is subtracted, NONE is zeros.

    closed: ids are row numbers of a vocabulary, checked before. seeded: the table's seed decides.
    """

    closed: ClassVar[bool] = False
    seeded: ClassVar[bool] = False

    def __call__(self, keys: I64) -> I64:
        raise NotImplementedError

    @property
    def map_bytes(self) -> int:
        """Bytes of what is kept besides the seed."""
        return 0

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is kept, by name; the sum is `map_bytes`. Made at the first call."""
        return {}

    def needs(self, before: int, after: int) -> tuple[int, int, int]:
        """What its store has to gain for `after` ids instead of `before`: (since, at, count).

        count rows in front of row `at`, like those from `since` to there; 0 where ids share what there is.
        """
        return 0, 0, 0

    def grow(self, count: int) -> None:
        """There are so many ids from now on."""

    def shift(self, at: int, count: int) -> None:
        """So many rows have come in front of row `at` of its store."""


@dataclass
class Own(Address):
    """Each id has its row, from `first` on."""

    closed = True
    first: int

    def __call__(self, keys: I64) -> I64:
        return (keys + self.first if self.first else keys).reshape(-1, 1, 1)

    def needs(self, before: int, after: int) -> tuple[int, int, int]:
        return self.first, self.first + before, after - before

    def shift(self, at: int, count: int) -> None:
        self.first += count if self.first >= at else 0


@dataclass
class Hashed(Address):
    """Rows first..first + rows, hashed with salts (chunks, probes)."""

    seeded = True
    first: int
    rows: int
    salts: U64

    def __call__(self, keys: I64) -> I64:
        out = np.empty((len(keys), *self.salts.shape), np.int64)
        hash_rows(keys.view(np.uint64), self.salts, self.first, self.rows, out)
        return out


@dataclass
class Elements(Address):
    """Single values of a flat array, in blocks that lie side by side; with signs."""

    seeded = True
    count: int
    dim: int
    block: int
    salts: U64  # (blocks,)

    def __call__(self, keys: I64) -> I64:
        out = np.empty((len(keys), self.dim, 1), np.int64)
        hash_elements(keys.view(np.uint64), self.salts, self.block, True, self.count, out)
        return out


@dataclass
class Digits(Address):
    """Digit j of the id over `below`, in a number system with these bases, is a row from firsts[j] on.

    across: digits are chunks, else probes. top: no id is beyond these digits, so that more ids need more
    rows for the last one.
    """

    closed = True
    firsts: tuple[int, ...]
    bases: tuple[int, ...]
    across: bool = False
    below: int = 1
    top: bool = True

    def __call__(self, keys: I64) -> I64:
        out = np.empty((len(keys), len(self.bases)), np.int64)
        keys = keys // self.below if self.below > 1 else keys
        split_digits(keys, np.array(self.firsts, np.int64), np.array(self.bases, np.int64), out)
        return out.reshape(*out.shape, 1) if self.across else out.reshape(len(keys), 1, len(self.bases))

    def needs(self, before: int, after: int) -> tuple[int, int, int]:
        since = self.firsts[-1]
        return since, since + self.bases[-1], self._last(after) - self.bases[-1]

    def grow(self, count: int) -> None:
        self.bases = (*self.bases[:-1], self._last(count))

    def _last(self, count: int) -> int:
        """How many values the last digit has with so many ids."""
        each = self.below * math.prod(self.bases[:-1])
        return max(self.bases[-1], -(-count // each)) if self.top else self.bases[-1]


@dataclass
class Fixed(Address):
    """The same row for all ids."""

    row: int

    def __call__(self, keys: I64) -> I64:
        return np.full((len(keys), 1, 1), self.row, np.int64)


@dataclass
class Hot(Address):
    """Ids of a list have their own rows, from `first` on, lower ids first; others those of `cold`, or none.

    The list is kept as one bit an id of the vocabulary, and a count of those before each 512 (4 bytes).
    """

    closed = True
    seeded = True
    first: int
    hot: I64  # (h,)
    cardinality: int
    cold: Address | None = None

    def __post_init__(self) -> None:
        self._map: Bitmap | None = None

    @property
    def map_bytes(self) -> int:
        return bitmap_bytes(self.cardinality)

    def _made(self) -> Bitmap:
        if self._map is None:
            members = np.zeros(self.cardinality, np.bool_)
            members[self.hot] = True
            self._map = Bitmap.of(members)
            self.hot = np.empty(0, np.int64)
        return self._map

    def arrays(self) -> dict[str, NDArray[Any]]:
        return self._made().arrays()

    def grow(self, count: int) -> None:
        self._map = self._made().grown(count)
        self.cardinality = count

    def __call__(self, keys: I64) -> I64:
        ranks = self._made().ranks_of(keys)
        others = NONE if self.cold is None else self.cold(keys).reshape(-1)
        return np.where(ranks >= 0, self.first + ranks, others).reshape(-1, 1, 1)
