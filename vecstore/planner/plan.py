"""The one path to a codec under a budget: candidates, a first look, measurements, and their ranks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

from vecstore.codecs.base import Array, BlockCodec, Codec, as_float32
from vecstore.codecs.transforms.pca import spectra_kept
from vecstore.errors import BudgetError, said
from vecstore.planner.candidates import STATE_BYTES, Candidates, Member, infeasible
from vecstore.planner.drawing import Drawn, Draws, Interval
from vecstore.planner.record import Measured, Record
from vecstore.planner.room import Room
from vecstore.planner.screen import promising
from vecstore.planner.speeds import timed
from vecstore.planner.trial import Trial
from vecstore.registry import AnyCodec, fit
from vecstore.stream.compress import Progress

_MORE = 1.03  # times what rows of the sample take, others may
_SHOWN = 5  # of a budget, those that keep most
_RUNGS = 6  # halvings of the budget, at most, in the search for the fewest bytes that are good enough


@dataclass(frozen=True)
class Wanted:
    """What a plan is asked beside the budget."""

    metric: str = "ip"
    seed: int = 0
    min_recall: float | None = None  # at 10, of the rows measured on
    max_scan_ns: float | None = None  # a row and query
    seconds: float | None = None  # no candidate is begun later
    resume: str | None = None  # file of what was measured
    progress: Progress | None = None


@dataclass(frozen=True)
class Candidate:
    """One spec inside the budget, as it was measured on rows that it was not fitted on.

    total_bytes: of the archive of all rows, exact for codes of one size and ids that are numbers; None where
    the number of rows is unknown. Intervals are of 95 %: what as many other queries, or rows, would show.
    recall_at_10, then order, are what candidates are ranked by; order alone where the sample is a small part
    of the collection: the mean correlation of scores with true ones among each query's 20 nearest rows. Both
    are None where there were too few rows to measure them. tied: this cannot be told from the first.
    """

    spec: str
    bytes_per_row: float
    total_bytes: int | None
    recall_at_10: float | None
    recall_at_10_interval: Interval | None
    relative_mse: float
    relative_mse_interval: Interval
    order: float | None
    tied: bool
    encode_us: float
    decode_us: float
    scan_ns: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Plan(Sequence[Candidate]):
    """Candidates, best first; `compress` with the same budget, metric and seed takes the first.

    left_out: {spec: why} of those that were not measured, or not good or fast enough. seconds: processor time
    of looks at few rows, and of measuring costs.
    """

    candidates: list[Candidate]
    left_out: dict[str, str]
    fit_rows: int
    test_rows: int
    queries: int
    seconds: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.candidates)

    def __getitem__(self, at: Any) -> Any:
        return self.candidates[at]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        left = [{"spec": spec, "reason": reason} for spec, reason in self.left_out.items()]
        found = [candidate.as_dict() for candidate in self.candidates]
        counts = {"fit_rows": self.fit_rows, "test_rows": self.test_rows, "queries": self.queries}
        return {"candidates": found, "left_out": left, **counts}


@dataclass
class Search:
    """Candidates for a room, measured by one trial."""

    trial: Trial
    room: Room
    terms: Wanted
    speeds: bool = True  # whether costs are measured, too
    found: dict[str, Measured] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: {"looks": 0.0, "costs": 0.0})

    def __post_init__(self) -> None:
        self._record = Record(self.terms.resume, self.trial, self.terms.seed)
        self._end = math.inf if self.terms.seconds is None else time.monotonic() + self.terms.seconds

    @classmethod
    def of(cls, usable: Array, room: Room, terms: Wanted, *, speeds: bool = True) -> Self:
        """On rows of a sample that codecs can be fitted on, (n, dim)."""
        total = room.rows if room.mostly(len(usable)) else None
        trial = Trial(usable, terms.metric, terms.seed, total=total)
        return cls(trial, room, terms, speeds)

    def exact(self) -> Iterator[AnyCodec]:
        """Codecs that lose nothing and fit in; there is no better choice than the first."""
        if self.room.keeps(4 * self.room.dim, STATE_BYTES):
            yield fit("f32", self.trial.rows, seed=self.terms.seed)
        lossless = fit("lossless", self.trial.rows, seed=self.terms.seed)
        if self.room.keeps(math.ceil(_MORE * _row_bytes(lossless, self.trial.rows)), STATE_BYTES):
            yield lossless

    def run(self, room: Room | None = None) -> list[str]:
        """Measures the candidates of a room (by default all of it) that are worth it; the specs found."""
        with spectra_kept():
            here = _Run(self, room or self.room).measured()
            with self.spending("costs"):
                return self._timed(here) if self.speeds else list(here)

    @contextmanager
    def spending(self, what: str) -> Iterator[None]:
        """Counts processor time."""
        started = time.process_time()
        yield
        self.seconds[what] += time.process_time() - started

    def _timed(self, here: dict[str, Codec | None]) -> list[str]:
        """Measures costs of those of the codecs that keep most; the others are left out."""
        order = [entry for entry in self.ranked() if entry.spec in here] if here else []
        shown = order if self.terms.max_scan_ns else order[:_SHOWN]
        for entry in order[len(shown) :]:
            (what, value), (_, best) = self._ranked_by(entry), self._ranked_by(order[0])
            self.left[entry.spec] = f"its {what} is {value:.3g}, the best of these has {best:.3g}"
            del self.found[entry.spec]
        for entry in shown:
            if entry.speeds is None:
                codec = here[entry.spec] or fit(entry.spec, self.trial.rows, seed=self.terms.seed)
                timing = replace(entry, speeds=timed(codec, self.trial.field.rows))
                self.found[entry.spec] = timing
                self._record.add(timing)
        return [entry.spec for entry in shown]

    def _ranked_by(self, one: Measured) -> tuple[str, float]:
        """What a candidate is ranked by first, and what it has of it."""
        if not len(one.kept.orders):
            return "relative error", one.kept.relative_mse
        if self.trial.by_recall:
            return "recall@10", one.kept.recall or 0.0
        return "order", one.kept.order

    def slowness(self, codec: Codec) -> float:
        """What a scan takes over what is asked."""
        assert self.terms.max_scan_ns is not None
        scan_ns = timed(codec, self.trial.field.rows).scan_ns
        return math.inf if scan_ns is None else scan_ns / self.terms.max_scan_ns

    def late(self) -> bool:
        """Whether time is over."""
        return time.monotonic() > self._end

    def known(self, spec: str) -> Measured | None:
        """What was measured before."""
        return self._record.known.get(spec)

    def measured(self, spec: str, codec: Codec) -> Measured:
        """What was measured before, or is now, and is kept."""
        if known := self.known(spec):
            return known
        kept = self.trial.measure(codec)
        entry = Measured(spec, str(codec.spec), codec.code_bytes, codec.ledger(0).shared, kept)
        self._record.add(entry)
        return entry

    def ranked(self) -> list[Measured]:
        """By what the trial says; where that was not measured, by the error."""
        if not self.found:
            if failed := next(iter(self.left.items()), None):
                raise BudgetError(
                    f"no codec that {self.room.budget.text!r} holds can be fitted; {failed[0]}: {failed[1]}"
                )
            raise infeasible(self.room)

        def rank(one: Measured) -> tuple[float, float, float]:
            recall = one.kept.recall if self.trial.by_recall else None
            return -(recall or 0.0), -one.kept.order, one.kept.relative_mse

        return sorted(self.found.values(), key=rank)


class _Run:
    """Candidates of one room, fitted and measured for a search."""

    def __init__(self, search: Search, room: Room) -> None:
        self._search, self._room = search, room
        self._candidates = Candidates(room, search.terms.seed)
        self._begun = set[int]()  # of each look at least one is fitted
        self._large: dict[str, str] = {}

    def measured(self) -> dict[str, Codec | None]:
        """The specs of those worth it, with their codecs where they were fitted on all rows now."""
        search, candidates = self._search, self._candidates
        report = search.terms.progress or (lambda done, total: None)
        slowness = search.slowness if search.terms.max_scan_ns else None
        with search.spending("looks"):
            worth, left = promising(candidates.listed(), search.trial, self._fitted, slowness)
        # Of a family that gave way, what was looked at is another member.
        search.left |= {candidates.spec(one.family) or one.spec: why for one, why in left.items()}
        here: dict[str, Codec | None] = {}
        for done, one in enumerate(worth):
            report(done, len(worth))
            known = search.known(candidates.spec(one.family))
            if known and self._room.keeps(known.code_bytes, known.shared):
                here[known.spec], search.found[known.spec] = None, known
            elif codec := self._fitted(one, None):
                spec = candidates.spec(one.family)
                try:
                    search.found[spec] = search.measured(spec, codec)
                except Exception as error:
                    search.left[spec] = said(error)
                else:
                    here[spec] = codec
        report(len(worth), len(worth))
        if search.found:
            search.left |= self._large
        return here

    def _fitted(self, one: Member, rows: int | None) -> Codec | None:
        """On so many rows; None for what is too large, or too late."""
        search = self._search
        if search.late() and (search.found or rows in self._begun):
            search.left[one.spec] = f"not measured within {search.terms.seconds:g} seconds"
            return None
        try:
            codec = self._candidates.fitted(one.family, search.trial.rows[:rows])
        except Exception as error:  # What one candidate cannot do leaves the others.
            search.left[one.spec] = said(error)
            return None
        if codec is None:
            self._large[one.spec] = "what it learns takes more than the budget leaves"
            return None
        if rows is not None:
            self._begun.add(rows)
        return codec


def plan(usable: Array, room: Room, terms: Wanted) -> Plan:
    """Measures what the budget may hold.

    usable: the sample's rows that codecs can be fitted on, (n, dim). With min_recall the fewest bytes that
    reach it come first, and budgets are halved while there is one. Raises BudgetError with the least
    feasible budget if no codec fits, and with the best that was found if none is good or fast enough;
    InputError and ConflictError for a resume file of something else.
    """
    search = Search.of(usable, room, terms)
    exact = [_lossless(codec, search) for codec in search.exact()]
    try:
        here = search.run()
        for _ in range(_RUNGS if terms.min_recall is not None else 0):
            if not any(_good(search.found[spec], terms) for spec in here):
                break
            half = 0.5 * max(search.found[spec].code_bytes for spec in here)
            here = search.run(room.smaller(half))
        for spec in search.found:  # What was left out in one room may have been measured in another.
            search.left.pop(spec, None)
        ranked = search.ranked()
    except BudgetError:
        if not exact:
            raise
        ranked = []
    if ranked:
        measured, by_recall = search.trial.field, search.trial.by_recall
        draws = Draws(Drawn(measured.query_runs, measured.spreads), terms.seed, by_recall)
    shown = exact + [_candidate(entry, ranked, draws, search) for entry in ranked]
    kept = [one for one in shown if not _short(one, terms, search.left)]
    if not kept:
        reasons = "; ".join(f"{one.spec}: {search.left[one.spec]}" for one in shown[:1])
        raise BudgetError(f"budget {room.budget.text!r} holds no codec as good and fast as asked; {reasons}")
    if terms.min_recall is not None:
        kept.sort(key=lambda one: one.bytes_per_row)
    return Plan(
        kept, search.left, len(search.trial.rows), len(search.trial.field.rows),
        len(search.trial.field.queries), search.seconds,
    )  # fmt: skip


def _good(entry: Measured, terms: Wanted) -> bool:
    return terms.min_recall is not None and (entry.kept.recall or 0.0) >= terms.min_recall


def _short(one: Candidate, terms: Wanted, left: dict[str, str]) -> bool:
    """Whether a candidate falls short of what is asked, which is then said in left."""
    if terms.min_recall is not None and not (one.recall_at_10 or 0.0) >= terms.min_recall:
        found = "not measured on so few rows" if one.recall_at_10 is None else f"{one.recall_at_10:.3f}"
        left[one.spec] = f"recall@10 is {found}, less than {terms.min_recall:g}"
    elif terms.max_scan_ns is not None and not (one.scan_ns or math.inf) <= terms.max_scan_ns:
        found = "there is no scan" if one.scan_ns is None else f"a scan takes {one.scan_ns:.3g} ns"
        left[one.spec] = f"{found}, more than {terms.max_scan_ns:g}"
    else:
        return False
    return True


def _candidate(entry: Measured, ranked: list[Measured], draws: Draws, search: Search) -> Candidate:
    kept, speeds, first = entry.kept, entry.speeds, ranked[0]
    assert speeds is not None
    return Candidate(
        spec=entry.full,
        bytes_per_row=entry.code_bytes,
        total_bytes=search.room.total(entry.full, entry.code_bytes, entry.shared, search.terms.metric),
        recall_at_10=kept.recall,
        recall_at_10_interval=draws.recall(kept, [one.kept for one in ranked] if entry is first else ()),
        relative_mse=kept.relative_mse,
        relative_mse_interval=draws.relative_mse(kept),
        order=kept.order if len(kept.orders) else None,
        tied=entry is not first and draws.tied(first.kept, kept),
        encode_us=speeds.encode_us,
        decode_us=speeds.decode_us,
        scan_ns=speeds.scan_ns,
    )


def _lossless(codec: AnyCodec, search: Search) -> Candidate:
    """What loses nothing need not be measured but for its cost."""
    size = round(_row_bytes(codec, search.trial.rows))
    speeds = timed(codec, as_float32(search.trial.rows))
    total = None
    if isinstance(codec, Codec):
        total = search.room.total(str(codec.spec), size, codec.ledger(0).shared, search.terms.metric)
    elif search.room.rows is not None:
        total = search.room.ledger(size, STATE_BYTES).total
    return Candidate(
        str(codec.spec), size, total, 1.0, (1.0, 1.0), 0.0, (0.0, 0.0), 1.0,
        False, speeds.encode_us, speeds.decode_us, speeds.scan_ns,
    )  # fmt: skip


def _row_bytes(codec: AnyCodec, rows: Array) -> float:
    """Of a codec that works block by block from a few blocks."""
    if isinstance(codec, Codec):
        return codec.code_bytes
    assert isinstance(codec, BlockCodec)
    if not len(rows):
        return 4 * codec.dim
    # Every row has an offset beside it.
    return len(codec.encode_block(rows)) / len(rows) + 4
