"""Transforms with a codec behind them, which together are a codec.

A code is the side data of each transform, in order, followed by the codec's own code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Array, Codec, Codes, Rows, Transform, as_float32, block_rows, check_rows
from vecstore.codecs.joined import Joined
from vecstore.codecs.parts import Part
from vecstore.codecs.scan import AppliedScan, PulledScan, ScaledScan, Scan
from vecstore.errors import CorruptError, SpecError
from vecstore.kernels.threads import spread


@dataclass(frozen=True, eq=False)
class Chain(Joined):
    """One or more transforms, then a codec; `registry.fit` and `registry.loads` make it."""

    example: ClassVar[str] = "vecstore.fit('pca:dim=64+pq:m=16', sample)"
    transforms: tuple[Transform, ...]
    codec: Codec

    def __post_init__(self) -> None:
        parts: tuple[Transform | Codec, ...] = (*self.transforms, self.codec)
        for before, after in zip(self.transforms, parts[1:], strict=True):
            if before.dim_out != after.dim:
                raise CorruptError(
                    f"{before.name!r} gives {before.dim_out} dimensions; {after.name!r} takes {after.dim}"
                )

    @property
    def dim(self) -> int:  # type: ignore[override]
        """Width of the rows that it takes."""
        return self.transforms[0].dim

    @property
    def steps(self) -> Sequence[Part]:
        """The transforms, then the codec."""
        return (*self.transforms, self.codec)

    @property
    def code_bytes(self) -> int:
        """Side data of all steps and the codec's code."""
        return sum(part.side_bytes for part in self.transforms) + self.codec.code_bytes

    @property
    def side_bytes(self) -> int:
        """Side data of all steps."""
        return sum(part.side_bytes for part in self.transforms) + self.codec.side_bytes

    @property
    def safe_size(self) -> float:
        """What passes all transforms and is taken by the codec."""
        size = self.codec.safe_size
        for transform in reversed(self.transforms):
            size = transform.safe_size(size)
        return size

    def refused(self, rows: Rows) -> NDArray[np.bool_]:
        """Rows that a transform or, transformed, the codec refuses."""
        bad = np.zeros(len(rows), bool)
        for transform in self.transforms:
            bad |= transform.refused(rows)
            rows = np.where(bad[:, None], np.float32(0), rows)
            rows = transform.apply(rows, np.empty((len(rows), transform.side_bytes), np.uint8))
        return bad | self.codec.refused(rows)

    def _code(self, rows: Rows, codes: Codes, marks: NDArray[np.bool_] | None = None) -> None:
        at, beyond = 0, np.zeros(len(rows), np.bool_)
        for transform in self.transforms:
            side = np.empty((len(rows), transform.side_bytes), np.uint8)
            rows = transform.apply(rows, side)
            beyond |= transform.saturated(side)
            codes[:, at : at + transform.side_bytes] = side
            at += transform.side_bytes
        if at == 0:
            self.codec._code(rows, codes, marks)
            return
        own = np.empty((len(rows), self.codec.code_bytes), np.uint8)
        self.codec._code(rows, own, marks)
        codes[:, at:] = own
        if marks is not None:
            marks |= beyond

    def _decode(self, codes: Codes, rows: Rows) -> None:
        at = sum(part.side_bytes for part in self.transforms)
        found = np.empty((len(codes), self.codec.dim), np.float32)
        self.codec._decode(np.ascontiguousarray(codes[:, at:]), found)
        for transform in reversed(self.transforms):
            at -= transform.side_bytes
            side = np.ascontiguousarray(codes[:, at : at + transform.side_bytes])
            found = transform.invert(found, side)
        rows[:] = found

    def scan(self, codes: Codes) -> Scan:
        """The codec's own scan where every inverse is affine or scales rows; else by decoding."""
        probe = np.zeros((1, self.dim), np.float32)
        scaling = []
        for at, transform in enumerate(self.transforms):
            pulled = transform.pull(probe)
            if pulled is not None and not transform.side_bytes:
                probe = pulled[0]
            elif self._factors(codes[:1], at) is not None:
                scaling.append(at)
                probe = np.zeros((1, transform.dim_out), np.float32)
            else:
                return super().scan(codes)
        side = sum(part.side_bytes for part in self.transforms)
        # Decoding takes codes wherever they lie; a kernel wants them close together.
        decodes = type(self.codec).scan is Codec.scan
        own = codes[:, side:] if decodes else np.ascontiguousarray(codes[:, side:])
        scan = self.codec.scan(own)
        if side and not decodes and scan.nbytes < own.nbytes:
            scan.nbytes += own.nbytes  # It reads the copy that was made here.
        end = len(self.transforms)
        for at in reversed(scaling):
            scan = ScaledScan(self._pulled(scan, at + 1, end), self._all_factors(codes, at))
            end = at
        return self._pulled(scan, 0, end)

    def error_bounds(self, codes: Codes, queries: Array, *, epsilon: float = 1.9) -> Rows:
        """Those of the codec: what transforms lose, as pca does of fewer axes, comes on top. SpecError behind
        a transform whose inverse is not affine, since products are then not those that the bounds are of."""
        pulled = as_float32(check_rows(queries, self.dim))
        for transform in self.transforms:
            found = transform.pull(pulled)
            if found is None:
                raise SpecError(f"behind {transform.name} there are no bounds for errors; put center there")
            pulled = found[0]
        return self.codec.error_bounds(codes, pulled, epsilon=epsilon)

    def scan_symmetric(self, codes: Codes) -> Scan | None:
        """The codec's own, of queries that are transformed as rows are; None where a row has side data."""
        if any(transform.side_bytes for transform in self.transforms):
            return None
        scan = self.codec.scan_symmetric(codes)
        return None if scan is None else AppliedScan(scan, self._apply)

    def _apply(self, rows: Rows) -> Rows:
        """Rows as the codec meets them, by transforms without side data."""
        for transform in self.transforms:
            rows = transform.apply(rows, np.empty((len(rows), 0), np.uint8))
        return rows

    def _pulled(self, scan: Scan, first: int, last: int) -> Scan:
        """A scan of rows behind the transforms [first, last), all of them affine."""
        if first == last:
            return scan
        return PulledScan(scan, lambda queries: _pull(queries, self.transforms[first:last]))

    def _factors(self, codes: Codes, at: int) -> Rows | None:
        """What the inverse of transform `at` multiplies each row by; None if it does not."""
        place = sum(part.side_bytes for part in self.transforms)
        found = np.empty((len(codes), self.codec.dim), np.float32)
        self.codec._decode(np.ascontiguousarray(codes[:, place:]), found)
        for number in range(len(self.transforms) - 1, at - 1, -1):
            transform = self.transforms[number]
            place -= transform.side_bytes
            side = np.ascontiguousarray(codes[:, place : place + transform.side_bytes])
            if number == at:
                return transform.factors(found, side)
            found = transform.invert(found, side)
        raise AssertionError(at)

    def _all_factors(self, codes: Codes, at: int) -> Rows:
        """`_factors` of all rows, a block at a time."""
        out = np.empty(len(codes), np.float32)

        def work(start: int, stop: int) -> None:
            found = self._factors(codes[start:stop], at)
            assert found is not None
            out[start:stop] = found

        spread(len(codes), block_rows(self.dim), work)
        return out


def _pull(queries: Rows, transforms: Sequence[Transform]) -> tuple[Rows, NDArray[np.float64]]:
    """Queries as the rows behind the transforms are met, and what these add to each inner product."""
    offsets = np.zeros(len(queries))
    for transform in transforms:
        pulled = transform.pull(queries)
        assert pulled is not None
        queries, offset = pulled
        offsets += offset
    return queries, offsets
