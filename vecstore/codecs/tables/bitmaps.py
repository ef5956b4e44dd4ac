"""A set of places that says which number each member has: a bit a place, and a count for each 512."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.bitranks import BLOCK_BITS, bit_ranks, bits_before

I64 = NDArray[np.int64]


def bitmap_bytes(places: int) -> int:
    """Bytes of a set over so many places."""
    return (BLOCK_BITS // 8 + 4) * -(-places // BLOCK_BITS)


@dataclass(frozen=True)
class Bitmap:
    """Members of 0 .. places - 1."""

    bits: NDArray[np.uint64]  # (8 blocks,)
    ranks: NDArray[np.uint32]  # (blocks,), members before each

    @classmethod
    def empty(cls, places: int) -> Self:
        """No place is a member."""
        blocks = -(-places // BLOCK_BITS)
        return cls(np.zeros(blocks * (BLOCK_BITS // 64), np.uint64), np.zeros(blocks, np.uint32))

    @classmethod
    def of(cls, members: NDArray[np.bool_]) -> Self:
        """The set of places that are true; members (places,)."""
        blocks = -(-len(members) // BLOCK_BITS)
        padded = np.zeros(blocks * BLOCK_BITS, np.bool_)
        padded[: len(members)] = members
        counts = padded.reshape(blocks, BLOCK_BITS).sum(1)
        bits = np.packbits(padded, bitorder="little").view(np.uint64)
        return cls(bits, (np.cumsum(counts) - counts).astype(np.uint32))

    def grown(self, places: int) -> Self:
        """The same members, of more places."""
        found = self.empty(places)
        found.bits[: len(self.bits)] = self.bits
        found.ranks[:] = np.bitwise_count(self.bits).sum()
        found.ranks[: len(self.ranks)] = self.ranks
        return found

    def ranks_of(self, places: I64) -> I64:
        """The number of each place that is a member, -1 of others; (n,)."""
        out = np.empty(len(places), np.int64)
        bit_ranks(self.bits, self.ranks, places, out)
        return out

    def before(self, places: I64) -> I64:
        """How many members lie before each place, (n,)."""
        out = np.empty(len(places), np.int64)
        bits_before(self.bits, self.ranks, places, out)
        return out

    def arrays(self) -> dict[str, NDArray[Any]]:
        """`bits` and `ranks`."""
        return {"bits": self.bits, "ranks": self.ranks}
