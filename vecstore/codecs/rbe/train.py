"""Training of rbe's linear maps: straight-through signs, and a loss that keeps near rows' codes near.

The loss of a row is InfoNCE (van den Oord et al. 2018, arXiv:1807.03748, section 2.3) of the cosine of its
code with that of one of its neighbours, against the codes of a queue of other rows; the sign's gradient is
passed on where a value is inside the grid (BEBR, section 3.3). Maps stay orthonormal: without that, training
on a sample of some thousand rows lost recall on all sets of the benchmarks, with it it gains a little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Array, Rows
from vecstore.codecs.rbe import levels as plane
from vecstore.codecs.sign.levels import usual_weights

_ROWS = 4096
_NEIGHBOURS = 10
_STEPS, _BATCH, _QUEUE = 300, 256, 1024
_RATE, _TEMPERATURE = 1e-3, 0.1
_MOMENTUM, _SQUARES = 0.9, 0.99

Quantise = Callable[[Rows], tuple[Rows, NDArray[np.bool_]]]


class Maps(NamedTuple):
    """The arrays of a trained codec."""

    mean: Rows
    axes: Rows
    back: Rows
    cuts: Rows
    levels: Rows


def fit_maps(rows: Rows, bits: int, start: Rows, seed: int) -> Maps:
    """Maps learned from rows (n, dim), beginning with the rotation `start` (dim, dim)."""
    weights = usual_weights(rows)
    mean = np.asarray(np.average(rows, axis=0, weights=weights), np.float32)
    grid = plane.even_grid(bits)

    def quantise(values: Rows) -> tuple[Rows, NDArray[np.bool_]]:
        steps = (grid[:, None] * values.std(axis=0)).astype(np.float32)
        return _nearest(values, np.concatenate([np.zeros_like(steps[:1]), steps]))

    axes = _train((rows - mean)[_some(len(rows), seed)], start, quantise, None, seed)
    cuts, levels = plane.learn(np.asarray((rows - mean) @ axes, np.float32), weights, bits)
    return Maps(mean, axes, np.ascontiguousarray(axes.T), cuts, levels)


def fit_onto(rows: Rows, values: Rows, read_by: Rows, seed: int | None) -> tuple[Rows, Rows, Rows]:
    """mean, axes and back for rows (n, dim) whose coordinates shall be like values (n, m), paired with them.

    read_by (bits + 1, m): what the codes of values are read with. The axes are the rotation and the scale
    that bring rows nearest to the values (Schonemann 1966, doi:10.1007/BF02289451); with a seed, trained
    from there.
    """
    mean = rows.mean(axis=0, dtype=np.float64)
    middle = values.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    left, sizes, right = np.linalg.svd(centred.T @ (values - middle), full_matrices=False)
    square = float(np.square(centred).sum())
    scale = float(sizes.sum()) / square if square > 0 and sizes.sum() > 0 else 1.0
    axes = (left @ right).astype(np.float32)
    if seed is not None:
        at = _some(len(rows), seed)

        def quantise(found: Rows) -> tuple[Rows, NDArray[np.bool_]]:
            return _nearest(np.float32(scale) * found + middle.astype(np.float32), read_by)

        old = _unit(quantise(((values[at] - middle) / scale).astype(np.float32))[0])[0]
        axes = _train(centred[at].astype(np.float32), axes, quantise, old, seed)
    onto = (scale * axes).astype(np.float32)
    back = np.ascontiguousarray(axes.T / np.float32(scale))
    return (mean - middle @ back).astype(np.float32), onto, back


def _some(count: int, seed: int) -> NDArray[np.int64]:
    """At most _ROWS of `count` rows."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:_ROWS])


def _nearest(values: Rows, read_by: Rows) -> tuple[Rows, NDArray[np.bool_]]:
    """Values as their bits are read, by residual signs, and which lie inside the grid."""
    rest = values - read_by[0]
    inside = np.abs(rest) <= np.abs(read_by[1:]).sum(axis=0) + np.abs(read_by[-1])
    found = np.broadcast_to(read_by[0], values.shape).copy()
    for step in read_by[1:]:
        taken = np.where(rest > 0, step, -step)
        found += taken
        rest -= taken
    return found, inside


def _unit(rows: Rows) -> tuple[Rows, Rows]:
    """Rows of length one, and the lengths (n, 1)."""
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-20))
    return rows / lengths, lengths


