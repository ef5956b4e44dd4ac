"""Float32 bits split into four byte planes, the exponent in one of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@kernel
def split_planes(bits: U32, planes: U8) -> None:
    """planes[p, i] = byte p, lowest first, of bits[i] rotated left by one.

    bits (n,) are float32 patterns; planes (4, n), written. After the rotation the eight bits of the
    exponent fill plane 3 and the sign is the lowest bit of plane 0.
    """
    for i in range(bits.size):
        turned = (bits[i] << np.uint32(1)) | (bits[i] >> np.uint32(31))
        planes[0, i] = np.uint8(turned)
        planes[1, i] = np.uint8(turned >> np.uint32(8))
        planes[2, i] = np.uint8(turned >> np.uint32(16))
        planes[3, i] = np.uint8(turned >> np.uint32(24))


@kernel
def join_planes(lowest: U8, low: U8, high: U8, highest: U8, bits: U32) -> None:
    """bits[i] = the four bytes of value i, rotated right by one: the inverse of `split_planes`.

    The planes are (n,) each, lowest byte first; bits (n,), written.
    """
    for i in range(bits.size):
        turned = (
            np.uint32(lowest[i])
            | (np.uint32(low[i]) << np.uint32(8))
            | (np.uint32(high[i]) << np.uint32(16))
            | (np.uint32(highest[i]) << np.uint32(24))
        )
        bits[i] = (turned >> np.uint32(1)) | (turned << np.uint32(31))


@kernel
def transpose(matrix: U32, turned: U32) -> None:
    """turned[j, i] = matrix[i, j]. matrix (n, d); turned (d, n), written."""
    n, d = matrix.shape
    for first in range(0, n, 16):
        stop = min(first + 16, n)
        for j in range(d):
            for i in range(first, stop):
                turned[j, i] = matrix[i, j]


@kernel
def place_columns(columns: U32, first: int, matrix: U32) -> None:
    """matrix[i, first + j] = columns[j, i]. columns (c, n); matrix (n, d), written in part."""
    c, n = columns.shape
    for start in range(0, n, 16):
        for i in range(start, min(start + 16, n)):
            for j in range(c):
                matrix[i, first + j] = columns[j, i]


@kernel
def find_repeats(bits: U32, multipliers: U64, slots: I32, sources: I32) -> None:
    """sources[i] = the first row that equals row i bit for bit, or i.

    bits (n, d); multipliers (d,) odd and random-looking; slots (a power of two, > n), all -1; sources
    (n,), written. Rows whose hash collides without being equal count as different.
    """
    n, d = bits.shape
    hashes = np.empty(n, np.uint64)
    mask = np.uint64(slots.size - 1)
    for i in range(n):
        total = np.uint64(0)
        for j in range(d):
            total += np.uint64(bits[i, j]) * multipliers[j]
        hashes[i] = total
        at = np.int64((total ^ (total >> np.uint64(32))) & mask)
        while slots[at] >= 0 and hashes[slots[at]] != total:
            at = (at + 1) & np.int64(mask)
        sources[i] = i
        if slots[at] < 0:
            slots[at] = i
            continue
        first = slots[at]
        same = True
        for j in range(d):
            same = same and bits[first, j] == bits[i, j]
        if same:
            sources[i] = first


@kernel
def survey(bits: U32, cut: int, flag: int, counts: I64, unions: U32) -> None:
    """counts[key] = how many values have the key, unions[key] = bitwise or of these values.

    bits (n,); key = bits >> cut << 1 | (any of the lowest `flag` bits is set); flag <= cut; counts and
    unions (2 << 32 - cut,), zero before.
    """
    low = np.uint32((np.int64(1) << flag) - 1)
    shift = np.uint32(cut)
    for i in range(bits.size):
        key = (np.int64(bits[i] >> shift) << 1) | np.int64((bits[i] & low) != 0)
        counts[key] += 1
        unions[key] |= bits[i]


@kernel
def map_symbols(columns: U32, cut: int, flag: int, symbol_of: U16, symbols: U16) -> None:
    """symbols[c, r] = symbol_of[key of columns[c, r]]; the key is that of `survey`.

    columns (d, n); symbol_of (2 << 32 - cut,); symbols (d, n), written.
    """
    low = np.uint32((np.int64(1) << flag) - 1)
    shift = np.uint32(cut)
    for c in range(columns.shape[0]):
        for r in range(columns.shape[1]):
            value = columns[c, r]
            symbols[c, r] = symbol_of[(np.int64(value >> shift) << 1) | np.int64((value & low) != 0)]


@kernel
def find_values(columns: U32, values: U32, sizes: I64, symbols: U16) -> None:
    """values[c, :sizes[c]] = the different values of column c as they come; symbols[c, r] points there.

    columns (d, n); values (d, k), k <= 1024, sizes (d,) and symbols (d, n), written; sizes[c] = -1, and
    the column is left unfinished, where more than k differ.
    """
    slots = np.empty(2048, np.int16)
    for c in range(columns.shape[0]):
        slots[:] = -1
        size = 0
        for r in range(columns.shape[1]):
            value = columns[c, r]
            at = np.int64(np.uint32(value * np.uint32(0x9E3779B1)) >> np.uint32(21))
            while slots[at] >= 0 and values[c, slots[at]] != value:
                at = (at + 1) & 2047
            if slots[at] < 0:
                if size == values.shape[1]:
                    size = -1
                    break
                values[c, size] = value
                slots[at] = size
                size += 1
            symbols[c, r] = slots[at]
        sizes[c] = size


@kernel
def rename(symbols: U16, name_of: U16, starts: I64) -> None:
    """symbols[c, r] = name_of[starts[c] + symbols[c, r]], in place. symbols (d, n), starts (d,)."""
    for c in range(symbols.shape[0]):
        for r in range(symbols.shape[1]):
            symbols[c, r] = name_of[starts[c] + np.int64(symbols[c, r])]


@kernel
def count_symbols(symbols: U16, counts: I64) -> None:
    """counts[c, s] = how often s occurs in column c. symbols (d, n); counts (d, a), zero before."""
    for c in range(symbols.shape[0]):
        for r in range(symbols.shape[1]):
            counts[c, symbols[c, r]] += 1


@kernel
def nearest_tables(counts: I64, lengths: I64, nearest: I64, costs: I64) -> None:
    """nearest[c] = argmin_t sum_s counts[c, s] * lengths[t, s], costs[c] = that sum.

    counts (d, a); lengths (t, a); nearest and costs (d,), written; the first of equal tables wins.
    """
    for c in range(counts.shape[0]):
        for t in range(lengths.shape[0]):
            total = np.int64(0)
            for s in range(counts.shape[1]):
                total += counts[c, s] * lengths[t, s]
            if t == 0 or total < costs[c]:
                nearest[c] = t
                costs[c] = total


@kernel
def put_bits(columns: U32, symbols: U16, starts: I64, fields: U8, stream: U64) -> int:
    """Appends (value >> shift) mod 2^width of every value, lowest bit first; the result counts bits.

    columns and symbols (d, n); starts (d,): where in fields the symbols of a column begin; fields (a, 2):
    width and shift of a symbol; stream (words,), zero before, two words longer than the whole words
    of the bits.
    """
    at = np.uint64(0)
    for c in range(columns.shape[0]):
        for r in range(columns.shape[1]):
            s = starts[c] + np.int64(symbols[c, r])
            width = np.uint64(fields[s, 0])
            part = (np.uint64(columns[c, r]) >> np.uint64(fields[s, 1])) & (
                (np.uint64(1) << width) - np.uint64(1)
            )
            word, shift = np.int64(at >> np.uint64(6)), at & np.uint64(63)
            stream[word] |= part << shift
            # Two shifts, as one by 64 would be undefined.
            stream[word + 1] |= (part >> np.uint64(1)) >> (np.uint64(63) - shift)
            at += width
    return int(at)


@kernel
def get_bits(stream: U64, at: int, symbols: U16, starts: I64, alphabet: U32, columns: U32) -> int:
    """columns[c, r] = base | next `width` bits << shift; the result is the next bit's number, or -1.

    stream: as `put_bits` writes it, two words longer than what may be read, from bit `at` on; symbols
    (d, n); starts (d,): where in alphabet the symbols of a column begin; alphabet (a, 3): base, width,
    shift, both at most 31; columns (d, n), written. -1 if the bits are used up.
    """
    place = np.uint64(at)
    end = np.int64(64) * (stream.size - 2)
    n = symbols.shape[1]
    for c in range(symbols.shape[0]):
        start = starts[c]
        # No symbol has more than 31 raw bits: only near the end is the sum worth its time.
        needed = np.int64(31) * n
        if np.int64(place) + needed > end:
            needed = np.int64(0)
            for r in range(n):
                needed += np.int64(alphabet[start + np.int64(symbols[c, r]), 1])
        if np.int64(place) + needed > end:
            return -1
        for r in range(n):
            s = start + np.int64(symbols[c, r])
            width = np.uint64(alphabet[s, 1])
            word, shift = np.int64(place >> np.uint64(6)), place & np.uint64(63)
            part = (stream[word] >> shift) | ((stream[word + 1] << np.uint64(1)) << (np.uint64(63) - shift))
            part &= (np.uint64(1) << width) - np.uint64(1)
            columns[c, r] = alphabet[s, 0] | np.uint32(part << np.uint64(alphabet[s, 2]))
            place += width
    return int(place)
