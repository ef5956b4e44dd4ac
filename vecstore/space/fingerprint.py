"""The fingerprint of an embedding space: a few directions that its rows fill, and some that they leave empty.

What a model's rows have in common, whatever they are about, is less where they lie than where they do not:
the directions of least energy stay empty for every topic, while mean and leading axes follow the topic. So
three witnesses are heard about a batch, and it is foreign only if none speaks for it:

    quiet   ln(energy of the batch on the quiet axes) / ln(energy of the fingerprint's own rows on them)
    loud    the same on the loud axes; both about the batch's mean
    mean    energy of the batch's mean on the loud axes

An energy is a share of the whole, as a multiple of that which falls on so many axes by chance. So quiet and
loud are about 1 for rows of the space and about 0 for rows of another, or of a rotated one. The energies of
the own rows are those of the half that the axes were not fitted on: too few rows, or rows that fill all
directions alike, show there, and then nothing is judged.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from vecstore.codecs.base import Array, as_float32
from vecstore.codecs.transforms.pca import spectrum

FEWEST = 64  # rows that can be judged; docs/space.md has the figures
_SIDE = 4  # axes of each kind
_WIDTH = 256  # dimensions that are looked at, the first ones: more would say no more, and take room
_FEWEST_DIMENSIONS = 16
_ROWS = 8192  # that it is made from, at most
_ROWS_A_DIMENSION = 4  # from which on axes are fitted
_JUDGED = 1024  # rows of a batch that are looked at
SPEAKS = 0.25  # of the way from chance to the own rows
_MEAN_SPEAKS = 4.0  # times chance, which a foreign mean exceeds once in 300 times
_QUIET, _LOUD = 0.5, 3.0  # energies of own rows beyond which the axes say nothing
_WEAK_QUIET, _WEAK_LOUD = 0.1, 6.0  # beyond both of which a single topic may look foreign
_NARROWER = 0.05  # by which the squared length of the mean shows a single topic
_SPREAD = 0.01  # least share of energy about the mean: rows closer together may differ by rounding alone
_UNIT = 1e-2  # how far from 1 a length may be; rows in eight bits of mantissa are nearer


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """rows: how many it was made from. mean: length of the mean of rows of length 1, 0 to 1. spectrum: shares
    of the energy about the mean on the leading 1, 2, 4 ... axes. unit: whether all rows have length 1.
    axes (2 * _SIDE, width) int8, the quiet ones first; None: nothing can be judged. quiet, loud: energies of
    own rows on them.
    """

    rows: int
    unit: bool
    mean: float
    spectrum: tuple[float, ...]
    axes: NDArray[np.int8] | None = None
    quiet: float = 1.0
    loud: float = 1.0

    @classmethod
    def of(cls, sample: Array) -> Self | None:
        """The fingerprint of rows (n, dim), any real dtype; those without a direction are left out. None if
        there are none."""
        rows = _spaced(sample, _ROWS)
        unit = bool(len(rows)) and bool((np.abs(_lengths(rows) - 1) <= _UNIT).all())
        turned = _directions(rows)
        if not len(turned):
            return None
        centre = turned.mean(axis=0, dtype=np.float64)
        values = spectrum(turned, centre.astype(np.float32))[0].clip(0)
        steps = 1 << np.arange(len(values).bit_length())
        shares = np.cumsum(values)[steps - 1] / max(values.sum(), np.finfo(float).tiny)
        shown = tuple(round(float(share), 4) for share in shares)
        found = cls(len(turned), unit, round(float(np.linalg.norm(centre)), 4), shown)
        width = turned.shape[1]
        if width < _FEWEST_DIMENSIONS or 1 - found.mean**2 < _SPREAD:
            return found
        # Rows that repeat each other leave directions empty that others of the space fill.
        if not _differ(turned, _ROWS_A_DIMENSION * width):
            return found
        return found._with_axes(turned[::2], turned[1::2])

    def _with_axes(self, fitted: Array, held: Array) -> Self:
        width = fitted.shape[1]
        quiet = spectrum(fitted, np.zeros(width, np.float32))[1][:, -_SIDE:]
        loud = spectrum(fitted, fitted.mean(axis=0))[1][:, :_SIDE]
        both = np.concatenate([quiet, loud], axis=1).T
        axes = np.rint(both / np.abs(both).max(axis=1, keepdims=True) * 127).astype(np.int8)
        energies = _energies(held - held.mean(axis=0), axes)
        if energies is None or (energies[0] > _QUIET and energies[1] < _LOUD):
            return self
        # Of a direction that is empty to the last bit, the logarithm is kept finite.
        kept = [float(f"{max(energy, 1e-6):.4g}") for energy in energies]
        return type(self)(self.rows, self.unit, self.mean, self.spectrum, axes, kept[0], kept[1])

    def nearness(self, rows: Array) -> float | None:
        """What the best witness says for rows (n, dim): about 1 for rows of the space, below `SPEAKS` for
        those of another. None where it cannot be told: fewer than `FEWEST` rows, or rows that are all but
        the same, or a space without quiet and loud directions, or one topic of a space where these are weak.
        """
        if self.axes is None:
            return None
        turned = _directions(_spaced(rows, _JUDGED))
        if len(turned) < FEWEST:
            return None
        centre = turned.mean(axis=0)
        about = turned - centre
        energies = _energies(about, self.axes)
        if energies is None or (about**2).sum() < _SPREAD * len(turned) or self._is_narrow(turned, centre):
            return None
        witnesses = []
        if self.quiet <= _QUIET:
            witnesses.append(math.log(max(energies[0], 1e-9)) / math.log(self.quiet))
        if self.loud >= _LOUD:
            witnesses.append(math.log(max(energies[1], 1e-9)) / math.log(self.loud))
        found = _energies(centre[None], self.axes)
        if found is not None and found[1] >= _MEAN_SPEAKS:
            witnesses.append(SPEAKS)
        return max(witnesses)

    def _is_narrow(self, turned: Array, centre: Array) -> bool:
        """Whether rows are about less than the own rows are, where that matters."""
        length = float((centre**2).sum()) - 1 / len(turned)
        weak = self.quiet > _WEAK_QUIET and self.loud < _WEAK_LOUD
        return weak and length > self.mean**2 + _NARROWER

    def is_foreign(self, rows: Array) -> bool:
        """Whether rows (n, dim) are of another space; False where it cannot be told."""
        near = self.nearness(rows)
        return near is not None and near < SPEAKS

    def loses_unit(self, rows: Array) -> float | None:
        """The median length of rows (n, dim) if those of the fingerprint have length 1 and most of these have
        not; else None."""
        if not self.unit or min(self.rows, len(rows)) < FEWEST:
            return None
        lengths = _lengths(_spaced(rows, _JUDGED))
        middle = float(np.median(lengths)) if len(lengths) else 1.0
        return middle if abs(middle - 1) > _UNIT else None

    def as_dict(self) -> dict[str, Any]:
        """As it stands in a card."""
        found: dict[str, Any] = {
            "rows": self.rows, "unit": self.unit, "mean": self.mean, "spectrum": list(self.spectrum),
        }  # fmt: skip
        if self.axes is not None:
            text = base64.b64encode(self.axes.tobytes()).decode()
            found |= {"quiet": self.quiet, "loud": self.loud, "axes": text}
        return found

    @classmethod
    def from_dict(cls, given: object, dim: int) -> Self:
        """The inverse of `as_dict`, for rows of dim dimensions; ValueError for anything else."""
        if not isinstance(given, Mapping):
            raise ValueError(f"a fingerprint is a {type(given).__name__}; expected an object")
        rows, unit, shares = given.get("rows"), given.get("unit"), given.get("spectrum")
        if type(rows) is not int or rows < 1 or type(unit) is not bool:
            raise ValueError(f"a fingerprint has rows {rows!r} and unit {unit!r}")
        if not isinstance(shares, list) or len(shares) > _WIDTH.bit_length():
            raise ValueError("a fingerprint has no spectrum")
        spectrum = tuple(_number(share, 0, 1.0001) for share in shares)
        mean = _number(given.get("mean"), 0, 1.0001)
        if "axes" not in given:
            return cls(rows, unit, mean, spectrum)
        shape = 2 * _SIDE, min(dim, _WIDTH)
        axes = _axes(given["axes"], shape)
        quiet, loud = _number(given.get("quiet"), 1e-6, 1e6), _number(given.get("loud"), 1e-6, 1e6)
        if quiet > _QUIET and loud < _LOUD:
            raise ValueError(f"a fingerprint has axes that say nothing: quiet {quiet}, loud {loud}")
        return cls(rows, unit, mean, spectrum, axes, quiet, loud)


def _axes(text: object, shape: tuple[int, int]) -> NDArray[np.int8]:
    if not isinstance(text, str) or len(text) != 4 * -(-shape[0] * shape[1] // 3):
        raise ValueError(f"a fingerprint has axes of another size than {shape}")
    try:
        axes = np.frombuffer(base64.b64decode(text, validate=True), np.int8).reshape(shape)
    except binascii.Error as error:
        raise ValueError(f"a fingerprint has axes that are not base64: {error}") from error
    if not axes.any(axis=1).all():
        raise ValueError("a fingerprint has an axis of zeros")
    return axes


def _number(value: object, least: float, most: float) -> float:
    if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator]
        raise ValueError(f"a fingerprint has {str(value)[:40]} where a number of {least} to {most} stands")
    return float(value)  # type: ignore[arg-type]


def _spaced(rows: Array, most: int) -> Array:
    """At most so many rows, evenly spaced, as float64 with the finite ones alone."""
    chosen = rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
    found = as_float32(chosen).astype(np.float64)
    return found[np.isfinite(found).all(axis=1)]


def _differ(rows: Array, wanted: int) -> bool:
    """Whether there are so many different ones; mostly the first few tell."""
    seen = set()
    for row in rows:
        seen.add(xxhash.xxh3_128_digest(row))
        if len(seen) >= wanted:
            return True
    return False


def _lengths(rows: Array) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.linalg.norm(rows, axis=1)
    return found


def _directions(rows: Array) -> NDArray[np.float32]:
    """The first dimensions of rows, of length 1; rows that are zero there are left out."""
    part = rows[:, :_WIDTH]
    lengths = _lengths(part)
    keep = lengths > 0
    return (part[keep] / lengths[keep, None]).astype(np.float32)


def _energies(rows: Array, axes: NDArray[np.int8]) -> tuple[float, float] | None:
    """Energy (sum of squares) of rows (n, width) on quiet and loud axes, as multiples of what falls there by
    chance; None of rows without any."""
    whole = float((rows.astype(np.float64) ** 2).sum())
    if not whole > 0:
        return None
    straight = axes.astype(np.float32) / np.linalg.norm(axes.astype(np.float32), axis=1, keepdims=True)
    parts = ((rows @ straight.T).astype(np.float64) ** 2).sum(axis=0) / whole * axes.shape[1] / _SIDE
    return float(parts[:_SIDE].sum()), float(parts[_SIDE:].sum())
