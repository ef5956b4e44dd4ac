"""The scale of a row: a byte that multiplies what the cells of the row say.

Cells are made for rows of one size. A row is brought to it before it is coded: it is divided by the level
nearest to its size, and when its words are known the level is chosen once more, for what was found. Levels
lie at even ratios between the sizes of the sample's rows, a factor of two beyond the least and the largest;
rows outside are clamped. The first level is zero.
Source: gain and shape, Sabin, Gray 1984, doi:10.1109/TASSP.1984.1164346.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.parts import require
from vecstore.errors import SpecError
from vecstore.kernels import scores

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

NONE, MSE, LENGTH, AUTO = "none", "mse", "length", "auto"
_WAYS = (NONE, MSE, LENGTH)
LEVELS = 256
_MARGIN = 2.0
_SMALLEST = 2.0**-10  # of the middle size: rows that are smaller still may share a level
_ROUNDS = 2  # of sizes and deviations in turn; more change no digit


def ways(name: str, scale: str) -> Sequence[str]:
    """The ways that an option scale= leaves open; SpecError for what is none."""
    if scale not in (*_WAYS, AUTO):
        raise SpecError(f"{name} has scale={scale}; expected one of {', '.join((*_WAYS, AUTO))}")
    return _WAYS if scale == AUTO else (scale,)


def check(gains: F32, way: str) -> None:
    """ValueError unless these are the levels (256,), or none (0,), of rows scaled in this way."""
    require(gains, (0 if way == NONE else LEVELS,), np.float32)
    if way not in _WAYS or gains[:1].any() or (np.diff(gains) <= 0).any():
        raise ValueError(f"a codec has scale={way!r} and levels that do not ascend from zero")


def no_levels() -> F32:
    """Those of rows without a scale."""
    return np.empty(0, np.float32)


def evened(rows: F32, mean: F32) -> F32:
    """rows (n, d) less the mean, over the root of their lengths.

    What is learned of these is not told by a few long rows alone, as squared lengths would have it, and long
    rows still count for more, since their errors do.
    """
    rest = rows - mean
    roots = np.sqrt(np.sqrt(_squares(rest)))
    usual = np.sqrt(np.square(roots).mean()) if len(roots) else 1.0
    factors = np.divide(usual, roots, out=np.zeros_like(roots), where=roots > 0)
    found: F32 = rest * factors.astype(np.float32)[:, None]
    return found


def learn(turned: F32, scales: F32) -> tuple[F32, F32, F32]:
    """Levels (256,), the deviations (d,) of rows along the axes that were brought to one size, these rows.

    turned (n, d); scales (d,): deviations to begin with.
    """
    for _ in range(_ROUNDS):
        found = sizes(turned, scales)
        even = turned / np.where(found > 0, found, 1).astype(np.float32)[:, None]
        scales = np.sqrt(np.square(even, dtype=np.float64).mean(axis=0)).astype(np.float32)
    found = sizes(turned, scales)
    some = found[found > 0]
    low, high = 1.0, 1.0
    if len(some):
        high = float(some.max())
        low = max(float(some.min()), float(np.median(some)) * _SMALLEST)
    gains = np.zeros(LEVELS, np.float32)
    gains[1:] = np.geomspace(low / _MARGIN, high * _MARGIN, LEVELS - 1)
    return gains, scales, divided(turned, scales, gains)


def divided(turned: F32, scales: F32, gains: F32) -> F32:
    """Rows along the axes (n, d) over the level nearest to their size."""
    near = np.maximum(nearest(sizes(turned, scales), gains), 1)
    found: F32 = turned / gains[near][:, None]
    return found


def sizes(turned: F32, scales: F32) -> F64:
    """The root of the mean square (n,) of rows (n, d), each axis over its deviation where it has one."""
    some = scales >= np.finfo(np.float32).tiny  # of less there is no inverse
    inverse = np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=some)
    found: F64 = np.sqrt(_squares(turned * inverse) / max(int(some.sum()), 1))
    return found


def chosen(way: str, turned: F32, found: F32, gains: F32) -> U8:
    """The level for each row (n,): turned (n, d) as it is, found as its cells have it.

    mse: <turned, found> / |found|^2, of least error. length: |turned| / |found|, so that the length is kept.
    """
    own = _squares(found)
    if way == MSE:
        wanted = np.multiply(turned, found, dtype=np.float64).sum(axis=1)
    else:
        wanted = np.sqrt(_squares(turned) * own)
    return nearest(np.divide(wanted, own, out=np.zeros_like(own), where=own > 0), gains)


def nearest(wanted: F64, gains: F32) -> U8:
    """The numbers of the levels nearest to wanted (n,)."""
    levels = gains.astype(np.float64)
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, wanted).astype(np.uint8)


def _squares(rows: F32) -> F64:
    found = np.empty(len(rows))
    scores.squares(rows, found)
    return found
