"""What rbe learns of its coordinates: steps to find the bits by, levels to read them by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Codes, Rows
from vecstore.kernels import bits as kernels

# The step of the best even grid of 2**bits levels for normal values; Max 1960, table II, to 5 bits, further
# ones by the same condition.
_STEPS = {1: 1.596, 2: 0.9957, 3: 0.586, 4: 0.3352, 5: 0.1881, 6: 0.1041, 7: 0.0569, 8: 0.0308}
_ROUNDS = 20
_RIDGE = 1e-9  # of a plane's own weight; lets planes be equal, as they are for few rows

F64 = NDArray[np.float64]


def level_rows(bits: int) -> int:
    """Rows of levels for every number of planes from 1 to bits: an offset and a step for each plane."""
    return bits * (bits + 3) // 2


def of_planes(levels: Rows, planes: int) -> Rows:
    """The offset and the steps (planes + 1, m) with which that many planes are read."""
    first = level_rows(planes - 1)
    return levels[first : first + planes + 1]


def even_grid(bits: int) -> F64:
    """Half the distances (bits,) between the two halves of what is left, for normal values of variance 1."""
    return np.asarray(_STEPS[bits] / 2 * 2.0 ** np.arange(bits - 1, -1, -1), np.float64)


def learn(values: Rows, weights: F64, bits: int) -> tuple[Rows, Rows]:
    """Steps (bits, m) and levels (level_rows(bits), m) for values (n, m).

    Steps begin as an even grid. Then levels are those of least squares for the cells that the steps make,
    and steps become the levels, in turn; each dimension keeps what lost least.
    """
    middle = np.average(values, axis=0, weights=weights)
    spread = np.sqrt(np.average(np.square(values - middle), axis=0, weights=weights))
    grid = even_grid(bits)[:-1, None]
    steps = np.concatenate([middle[None], grid * spread]).astype(np.float32)
    best, least = steps, np.full(values.shape[1], np.inf)
    for _ in range(_ROUNDS):
        counts, sums = _cells(values, weights, steps)
        found = _solve(counts, sums, bits)
        placed = _signs(bits, bits) @ found
        loss = (counts * np.square(placed) - 2 * placed * sums).sum(axis=0)
        better = loss < least
        best, least = np.where(better, steps, best), np.where(better, loss, least)
        before, steps = steps, found[:bits].astype(np.float32)
        if np.array_equal(before, steps):
            break
    counts, sums = _cells(values, weights, best)
    levels = [_solve(counts, sums, planes) for planes in range(1, bits + 1)]
    return np.ascontiguousarray(best), np.concatenate(levels).astype(np.float32)


def _cells(values: Rows, weights: F64, steps: Rows) -> tuple[F64, F64]:
    counts = np.empty((2 ** len(steps), values.shape[1]))
    sums = np.empty_like(counts)
    kernels.cell_sums(values, weights, np.ascontiguousarray(steps), counts, sums)
    return counts, sums


def _signs(bits: int, planes: int) -> F64:
    """(2**bits, planes + 1): one, and the signs of each cell's first planes."""
    cells = np.arange(2**bits)[:, None] >> np.arange(bits - 1, bits - 1 - planes, -1) & 1
    return np.concatenate([np.ones((2**bits, 1)), 2.0 * cells - 1], axis=1)


def _solve(counts: F64, sums: F64, planes: int) -> F64:
    """Offset and steps (planes + 1, m) of least squares for values with these cells."""
    signs = _signs(int(np.log2(len(counts))), planes)
    gram = np.einsum("cj,cs,ct->jst", counts, signs, signs, optimize=True)
    right = np.einsum("cj,cs->js", sums, signs)
    gram += _RIDGE * counts.sum(axis=0)[:, None, None] * np.eye(planes + 1)
    return np.ascontiguousarray(np.linalg.solve(gram, right[..., None])[..., 0].T)


def pairs(levels: Rows) -> Rows:
    """What bits stand for, (planes, 2, m): levels (planes + 1, m), an offset, which goes to the first plane,
    and a step for each."""
    found = np.stack([-levels[1:], levels[1:]], axis=1)
    found[0] += levels[0]
    return found


def read(codes: Codes, values_of: Rows) -> Rows:
    """Values (n, m) of the first planes of codes; values_of from `pairs`."""
    planes, _, m = values_of.shape
    width = (m + 7) // 8
    values = np.empty((len(codes), m), np.float32)
    part = np.empty_like(values) if planes > 1 else values
    for t in range(planes):
        plane = np.ascontiguousarray(codes[:, t * width : (t + 1) * width])
        kernels.choose(plane, values_of[t], part if t else values)
        if t:
            values += part
    return values
