"""Exhaustive search: every row is scored, the best k are kept.

All metrics come from a scan's inner products: the cosine is <q, x> / |x|, and the order by squared distance
is that of <q - m, x> - |x - m|^2 / 2 for any m, so that a row needs one float32 beside its code, made at the
first search by that metric (`terms.py`); two for the cosine where rows lie far from the origin. Where a scan
is not exact, and where keys lose the last digits, which is for distances, and for the cosine where rows lie
far from the origin or are nothing but what rounding left, the best 2 k + 16 rows (or `rerank`) are scored
once more: decoded, in float64, or by the scan itself (`Scan.rescore`). Where it gives bounds, the rows that
these do not rule out are scored by the scan, and the best k once more.

A symmetric search compares codes with codes, by a measure of the codec's own that is the same for all metrics
(for one bit a dimension, dimensions less twice the bits that differ); nothing is scored once more, unless
told to, which is by the metric.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import (
    Array,
    BlockCodec,
    Codec,
    Codes,
    Rows,
)
from vecstore.codecs.scan import By, ScaledScan, Scan
from vecstore.errors import SpecError
from vecstore.kernels import scores, top
from vecstore.kernels.threads import get_threads, spread
from vecstore.registry import CODECS
from vecstore.search.checks import ALL, METRICS, check_asked, check_mask, check_mix, check_queries
from vecstore.search.keys import NONE, Keys, along, inverse_lengths, over_length, turn
from vecstore.search.terms import Decode, RowNumbers, Terms

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
_PRODUCTS = Keys("ip", NONE, top.AS_THEY_ARE)
_LEAST = np.float32(-np.inf)


class _Plan(NamedTuple):
    """What a search does."""

    metric: str  # of rows that are scored again
    by: Keys
    picked: int  # rows that a scan finds
    again: bool  # whether these are scored once more
    at_once: bool  # whether the scan does that too
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
        self._slanted: _Slanted | None = None

    @classmethod
    def of(cls, codec: Codec, codes: Codes, *, symmetric: bool = False) -> Self:
        """A searcher of codes (n, code_bytes) in memory. SpecError if symmetric and it compares no codes."""
        scan = symmetric_scan(codec, codes) if symmetric else codec.scan(codes)
        return cls(scan, lambda numbers: codec.decode(codes[numbers]), codec.dim, symmetric=symmetric)

    def __len__(self) -> int:
        return self.scan.rows

    @property
    def nbytes(self) -> int:
        """Bytes held beside the codes: the scan's, and 4 a row for each metric that needs them, or 8."""
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
        check_asked(k, metric, rerank)
        if mix != 0:
            check_mix(mix, self.symmetric)
        rows = check_queries(queries, self.dim)
        mask, matches = check_mask(where, len(self))
        k = min(k, matches)
        found = np.empty((len(rows), k), np.int64)
        values = np.empty((len(rows), k), np.float32)
        if k == 0 or len(rows) == 0:
            return found, values
        towards = self._towards(rows, metric)
        if towards.size and towards.any():
            for searcher, side in ((self._far(), towards), (self, ~towards)):
                if side.any():
                    found[side], values[side] = searcher.search(
                        rows[side], k, metric=metric, where=where, rerank=rerank, finer=finer, mix=mix
                    )
            return found, values
        by = self._keys(metric)
        # Whether keys are scores but for the query's length, and the scan's inner products those of rows.
        final = by.metric == "ip" or (by.metric == "cosine" and by.terms is self.terms.cosine())
        own = self.symmetric or self.scan.exact
        again = bool(rerank or finer is not None or not (own and final))
        picked = min(self._picked(by, k, rerank, again), matches)
        at_once = final and not own and finer is None and mix == 0 and self.scan.at_once(by.how)
        plan = _Plan(metric, by, picked, again, at_once, mask, finer, mix)

        def work(start: int, stop: int) -> None:
            self._find(rows[start:stop], plan, (values[start:stop], found[start:stop]), True)

        if part := self._by_queries(len(rows), finer is not None):
            spread(len(rows), part, work)
        else:
            self._find(rows, plan, (values, found), get_threads() == 1 or len(self) * len(rows) <= _ALONE)
        if plan.again and metric == "l2":
            np.negative(values, out=values)
        return found, values

    def _picked(self, by: Keys, k: int, rerank: int, again: bool) -> int:
        """How many rows a scan finds."""
        if not again:
            return k
        usual = k if self.scan.bounds and by.how != top.PLUS else _TIMES * k + _AT_LEAST
        return max(rerank or usual, k)

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
        by, finer, mix = plan.by, plan.finer, plan.mix
        step = max(_QUERIES, self.scan.queries)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            groups = self._prepared(by.asked(rows[part]))
            keys, numbers = self._best(groups, plan.picked, (by.terms, by.how, plan.mask), alone)
            if not plan.again:
                top.sort((keys, numbers))
                found[part] = numbers
                values[part] = over_length(keys, rows[part]) if by.how == top.TIMES else keys
                continue
            coarse = by.scores(keys, rows[part]) if mix and finer is not None else None
            self._rescore(groups, rows[part], (numbers, keys), plan)
            if mix:  # Without finer rows, the code's score is the score.
                keys += np.float32(mix) * (keys if coarse is None else coarse)
            top.best((keys, numbers), (values[part], found[part]))

    def _keys(self, metric: str) -> Keys:
        if self.symmetric or metric == "ip":
            return _PRODUCTS
        if metric == "l2":
            middle = self.terms.middle
            return Keys("l2", self.terms.apart(middle), top.PLUS, middle if middle.any() else None)
        return Keys("cosine", self.terms.careful(), top.TIMES)

    def _towards(self, queries: Rows, metric: str) -> NDArray[np.bool_]:
        """For which queries (q,) cosines are told apart by `Terms.aslant` alone; or empty."""
        if self.symmetric or metric != "cosine" or not self.terms.far:
            return ALL
        return along(queries, self.terms.middle)

    def _far(self) -> _Slanted:
        if self._slanted is None:
            self._slanted = _Slanted(self)
        return self._slanted

    def _at_once(self, queries: Rows, plan: _Plan, best: top.Heap) -> None:
        """All of a search by the scan."""
        lengths = inverse_lengths(queries) if plan.metric == "cosine" else _NO_LENGTHS
        by = plan.by.terms, plan.by.how, plan.mask
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
        self, groups: list[Group], queries: Rows, best: tuple[RowNumbers, Rows], plan: _Plan
    ) -> None:
        """Keys (q, n), written, of the rows with these numbers; those of distances are negative."""
        numbers, keys = best
        terms = self.terms.cosine() if plan.metric == "cosine" else NONE
        code = METRICS.index(plan.metric) if not plan.by.aslant else scores.LESS_ONE
        by_scan = not self.symmetric and plan.finer is None and plan.by.told
        if by_scan and self._by_scan(groups, numbers, keys, terms):
            if plan.metric == "cosine":
                keys[:] = over_length(keys, queries)
            return
        step = max(1, _RESCORED // numbers.shape[1])
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            rows = (plan.finer or self._decode)(numbers[part].reshape(-1))
            scores.exact(rows, queries[part], code, keys[part])

    def _by_scan(self, groups: list[Group], numbers: RowNumbers, keys: Rows, terms: Rows) -> bool:
        """Whether the scan could score these rows itself; then keys (q, n) are its scores times terms."""
        for group, ready in groups:
            found = self.scan.rescore(ready, numbers[group])
            if found is None:
                return False
            keys[group] = found * terms[numbers[group]] if terms.size else found
        return True


class _Slanted(Searcher):
    """Rows that are `far`, by the cosine with queries that lie where they do.

    All cosines are almost one: what they are less than one has the digits that tell them apart.
    """

    def __init__(self, plain: Searcher) -> None:
        factors, _ = plain.terms.aslant(plain.terms.middle)
        super().__init__(ScaledScan(plain.scan, factors), plain._decode, plain.dim, terms=plain.terms)

    def search(self, queries: Array, k: int = 10, **asked: Any) -> tuple[RowNumbers, Rows]:
        """The searcher's."""
        found, values = super().search(queries, k, **asked)
        values += 1 + asked["mix"]
        return found, values

    def _keys(self, metric: str) -> Keys:
        middle = self.terms.middle
        return Keys(metric, self.terms.aslant(middle)[1], top.PLUS, middle)

    def _towards(self, queries: Rows, metric: str) -> NDArray[np.bool_]:
        return ALL


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
