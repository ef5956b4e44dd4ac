"""Queries of trellis codes: weights of theirs along the axes, and the whole of a search by one call."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import top
from vecstore.kernels.bytedots import Weights, fold_into
from vecstore.kernels.jit import kernel
from vecstore.kernels.lookup import Tables, fill_tables
from vecstore.kernels.trellisdots import BLOCK, pick
from vecstore.kernels.trellisheaps import By, Held, push
from vecstore.kernels.trellistails import Queries, pack

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
# Of the dimensions of all groups, heads first: which of the axes each is (d,), what a step of its table of
# bytes is (d,), what its values are times (d,). How many are of heads; the lanes of tails, from `tails`.
Axes = tuple[I64, F32, F64, int, I64]
# Blocks of heads and words of tails; windows as `pick` takes them; factors and stages as `Held` has them.
Rows = tuple[U64, U64, tuple[I64, U64, F64], F32, U8]
MIDDLE = 128  # of a table's bytes


@kernel
def weigh(turned: F32, bases: F64, axes: Axes) -> tuple[Queries, F64]:
    """Queries along the axes (q, a) as `trellisheaps.push` and as `trellisdots.pick` take them; bases (q,):
    what heads begin with."""
    dims, units, scales, heads, numbers = axes
    count = turned.shape[0]
    upper, lower = np.empty((count, heads), np.float32), np.empty((count, dims.size - heads), np.float32)
    exact, sums = np.empty((count, dims.size // 8, 8), np.float64), np.empty(count, np.float64)
    for j in range(count):
        middles, own = 0.0, exact[j].reshape(-1)
        for t in range(dims.size):
            value = turned[j, dims[t]]
            own[t] = np.float64(value) * scales[t]
            if t < heads:
                upper[j, t] = value * units[t]
                middles += np.float64(upper[j, t])
            else:
                lower[j, t - heads] = value * units[t]
        sums[j] = bases[j] - MIDDLE * middles
    behind = _folded(lower, np.zeros(count, np.float64))
    return pack(_folded(upper, sums), behind, units[heads:].astype(np.float64), numbers), exact


@kernel
def _folded(weights: F32, bases: F64) -> Weights:
    """`bytedots.fold` for tables' bytes, of weights whatever their sizes in one byte each."""
    count, dims = weights.shape
    made, coarse = np.zeros((count, dims // 4, 1, 2, 4), np.int8), np.empty(count, np.bool_)
    steps, offsets = np.empty(count, np.float32), np.empty(count, np.float32)
    fold_into(weights, bases, (float(MIDDLE), float(dims)), made, (steps, offsets, coarse))
    return made, steps, offsets, coarse


@kernel
def tables_of(values: F32, constants: F64) -> Tables:
    """Products with centroids (q, s, 256) as `trellisheaps.settle` takes them, with these constants (q,)."""
    count, stages = values.shape[:2]
    book = np.empty((count, stages, 256), np.uint8)
    steps, offsets = np.empty((count, 1), np.float32), np.empty(count, np.float32)
    fill_tables(values, (np.array([0, stages]), np.arange(stages) * 256), book, steps, offsets)
    for j in range(count):
        offsets[j] = np.float32(constants[j] + np.float64(offsets[j]))
    return book, steps, offsets


@kernel
def rescore(rows: Rows, numbers: I64, asked: tuple[F64, F64, F32], out: F64) -> None:
    """out[j, i] = `trellisdots.pick` * factor + constant + products with centroids, of row numbers[j, i].

    asked: weights (q, g, 8), constants (q,), and products (q, s, 256); numbers and out (q, k).
    """
    (blocks, rest, windows, factors, stages), (exact, constants, values) = rows, asked
    pick((blocks, rest), numbers, windows, exact, out)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            row, added = numbers[j, i], constants[j]
            for s in range(values.shape[1]):
                added += np.float64(values[j, s, stages[row // BLOCK, s, row % BLOCK]])
            out[j, i] = (out[j, i] * factors[row] if factors.size else out[j, i]) + added


@kernel
def nearest(
    held: tuple[Held, Rows],
    queries: tuple[F32, F64, F32, Axes],
    by: tuple[By, F64],
    picked: int,
    best: top.Heap,
) -> None:
    """The whole of a search: `push` into heaps of `picked`, `rescore` of what these hold, the best.

    queries: along the axes (q, a), what is added to their scores (q,), products with centroids (q, s, 256),
    and the axes. by: as in `push`, of all rows, and what multiplies all keys of a query in the end, (q,) or
    empty. best (q, k), written, the best first.
    """
    turned, constants, values, axes = queries
    shape, (_, rest, _, factors, _) = (turned.shape[0], picked), held[1]
    settled = factors.size or values.shape[1]
    weights, exact = weigh(turned, np.zeros(shape[0]) if settled else constants, axes)
    keys, numbers, found = np.empty(shape, np.float32), np.empty(shape, np.int64), np.empty(shape, np.float64)
    top.clear((keys, numbers))
    asked = weights, tables_of(values, constants)
    push(held[0], asked, (0, rest.shape[0], 0), by[0], (keys, numbers))
    rescore(held[1], numbers, (exact, constants, values), found)
    top.rank(found, by, (keys, numbers), best)
