"""Lookups in tables: rows of any format, summed over bags and probes, side by side over chunks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel
from vecstore.kernels.radix import NONE
from vecstore.kernels.rowformats import F32, scale_of, values_at
from vecstore.kernels.simd import address
from vecstore.kernels.sixteen import all_of, load_floats, plus, prefetch, store_floats, times, zeros

F32s = NDArray[np.float32]
I64 = NDArray[np.int64]

_AHEAD = 16  # lookups between asking for a row and reading it


@kernel
def pool(
    data: NDArray[np.uint8], addresses: I64, offsets: I64, weights: F32s, out: F32s, how: tuple[int, int, int]
) -> None:
    """out[b, c * w:][:w] (+)= sum over lookups i of bag b, probes p, of weights[i] * row(addresses[i, c, p]).

    data (rows, row bytes); addresses (n, c, p) as in `pack`; offsets (b + 1,), or (0,) for bags of one;
    weights (n,), or (0,) for ones; out (b, stride), written from its first column on. how: the kind of rows,
    their width w, and 1 if what is in out is added to, else 0. Terms are added in order.
    """
    kind, width, adds = how
    chunks, probes = addresses.shape[1], addresses.shape[2]
    flat, row_bytes = addresses.reshape(-1), data.shape[1]
    base, target = address(data), address(out)
    ahead = _AHEAD * chunks * probes
    for b in range(out.shape[0]):
        start, stop = (offsets[b], offsets[b + 1]) if offsets.size else (b, b + 1)
        for c in range(chunks):
            for j in range(0, width, 16):
                place = target + 4 * (b * out.shape[1] + c * width + j)
                left = width - j
                whole = load_floats(place, left) if adds else zeros()
                for i in range(start, stop):
                    for p in range(probes):
                        at = (i * chunks + c) * probes + p
                        if j == 0 and at + ahead < flat.size:
                            line = base + max(flat[at + ahead], ~flat[at + ahead]) * row_bytes
                            for skip in range(0, row_bytes, 64):
                                prefetch(line + skip)
                        row = flat[at]
                        if row == NONE:
                            continue
                        factor = weights[i] if weights.size else np.float32(1)
                        if row < 0:
                            row, factor = ~row, -factor
                        source = base + row * row_bytes
                        part = values_at(source, j, left, kind)
                        if kind != F32:
                            factor *= scale_of(source, kind, width)
                        if factor != np.float32(1):
                            part = times(part, all_of(factor))
                        whole = plus(whole, part)
                store_floats(place, whole, left)


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
