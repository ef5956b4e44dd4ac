"""The codec that loses least inside a budget, measured on rows that it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vecstore.codecs.base import Array, Codec, as_float32
from vecstore.errors import BudgetError
from vecstore.formats.base import Source
from vecstore.ledger import Budget, Ledger, parse_budget
from vecstore.registry import AnyCodec, fit
from vecstore.stream.measure import Loss
from vecstore.stream.sample import Sample

Family = Callable[[int, int], tuple[str, int, int]]

_TRIAL_ROWS = 6144  # fitted on, per candidate
_TEST_ROWS = 1024  # measured on
_STATE_BYTES = 1024  # names, shapes and padding around a codec's arrays
# What an archive of few rows takes besides columns: schema twice, metadata, footer, and checksums a page.
_FORMAT_BYTES = 6144
_FORMAT_SHARE = 0.003


@dataclass(frozen=True)
class _Room:
    """What a budget leaves: bytes per row of codes and side data, and rows, None if unknown."""

    budget: Budget
    dim: int
    rows: int | None
    overhead: float  # bytes per row of ids and format

    def keeps(self, code_bytes: int, shared: int) -> bool:
        """Whether a codec with these bytes a row and bytes in all stays inside."""
        rows = self.rows or 1 << 40  # of an endless stream shared bytes are nothing
        ledger = Ledger(codes=rows * code_bytes, shared=shared, ids=int(rows * self.overhead) + 1)
        return self.budget.keeps(ledger, self.dim, rows)

    def holds(self, codec: AnyCodec) -> bool:
        """Whether a fitted codec stays inside."""
        return isinstance(codec, Codec) and self.keeps(codec.code_bytes, codec.ledger(0).shared)


def choose(
    source: Source, sample: Sample, usable: Array, budget: str, *, rows: int | None = None, seed: int = 0
) -> AnyCodec:
    """Fits the candidates that the budget holds on a part of the sample, and the best of them on all of it.

    usable: the sample's rows that codecs can be fitted on, (n, dim). Raises BudgetError with the least
    feasible budget if no codec fits.
    """
    total = sample.total if sample.total is not None else rows
    id_bytes = 8.0 if source.id_type is None or source.id_type == "int64" else _string_id_bytes(source)
    bound = parse_budget(budget)
    bound.row_bytes(source.dim, total)  # a total needs the number of rows: said before anything is tried
    overhead = id_bytes + (_FORMAT_BYTES / total if total else 0.0)
    overhead += _FORMAT_SHARE * bound.row_bytes(source.dim, total)
    room = _Room(bound, source.dim, total, overhead)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(usable))
    tested = max(1, min(_TEST_ROWS, len(order) // 5))
    test = usable[np.sort(order[:tested])]
    train = usable[np.sort(order[tested : tested + _TRIAL_ROWS])] if len(order) > tested else test
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
        raise BudgetError(_infeasible(room, as_float32(train[:64]), budget))
    codec = fit(best[1], usable, seed=seed)
    if not room.holds(codec):  # More rows than in the trial can mean more centroids.
        codec = fit(best[1], train, seed=seed)
    return codec


def _candidates(room: _Room) -> list[str]:
    """Of each family the largest spec that the budget should hold, by the bytes that it will take."""
    found = []
    for family in _FAMILIES:
        for size in range(room.dim, 0, -1):
            spec, code_bytes, shared = family(room.dim, size)
            if spec and room.keeps(code_bytes, shared + _STATE_BYTES):
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
    _whole("f32", 32, 0), _whole("f16", 16, 0), _whole("bf16", 16, 0),
    _whole("sq:bits=8", 8, 2), _whole("sq:bits=6", 6, 2), _whole("sq:bits=4", 4, 2),
    _pq, _pq4, _pca_sq(8), _pca_sq(6), _pca_sq(4), _pca_pq(2), _pca_pq(4), _pca_pq(8),
)  # fmt: skip


def _string_id_bytes(source: Source) -> float:
    """Bytes per row of string ids and their offsets, from the first batch."""
    if not source.rereadable:
        return 32.0
    for batch in source.batches(4096):
        if batch.ids is not None and len(batch.ids):
            return float(batch.ids.nbytes) / len(batch.ids) * 1.25
    return 4.0


def _infeasible(room: _Room, train: Array, text: str) -> str:
    """The message that says the least budget that the smallest codec fits in."""
    rows = room.rows or 1
    smallest = fit("pq:m=1,bits=4", train)
    assert isinstance(smallest, Codec)
    ledger = smallest.ledger(rows)
    least = ledger.total + int(rows * room.overhead) + 1
    if room.budget.unit in ("row", "dim"):
        allowance = ledger.codes + max(0, ledger.shared - ledger.codes // 10)
        per_row = allowance / rows
        need = f"{per_row:.3g}B/row" if room.budget.unit == "row" else f"{8 * per_row / room.dim:.3g}bit/dim"
    elif room.budget.unit == "share":
        need = f"{100 * least / (rows * room.dim * 4):.3g}%"
    else:
        need = f"{least}B"
    return f"budget {text!r} holds no codec for {rows} rows of {room.dim} dimensions; the least is {need}"
