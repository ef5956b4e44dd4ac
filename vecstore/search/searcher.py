"""Exhaustive search: every row is scored, the best k are kept.

All metrics come from a scan's inner products: the cosine is <q, x> / |x|, and the order by squared distance
is that of <q - m, x> - |x - m|^2 / 2 for any m, so that a row needs one float32 beside its code, made at the
first search by that metric (`terms.py`). Where a scan is not exact, and for distances, of which that sum
loses the last digits, the best 2 k + 16 rows (or `rerank`) are scored once more: decoded, in float64, or by
the scan itself (`Scan.rescore`). Where it gives bounds, the rows that these do not rule out are scored by the
scan, and the best k once more.

A symmetric search compares codes with codes, by a measure of the codec's own that is the same for all metrics
(for one bit a dimension, dimensions less twice the bits that differ); nothing is scored once more, unless
told to, which is by the metric.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import (
    LARGEST,
    Array,
    BlockCodec,
    Codec,
    Codes,
    Rows,
    as_float32,
    check_rows,
)
from vecstore.codecs.scan import By, Scan
from vecstore.errors import InputError, ShapeError, SpecError
from vecstore.kernels import scores, top
from vecstore.kernels.finite import within
from vecstore.kernels.threads import get_threads, spread
from vecstore.registry import CODECS
from vecstore.search.keys import HOW, as_scores, inverse_lengths, over_length, turn
from vecstore.search.terms import NONE, Decode, RowNumbers, Terms

METRICS = ("ip", "cosine", "l2")
Group = tuple[slice, Any]  # queries, and what the scan made of them

_TIMES, _AT_LEAST = 2, 16  # rows that are scored again: _TIMES * k + _AT_LEAST
_SCORES = 1 << 17  # of a block, float32: they stay in the second-level cache until they are compared
_QUERIES = 64  # prepared at a time, or as many as a scan takes; of more its tables would take much memory
_RANGES = 4  # per thread, so that one that is slowed down is waited for less
_RANGE = 1 << 14  # rows at least
_ALONE = 1 << 15  # rows x queries that are not worth a second thread
_ENOUGH = 8  # times the queries that a thread has: as many as a call of a scan serves best
_RESCORED = 1 << 13  # rows decoded at a time
_NO_LENGTHS = np.empty(0)
_ALL = np.empty(0, np.bool_)
_LEAST = np.float32(-np.inf)
_WHOLE = int | np.integer


class _Plan(NamedTuple):
    """What a search does."""

    metric: str
    picked: int  # rows that a scan finds
    again: bool  # whether these are scored once more
    at_once: bool  # whether the scan does that too
    terms: Rows
    middle: Rows | None  # that queries are taken from
    mask: NDArray[np.bool_]
    finer: Decode | None
    mix: float


class Searcher:
    """Rows to search: a scan for all of them, and decoded rows for the best.

    symmetric: whether the scan compares codes.
    """

    def __init__(
        self, scan: Scan, decode: Decode, dim: int, *, symmetric: bool = False, terms: Terms | None = None
    ) -> None:
        self.scan = scan
        self.dim = dim
        self.symmetric = symmetric
        self.terms = Terms(scan, decode, dim) if terms is None else terms
        self._decode = decode

    @classmethod
    def of(cls, codec: Codec, codes: Codes, *, symmetric: bool = False) -> Self:
        """A searcher of codes (n, code_bytes) in memory. SpecError if symmetric and it compares no codes."""
        scan = symmetric_scan(codec, codes) if symmetric else codec.scan(codes)
        return cls(scan, lambda numbers: codec.decode(codes[numbers]), codec.dim, symmetric=symmetric)

    def __len__(self) -> int:
        return self.scan.rows

    @property
    def nbytes(self) -> int:
        """Bytes held beside the codes: the scan's, and 4 a row for each metric that needs them."""
        return self.scan.nbytes + self.terms.nbytes

    def search(
        self,
        queries: Array,
        k: int = 10,
        *,
        metric: str = "ip",
        where: NDArray[np.bool_] | None = None,
        rerank: int = 0,
        finer: Decode | None = None,
        mix: float = 0.0,
    ) -> tuple[RowNumbers, Rows]:
        """Row numbers and scores, (queries, min(k, rows that match)) each, best first, ties by row number.

        queries: (q, dim), any real dtype. metric: ip, cosine or l2 (squared; the smaller the better); of a
        symmetric search that of rows that are scored again. where: True for the rows (n,) that may be found.
        rerank: how many of the best rows are scored again, in float64, with their decoded rows, or with
        those of `finer`. mix: how much of the code's own score is added to that of a finer row. The result
        does not depend on threads, nor a query's on the other queries. A row that holds NaN comes last, as
        -inf (l2: inf).

        Raises ShapeError, SpecError, and InputError for a query that holds NaN or infinity.
        """
        rows = self._check(queries, k, metric, rerank)
        if mix != 0:
            self._check_mix(mix)
        mask, matches = self._mask(where)
        k = min(k, matches)
        by = "ip" if self.symmetric else metric
        rough = not self.symmetric and (not self.scan.exact or metric == "l2")
        again = rerank or finer is not None or rough
        usual = k if self.scan.bounds and metric != "l2" else _TIMES * k + _AT_LEAST
        count = min(max(rerank or usual, k), matches) if again else k
        found = np.empty((len(rows), k), np.int64)
        values = np.empty((len(rows), k), np.float32)
        if k == 0 or len(rows) == 0:
            return found, values
        terms, middle = self._row_terms(by, rough)
        final = metric == "ip" or (metric == "cosine" and terms is self.terms.cosine())  # of scores, too
        at_once = rough and finer is None and mix == 0 and final and self.scan.at_once(HOW[metric])
        plan = _Plan(metric, count, bool(again), at_once, terms, middle, mask, finer, mix)

        def work(start: int, stop: int) -> None:
            self._find(rows[start:stop], plan, (values[start:stop], found[start:stop]), True)

        if part := self._by_queries(len(rows), finer is not None):
            spread(len(rows), part, work)
        else:
            self._find(rows, plan, (values, found), get_threads() == 1 or len(self) * len(rows) <= _ALONE)
        if again and metric == "l2":
            np.negative(values, out=values)
        return found, values

    def _by_queries(self, queries: int, finer: bool) -> int:
        """How many queries a thread takes at a time, or 0: each is better scanned by all threads.

        Queries share the reading of rows, and some scans their decoding, but threads that take rows have a
        heap each to fill for every query. Finer rows are read by one thread.
        """
        threads = get_threads()
        part = -(-queries // threads)
        share = threads > 1 and not finer and len(self) * queries > _ALONE
        return min(part, self.scan.queries) if share and part * _ENOUGH >= self.scan.queries else 0

    def _find(self, rows: Rows, plan: _Plan, best: top.Heap, alone: bool) -> None:
        """Writes keys and row numbers (q, k) of the best, the best first. alone: on this thread."""
        values, found = best
        if plan.at_once and alone:
            self._at_once(rows, plan, best)
            return
        by = "ip" if self.symmetric else plan.metric
        step = max(_QUERIES, self.scan.queries)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            groups = self._prepared(rows[part] if plan.middle is None else rows[part] - plan.middle)
            keys, numbers = self._best(groups, plan.picked, (plan.terms, HOW[by], plan.mask), alone)
            if not plan.again:
                top.sort((keys, numbers))
                found[part] = numbers
                values[part] = over_length(keys, rows[part]) if by == "cosine" else keys
                continue
            finer, mix, metric = plan.finer, plan.mix, plan.metric
            coarse = as_scores(keys, rows[part], metric, plan.middle) if mix and finer is not None else None
            self._rescore(groups, rows[part], numbers, keys, (metric, finer))
            if mix:  # Without finer rows, the code's score is the score.
                keys += np.float32(mix) * (keys if coarse is None else coarse)
            top.best((keys, numbers), (values[part], found[part]))

    def _check_mix(self, mix: float) -> None:
        if not isinstance(mix, int | float | np.number) or not 0 <= mix < math.inf:
            raise SpecError(f"mix is {mix!r}; expected a number, 0 or more")
        if mix and self.symmetric:
            raise SpecError("a symmetric search scores codes by another measure, which cannot be mixed in")

    def _check(self, queries: Array, k: int, metric: str, rerank: int) -> Rows:
        if metric not in METRICS:
            raise SpecError(f"metric is {metric!r}; expected one of {', '.join(METRICS)}")
        for name, value, least in (("k", k, 1), ("rerank", rerank, 0)):
            if isinstance(value, bool) or not isinstance(value, _WHOLE) or value < least:
                raise SpecError(f"{name} is {value!r}; expected a whole number, {least} or more")
        rows = as_float32(check_rows(queries, self.dim))
        if not within(rows, LARGEST):
            with np.errstate(invalid="ignore"):
                query, dim = np.argwhere(~(np.abs(rows) <= LARGEST))[0]
            value = rows[query, dim]
            raise InputError(f"query {query} holds {value:g} in dimension {dim}; expected numbers to 1e17")
        return rows

    def _mask(self, where: NDArray[np.bool_] | None) -> tuple[NDArray[np.bool_], int]:
        """The rows that may be found, empty for all of them, and how many they are."""
        if where is None:
            return _ALL, len(self)
        mask = np.asarray(where)
        if mask.dtype != np.bool_ or mask.shape != (len(self),):
            raise ShapeError(f"where is {mask.dtype} {mask.shape}; expected bool ({len(self)},)")
        count = int(np.count_nonzero(mask))
        return (np.ascontiguousarray(mask) if count < len(self) else _ALL), count

    def _row_terms(self, metric: str, rough: bool) -> tuple[Rows, Rows | None]:
        """What makes keys of a scan's inner products, and the middle that queries are taken from for that."""
        if metric == "l2":
            middle = self.terms.middle
            return self.terms.apart(middle), middle if middle.any() else None
        if metric == "ip":
            return NONE, None
        return self.terms.careful() if rough and not self.scan.bounds else self.terms.cosine(), None

    def _at_once(self, queries: Rows, plan: _Plan, best: top.Heap) -> None:
        """All of a search by the scan."""
        lengths = inverse_lengths(queries) if plan.metric == "cosine" else _NO_LENGTHS
        by = plan.terms, HOW[plan.metric], plan.mask
        for start in range(0, len(queries), self.scan.queries):
            group = slice(start, start + self.scan.queries)
            own = best[0][group], best[1][group]
            self.scan.nearest(queries[group], by, lengths[group], plan.picked, own)

    def _prepared(self, queries: Rows) -> list[Group]:
        """Queries in groups that the scan serves best."""
        step = self.scan.queries
        groups = [slice(start, min(start + step, len(queries))) for start in range(0, len(queries), step)]
        return [(group, self.scan.prepare(queries[group])) for group in groups]

    def _best(self, groups: list[Group], k: int, by: By, alone: bool) -> tuple[Rows, RowNumbers]:
        """Keys and row numbers (q, k) of the best rows, in no order."""
        count = groups[-1][0].stop
        heaps = top.empty_heap(count, k)
        step = len(self) if alone else self._range_rows()
        if step >= len(self):
            self._scan_groups(groups, (0, len(self)), by, heaps)
        else:
            parts: dict[int, top.Heap] = {}

            def work(start: int, stop: int) -> None:
                own = parts[start] = top.empty_heap(count, k)
                self._scan_groups(groups, (start, stop), by, own)

            spread(len(self), step, work)
            for start in sorted(parts):
                top.merge(parts[start], heaps)
        return heaps

    def _scan_groups(
        self,
        groups: list[Group],
        rows: tuple[int, int],
        by: By,
        heaps: top.Heap,
    ) -> None:
        """Scores the rows [start, stop) for each group of queries into its heaps."""
        for group, ready in groups:
            self._scan_range(ready, rows, by, (heaps[0][group], heaps[1][group]))

    def _range_rows(self) -> int:
        """Rows that one thread goes through before it asks for more: not so few that its heaps are filled
        for nothing."""
        step = self.scan.step
        rows = max(-(-len(self) // (get_threads() * _RANGES)), _RANGE)
        return max(-(-rows // step) * step, step)

    def _scan_range(
        self, prepared: Any, rows: tuple[int, int], terms: tuple[Rows, int, NDArray[np.bool_]], heap: top.Heap
    ) -> None:
        """Scores the rows [start, stop) for one group of queries, block by block, into its heaps."""
        row_terms, how, mask = terms
        places = (rows[0], rows[1], rows[0])
        part = slice(rows[0], rows[1])
        if self.scan.push(prepared, places, (row_terms[part], how, mask[part]), heap):
            return
        queries, step = len(heap[0]), self.scan.step
        block = max(_SCORES // queries // step * step, step)
        buffer = np.empty(queries * min(block, rows[1] - rows[0]), np.float32)
        for start in range(rows[0], rows[1], block):
            stop = min(start + block, rows[1])
            wanted = mask[start:stop]
            if mask.size and not wanted.any():
                continue
            out = buffer[: queries * (stop - start)].reshape(queries, stop - start)
            self.scan.dots(prepared, start, stop, out)
            if self.scan.bounds:
                self._sift(prepared, out, start, (row_terms, how, wanted), heap)
            else:
                top.push(out, row_terms[start:stop], how, wanted, start, heap)

    def _sift(
        self,
        prepared: Any,
        keys: Rows,
        first: int,
        terms: tuple[Rows, int, NDArray[np.bool_]],
        heap: top.Heap,
    ) -> None:
        """Puts rows into the heaps, of which keys (q, n) are bounds: those that may get in are scored.

        A row's key is then the lesser of bound and score, so that it does not depend on other rows.
        """
        row_terms, how, wanted = terms
        turn(keys, row_terms[first : first + keys.shape[1]], how)
        least = heap[0][:, 0]
        if not least.min() > -np.inf:  # Nothing tells yet what may get in; the rows with the best bounds do.
            likely = top.empty_heap(*heap[0].shape)
            top.push(keys, NONE, top.AS_THEY_ARE, wanted, first, likely)
            likely[1][likely[1] == top.NONE] = first
            least = np.nextafter(self._scored(prepared, likely, row_terms, how).min(axis=1), _LEAST)
        held = np.empty(keys.shape, np.float32), np.empty(keys.shape, np.int64)
        count = top.above(keys, least, wanted, first, held)
        if count:
            found = held[0][:, :count], held[1][:, :count]
            top.merge((self._scored(prepared, found, row_terms, how), found[1]), heap)

    def _scored(self, prepared: Any, bounded: top.Heap, row_terms: Rows, how: int) -> Rows:
        """Keys (q, n) of rows with these bounds."""
        found = self.scan.rescore(prepared, bounded[1])
        assert found is not None
        keys = found.astype(np.float32)
        if how != top.AS_THEY_ARE:
            turn(keys, row_terms[bounded[1]], how)
        return np.minimum(keys, bounded[0])

    def _rescore(
        self,
        groups: list[Group],
        queries: Rows,
        numbers: RowNumbers,
        keys: Rows,
        how: tuple[str, Decode | None],
    ) -> None:
        """Keys (q, n), written, of the rows with these numbers; those of distances are negative.

        how: the metric, and what gives finer rows.
        """
        metric, finer = how
        rows_needed = self.symmetric or finer is not None or metric == "l2"
        terms = self.terms.cosine() if metric == "cosine" else NONE
        if not rows_needed and self._by_scan(groups, numbers, keys, terms):
            if metric == "cosine":
                keys[:] = over_length(keys, queries)
            return
        step = max(1, _RESCORED // numbers.shape[1])
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            rows = (finer or self._decode)(numbers[part].reshape(-1))
            scores.exact(rows, queries[part], METRICS.index(metric), keys[part])

    def _by_scan(self, groups: list[Group], numbers: RowNumbers, keys: Rows, terms: Rows) -> bool:
        """Whether the scan could score these rows itself; then keys (q, n) are its scores times terms."""
        for group, ready in groups:
            found = self.scan.rescore(ready, numbers[group])
            if found is None:
                return False
            keys[group] = found * terms[numbers[group]] if terms.size else found
        return True


def symmetric_scan(codec: Codec | BlockCodec, codes: Codes) -> Scan:
    """The scan that compares codes with codes; SpecError, with the codecs that have one, if there is none."""
    scan = codec.scan_symmetric(codes) if isinstance(codec, Codec) else None
    if scan is None:
        kinds = {name: getattr(kind, "scan_symmetric", None) for name, kind in CODECS.items()}
        names = [name for name, found in kinds.items() if found not in (None, Codec.scan_symmetric)]
        raise SpecError(
            f"{codec.spec} compares no codes with codes, so it has no symmetric search; {', '.join(names)} "
            "have, alone or behind transforms that keep nothing for each row"
        )
    return scan
