"""How fast rows of a large table can be read at all: walks over it that do nothing else.

A lookup in `unified` of two chunks reads two halves of a line of the cache for each id where plain rows are
one line. What that costs, however a lookup is written, is what a walk over the same places costs.
"""

from __future__ import annotations

import time

import numpy as np

from vecstore.bench.tables.clicks import F32, I64
from vecstore.codecs.tables.addresses import Hashed
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import address, empty_floats
from vecstore.kernels.sixteen import load_all, load_eight, load_word, plus, prefetch, store_all, zeros

LINE_VALUES = 16  # float32 of a line
_AHEAD = (32, 64, 128)  # of which the best counts
_RUNS = 5


def walks(batches: list[I64], rows: int) -> dict[str, float]:
    """Nanoseconds an id: `line`, one row of 16 values each; `halves`, two of 8 in a table as large."""
    data = empty_floats(rows * LINE_VALUES)
    data[:] = 1
    hashed = Hashed(0, 2 * rows, np.array([[1], [2]], np.uint64))
    lines = [np.ascontiguousarray(ids.reshape(-1)) for ids in batches]
    halves = [hashed(ids).reshape(-1) for ids in lines]
    out = np.zeros(LINE_VALUES, np.float32)
    return {
        name: min(_ns(data, places, (width, ahead), out) for ahead in _AHEAD)
        for name, places, width in (("line", lines, 16), ("halves", halves, 8))
    }


def _ns(data: F32, places: list[I64], how: tuple[int, int], out: F32) -> float:
    """Median over runs of nanoseconds for each 16 values."""
    times = []
    for _ in range(_RUNS):
        started = time.process_time()
        for each in places:
            _walk(data, each, how, out)
        times.append(time.process_time() - started)
    values = sum(each.size for each in places) * how[0]
    return 1e9 * float(np.median(times)) * LINE_VALUES / values


@kernel
def _walk(data: F32, rows: I64, how: tuple[int, int], out: F32) -> None:
    """out (16,) = the sum of rows of data; how: 16 or 8 values a row, rows asked for ahead."""
    width, ahead = how
    base, at = address(data), address(rows)
    last = at + 8 * (rows.size - 1)
    whole = zeros()
    while at <= last:
        prefetch(base + load_word(min(at + 8 * ahead, last)) * 4 * width)
        row = base + load_word(at) * 4 * width
        whole = plus(whole, load_eight(row, 8) if width == 8 else load_all(row))
        at += 8
    store_all(address(out), whole)