def _train(rows: Rows, start: Rows, quantise: Quantise, old: Rows | None, seed: int) -> Rows:
    """Orthonormal axes (dim, m) for centred rows (n, dim); old (n, m): unit codes to be near to as well."""
    rng = np.random.default_rng(seed)
    near = _neighbours(rows)
    axes = start.astype(np.float32)
    if near.shape[1] == 0:
        return axes
    known = np.zeros((len(rows), len(rows)), bool)  # of whom a row is no negative
    np.put_along_axis(known, near, True, axis=1)
    np.fill_diagonal(known, True)
    moments: tuple[Array, Array] = np.zeros_like(axes), np.zeros_like(axes)
    first, second = moments  # of slopes and of their squares
    numbers = rng.integers(len(rows), size=_QUEUE)
    queue = _unit(quantise(rows[numbers] @ axes)[0])[0]
    for step in range(1, _STEPS + 1):
        anchors = rng.integers(len(rows), size=_BATCH)
        partners = near[anchors, rng.integers(near.shape[1], size=_BATCH)]
        keys = np.concatenate([partners, numbers])
        against = queue, None if old is None else old[keys], known[anchors][:, keys]
        both = rows[np.concatenate([anchors, partners])]
        slope, codes = _slope(both, axes, quantise, against)
        first = _MOMENTUM * first + (1 - _MOMENTUM) * slope
        second = _SQUARES * second + (1 - _SQUARES) * np.square(slope)
        rate = _RATE * 0.5 * (1 + np.cos(np.pi * step / _STEPS)) / (1 - _MOMENTUM**step)
        moved = axes - np.float32(rate) * first / (np.sqrt(second / (1 - _SQUARES**step)) + np.float32(1e-20))
        axes = _orthonormal(moved.astype(np.float32))
        numbers = np.concatenate([numbers[_BATCH:], partners])
        queue = np.concatenate([queue[_BATCH:], codes])
    left, _, right = np.linalg.svd(axes.astype(np.float64), full_matrices=False)
    return np.ascontiguousarray(left @ right, dtype=np.float32)


def _slope(
    rows: Rows, axes: Rows, quantise: Quantise, against: tuple[Rows, Rows | None, NDArray[np.bool_]]
) -> tuple[Array, Rows]:
    """The loss's gradient by the axes (dim, m), and the partners' codes, of length one.

    rows (2 b, dim): anchors, then a partner of each. against: other rows' codes (q, m); old codes of partners
    and others (b + q, m), or None; which of these are no negatives of each anchor (b, b + q).
    """
    count = len(rows) // 2
    queue, old, banned = against
    found, inside = quantise(rows @ axes)
    codes, lengths = _unit(found)
    pulls = np.empty_like(codes)
    pulls[:count], pulls[count:] = _contrast(codes[:count], np.concatenate([codes[count:], queue]), banned)
    if old is not None:
        pulls[:count] += _contrast(codes[:count], old, banned)[0]
    # Through the division by the length, then past the signs where a value is inside the grid.
    pulls = (pulls - (pulls * codes).sum(axis=1, keepdims=True) * codes) / lengths
    return rows.T @ (pulls * inside), codes[count:]


def _neighbours(rows: Rows) -> NDArray[np.int64]:
    """(n, up to _NEIGHBOURS): the nearest other rows of each."""
    count = min(_NEIGHBOURS, len(rows) - 1)
    found = np.empty((len(rows), count), np.int64)
    squares = np.square(rows).sum(axis=1)
    for at in range(0, len(rows), 512):
        gaps = squares - 2 * rows[at : at + 512] @ rows.T
        gaps[np.arange(len(gaps)), np.arange(at, at + len(gaps))] = np.inf
        found[at : at + 512] = np.argsort(gaps, axis=1, kind="stable")[:, :count]
    return found


def _contrast(anchors: Rows, keys: Rows, banned: NDArray[np.bool_]) -> tuple[Rows, Rows]:
    """Gradients of the mean InfoNCE loss by the anchors (b, m) and by their partners, the first b keys."""
    count = len(anchors)
    scores = anchors @ keys.T / np.float32(_TEMPERATURE)
    own = np.arange(count)
    blocked = banned.copy()
    blocked[own, own] = False
    scores[blocked] = -np.inf
    scores -= scores.max(axis=1, keepdims=True)
    shares = np.exp(scores)
    shares /= shares.sum(axis=1, keepdims=True)
    shares[own, own] -= 1
    shares /= np.float32(_TEMPERATURE * count)
    return shares @ keys, shares[:, :count].T @ anchors


def _orthonormal(axes: Rows) -> Rows:
    """The columns (or rows, where there are fewer) nearly orthonormal again after a small step: two rounds of
    Newton and Schulz for the polar factor."""
    for _ in range(2):
        if axes.shape[0] >= axes.shape[1]:
            axes = (1.5 * axes - 0.5 * axes @ (axes.T @ axes)).astype(np.float32)
        else:
            axes = (1.5 * axes - 0.5 * (axes @ axes.T) @ axes).astype(np.float32)
    return axes
