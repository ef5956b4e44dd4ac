"""Tables of reproduction values for trellis cells, learned on normal values and refined on rows."""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tcq.allocation import Rates, lay_out
from vecstore.kernels import trellis, viterbi

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

MOST_BITS = 8
_VALUES = 1 << 15  # normal values that a table is learned on, per iteration at most
_ITERATIONS = 25
_SEED = 20
_CELL_ITERATIONS = 200


@lru_cache(maxsize=64)
def normal_table(states: int, bits: int, width: int) -> tuple[F32, float]:
    """A table (2, states) for unit-variance normal values, and its mean squared error.

    Begun with quantiles in random order, which a bitshift trellis needs: states that follow one another
    share bits. Then Lloyd's iteration with the encoder in place of the nearest neighbour. Where cells of
    this size do not fill a word, one of the size that is left stands beside them, its values smaller by so
    much that both err alike, as water-filling has it.
    """
    rng = np.random.default_rng((_SEED, states, bits, width))
    # Of fine cells the values' density is the cube root of the normal one (Panter, Dite 1951).
    quantiles = _quantiles(states) * np.float32(1.0 if bits < 5 else math.sqrt(3))
    tables = np.stack([quantiles[rng.permutation(states)] for _ in range(2)])[None]
    groups, kinds = [(0, bits, width)] * (8 // bits), [(bits, width)]
    if rest := 8 % bits:
        groups.append((0, rest, 1))
        kinds.append((rest, 1))
        tables = np.concatenate([tables, normal_table(states, rest, 1)[0][None]])
    cells, words = lay_out(np.array(groups, np.int32), kinds)
    dims = int(cells[:, 3].sum())
    rows = rng.standard_normal((max(64, _VALUES // dims), dims), dtype=np.float32)
    scales = np.ones(dims, np.float32)
    if rest:
        beside = cells[cells[:, viterbi.TABLE] == 1, viterbi.DIM]
        scales[beside] = 2.0 ** (rest - bits)
        rows[:, beside] *= scales[beside]
    error = 1.0
    for _ in range(_ITERATIONS):
        better, errors = improve(rows, scales, tables, (cells, words))
        tables[0], error = better[0], errors[0]
    return tables[0], error


@cache
def normal_cells(bits: int) -> tuple[tuple[float, ...], float]:
    """The levels of a scalar quantizer of 2**bits cells for a unit normal variable, and its squared error.

    Begun where Panter and Dite 1951 have them for many levels, then Lloyd's iteration.
    """
    count = 1 << bits
    levels = _quantiles(count).astype(np.float64) * math.sqrt(3) if bits else np.zeros(1)
    error = 1.0
    for _ in range(_CELL_ITERATIONS if bits else 0):
        edges = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
        shares = np.diff([0.5 * math.erfc(-x / math.sqrt(2)) for x in edges])
        heights = np.exp(-np.square(edges) / 2) / math.sqrt(2 * math.pi)
        levels = -np.diff(heights) / shares
        error = 1 - float((shares * np.square(levels)).sum())
    return tuple(levels.tolist()), error


def rates(states: int) -> Rates:
    """The errors of cells for normal values."""
    most = min(MOST_BITS, states.bit_length() - 1)
    errors = [normal_table(states, bits, 1)[1] for bits in range(1, most + 1)]
    return Rates((1.0, *errors), normal_table(states, 1, 2)[1])


def improve(rows: F32, scales: F32, tables: F32, layout: tuple[I64, I64]) -> tuple[F32, list[float]]:
    """One step of Lloyd's iteration: tables (t, 2, states) that fit the paths found with those given.

    rows (n, d). Also each table's squared error with the tables given, relative to scales**2. A state that
    no path goes through keeps its value.
    """
    cells, words = layout
    size, states = int(words[:, 2].sum()), tables.shape[2]
    codes = np.empty((len(rows), size), np.uint8)
    viterbi.encode(rows, scales, tables, cells, words, codes)
    seen = np.empty((len(rows), len(cells)), np.uint16)
    trellis.windows(codes, cells, words, states.bit_length() - 1, seen)
    better, errors = tables.copy(), []
    for table in range(len(tables)):
        error, weight = 0.0, 0.0
        for j in range(2):
            mine = np.flatnonzero((cells[:, viterbi.TABLE] == table) & (cells[:, viterbi.WIDTH] > j))
            if not len(mine):
                continue
            dims = cells[mine, viterbi.DIM] + j
            window, scale = seen[:, mine].reshape(-1), np.tile(scales[dims].astype(np.float64), len(rows))
            values = rows[:, dims].reshape(-1).astype(np.float64)
            error += float(np.square(values - scale * tables[table, j][window]).sum())
            weight += float(np.square(scale).sum())
            sums = np.bincount(window, scale * values, states)
            weights = np.bincount(window, scale * scale, states)
            some = weights > 0
            better[table, j, some] = (sums[some] / weights[some]).astype(np.float32)
        errors.append(error / weight if weight > 0 else 0.0)
    return better, errors


def _quantiles(count: int) -> F32:
    """The normal distribution's quantiles at the middles of `count` equal parts, by bisection."""
    wanted = (np.arange(count) + 0.5) / count
    low, high = np.full(count, -8.0), np.full(count, 8.0)
    for _ in range(60):
        middle = (low + high) / 2
        below = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in middle]) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    found: F32 = ((low + high) / 2).astype(np.float32)
    return found
