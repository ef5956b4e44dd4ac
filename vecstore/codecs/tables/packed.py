"""Whole numbers of so many bits each, one behind the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.packedints import get_packed, put_packed

I64 = NDArray[np.int64]


def bits_for(values: int) -> int:
    """Bits of numbers below `values`."""
    return max(values - 1, 0).bit_length()


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of so many numbers: whole 64-bit words."""
    return 8 * -(-count * bits // 64)


@dataclass(frozen=True)
class PackedInts:
    """`count` numbers below 2**bits."""

    bits: int
    words: NDArray[np.uint64]

    @classmethod
    def zeros(cls, count: int, bits: int) -> Self:
        """All of them zero."""
        return cls(bits, np.zeros(packed_bytes(count, bits) // 8, np.uint64))

    def fill(self, numbers: I64, first: int = 0) -> None:
        """Number first + i becomes numbers[i]; first a multiple of 64."""
        put_packed(self.words[first // 64 * self.bits :], self.bits, np.ascontiguousarray(numbers))

    def at(self, places: I64) -> I64:
        """The numbers at places, in their shape."""
        flat = np.ascontiguousarray(places.reshape(-1))
        out = np.empty(len(flat), np.int64)
        get_packed(self.words, self.bits, flat, out)
        return out.reshape(places.shape)
