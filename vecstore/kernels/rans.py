"""Range-coded symbols: four interleaved rANS states over columns, each column with one table of shares.

Source: Duda 2013, arXiv:1311.2540, section 3 (the range variant); interleaving as in Giesen 2014,
arXiv:1402.3392. A state is kept in [2^16, 2^32) and gives or takes one 16-bit word at a time. Symbol r of
a column belongs to state r mod 4; the states run on from column to column.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

SHARE_BITS = 12
SHARES = 1 << SHARE_BITS  # what the shares of one table sum to
LANES = 4  # states
SPARE = 8  # words that a decoder may look at behind the last one

_LOW = np.uint64(0xFFFF)
_FLOOR = np.uint64(1 << 16)
_WORD = np.uint64(16)
_BITS = np.uint64(SHARE_BITS)
_MASK = np.uint64(SHARES - 1)


@kernel
def quantize_shares(counts: I64, shares: I64) -> None:
    """shares[s] ~ SHARES * counts[s] / sum(counts), at least 1 where counts[s] > 0, summing to SHARES.

    counts (a,), at most SHARES of them positive and at least one; shares (a,), written. The rounding
    is repaired one share at a time where the code length suffers least.
    """
    total = counts.sum()
    left = SHARES
    for s in range(counts.size):
        shares[s] = 0
        if counts[s] > 0:
            shares[s] = max(1, (2 * counts[s] * SHARES + total) // (2 * total))
            left -= shares[s]
    while left != 0:
        step = 1 if left > 0 else -1
        best, where = -np.inf, -1
        for s in range(counts.size):
            if counts[s] > 0 and shares[s] + step > 0:
                gain = counts[s] * np.log((shares[s] + step) / shares[s])
                if gain > best:
                    best, where = gain, s
        shares[where] += step
        left -= step


@kernel
def fill_slots(shares: I64, symbols: U16, steps: U32) -> None:
    """symbols[x] = the symbol whose range holds x; steps[x] = its share << 12 | x - its range's begin.

    shares (a,) sum to SHARES; symbols and steps (SHARES,), written.
    """
    x = 0
    for s in range(shares.size):
        for offset in range(shares[s]):
            symbols[x] = s
            steps[x] = (shares[s] << SHARE_BITS) | offset
            x += 1


@kernel
def rans_encode(symbols: U16, tables: I64, starts: I64, shares: I64, words: U16) -> int:
    """words[result:] = the four states, then the words in the order in which `rans_decode` takes them.

    symbols (d, n), column by column; tables (d,): the table of each column; starts (t,): where in the
    flat shares (a,) a table begins; words (at least d * n + 8,), filled from its end.
    """
    states = np.full(LANES, _FLOOR, np.uint64)
    begins = np.empty(shares.size, np.int64)
    for t in range(starts.size):
        stop = starts[t + 1] if t + 1 < starts.size else shares.size
        begin = 0
        for s in range(starts[t], stop):
            begins[s] = begin
            begin += shares[s]
    at = words.size
    for c in range(symbols.shape[0] - 1, -1, -1):
        first = starts[tables[c]]
        for r in range(symbols.shape[1] - 1, -1, -1):
            s = first + np.int64(symbols[c, r])
            share = np.uint64(shares[s])
            x = states[r & 3]
            if x >= share << np.uint64(20):
                at -= 1
                words[at] = np.uint16(x & _LOW)
                x >>= _WORD
            # Both fit in 32 bits; a 64-bit division takes several times as long on older processors.
            quotient = np.uint64(np.uint32(x) // np.uint32(share))
            states[r & 3] = (quotient << _BITS) + (x - quotient * share) + np.uint64(begins[s])
    for lane in range(LANES - 1, -1, -1):
        at -= 2
        words[at] = np.uint16(states[lane] & _LOW)
        words[at + 1] = np.uint16(states[lane] >> _WORD)
    return at


@kernel
def rans_decode(
    words: U16, states: U64, tables: I64, slot_symbols: U16, slot_steps: U32, symbols: U16
) -> bool:
    """symbols[c, r] = the next symbols of the stream; False if the words are used up before.

    words: the stream without its states, and SPARE words behind it; states (5,): the four states and the
    number of words taken, both read and updated; tables (d,) index slot_symbols and slot_steps
    (t, SHARES) of `fill_slots`; symbols (d, n), written.
    """
    x0, x1, x2, x3 = states[0], states[1], states[2], states[3]
    at = np.int64(states[4])
    last = words.size - SPARE
    n = symbols.shape[1]
    for c in range(symbols.shape[0]):
        steps = slot_steps[tables[c]]
        names = slot_symbols[tables[c]]
        r = 0
        while r + 3 < n:
            if at > last:
                return False
            y0, y1, y2, y3 = x0 & _MASK, x1 & _MASK, x2 & _MASK, x3 & _MASK
            symbols[c, r] = names[y0]
            symbols[c, r + 1] = names[y1]
            symbols[c, r + 2] = names[y2]
            symbols[c, r + 3] = names[y3]
            t0, t1 = np.uint64(steps[y0]), np.uint64(steps[y1])
            t2, t3 = np.uint64(steps[y2]), np.uint64(steps[y3])
            x0 = (t0 >> _BITS) * (x0 >> _BITS) + (t0 & _MASK)
            x1 = (t1 >> _BITS) * (x1 >> _BITS) + (t1 & _MASK)
            x2 = (t2 >> _BITS) * (x2 >> _BITS) + (t2 & _MASK)
            x3 = (t3 >> _BITS) * (x3 >> _BITS) + (t3 & _MASK)
            more = x0 < _FLOOR
            x0 = (x0 << _WORD) | np.uint64(words[at]) if more else x0
            at += np.int64(more)
            more = x1 < _FLOOR
            x1 = (x1 << _WORD) | np.uint64(words[at]) if more else x1
            at += np.int64(more)
            more = x2 < _FLOOR
            x2 = (x2 << _WORD) | np.uint64(words[at]) if more else x2
            at += np.int64(more)
            more = x3 < _FLOOR
            x3 = (x3 << _WORD) | np.uint64(words[at]) if more else x3
            at += np.int64(more)
            r += 4
        states[0], states[1], states[2], states[3] = x0, x1, x2, x3
        while r < n:
            if at > last:
                return False
            x = states[r & 3]
            symbols[c, r] = names[x & _MASK]
            step = np.uint64(steps[x & _MASK])
            x = (step >> _BITS) * (x >> _BITS) + (step & _MASK)
            if x < _FLOOR:
                x = (x << _WORD) | np.uint64(words[at])
                at += 1
            states[r & 3] = x
            r += 1
        x0, x1, x2, x3 = states[0], states[1], states[2], states[3]
    states[4] = np.uint64(at)
    return True
