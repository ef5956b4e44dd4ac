"""Lookups in tables: rows of any format, summed over bags and probes, side by side over chunks."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel
from vecstore.kernels.radix import NONE
from vecstore.kernels.rowformats import F32, I8, scale_of, values_at
from vecstore.kernels.simd import address
from vecstore.kernels.sixteen import (
    all_of,
    load_bytes,
    load_eight,
    load_float,
    load_floats,
    load_short_float,
    load_word,
    plus,
    prefetch,
    store_floats,
    times,
    zeros,
)

F32s = NDArray[np.float32]
I64 = NDArray[np.int64]

Source: TypeAlias = tuple[int, int, int, int]  # rows, bytes of one, addresses, their end
Bag: TypeAlias = tuple[int, int, int, int, int, int]  # start, stop, chunk, chunks, probes, first value

_AHEAD, _AHEAD_PAIR, _AHEAD_WIDE = 64, 64, 24  # lookups between asking for a row and reading it


@kernel
def pool(
    data: NDArray[np.uint8], addresses: I64, offsets: I64, weights: F32s, out: F32s, how: tuple[int, int, int]
) -> None:
    """out[b, c * w:][:w] (+)= sum over lookups i of bag b, probes p, of weights[i] * row(addresses[i, c, p]).

    data (rows, row bytes); addresses (n, c, p), rows or NONE; offsets (b + 1,), or (0,) for bags of one;
    weights (n,), or (0,) for ones; out (b, stride), written from its first column on. how: the kind of rows,
    their width w, and 1 if what is in out is added to, else 0. Terms are added in order.
    """
    # Addresses alone are handed on: numba counts references of an array at each call.
    width, chunks, probes = how[1], addresses.shape[1], addresses.shape[2]
    source = (address(data), data.shape[1], address(addresses), address(addresses) + 8 * addresses.size)
    target, starts = address(out), address(offsets) if offsets.size else 0
    factors = address(weights) if weights.size else 0
    bare = probes == 1 and how[2] == 0 and factors == 0 and (how[0] == F32 or how[0] == I8)
    for b in range(out.shape[0]):
        start, stop = b, b + 1
        if starts:
            start, stop = load_word(starts + 8 * b), load_word(starts + 8 * b + 8)
        place = target + 4 * b * out.shape[1]
        c = 0
        while c < chunks:
            to = place + 4 * c * width
            if bare and c + 1 < chunks and width <= 16:
                _sum_pair(source, (start, stop, c, chunks, 1, 0), to, how)
                c += 2
            elif bare and c + 1 < chunks and width <= 32 and how[0] == F32:
                _sum_wide_pair(source, (start, stop, c, chunks, 1, 0), to, width)
                c += 2
            else:
                _sum_chunk(source, (start, stop, c, chunks, probes, 0), factors, to, (bare, *how))
                c += 1


@kernel
def _sum_chunk(source: Source, bag: Bag, factors: int, place: int, how: tuple[bool, int, int, int]) -> None:
    """One chunk of a bag, to an address; how: whether nothing else is to be done, then as of `pool`."""
    start, stop, c, chunks, probes, _ = bag
    bare, kind, width, adds = how
    for j in range(0, width, 64):
        part, to = (start, stop, c, chunks, probes, j), place + 4 * j
        if bare and width <= 16:
            _sum_narrow(source, part, to, (kind, width, adds))
        elif bare and kind == F32:
            _sum_wide(source, part, to, width)
        elif bare:
            _sum_wide_bytes(source, part, to, width)
        elif width - j > 16:
            _sum_four(source, part, factors, to, (kind, width, adds))
        else:
            _sum_one(source, part, factors, to, (kind, width, adds))


@kernel
def _sum_four(source: Source, bag: Bag, factors: int, place: int, how: tuple[int, int, int]) -> None:
    """Values j to j + 64 of one chunk of a bag, to an address."""
    base, row_bytes, where, end = source
    start, stop, c, chunks, probes, j = bag
    kind, width, adds = how
    left = width - j
    a, b, c4, d = zeros(), zeros(), zeros(), zeros()
    if adds:
        a, b = load_floats(place, left), load_floats(place + 64, left - 16)
        c4, d = load_floats(place + 128, left - 32), load_floats(place + 192, left - 48)
    at = where + 8 * (start * chunks + c) * probes
    ahead, between = 8 * _AHEAD_WIDE * chunks * probes, 8 * (chunks - 1) * probes
    for i in range(start, stop):
        for _ in range(probes):
            if j == 0 and at + ahead < end:
                _ask(base + load_word(at + ahead) * row_bytes, row_bytes)
            row = load_word(at)
            at += 8
            if row >= 0:
                row = base + row * row_bytes
                factor = _factor(row, factors, i, kind, width)
                a = plus(a, times(values_at(row, j, left, kind), factor))
                b = plus(b, times(values_at(row, j + 16, left - 16, kind), factor))
                c4 = plus(c4, times(values_at(row, j + 32, left - 32, kind), factor))
                d = plus(d, times(values_at(row, j + 48, left - 48, kind), factor))
        at += between
    store_floats(place, a, left)
    store_floats(place + 64, b, left - 16)
    store_floats(place + 128, c4, left - 32)
    store_floats(place + 192, d, left - 48)


@kernel
def _sum_one(source: Source, bag: Bag, factors: int, place: int, how: tuple[int, int, int]) -> None:
    """As `_sum_four`, of the last 16 values or fewer."""
    base, row_bytes, where, end = source
    start, stop, c, chunks, probes, j = bag
    kind, width, adds = how
    left = width - j
    whole = load_floats(place, left) if adds else zeros()
    at = where + 8 * (start * chunks + c) * probes
    ahead, between = 8 * _AHEAD * chunks * probes, 8 * (chunks - 1) * probes
    for i in range(start, stop):
        for _ in range(probes):
            if j == 0 and at + ahead < end:
                _ask(base + load_word(at + ahead) * row_bytes, row_bytes)
            row = load_word(at)
            at += 8
            if row >= 0:
                row = base + row * row_bytes
                factor = _factor(row, factors, i, kind, width)
                whole = plus(whole, times(values_at(row, j, left, kind), factor))
        at += between
    store_floats(place, whole, left)


@kernel
def _sum_narrow(source: Source, bag: Bag, place: int, how: tuple[int, int, int]) -> None:
    """As `_sum_one`, of float32 or bytes of up to 16 values, without weights, probes or sums before.

    This is what most tables are asked for, and takes two thirds of the time.
    """
    base, row_bytes, where, end = source
    start, stop, c, chunks, _, _ = bag
    kind, width, _ = how
    whole = zeros()
    step = 8 * chunks
    at, last = where + start * step + 8 * c, where + stop * step
    ahead, final = _AHEAD * step, end - 8
    while at < last:
        line = base + load_word(min(at + ahead, final)) * row_bytes
        prefetch(line)
        row = load_word(at)
        at += step
        if row < 0:
            continue
        if kind != F32:
            prefetch(line + row_bytes - 1)
        whole = plus(whole, _narrow(base + row * row_bytes, kind, width))
    store_floats(place, whole, width)


@kernel
def _narrow(row: int, kind: int, width: int) -> Any:
    """Up to 16 values of a row of float32 or bytes."""
    if kind == F32:
        return load_eight(row, width) if width <= 8 else load_floats(row, width)
    return times(load_bytes(row, width), all_of(load_short_float(row + width)))


@kernel
def _sum_pair(source: Source, bag: Bag, place: int, how: tuple[int, int, int]) -> None:
    """As `_sum_narrow`, of a chunk and the one behind it."""
    base, row_bytes, where, end = source
    start, stop, c, chunks, _, _ = bag
    kind, width, _ = how
    a, b = zeros(), zeros()
    step = 8 * chunks
    at, last = where + start * step + 8 * c, where + stop * step
    ahead, final = _AHEAD_PAIR * step, end - 16
    while at < last:
        later = min(at + ahead, final)
        prefetch(base + load_word(later) * row_bytes)
        prefetch(base + load_word(later + 8) * row_bytes)
        row, other = load_word(at), load_word(at + 8)
        at += step
        if row >= 0:
            a = plus(a, _narrow(base + row * row_bytes, kind, width))
        if other >= 0:
            b = plus(b, _narrow(base + other * row_bytes, kind, width))
    store_floats(place, a, width)
    store_floats(place + 4 * width, b, width)


@kernel
def _sum_wide_pair(source: Source, bag: Bag, place: int, width: int) -> None:
    """As `_sum_pair`, of chunks of up to 32 float32."""
    base, row_bytes, where, end = source
    start, stop, c, chunks, _, _ = bag
    left = width - 16
    a, b, c4, d = zeros(), zeros(), zeros(), zeros()
    step = 8 * chunks
    at, last = where + start * step + 8 * c, where + stop * step
    ahead, final = _AHEAD_WIDE * step, end - 16
    while at < last:
        later = min(at + ahead, final)
        line, next_line = base + load_word(later) * row_bytes, base + load_word(later + 8) * row_bytes
        prefetch(line)
        prefetch(line + 64)
        prefetch(next_line)
        prefetch(next_line + 64)
        row, other = load_word(at), load_word(at + 8)
        at += step
        if row >= 0:
            row = base + row * row_bytes
            a, b = plus(a, load_floats(row, width)), plus(b, load_floats(row + 64, left))
        if other >= 0:
            other = base + other * row_bytes
            c4, d = plus(c4, load_floats(other, width)), plus(d, load_floats(other + 64, left))
    store_floats(place, a, width)
    store_floats(place + 64, b, left)
    store_floats(place + 4 * width, c4, width)
    store_floats(place + 4 * width + 64, d, left)


@kernel
def _sum_wide(source: Source, bag: Bag, place: int, width: int) -> None:
    """As `_sum_narrow`, of values j to j + 64 of wider rows of float32."""
    base, row_bytes, where, end = source
    start, stop, c, chunks, _, j = bag
    left = width - j
    a, b, c4, d = zeros(), zeros(), zeros(), zeros()
    step, base = 8 * chunks, base + 4 * j
    at, last = where + start * step + 8 * c, where + stop * step
    ahead, final = _AHEAD_WIDE * step, end - 8
    while at < last:
        line = base + load_word(min(at + ahead, final)) * row_bytes
        prefetch(line)
        prefetch(line + 64)
        prefetch(line + 128)
        prefetch(line + 192)
        row = load_word(at)
        at += step
        if row < 0:
            continue
        row = base + row * row_bytes
        a = plus(a, load_floats(row, left))
        b = plus(b, load_floats(row + 64, left - 16))
        c4 = plus(c4, load_floats(row + 128, left - 32))
        d = plus(d, load_floats(row + 192, left - 48))
    store_floats(place, a, left)
    store_floats(place + 64, b, left - 16)
    store_floats(place + 128, c4, left - 32)
    store_floats(place + 192, d, left - 48)


@kernel
def _sum_wide_bytes(source: Source, bag: Bag, place: int, width: int) -> None:
    """As `_sum_wide`, of rows of bytes."""
    base, row_bytes, where, end = source
    start, stop, c, chunks, _, j = bag
    left = width - j
    a, b, c4, d = zeros(), zeros(), zeros(), zeros()
    step, base = 8 * chunks, base + j
    at, last = where + start * step + 8 * c, where + stop * step
    ahead, final = _AHEAD_WIDE * step, end - 8
    while at < last:
        line = base + load_word(min(at + ahead, final)) * row_bytes
        prefetch(line)
        prefetch(line + 64)
        row = load_word(at)
        at += step
        if row < 0:
            continue
        row = base + row * row_bytes
        scale = all_of(load_short_float(row + left))
        a = plus(a, times(load_bytes(row, left), scale))
        b = plus(b, times(load_bytes(row + 16, left - 16), scale))
        c4 = plus(c4, times(load_bytes(row + 32, left - 32), scale))
        d = plus(d, times(load_bytes(row + 48, left - 48), scale))
    store_floats(place, a, left)
    store_floats(place + 64, b, left - 16)
    store_floats(place + 128, c4, left - 32)
    store_floats(place + 192, d, left - 48)


@kernel
def _ask(row: int, row_bytes: int) -> None:
    """Asks for the bytes of a row, which may lie beyond the table."""
    for skip in range(0, row_bytes, 64):
        prefetch(row + skip)


@kernel
def _factor(row: int, factors: int, i: int, kind: int, width: int) -> Any:
    """What the values of a row are multiplied by."""
    factor = load_float(factors + 4 * i) if factors else np.float32(1)
    return all_of(factor if kind == F32 else factor * scale_of(row, kind, width))


@kernel
def pool_elements(values: F32s, addresses: I64, offsets: I64, weights: F32s, out: F32s, adds: bool) -> None:
    """As `pool`, of rows that are single float32: values (rows,), one chunk for each column of out."""
    chunks, probes = addresses.shape[1], addresses.shape[2]
    flat = addresses.reshape(-1)
    base, last = address(values), flat.size - 1
    for b in range(out.shape[0]):
        start, stop = (offsets[b], offsets[b + 1]) if offsets.size else (b, b + 1)
        line = out[b]
        if not adds:
            line[:chunks] = 0
        place = start * chunks * probes
        for i in range(start, stop):
            factor = weights[i] if weights.size else np.float32(1)
            for c in range(chunks):
                for _ in range(probes):
                    later = flat[min(place + _AHEAD, last)]
                    prefetch(base + 4 * (later ^ (later >> 63)))
                    row = flat[place]
                    place += 1
                    if row == NONE:
                        continue
                    minus = row >> 63  # all bits, where it is negative: half of them, as nobody can foresee
                    line[c] += factor * np.float32(1 + 2 * minus) * values[row ^ minus]
