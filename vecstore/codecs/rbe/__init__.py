"""rbe: recurrent binarization, bit planes of which each is the sign of what those before it left.

code_bytes  bits * ceil(dim / 8): the planes in order, so that the first of them are a coarser code; bit
            j % 8 of byte j // 8 of a plane for coordinate j
error       not bounded; levels are those of least squares for the cells of the sample
shared      4 dim (bits + bits (bits + 3) / 2 + 1) bytes; rotate=true: dim / 2 more; train=true: 8 dim dim
source      Gan et al. 2023 (BEBR), arXiv:2302.08714, section 3.2; untrained the maps between rows and
            coordinates are a rotation or nothing, and each plane has a step for each coordinate
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import (
    LARGEST,
    Codec,
    Codes,
    Rows,
    as_float32,
    check_rows,
    refusal,
    unsound,
)
from vecstore.codecs.bitscan import BitScan, CodeScan, bit_weights
from vecstore.codecs.parts import require
from vecstore.codecs.rbe import levels as plane
from vecstore.codecs.rbe.train import fit_maps, fit_onto
from vecstore.codecs.scan import Scan
from vecstore.codecs.sign.levels import clearly, halves, subsample, usual_weights
from vecstore.codecs.transforms.center import offsets
from vecstore.codecs.transforms.pca import product
from vecstore.codecs.transforms.rotate import Rotate
from vecstore.errors import InputError, ShapeError, SpecError
from vecstore.kernels import bits as kernels
from vecstore.kernels.finite import largest

_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Rbe(Codec):
    """Recurrent binarization: bits= planes of signs per dimension, each of what is left by those before."""

    name: ClassVar[str] = "rbe"
    dim: int
    bits: int
    rotate: bool  # at random, or, where there is training, before it
    train: bool
    mean: NDArray[np.float32]  # (dim,)
    signs: NDArray[np.uint8]  # (passes, ceil(dim / 8)) of the rotation; (0, same) without one
    axes: NDArray[np.float32]  # (dim, m), learned: rows to coordinates; (dim, 0) if untrained, and m = dim
    back: NDArray[np.float32]  # (m, dim), learned: coordinates to rows; (0, dim) if untrained
    cuts: NDArray[np.float32]  # (bits, m): an offset, then what each bit but the last takes away or adds
    levels: NDArray[np.float32]  # (bits (bits + 3) / 2, m): offset and steps to read 1, 2, .. planes with

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise ValueError(f"rbe has bits={self.bits}; expected 1 to 8")
        require(self.mean, (self.dim,), np.float32)
        turned = self.rotate and not self.train
        require(self.signs, (None if turned else 0, (self.dim + 7) // 8), np.uint8)
        m = self.axes.shape[1] if self.train and self.axes.ndim == 2 else self.dim
        if m < 1:
            raise ValueError("rbe has no coordinates")
        require(self.axes, (self.dim, m if self.train else 0), np.float32)
        require(self.back, (m if self.train else 0, self.dim), np.float32)
        require(self.cuts, (self.bits, m), np.float32)
        require(self.levels, (plane.level_rows(self.bits), m), np.float32)

    @classmethod
    def fit(
        cls,
        sample: Rows,
        *,
        seed: int = 0,
        bits: int | None = None,
        rotate: bool | None = None,
        train: bool = False,
        bytes: int | None = None,
    ) -> Self:
        """bits: planes, 1 to 8, 2 by default. bytes: the row's size instead. rotate: whether rows are turned
        at random first; by default where that keeps clearly more of the sample's neighbours. train: learns a
        rotation from there, so that codes of near rows are near."""
        bits = _bits(sample.shape[1], bits, bytes)
        if not len(sample):
            raise InputError("rbe is fitted on rows, and there are none")
        rows = subsample(sample, seed)
        if rotate is None:
            rotate = cls._turning_helps(sample, bits, seed)
        found = cls._untrained(rows, bits, rotate, seed)
        if not train:
            return found
        start = found._turned(np.eye(found.dim, dtype=np.float32), found.axes)
        maps = fit_maps(rows, bits, start, seed)
        return replace(found, train=True, signs=found.signs[:0].copy(), **maps._asdict())

    @classmethod
    def _turning_helps(cls, sample: Rows, bits: int, seed: int) -> bool:
        """Whether turned rows keep clearly more of the sample's neighbours."""
        trial = halves(sample, seed)
        if trial is None:
            return False
        ways = [cls._untrained(trial.fit_rows, bits, way, seed) for way in (False, True)]
        shares = [trial.shares(way.decode(way.encode(trial.rows))) for way in ways]
        return clearly(shares[1] - shares[0], 0.0)

    @classmethod
    def _untrained(cls, rows: Rows, bits: int, rotate: bool, seed: int) -> Self:
        dim = rows.shape[1]
        weights = usual_weights(rows)
        mean = np.asarray(np.average(rows, axis=0, weights=weights), np.float32)
        signs = np.empty((0, (dim + 7) // 8), np.uint8)
        values = rows - mean
        if rotate:
            rotation = Rotate.fit(rows, seed=seed)
            signs, values = rotation.signs, rotation.apply(values, np.empty((len(rows), 0), np.uint8))
        cuts, levels = plane.learn(values, weights, bits)
        nothing = np.empty((dim, 0), np.float32)
        return cls(
            dim=dim, bits=bits, rotate=rotate, train=False, mean=mean, signs=signs, axes=nothing,
            back=nothing.T.copy(), cuts=cuts, levels=levels,
        )  # fmt: skip

    @property
    def coordinates(self) -> int:
        """Bits of a plane."""
        return int(self.cuts.shape[1])

    @property
    def _width(self) -> int:
        return (self.coordinates + 7) // 8

    @property
    def code_bytes(self) -> int:
        """The planes, whole bytes each."""
        return self.bits * self._width

    def prefix(self, size: int) -> Self:
        """The first planes."""
        planes, rest = divmod(size, self._width)
        if rest or not 1 <= planes <= self.bits:
            raise SpecError(
                f"rbe has {self.bits} planes of {self._width} bytes; a prefix of {size} bytes was asked for"
            )
        levels = self.levels[: plane.level_rows(planes)].copy()
        return replace(self, bits=planes, cuts=self.cuts[:planes].copy(), levels=levels)

    @cached_property
    def _rotation(self) -> Rotate:
        return Rotate(dim=self.dim, signs=self.signs)

    @cached_property
    def _read_by(self) -> Rows:
        """Offset and steps (bits + 1, m) of all planes."""
        return plane.of_planes(self.levels, self.bits)

    @cached_property
    def _pairs(self) -> Rows:
        return plane.pairs(self._read_by)

    @cached_property
    def _weighed_by(self) -> tuple[Rows, Rows]:
        """What the bits of each plane (bits, m) add to a coordinate, and what it is without them, (m,)."""
        steps = self._read_by[1:]
        return 2 * steps, self._read_by[0] - steps.sum(axis=0)

    @cached_property
    def ball(self) -> tuple[Rows, float]:
        """All steps on one side, and what learned maps make of it."""
        farthest = np.linalg.norm(np.abs(self._read_by.astype(np.float64)).sum(axis=0))
        return self.mean, float(farthest * (np.linalg.norm(self.back, 2) if self.train else 1.0))

    def values(self, rows: Rows) -> Rows:
        """Coordinates (n, m) of rows, before they become bits."""
        return self._turned(rows - self.mean, self.axes)

    def _turned(self, rows: Rows, axes: Rows) -> Rows:
        if self.train:
            return product(rows, axes)
        if self.rotate:
            return self._rotation.apply(rows, np.empty((len(rows), 0), np.uint8))
        return rows

    def _encode(self, rows: Rows, codes: Codes) -> None:
        kernels.planes(self.values(rows), self.cuts, codes)

    def _decode(self, codes: Codes, rows: Rows) -> None:
        values = plane.read(codes, self._pairs)
        if self.train:
            values = product(values, self.back)
        elif self.rotate:
            values = self._rotation.invert(values, np.empty((len(rows), 0), np.uint8))
        np.add(values, self.mean, out=rows)

    def _weights(self, values: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """What each bit adds to the inner product with values (q, m) of coordinates, and what all add."""
        steps, fixed = self._weighed_by
        planes = [bit_weights(values * step, self._width) for step in steps]
        return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=1), offsets(values, fixed)

    def scan(self, codes: Codes) -> Scan:
        """A weight for each bit: what it adds to the inner product."""
        onto = np.ascontiguousarray(self.back.T)

        def weigh(queries: Rows) -> tuple[Rows, NDArray[np.float64]]:
            weights, fixed = self._weights(self._turned(queries, onto))
            return weights, fixed + offsets(queries, self.mean)

        return BitScan(codes, [self._width] * self.bits, weigh)

    def scan_symmetric(self, codes: Codes) -> CodeScan:
        """Inner products of coordinates as they are read, over the length of the row's: cosines, times the
        query's length."""
        inner = BitScan(codes, [self._width] * self.bits, self._weights)
        factors = np.empty(len(codes), np.float32)
        for start in range(0, len(codes), _BLOCK):
            values = plane.read(codes[start : start + _BLOCK], self._pairs)
            lengths = np.sqrt(np.square(values, dtype=np.float64).sum(axis=1))
            factors[start : start + _BLOCK] = 1 / np.where(lengths > 0, lengths, 1)
        return CodeScan(inner, factors, self.encode, lambda found: plane.read(found, self._pairs))


def fit_compatible(
    sample: Rows, old: Rbe, old_rows: Rows | None = None, *, train: bool = False, seed: int = 0
) -> Rbe:
    """A codec whose codes can be compared with those of `old`: for a new model, without encoding anew.

    sample (n, dim): rows of the new model; old_rows (n, old.dim): the same items' of the old one, or None
    if the rows are the same. Twice as many pairs as dimensions are the least that is worth trying. train:
    goes on from the nearest rotation by the loss of `train.py`, against new and old codes; where the models
    differ by little more than a rotation, this loses recall. Rows of the new model then find those of the
    old one by their codes:

        scan = old.scan_symmetric(old_codes)
        scan.dots(scan.prepare_codes(new.encode(queries)), 0, scan.rows, out)
    """
    rows = as_float32(check_rows(sample))
    pairs = rows if old_rows is None else as_float32(check_rows(old_rows, old.dim))
    if len(pairs) != len(rows) or pairs.shape[1] != old.dim or not len(rows):
        raise ShapeError(
            f"rows are {rows.shape} and the old ones {pairs.shape}; expected pairs of dim {old.dim}"
        )
    for array in (rows, pairs):
        if not largest(array) <= LARGEST:
            bad = int(unsound(array, LARGEST).argmax())
            raise InputError(refusal(array[bad], bad, "rbe"))
    mean, axes, back = fit_onto(rows, old.values(pairs), old._read_by, seed if train else None)
    return Rbe(
        dim=rows.shape[1], bits=old.bits, rotate=False, train=True, mean=mean, axes=axes, back=back,
        signs=np.empty((0, (rows.shape[1] + 7) // 8), np.uint8), cuts=old.cuts, levels=old.levels,
    )  # fmt: skip


def _bits(dim: int, bits: int | None, size: int | None) -> int:
    width = (dim + 7) // 8
    if size is not None:
        if size % width or not 1 <= size // width <= 8 or bits not in (None, size // width):
            raise SpecError(
                f"rbe cannot make rows of {size} bytes from {dim} dimensions; it makes {width} for each of "
                "1 to 8 bits"
            )
        return size // width
    bits = 2 if bits is None else bits
    if not 1 <= bits <= 8:
        raise SpecError(f"rbe has bits={bits}; expected 1 to 8")
    return bits
