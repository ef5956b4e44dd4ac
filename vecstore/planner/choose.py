"""The codec that loses least inside a budget, measured on rows that it was not fitted on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.codecs.base import Array, BlockCodec, Codec
from vecstore.errors import BudgetError
from vecstore.formats.base import Source
from vecstore.ledger import SHARED_ALLOWANCE, Budget, Ledger, parse_budget
from vecstore.registry import AnyCodec, fit
from vecstore.stream.measure import Loss
from vecstore.stream.sample import RUN_ROWS, Sample

Family = Callable[[int, int], tuple[str, int, int]]

_TRIAL_ROWS = 6144  # fitted on, per candidate
_TEST_ROWS = 1024  # measured on
_LEAST_STATE_BYTES, _STATE_BYTES = 256, 1792  # names, shapes and padding around a codec's arrays
# What an archive takes besides columns: schema twice, metadata, footer; something for each batch; checksums.
_FORMAT_BYTES = 2560
_FORMAT_BATCH_BYTES, _BATCH_BYTES, _BATCH_ROWS = 512, 1 << 20, 1 << 15
_CHECKSUM_SHARE = 8 / 65536


@dataclass(frozen=True)
class _Room:
    """A budget, and what the archive takes besides codes and learned state."""

    budget: Budget
    dim: int
    rows: int | None  # None if unknown
    id_bytes: float  # a row

    def ledger(self, code_bytes: int, shared: int) -> Ledger:
        """The account of an archive with these bytes a row and bytes in all."""
        rows = self.rows or 1 << 40  # of an endless stream shared bytes are nothing
        codes, ids = rows * code_bytes, math.ceil(rows * self.id_bytes)
        batches = 1 + codes / _BATCH_BYTES + rows / _BATCH_ROWS
        form = _FORMAT_BYTES + batches * _FORMAT_BATCH_BYTES + (codes + ids + shared) * _CHECKSUM_SHARE
        return Ledger(codes=codes, shared=shared, ids=ids, format=math.ceil(form))

    def keeps(self, code_bytes: int, shared: int) -> bool:
        """Whether a codec with these bytes a row and bytes in all stays inside."""
        return self.budget.keeps(self.ledger(code_bytes, shared), self.dim, self.rows or 1 << 40)

    def holds(self, codec: AnyCodec) -> bool:
        """Whether a fitted codec stays inside."""
        return isinstance(codec, Codec) and self.keeps(codec.code_bytes, codec.ledger(0).shared)

    def need(self, code_bytes: int, shared: int) -> float:
        """The amount of budget, in its unit, that such a codec needs."""
        rows, ledger = self.rows or 1 << 40, self.ledger(code_bytes, shared)
        if self.budget.unit in ("total", "share"):
            return ledger.total / (1 if self.budget.unit == "total" else rows * self.dim * 4)
        a_row = (ledger.codes + max(0.0, shared - SHARED_ALLOWANCE * ledger.codes)) / rows
        return a_row if self.budget.unit == "row" else 8 * a_row / self.dim


def choose(
    source: Source, sample: Sample, usable: Array, budget: str, *, rows: int | None = None, seed: int = 0
) -> AnyCodec:
    """Fits the candidates that the budget holds on a part of the sample, and the best of them on all of it.

    usable: the sample's rows that codecs can be fitted on, (n, dim). Raises BudgetError with the least
    feasible budget if no codec fits.
    """
    total = sample.total if sample.total is not None else rows
    bound = parse_budget(budget)
    bound.row_bytes(source.dim, total)  # a total needs the number of rows: said before anything is tried
    room = _Room(bound, source.dim, total, _id_bytes(source))
    if room.keeps(4 * source.dim, _STATE_BYTES):
        return fit("f32", usable, seed=seed)
    train, test = _split(usable, np.random.default_rng(seed))
    lossless = fit("lossless", train, seed=seed)
    if room.keeps(_block_bytes(lossless, train), _STATE_BYTES):
        return lossless
    best: tuple[float, str] | None = None
    for spec in _candidates(room):
        codec = fit(spec, train, seed=seed)
        if not room.holds(codec):
            continue
        loss = Loss(codec)
        loss.add(test)
        if best is None or loss.relative_mse < best[0]:
            best = (loss.relative_mse, spec)
    if best is None:
        raise BudgetError(_infeasible(room))
    codec = fit(best[1], usable, seed=seed)
    if not room.holds(codec):  # More rows than in the trial can mean more centroids.
        codec = fit(best[1], train, seed=seed)
    return codec


def _block_bytes(codec: AnyCodec, rows: Array) -> int:
    """Bytes a row of a codec that works block by block, from a few blocks, and a little more."""
    assert isinstance(codec, BlockCodec)
    if not len(rows):
        return 4 * codec.dim
    # Every row has an offset beside it.
    return math.ceil(1.03 * len(codec.encode_block(rows)) / len(rows)) + 4


def _candidates(room: _Room) -> list[str]:
    """Of each family the largest spec that the budget may hold, and the largest that it surely holds."""
    found = []
    for family in _FAMILIES:
        for state_bytes in (_LEAST_STATE_BYTES, _STATE_BYTES):
            for size in range(room.dim, 0, -1):
                spec, code_bytes, shared = family(room.dim, size)
                if spec and room.keeps(code_bytes, shared + state_bytes):
                    found.append(spec)
                    break
    return list(dict.fromkeys(found))


# A family takes (dim, size 1 to dim) and gives (spec or "", code bytes, bytes of learned state).


def _whole(spec: str, bits: int, values: int) -> Family:
    """One spec for all dimensions, with `values` float32 of state for each."""
    return lambda dim, size: (spec if size == dim else "", (dim * bits + 7) // 8, 4 * values * dim)


def _pq(dim: int, size: int) -> tuple[str, int, int]:
    return (f"pq:m={size},bits=8" if 2 * size <= dim or size == 1 else ""), size, 1024 * dim


def _pq4(dim: int, size: int) -> tuple[str, int, int]:
    return f"pq:m={size},bits=4", (size + 1) // 2, 64 * dim


def _pca_sq(bits: int) -> Family:
    return lambda dim, size: (
        f"pca:dim={size}+sq:bits={bits}", (size * bits + 7) // 8, 4 * dim * (size + 1) + 8 * size,
    )  # fmt: skip


def _pca_pq(width: int) -> Family:
    """pq with subspaces of `width` principal axes."""
    return lambda dim, size: (
        f"pca:dim={width * size}+pq:m={size},bits=8" if width * size < dim else "",
        size,
        4 * dim * (width * size + 1) + 1024 * width * size,
    )


_FAMILIES: tuple[Family, ...] = (
    _whole("f16", 16, 0), _whole("bf16", 16, 0),
    _whole("sq:bits=8", 8, 2), _whole("sq:bits=6", 6, 2), _whole("sq:bits=4", 4, 2),
    _pq, _pq4, _pca_sq(8), _pca_sq(6), _pca_sq(4), _pca_pq(2), _pca_pq(4), _pca_pq(8),
)  # fmt: skip


def _split(rows: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Rows to fit on and rows to measure on; neighbours, which may be alike, stay together."""
    order = rng.permutation(-(-len(rows) // RUN_ROWS))
    tested = max(1, min(_TEST_ROWS // RUN_ROWS, len(order) // 5))
    if len(order) < 2:
        return rows, rows
    return _runs(rows, order[tested : tested + _TRIAL_ROWS // RUN_ROWS]), _runs(rows, order[:tested])


def _runs(rows: Array, runs: NDArray[np.int64]) -> Array:
    numbers = (np.sort(runs)[:, None] * RUN_ROWS + np.arange(RUN_ROWS)).reshape(-1)
    chosen: Array = rows[numbers[numbers < len(rows)]]
    return chosen


def _id_bytes(source: Source) -> float:
    """Bytes per row of ids: of strings, with their offsets, from the first batch and some more."""
    if source.id_type is None or pa.types.is_integer(source.id_type):
        return 8.0
    if not source.rereadable:
        return 32.0
    for batch in source.batches(4096):
        if batch.ids is not None and len(batch.ids):
            return float(batch.ids.nbytes) / len(batch.ids) * 1.25
    return 4.0


def _infeasible(room: _Room) -> str:
    """The message that says the least budget that any family has a member for."""
    needs = []
    for family in _FAMILIES:
        for size in {1, room.dim}:
            spec, code_bytes, shared = family(room.dim, size)
            if spec:
                needs.append(room.need(code_bytes, shared + _STATE_BYTES))
    least = min(needs)
    if room.budget.unit == "total":
        text = f"{math.ceil(least)}B"
    else:
        # Rounded up in the third digit, so that what is printed is enough.
        least *= 100 if room.budget.unit == "share" else 1
        digit = 10.0 ** (math.floor(math.log10(least)) - 2)
        unit = {"share": "%", "row": "B/row", "dim": "bit/dim"}[room.budget.unit]
        text = f"{math.ceil(least / digit) * digit:.12g}{unit}"
    rows = "rows" if room.rows is None else f"{room.rows} rows"
    return (
        f"budget {room.budget.text!r} holds no codec for {rows} of {room.dim} dimensions; the least is {text}"
    )
