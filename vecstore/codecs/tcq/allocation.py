"""Which dimensions get how many bits, and how they lie in words.

Bits go to groups of 8 dimensions next to each other in the order of falling variance, which all get the same
number, so that a group of k bits is k bytes; or to groups of 16, two of which share a bit. Groups are packed
into words of at most 8 bytes, in 8 equal parts: in each part each group has the bits of one of its
dimensions. Reverse water-filling (Cover, Thomas 2006, section 10.3.3) with the errors that the cells have: a
byte more goes to the group whose error it lowers most.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import SpecError

GROUP = 8  # dimensions of a group, and parts of a word
LONGEST = 8  # bytes of a word
_SHORT = 4  # bytes: a shorter circle is worse, so its groups are shared out with another word's
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Rates:
    """errors[k]: mean squared error of unit-variance cells of k bits (errors[0] = 1); half: a bit for two."""

    errors: tuple[float, ...]
    half: float

    @property
    def most(self) -> int:
        """The most bits a cell can have."""
        return len(self.errors) - 1


@dataclass(frozen=True)
class Group:
    """Cells of `bits` for each `width` dimensions, the first of them `first`."""

    bits: int
    width: int
    first: int


def allocate(variances: F64, size: int, rates: Rates) -> list[list[Group]]:
    """The groups of each word of codes of `size` bytes, the longest words first.

    variances (d,), falling. Groups name dimensions in that order; the last may name some beyond d. Raises
    SpecError where the cells cannot take so many bits.
    """
    count = -(-len(variances) // GROUP)
    if size > count * rates.most:
        raise SpecError(
            f"{size} bytes are more than {rates.most} bits for each of {len(variances)} dimensions; expected "
            f"at most {count * rates.most}" + (", or states=256" if rates.most < 8 else "")
        )
    padded = np.zeros(count * GROUP)
    padded[: len(variances)] = variances
    spread = padded.reshape(count, GROUP).sum(axis=1)
    bits = _greedy(spread, size, rates)
    groups = [Group(k, 1, GROUP * i) for i, k in enumerate(bits) if k]
    halves = _halves(bits, spread, rates)
    first = len(groups) - halves
    groups[first:] = [Group(1, 2, GROUP * (first + 2 * i)) for i in range(halves)]
    return _packed(groups)


def _greedy(spread: F64, size: int, rates: Rates) -> list[int]:
    """Bits for each group of variance `spread`, `size` in all, falling."""
    gains = -np.diff(rates.errors)
    bits = [0] * len(spread)
    heap = [(-value * gains[0], 0, i) for i, value in enumerate(spread)]
    heapq.heapify(heap)
    for _ in range(size):
        _, taken, i = heapq.heappop(heap)
        bits[i] = taken + 1
        if bits[i] < rates.most:
            heapq.heappush(heap, (-spread[i] * gains[bits[i]], bits[i], i))
    return sorted(bits, reverse=True)


def _halves(bits: list[int], spread: F64, rates: Rates) -> int:
    """How many of the last groups of one bit share it with as many groups behind them, which had none."""
    reach = sum(bit > 0 for bit in bits)
    ones = sum(bit == 1 for bit in bits)
    best, found = 0.0, 0
    for j in range(1, min(ones, len(bits) - reach) + 1):
        front, behind = spread[reach - j : reach].sum(), spread[reach : reach + j].sum()
        gain = front * rates.errors[1] + behind - (front + behind) * rates.half
        if gain > best:
            best, found = gain, j
    return found


def _packed(groups: Sequence[Group]) -> list[list[Group]]:
    """Words of at most LONGEST bytes: first fit by falling bits; a short one is evened out with another."""
    words: list[list[Group]] = []
    for group in sorted(groups, key=lambda group: -group.bits):
        word = next((word for word in words if _bytes(word) + group.bits <= LONGEST), None)
        if word is None:
            words.append(word := [])
        word.append(group)
    words.sort(key=_bytes, reverse=True)
    if len(words) > 1 and _bytes(words[-1]) < _SHORT:
        # The one with the smallest groups can be shared out best.
        other = min(words[:-1], key=lambda word: max(group.bits for group in word))
        words.remove(other)
        shared: list[list[Group]] = [[], []]
        for group in sorted([*other, *words.pop()], key=lambda group: -group.bits):
            min(shared, key=_bytes).append(group)
        words += sorted(shared, key=_bytes, reverse=True)
    return words


def _bytes(word: Sequence[Group]) -> int:
    return sum(group.bits for group in word)


def lay_out(groups: NDArray[np.int32], tables: Sequence[tuple[int, int]]) -> tuple[I64, I64]:
    """Cells and words as the kernels read them, of groups (g, 3): word, bits, dimensions a cell.

    The dimensions are numbered in this order: a group's are together, the first in the highest part of the
    word. tables: the (bits, width) that each table is for. ValueError for what is no code.
    """
    cells: list[tuple[int, ...]] = []
    words: list[tuple[int, ...]] = []
    dim = 0
    for number in range(int(groups[-1, 0]) + 1 if len(groups) else 0):
        pattern = [(int(bits), int(width)) for word, bits, width in groups if word == number]
        size = sum(bits for bits, _ in pattern)
        if not 1 <= size <= LONGEST or min(bits for bits, _ in pattern) < 1:
            raise ValueError(f"word {number} of a code has {size} bytes; expected 1 to {LONGEST}")
        first = len(cells)
        for part in range(GROUP):
            place, start = size * (GROUP - part), dim
            for bits, width in pattern:
                place -= bits
                cells.append((bits, tables.index((bits, width)), start + part * width, width, place))
                start += GROUP * width
        dim += GROUP * sum(width for _, width in pattern)
        words.append((first, len(cells), size))
    return np.array(cells, np.int64).reshape(-1, 5), np.array(words, np.int64).reshape(-1, 3)
