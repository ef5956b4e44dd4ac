"""Which trainable table learns most inside a budget? Each method is trained for a short while, by numpy.

The network is a factorization machine (Rendle 2010, doi:10.1109/ICDM.2010.127): value 0 of each row is its
linear term, the others meet in products. What a longer training and a larger network make of a table may rank
methods otherwise; `vecstore bench tables` is for that.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.making import Wish, make
from vecstore.codecs.tables.presets import PRESETS
from vecstore.codecs.tables.table import Table
from vecstore.errors import BudgetError, said
from vecstore.planner.auc import F32, auc, logloss
from vecstore.planner.clicks import Log, log_of
from vecstore.planner.record import Journal, array_of, digest, text_of
from vecstore.stream.compress import Progress

_TEST = 0.2  # of the rows
_BATCH, _EPOCHS, _RATE = 256, 3, 0.01
_AT_ONCE = 4096
_DRAWS = 100  # of test rows, for intervals and ties


@dataclass(frozen=True)
class TableTerms:
    """What tables are asked to be."""

    budget: str
    dim: int = 16
    league: str = "serve"
    seed: int = 0
    seconds: float | None = None  # no method is begun later
    progress: Progress | None = None
    resume: str | None = None  # file of what was trained


@dataclass(frozen=True)
class TableCandidate:
    """One method inside the budget. total_bytes: of its league, exact. tied: the test rows cannot tell it
    from the first. Intervals are of 95 %, over test rows."""

    spec: str
    total_bytes: int
    share: float  # of the plain table's bytes
    auc: float
    auc_interval: tuple[float, float]
    logloss: float
    tied: bool
    train_s: float


@dataclass(frozen=True)
class TablePlan:
    """Candidates, best first; left_out: {spec: why} of those that there are no figures of."""

    candidates: list[TableCandidate]
    left_out: dict[str, str]
    train_rows: int
    test_rows: int
    drawn: bool  # labels are of a random model

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        left = [{"spec": spec, "reason": reason} for spec, reason in self.left_out.items()]
        found = [dict(vars(candidate)) for candidate in self.candidates]
        rows = {"train_rows": self.train_rows, "test_rows": self.test_rows, "drawn": self.drawn}
        return {"candidates": found, "left_out": left, **rows}


def plan_tables(source: Any, terms: TableTerms, *, label: str | None = None) -> TablePlan:
    """Trains every method that the budget holds on most of the rows of a log, and ranks them by the rest.

    source: an Arrow table, or a CSV, Parquet or Arrow file, of rows of ids, with the name of its column of
    labels; or a JSON file or a mapping, {"fields": {name: number of ids}, "frequencies": {name: [...]}}: then
    rows and labels are drawn. Raises BudgetError if the budget holds no method, NotFoundError and InputError
    for a source that is not there or cannot be taken.
    """
    log = log_of(source, label, terms.seed)
    order = np.random.default_rng(terms.seed).permutation(len(log.labels))
    test, train = np.split(order, [max(1, int(_TEST * len(order)))])
    end = None if terms.seconds is None else time.monotonic() + terms.seconds
    report = terms.progress or (lambda done, total: None)
    journal = Journal(terms.resume, _header(log, terms), _Trained.of)
    found = {entry.method: entry for entry in journal.entries}
    left: dict[str, str] = {}
    for done, method in enumerate(PRESETS):
        report(done, len(PRESETS))
        if method in found:
            continue
        if found and end is not None and time.monotonic() > end:
            left[method] = f"not trained within {terms.seconds:g} seconds"
            continue
        try:
            started = time.process_time()
            table = make(
                Wish(
                    method,
                    log.fields,
                    terms.dim,
                    terms.budget,
                    terms.league,
                    "adam",
                    terms.seed,
                    {name: counts + 1e-3 for name, counts in log.counts.items()},
                )
            )
            bias = _trained(table, log, train, terms.seed)
            table.finish()
            size, logits = table.ledger().bound(terms.league), _logits(table, bias, log, test)
            found[method] = _Trained(method, size, logits, time.process_time() - started)
            journal.add(found[method].line())
        except Exception as error:  # What one method cannot do leaves the others.
            left[method] = said(error)
    report(len(PRESETS), len(PRESETS))
    if not found:
        raise BudgetError(f"budget {terms.budget!r} holds no table: {next(iter(left.values()))}")
    return TablePlan(_ranked(found, log, test, terms), left, len(train), len(test), log.drawn)


@dataclass(frozen=True, eq=False)
class _Trained:
    """A method that was trained: bytes of its table, logits (n,) of the rows measured on, seconds."""

    method: str
    size: int
    logits: F32
    seconds: float

    def line(self) -> str:
        """As JSON."""
        return json.dumps({**vars(self), "logits": text_of(self.logits)})

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """Of what `line` wrote; KeyError, TypeError or ValueError for anything else."""
        logits = array_of(found["logits"], np.float32)
        return cls(str(found["method"]), int(found["size"]), logits, float(found["seconds"]))


def _header(log: Log, terms: TableTerms) -> dict[str, Any]:
    """What a record of trained tables is of."""
    named = {"budget": terms.budget, "dim": terms.dim, "league": terms.league, "seed": terms.seed}
    return named if terms.resume is None else named | {"data": digest(log.ids, log.labels)}


def _ranked(
    found: dict[str, _Trained], log: Log, test: NDArray[np.int64], terms: TableTerms
) -> list[TableCandidate]:
    labels = log.labels[test]
    draws = np.random.default_rng(terms.seed).integers(len(test), size=(_DRAWS, len(test)))
    known = {spec: auc(labels, one.logits) for spec, one in found.items()}
    drawn = {
        spec: np.array([auc(labels[draw], one.logits[draw]) for draw in draws]) for spec, one in found.items()
    }
    order = sorted(known, key=lambda spec: -known[spec])
    plain = 4 * sum(log.fields.values()) * terms.dim
    candidates = []
    for spec in order:
        one = found[spec]
        low, high = np.nanpercentile(drawn[spec], (2.5, 97.5))
        gain = np.nanpercentile(drawn[order[0]] - drawn[spec], 2.5)
        candidates.append(
            TableCandidate(
                spec,
                one.size,
                one.size / plain,
                known[spec],
                (float(low), float(high)),
                logloss(labels, one.logits),
                spec != order[0] and bool(gain <= 0),
                one.seconds,
            )
        )
    return candidates


def _trained(table: Table, log: Log, rows: NDArray[np.int64], seed: int) -> float:
    """Learns by Adam in batches; the offset that the network has beside rows."""
    rng = np.random.default_rng(seed)
    share = log.labels[rows].mean()
    bias = float(np.log(share / (1 - share)))
    for _ in range(_EPOCHS):
        shuffled = rng.permutation(rows)
        for start in range(0, len(shuffled), _BATCH):
            batch = shuffled[start : start + _BATCH]
            found = table.lookup(_ids(log, batch))
            each = np.stack(list(found.values()))
            total = each.sum(axis=0)
            slope = (_sigmoid(_scores(each, bias)) - log.labels[batch]) / len(batch)
            slopes = (total - each) * slope[:, None]
            slopes[:, :, 0] = slope
            table.update({name: np.ascontiguousarray(slopes[at]) for at, name in enumerate(found)}, _RATE)
            bias -= _RATE * float(slope.sum())
    return bias


def _scores(each: F32, bias: float) -> F32:
    """(n,) of the rows (fields, n, dim): linear terms, and products of all pairs of the other values."""
    rest = each[:, :, 1:]
    pairs = np.square(rest.sum(axis=0)).sum(axis=1) - np.square(rest).sum(axis=(0, 2))
    return np.asarray(bias + each[:, :, 0].sum(axis=0) + pairs / 2, np.float32)


def _sigmoid(values: F32) -> F32:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -30, 30))), np.float32)


def _logits(table: Table, bias: float, log: Log, rows: NDArray[np.int64]) -> F32:
    parts = []
    for start in range(0, len(rows), _AT_ONCE):
        found = table.lookup(_ids(log, rows[start : start + _AT_ONCE]))
        parts.append(_scores(np.stack(list(found.values())), bias))
    return np.concatenate(parts)


def _ids(log: Log, rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    return {name: np.ascontiguousarray(log.ids[rows, at]) for at, name in enumerate(log.fields)}
