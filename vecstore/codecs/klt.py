"""klt: principal axes, bits by variance, a scalar quantizer for each axis.

code_bytes  bytes: any number up to about the dimensions. A scale and words as those of tcq; a dimension has
            0 to 8 bits
error       not bounded; a value far outside the sample's range gets the farthest cell
shared      4 dim (kept + 1) bytes for the axes that have bits, and tables; 1024 for scales
source      Karhunen-Loeve transform and bit allocation: Huang, Schultheiss 1963,
            doi:10.1109/TCOM.1963.1088759; cells: Lloyd 1982, Max 1960
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Codes, Rows
from vecstore.codecs.tcq import Tcq, fitting, gains, row_size, trial
from vecstore.codecs.tcq.allocation import Rates, lay_out
from vecstore.codecs.tcq.tables import MOST_BITS, normal_cells
from vecstore.errors import InputError
from vecstore.kernels import trellis, viterbi

_FEW, _MANY = 64, 256  # states: of cells of up to 6 bits, and of up to 8


@dataclass(frozen=True, eq=False)
class Klt(Tcq):
    """Scalar quantization of principal axes: any number of bytes=, or bits= per dimension; fast to encode."""

    name: ClassVar[str] = "klt"
    learns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stages or self.states not in (_FEW, _MANY) or (self.kinds[:, 1] != 1).any():
            raise ValueError("klt has no stages, 64 or 256 states, and cells of one dimension")
        for (bits, _), table in zip(self.kinds, self.tables[:, 0], strict=True):
            levels = table[: 1 << bits]
            if not np.array_equal(table, np.tile(levels, self.states >> bits)) or (np.diff(levels) < 0).any():
                raise ValueError("klt has cells whose values depend on more than their own bits")

    @classmethod
    def fit(  # type: ignore[override]
        cls,
        sample: Rows,
        *,
        seed: int = 0,
        bits: float | None = None,
        bytes: int | None = None,
        scale: str = gains.AUTO,
        renormalize: bool | None = None,
    ) -> Self:
        """bits: per dimension on average, .25 to 8 (4 by default), or bytes: the row's size. scale: a byte
        that multiplies the row's cells, for the least error (mse), or so that what they stand for keeps its
        length (length); none; or by default auto, what finds the most neighbours on a part of the sample.
        renormalize: decoded rows get length one, by default where all rows of the sample have it."""
        size = row_size(cls.name, sample.shape[1], bits, bytes, 4.0)
        if not len(sample):
            raise InputError("klt is fitted on rows, and there are none")
        told = renormalize is not None
        unit = fitting.have_length_one(sample) if renormalize is None else renormalize

        def codecs(rows: Rows, ways: Sequence[str]) -> Iterator[tuple[str, Self]]:
            for scaled, group in groupby(ways, lambda way: way != gains.NONE):
                fields = _learn(rows, size, scaled)
                for way in group:
                    yield way, cls(bytes=size, renormalize=unit, told=told, scale=way, **fields)

        options = gains.ways(cls.name, scale)
        return trial.best(sample, seed, options[: 1 if size == 1 else None], codecs)

    @cached_property
    def _edges(self) -> NDArray[np.float32]:
        """The middles between levels, (t, 255), infinite behind the last."""
        found = np.full((len(self.tables), 255), np.inf, np.float32)
        for edges, table, (bits, _) in zip(found, self.tables[:, 0], self.kinds, strict=True):
            levels = table[: 1 << bits]
            edges[: len(levels) - 1] = (levels[1:] + levels[:-1]) / np.float32(2)
        return found

    def words_of(self, turned: Rows) -> Codes:
        """Words of values along the axes (n, kept), any scale divided out: the nearest levels."""
        words = np.empty((len(turned), self.bytes - self.ahead), np.uint8)
        trellis.encode_plain(turned, self.scales, self._edges, *self._layout, words)
        return words


def _learn(sample: Rows, size: int, scaled: bool) -> dict[str, Any]:
    """What a codec of `size` bytes has of the sample. scaled: rows have a scale."""
    errors = tuple(normal_cells(k)[1] for k in range(MOST_BITS + 1))
    parts, turned = fitting.allot(sample, size, Rates(errors, 1.0), scaled)
    kinds = fitting.as_pairs(parts["kinds"])
    states = _FEW if max(k for k, _ in kinds) <= 6 else _MANY
    levels = [np.array(normal_cells(k)[0]) for k, _ in kinds]
    layout = lay_out(parts["groups"], kinds)
    for _ in range(fitting.REFINE):
        levels = _improved(turned, parts["scales"], levels, layout[0])
    tables = np.stack([_table(level, states) for level in levels])
    books = np.empty((0, sample.shape[1]), np.float32)
    return dict(dim=sample.shape[1], states=states, stages=0, books=books, tables=tables, **parts)


def _table(levels: NDArray[np.float64], states: int) -> NDArray[np.float32]:
    """Levels as tables (2, states) of windows, whose lower bits are the cell's own."""
    table = np.tile(np.asarray(levels, np.float32), states // len(levels))
    return np.stack([table, table])


def _improved(
    turned: Rows, scales: Rows, levels: list[Any], cells: NDArray[np.int64]
) -> list[NDArray[np.float64]]:
    """One step of Lloyd's iteration on rows (n, d): levels are the means of what they stand for."""
    better = []
    for kind, before in enumerate(levels):
        dims = cells[cells[:, viterbi.TABLE] == kind, viterbi.DIM]
        scale = np.broadcast_to(scales[dims].astype(np.float64), (len(turned), len(dims))).reshape(-1)
        values = turned[:, dims].astype(np.float64).reshape(-1)
        some = scale > 0
        values, weights = values[some], np.square(scale[some])
        chosen = np.searchsorted((before[1:] + before[:-1]) / 2, values / scale[some])
        sums = np.bincount(chosen, values * scale[some], len(before))
        counts = np.bincount(chosen, weights, len(before))
        found = np.where(counts > 0, sums / np.where(counts > 0, counts, 1), before)
        better.append(np.maximum.accumulate(found))
    return better
