"""How the values of a block become symbols: alphabets, and tables of shares that columns have in common.

An alphabet lists its symbols as (base, width, shift): the value is base | the next `width` raw bits <<
shift. The field alphabet names a value by sign, exponent, leading mantissa bits and a flag for low bits
that are seldom set; low bits that no value of a symbol has set are not written. A dictionary alphabet
names whole values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.planes import count_symbols, find_values, map_symbols, nearest_tables, rename, survey
from vecstore.kernels.rans import SHARES, quantize_shares

U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

MAX_TABLES = 1024
_MAX_SYMBOLS = 1024
_DICTIONARY = 1024
_MANTISSA = 7  # leading mantissa bits that a symbol may name
_SAMPLE = 1 << 15
_SCALE = 1 << 12  # code lengths are whole multiples of 1 / _SCALE bit, so that sums are exact
_SYMBOL_BITS = 40  # what an entry of an alphabet and its share cost on disk, roughly
_SHARE_COST = 8


@dataclass(frozen=True, eq=False)
class Models:
    """What the columns of a block are coded with."""

    symbols: U16  # (d, n), each column in the symbols of its alphabet
    alphabets: list[U32]  # (a, 3) each: base, width, shift
    alphabet_of: I64  # (t,): the alphabet of a table
    shares: list[I64]  # t of them, (a,) each, summing to SHARES
    table_of: I64  # (d,): the table of a column


def build(columns: U32) -> Models:
    """Chooses alphabets and tables for columns (d, n), n > 0."""
    dim = len(columns)
    alphabet, field = _field_symbols(columns)
    counts = _count(field, len(alphabet))
    field_cost = _entropy(counts) + counts @ alphabet[:, 1].astype(np.int64)
    sets = _dictionaries(columns, field_cost)
    named = np.zeros(dim, bool)
    parts: list[tuple[NDArray[np.intp], U32, I64]] = []
    for which, values, symbols in sets:
        named[which] = True
        field[which] = symbols
        parts.append((which, _whole(values), _count(symbols, len(values))))
    rest = np.flatnonzero(~named)
    if len(rest):
        parts.insert(0, (rest, alphabet, counts[rest]))
    return _assemble(field, parts)


def _assemble(symbols: U16, parts: list[tuple[NDArray[np.intp], U32, I64]]) -> Models:
    table_of = np.zeros(len(symbols), np.int64)
    alphabet_of: list[int] = []
    shares: list[I64] = []
    for number, (which, _, counts) in enumerate(parts):
        tables, nearest = cluster(counts, MAX_TABLES - len(shares) - (len(parts) - number - 1))
        table_of[which] = nearest + len(shares)
        shares += tables
        alphabet_of += [number] * len(tables)
    return Models(symbols, [part[1] for part in parts], np.array(alphabet_of, np.int64), shares, table_of)


def _field_symbols(columns: U32) -> tuple[U32, U16]:
    """The field alphabet (a, 3) that costs least, and columns in its symbols."""
    flat = columns.reshape(-1)
    sample = np.ascontiguousarray(flat[:: max(1, flat.size // _SAMPLE)])
    best, found = np.inf, (0, 0, np.empty(0, np.intp), np.empty(0, np.uint32))
    for flag in sorted({0, _seldom_set(sample)}):
        cut = max(23 - _MANTISSA, flag)
        counts, unions = _survey(flat, cut, flag)
        while cut <= 23:
            keys = np.flatnonzero(counts)
            cost = _field_cost(counts[keys], unions[keys], cut)
            if len(keys) <= _MAX_SYMBOLS and cost < best:
                best, found = cost, (cut, flag, keys, unions[keys])
            # The keys of one mantissa bit fewer are pairs of these.
            pairs, both = counts.reshape(-1, 2, 2), unions.reshape(-1, 2, 2)
            counts = (pairs[:, 0] + pairs[:, 1]).reshape(-1)
            unions = (both[:, 0] | both[:, 1]).reshape(-1)
            cut += 1
    cut, flag, keys, unions = found
    symbol_of = np.zeros(2 << (32 - cut), np.uint16)
    symbol_of[keys] = np.arange(len(keys))
    symbols = np.empty(columns.shape, np.uint16)
    map_symbols(columns, cut, flag, symbol_of, symbols)
    width, shift = _raw_bits(unions, cut)
    base = (keys >> 1).astype(np.uint32) << np.uint32(cut)
    return np.ascontiguousarray(np.stack([base, width, shift], axis=1).astype(np.uint32)), symbols


def _seldom_set(sample: U32) -> int:
    """The number of lowest bits that a flag in the symbol saves most by, 0 if none does."""
    best, where = 0.0, 0
    for bits in range(1, 24):
        share = float(np.mean((sample & np.uint32((1 << bits) - 1)) == 0))
        if 0 < share < 1:
            saved = bits * share + share * np.log2(share) + (1 - share) * np.log2(1 - share)
            if saved > best + 1e-9:
                best, where = saved, bits
    return where


def _survey(values: U32, cut: int, flag: int) -> tuple[I64, U32]:
    counts = np.zeros(2 << (32 - cut), np.int64)
    unions = np.zeros(counts.size, np.uint32)
    survey(values, cut, flag, counts, unions)
    return counts, unions


def _raw_bits(unions: U32, cut: int) -> tuple[U32, U32]:
    """Width and shift of what lies below `cut` and is set in any value of a symbol."""
    low = unions & np.uint32((1 << cut) - 1)
    shift = np.zeros(len(low), np.uint32)
    some = low > 0
    lowest = low[some] & (~low[some] + np.uint32(1))
    shift[some] = np.log2(lowest.astype(np.float64)).astype(np.uint32)
    return np.where(some, np.uint32(cut) - shift, np.uint32(0)).astype(np.uint32), shift


def _field_cost(counts: I64, unions: U32, cut: int) -> float:
    """Bits that values with these counts and unions of symbols take, the tables of shares included."""
    width, _ = _raw_bits(unions, cut)
    raw = int(counts @ width.astype(np.int64))
    tables = 1 + min(15, int(counts.sum()) >> 16)
    return float(_entropy(counts[None])[0]) + raw + len(counts) * (_SYMBOL_BITS + _SHARE_COST * tables)


def _dictionaries(columns: U32, field_cost: F64) -> list[tuple[NDArray[np.intp], U32, U16]]:
    """Sets of columns that whole values name in fewer bits: the columns, their values, their symbols."""
    dim, n = columns.shape
    values = np.zeros((dim, min(_DICTIONARY, max(256, n // 4))), np.uint32)
    sizes = np.zeros(dim, np.int64)
    symbols = np.zeros(columns.shape, np.uint16)
    find_values(columns, values, sizes, symbols)
    small = np.flatnonzero(sizes > 0)
    if not len(small):
        return []
    cost = _entropy(_count(symbols[small], values.shape[1]))
    single = cost + _SYMBOL_BITS * sizes[small]
    chosen = single < field_cost[small]
    chosen[np.cumsum(chosen) > MAX_TABLES // 2] = False
    pool = np.empty(0, np.uint32)
    for c in small:
        pool = np.union1d(pool, values[c, : sizes[c]])
        if len(pool) > _MAX_SYMBOLS:
            break
    shared = float(cost.sum()) + _SYMBOL_BITS * len(pool)
    each = float(np.where(chosen, single, field_cost[small]).sum())
    if len(pool) <= _MAX_SYMBOLS and shared < min(each, float(field_cost[small].sum())):
        return [(small, pool, _renamed(symbols, values, sizes, small, pool))]
    found = []
    for c in small[chosen]:
        own = np.unique(values[c, : sizes[c]])
        which = np.array([c])
        found.append((which, own, _renamed(symbols, values, sizes, which, own)))
    return found


def _renamed(symbols: U16, values: U32, sizes: I64, which: NDArray[np.intp], pool: U32) -> U16:
    """The symbols of some columns as places in a sorted pool."""
    places = [np.searchsorted(pool, values[c, : sizes[c]]) for c in which]
    starts = np.cumsum([0, *[len(p) for p in places[:-1]]], dtype=np.int64)
    renamed = symbols[which]
    rename(renamed, np.concatenate(places).astype(np.uint16), starts)
    return renamed


def _whole(values: U32) -> U32:
    alphabet = np.zeros((len(values), 3), np.uint32)
    alphabet[:, 0] = values
    return alphabet


def _count(symbols: U16, size: int) -> I64:
    counts = np.zeros((len(symbols), size), np.int64)
    count_symbols(symbols, counts)
    return counts


def _entropy(counts: I64) -> F64:
    """Bits that the symbols counted in each row of counts (t, a) need with shares of their own."""
    total = counts.sum(axis=1)
    logs = np.log2(np.maximum(counts, 1))
    bits: F64 = total * np.log2(np.maximum(total, 1)) - (counts * logs).sum(axis=1)
    return bits


def cluster(counts: I64, most: int) -> tuple[list[I64], I64]:
    """Tables of shares, at most `most`, for columns with these counts (d, a), and the table of each.

    Centres are added where columns lose most, then settle (Lloyd 1982 with code length as the
    distance); of 1, 4, 16, 64 tables those that cost least with their own bytes are taken.
    """
    own = _entropy(counts)
    centres = counts.sum(axis=0)[None]
    best: tuple[float, list[I64], I64] | None = None
    for size in (1, 4, 16, 64):
        if size > min(most, len(counts)):
            break
        lengths = _lengths(centres)
        nearest, costs = _nearest(counts, lengths)
        while len(centres) < size:
            worst = int(np.argmax(costs / _SCALE - own))
            centres = np.concatenate([centres, counts[worst][None]])
            _new, new_costs = _nearest(counts, _lengths(centres[-1:]))
            costs = np.minimum(costs, new_costs)
        for _ in range(3 if size > 1 else 0):
            nearest, _costs = _nearest(counts, _lengths(centres))
            centres = np.stack([counts[nearest == t].sum(axis=0) for t in range(len(centres))])
            centres = centres[centres.sum(axis=1) > 0]
        nearest, _costs = _nearest(counts, _lengths(centres))
        used, nearest = np.unique(nearest, return_inverse=True)
        tables = [_shares(counts[nearest == t].sum(axis=0)) for t in range(len(used))]
        lengths = np.stack([np.log2(SHARES / np.maximum(table, 1)) for table in tables])
        data = float(sum((counts[nearest == t].sum(axis=0) * lengths[t]).sum() for t in range(len(used))))
        total = data + sum(_SHARE_COST * int((table > 0).sum()) for table in tables)
        if best is not None and total >= best[0]:
            break
        best = (total, tables, nearest.astype(np.int64))
    assert best is not None
    return best[1], best[2]


def _lengths(centres: I64) -> I64:
    """Code lengths (t, a) in units of 1 / _SCALE bit; a symbol never seen is taken as seen a bit."""
    weights = centres * 64 + 1
    lengths: I64 = np.rint(np.log2(weights.sum(axis=1, keepdims=True) / weights) * _SCALE).astype(np.int64)
    return lengths


def _nearest(counts: I64, lengths: I64) -> tuple[I64, I64]:
    nearest = np.zeros(len(counts), np.int64)
    costs = np.zeros(len(counts), np.int64)
    nearest_tables(counts, lengths, nearest, costs)
    return nearest, costs


def _shares(counts: I64) -> I64:
    shares = np.zeros(len(counts), np.int64)
    quantize_shares(counts, shares)
    return shares
