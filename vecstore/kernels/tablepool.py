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

_AHEAD = 32  # lookups between asking for a row and reading it; half as many for rows of several lines


@kernel
def pool(
    data: NDArray[np.uint8], addresses: I64, offsets: I64, weights: F32s, out: F32s, how: tuple[int, int, int]
) -> None:
    """out[b, c * w:][:w] (+)= sum over lookups i of bag b, probes p, of weights[i] * row(addresses[i, c, p]).

    data (rows, row bytes); addresses (n, c, p), rows or NONE; offsets (b + 1,), or (0,) for bags of one;
    weights (n,), or (0,) for ones; out (b, stride), written from its first column on. how: the kind of rows,
    their width w, and 1 if what is in out is added to, else 0. Terms are added in order.
    """
    width, chunks, probes = how[1], addresses.shape[1], addresses.shape[2]
    source = (address(data), data.shape[1], address(addresses), address(addresses) + 8 * addresses.size)
    target, starts = address(out), address(offsets)
    bare = (
        width <= 16 and probes == 1 and how[2] == 0 and weights.size == 0 and (how[0] == F32 or how[0] == I8)
    )
    for b in range(out.shape[0]):
        start, stop = b, b + 1
        if offsets.size:
            start, stop = load_word(starts + 8 * b), load_word(starts + 8 * b + 8)
        place = target + 4 * b * out.shape[1]
        for c in range(chunks):
            for j in range(0, width, 64):
                bag = (start, stop, c, chunks, probes, j)
                if bare:
                    _sum_bare(source, bag, place + 4 * c * width, how)
                elif width - j > 16:
                    _sum_four(source, bag, weights, place + 4 * (c * width + j), how)
                else:
                    _sum_one(source, bag, weights, place + 4 * (c * width + j), how)


@kernel
def _sum_four(source: Source, bag: Bag, weights: F32s, place: int, how: tuple[int, int, int]) -> None:
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
    ahead, between = 4 * _AHEAD * chunks * probes, 8 * (chunks - 1) * probes
    for i in range(start, stop):
        for _ in range(probes):
            if j == 0 and at + ahead < end:
                _ask(base + load_word(at + ahead) * row_bytes, row_bytes)
            row = load_word(at)
            at += 8
            if row >= 0:
                row = base + row * row_bytes
                factor = _factor(row, weights, i, kind, width)
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
def _sum_one(source: Source, bag: Bag, weights: F32s, place: int, how: tuple[int, int, int]) -> None:
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
                factor = _factor(row, weights, i, kind, width)
                whole = plus(whole, times(values_at(row, j, left, kind), factor))
        at += between
    store_floats(place, whole, left)


@kernel
def _sum_bare(source: Source, bag: Bag, place: int, how: tuple[int, int, int]) -> None:
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
        row = base + row * row_bytes
        if kind == F32:
            whole = plus(whole, load_floats(row, width))
        else:
            prefetch(line + row_bytes - 1)
            whole = plus(whole, times(load_bytes(row, width), all_of(load_short_float(row + width))))
    store_floats(place, whole, width)


@kernel
def _ask(row: int, row_bytes: int) -> None:
    """Asks for the bytes of a row, which may lie beyond the table."""
    for skip in range(0, row_bytes, 64):
        prefetch(row + skip)


@kernel
def _factor(row: int, weights: F32s, i: int, kind: int, width: int) -> Any:
    """What the values of a row are multiplied by."""
    factor = weights[i] if weights.size else np.float32(1)
    return all_of(factor if kind == F32 else factor * scale_of(row, kind, width))


@kernel
def pool_elements(values: F32s, addresses: I64, offsets: I64, weights: F32s, out: F32s, adds: bool) -> None:
    """As `pool`, of rows that are single float32: values (rows,), one chunk for each column of out."""
    chunks, probes = addresses.shape[1], addresses.shape[2]
    flat = addresses.reshape(-1)
    for b in range(out.shape[0]):
        start, stop = (offsets[b], offsets[b + 1]) if offsets.size else (b, b + 1)
        for c in range(chunks):
            whole = out[b, c] if adds else np.float32(0)
            for i in range(start, stop):
                for p in range(probes):
                    row = flat[(i * chunks + c) * probes + p]
                    if row == NONE:
                        continue
                    factor = weights[i] if weights.size else np.float32(1)
                    whole += factor * values[row] if row >= 0 else -factor * values[~row]
            out[b, c] = whole
