"""The contract of scans: inner products of queries with rows that stay compressed.

A `Scan` is a collection of codes in the order in which its kernel reads them. It knows one thing, the inner
product of a query with each decoded row; other metrics, the best k, and threads are `vecstore.search`'s.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import scores
from vecstore.kernels.top import AS_THEY_ARE, TIMES, Heap

Rows = NDArray[np.float32]
Codes = NDArray[np.uint8]
Decode = Callable[[Codes], Rows]
Places = tuple[int, int, int]  # rows [start, stop), and the number that start has in a heap
# Terms (stop - start,) and how they make keys of scores, or empty; which rows may get in, empty for all.
By = tuple[Rows, int, NDArray[np.bool_]]

_BLOCK_VALUES = 1 << 16  # of decoded rows, float32: a fourth of a usual second-level cache
_LEAST = 64  # rows


class Scan(ABC):
    """Codes of `rows` rows, ready to be scanned; immutable, and safe to use from several threads.

    exact: whether `dots` gives the inner product with the decoded row up to float32's rounding. If not (a
    query was rounded to integers), search scores the best rows once more.
    bounds: whether `dots` gives what the inner product is below, almost surely; then `rescore` gives the
    inner products, and search asks for those of the rows that their bounds let in.
    step: `dots` is called for starts that are multiples of it.
    queries: how many of them a call of `dots` serves best; more are split.
    alike: whether what `prepare` gives is of the codec alone, and so does for other scans of it, too.
    nbytes: bytes held beside the codes themselves; 0 where they are read as they lie.
    """

    exact: bool = True
    bounds: bool = False
    alike: bool = False
    step: int = 1
    queries: int = 32
    rows: int
    nbytes: int

    @abstractmethod
    def prepare(self, queries: Rows) -> Any:
        """What the kernel needs of queries (q, dim): tables, folded weights. Each query's are its own."""

    def leader(self, others: Sequence[Scan]) -> Scan | None:
        """A scan whose `prepare` serves this one and others of its codec; None: each needs its own."""
        return self if self.alike else None

    @abstractmethod
    def dots(self, prepared: Any, start: int, stop: int, out: Rows) -> None:
        """out[j, i] = <query j, decoded row start + i>; out (q, stop - start), contiguous.

        A score does not depend on start, stop or the other queries.
        """

    def push(self, prepared: Any, rows: Places, by: By, heap: Heap) -> bool:
        """Puts the dots of rows into the heaps of the queries as `kernels.top.push` does; False: it cannot.

        Where there are `bounds`: puts the rows that these let in, by the lesser of bound and inner product.
        For scans that are so fast that it takes longer to put scores into memory and read them again.
        """
        return False

    def at_once(self, how: int) -> bool:
        """Whether `nearest` does all of a search by terms of this kind, in less time than its parts take."""
        return False

    def nearest(self, queries: Rows, by: By, lengths: NDArray[np.float64], count: int, best: Heap) -> None:
        """The best of the `count` rows that `push` finds among all, by what `rescore` gives; keys are times
        terms, of kinds that `at_once` takes, and then times lengths (q,) if there are any.

        queries (q, dim); best (q, k), written, the best first.
        """
        raise NotImplementedError

    def rescore(self, prepared: Any, numbers: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """<query j, decoded row numbers[j, i]>, (q, k), without the query rounded; None: decode the rows.

        For scans that are not exact and can do so with less work than decoding takes. numbers (q, k); where
        there are `bounds`, those below zero are no rows and have any score.
        """
        return None


class DecodedScan(Scan):
    """The scan of a codec that has no other: rows are decoded, a block at a time."""

    alike = True
    queries = 256  # decoding is paid once for all of them

    def __init__(self, codes: Codes, decode: Decode) -> None:
        self.rows = len(codes)
        self.nbytes = 0
        self._codes = codes
        self._decode = decode

    def prepare(self, queries: Rows) -> Rows:
        """The queries in whole vectors."""
        return scores.pack(queries)

    def dots(self, prepared: Rows, start: int, stop: int, out: Rows) -> None:
        """Decodes, then multiplies, in blocks that stay in the cache."""
        step = max(_LEAST, _BLOCK_VALUES // prepared.shape[1])
        for at in range(start, stop, step):
            end = min(at + step, stop)
            rows = self._decode(self._codes[at:end])
            if len(out) == 1 or (at, end) == (start, stop):
                scores.dots(rows, prepared, out[:, at - start : end - start])
            else:
                found = np.empty((len(out), end - at), np.float32)
                scores.dots(rows, prepared, found)
                out[:, at - start : end - start] = found


class AroundScan(Scan):
    """What does something to the queries or the scores of another scan."""

    def __init__(self, inner: Scan, more: int = 0) -> None:
        """more: bytes held beside those of the inner scan."""
        self.inner = inner
        self.exact, self.bounds, self.alike = inner.exact, inner.bounds, inner.alike
        self.step, self.queries = inner.step, inner.queries
        self.rows, self.nbytes = inner.rows, inner.nbytes + more

    def leader(self, others: Sequence[Scan]) -> Scan | None:
        """This one around the inner scan's."""
        leader = self.inner.leader([other.inner for other in others if isinstance(other, type(self))])
        if leader is None or leader is self.inner:
            return self if leader else None
        found = copy(self)
        found.inner = leader
        return found


class PulledScan(AroundScan):
    """A scan behind transforms whose inverse is affine: queries are transformed, rows are not.

    pull: queries (q, dim) -> queries (q, dim_out) and offsets (q,) with <query, row> = <pulled, inner row> +
    offset.
    """

    def __init__(self, inner: Scan, pull: Callable[[Rows], tuple[Rows, NDArray[np.float64]]]) -> None:
        super().__init__(inner)
        self._pull = pull

    def prepare(self, queries: Rows) -> Any:
        """The inner scan's, and the offsets."""
        found, offsets = self._pull(queries)
        return self.inner.prepare(found), offsets

    def dots(self, prepared: Any, start: int, stop: int, out: Rows) -> None:
        """The inner scan's, and the offset of each query."""
        inner, offsets = prepared
        self.inner.dots(inner, start, stop, out)
        if offsets.any():
            out += offsets.astype(np.float32)[:, None]

    def rescore(self, prepared: Any, numbers: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """The inner scan's, and the offset of each query."""
        inner, offsets = prepared
        found = self.inner.rescore(inner, numbers)
        return None if found is None else found + offsets[:, None]


class ScaledScan(AroundScan):
    """The scan of rows that are each a multiple of another scan's."""

    def __init__(self, inner: Scan, factors: Rows) -> None:
        super().__init__(inner, factors.nbytes)
        self._factors = factors

    def prepare(self, queries: Rows) -> Any:
        """The inner scan's."""
        return self.inner.prepare(queries)

    def dots(self, prepared: Any, start: int, stop: int, out: Rows) -> None:
        """The inner scan's, times the factor of each row."""
        self.inner.dots(prepared, start, stop, out)
        with np.errstate(invalid="ignore"):  # of rows that are none
            out *= self._factors[start:stop]

    def push(self, prepared: Any, rows: Places, by: By, heap: Heap) -> bool:
        """The inner scan's, where nothing else is to be done to its scores, which are no bounds."""
        if self.bounds or by[1] != AS_THEY_ARE:
            return False
        return self.inner.push(prepared, rows, (self._factors[rows[0] : rows[1]], TIMES, by[2]), heap)

    def at_once(self, how: int) -> bool:
        """As `push`."""
        return how == AS_THEY_ARE and not self.bounds and self.inner.at_once(TIMES)

    def nearest(self, queries: Rows, by: By, lengths: NDArray[np.float64], count: int, best: Heap) -> None:
        """The inner scan's."""
        self.inner.nearest(queries, (self._factors, TIMES, by[2]), lengths, count, best)

    def rescore(self, prepared: Any, numbers: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """The inner scan's, times the factor of each row."""
        found = self.inner.rescore(prepared, numbers)
        return None if found is None else found * self._factors[numbers]


class JoinedScan(Scan):
    """Scans of one codec, one behind the other.

    Each begins at the next multiple of `step`, in `starts`: rows between the end of one and the start of the
    next are none, and whoever searches must leave them out.
    """

    def __init__(self, parts: Sequence[Scan]) -> None:
        self.parts = parts
        self.exact, self.bounds = all(part.exact for part in parts), any(part.bounds for part in parts)
        self.step = math.lcm(*(part.step for part in parts))
        self.queries = min(part.queries for part in parts)
        self.alike = all(part.alike for part in parts)
        leaves = [leaf for part in parts for leaf in (part.parts if isinstance(part, JoinedScan) else [part])]
        self._leader = leaves[0].leader(leaves)
        starts = [0]
        for part in parts[:-1]:
            starts.append(-(-(starts[-1] + part.rows) // self.step) * self.step)
        self.starts = np.array(starts)
        self._sizes = np.array([part.rows for part in parts])
        self.rows, self.nbytes = starts[-1] + parts[-1].rows, sum(part.nbytes for part in parts)

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, slice, slice]]:
        """The parts that rows [start, stop) lie in, each with where they lie there and among these rows."""
        first, last = np.searchsorted(self.starts, (start, stop - 1), side="right") - 1
        for at in range(first, last + 1):
            before = int(self.starts[at])
            low, high = max(start, before), min(stop, before + int(self._sizes[at]))
            if low < high:
                yield at, slice(low - before, high - before), slice(low - start, high - start)

    def prepare(self, queries: Rows) -> Any:
        """Each part's, or one for all."""
        if self._leader is not None:
            return self._leader.prepare(queries)
        return [part.prepare(queries) for part in self.parts]

    def _of(self, prepared: Any, at: int) -> Any:
        """What is prepared for a part."""
        return prepared[at] if isinstance(prepared, list) else prepared

    def dots(self, prepared: Any, start: int, stop: int, out: Rows) -> None:
        """Those of the parts that the rows lie in."""
        for at, rows, own in self._pieces(start, stop):
            if own == slice(0, stop - start):
                self.parts[at].dots(self._of(prepared, at), rows.start, rows.stop, out)
                return
            found = np.empty((len(out), own.stop - own.start), np.float32)
            self.parts[at].dots(self._of(prepared, at), rows.start, rows.stop, found)
            out[:, own] = found

    def push(self, prepared: Any, rows: Places, by: By, heap: Heap) -> bool:
        """Those of the parts that the rows lie in; all parts can, or none."""
        start, stop, number = rows
        for at, there, own in self._pieces(start, stop):
            part = (there.start, there.stop, number + own.start)
            if not self.parts[at].push(self._of(prepared, at), part, (by[0][own], by[1], by[2][own]), heap):
                return False
        return True

    def rescore(self, prepared: Any, numbers: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Each row's by the part that it lies in."""
        places = np.maximum(np.searchsorted(self.starts, numbers, side="right") - 1, 0)
        out = np.empty(numbers.shape)
        for at in np.unique(places):
            mine = places == at
            # Of a query's other rows some row of the part is scored and forgotten.
            inside = np.where(mine, np.minimum(numbers - self.starts[at], self._sizes[at] - 1), 0)
            found = self.parts[at].rescore(self._of(prepared, at), inside)
            if found is None:
                return None
            out[mine] = found[mine]
        return out


class AppliedScan(AroundScan):
    """A symmetric scan behind transforms: queries go the way of rows.

    apply: queries (q, dim) -> rows (q, dim_out) as the inner scan's codec takes them.
    """

    def __init__(self, inner: Scan, apply: Callable[[Rows], Rows]) -> None:
        super().__init__(inner)
        self._apply = apply

    def prepare(self, queries: Rows) -> Any:
        """The inner scan's."""
        return self.inner.prepare(self._apply(queries))

    def dots(self, prepared: Any, start: int, stop: int, out: Rows) -> None:
        """The inner scan's."""
        self.inner.dots(prepared, start, stop, out)

    def push(self, prepared: Any, rows: Places, by: By, heap: Heap) -> bool:
        """The inner scan's."""
        return self.inner.push(prepared, rows, by, heap)
