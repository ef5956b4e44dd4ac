"""The codec that loses least inside a budget, measured on rows that it was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vecstore.codecs.base import Array, as_float32
from vecstore.errors import BudgetError, SpecError
from vecstore.formats.base import Source
from vecstore.ledger import Budget, Ledger, parse_budget
from vecstore.registry import AnyCodec, fit
from vecstore.stream.measure import Loss
from vecstore.stream.sample import Sample

_TRIAL_ROWS = 8192  # fitted on, per candidate
_TEST_ROWS = 2048  # measured on
_SHARES = (1.0, 0.85, 0.7, 0.5, 0.35, 0.2)  # of the codes' bytes, to leave room for shared bytes
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

    @property
    def row_bytes(self) -> float:
        return self.budget.row_bytes(self.dim, self.rows, self.overhead)

    def holds(self, codec: AnyCodec) -> bool:
        rows = self.rows or 1 << 40  # of an endless stream shared bytes are nothing
        ledger = codec.ledger(rows)  # type: ignore[union-attr]
        ledger = Ledger(ledger.codes, ledger.side, ledger.shared, ids=int(rows * self.overhead) + 1)
        return self.budget.keeps(ledger, self.dim, rows)


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
    overhead = id_bytes + (_FORMAT_BYTES / total if total else 0.0)
    overhead += _FORMAT_SHARE * bound.row_bytes(source.dim, total)
    room = _Room(bound, source.dim, total, overhead)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(usable))
    tested = max(1, min(_TEST_ROWS, len(order) // 5))
    test = usable[np.sort(order[:tested])]
    train = usable[np.sort(order[tested : tested + _TRIAL_ROWS])] if len(order) > tested else test
    best: tuple[float, str] | None = None
    for spec in _candidates(room.row_bytes, source.dim):
        try:
            codec = fit(spec, train, seed=seed)
        except SpecError:
            continue
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


def _candidates(row_bytes: float, dim: int) -> list[str]:
    """Specs whose codes take at most row_bytes, the largest of each family and a few smaller ones."""
    size = int(row_bytes)
    if size >= 4 * dim:
        return ["f32"]
    if size >= 2 * dim:
        return ["f16", "bf16"]
    found = [f"sq:bits={bits}" for bits in (8, 6, 4) if (dim * bits + 7) // 8 <= size]
    for share in _SHARES:
        part = max(1, int(size * share))
        found += [f"pq:m={min(part, dim)},bits=8", f"pq:m={min(2 * part, dim)},bits=4"]
        for bits in (8, 6, 4):
            kept = min(part * 8 // bits, dim)
            if kept >= 1:
                found.append(f"pca:dim={kept}+sq:bits={bits}")
        if part < dim:
            found.append(f"pca:dim={min(dim, 4 * part)}+pq:m={part},bits=8")
    return list(dict.fromkeys(found)) if size >= 1 else []


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
    ledger = fit("pq:m=1,bits=4", train).ledger(rows)  # type: ignore[union-attr]
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
