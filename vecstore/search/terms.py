"""Terms of rows, which make keys of their inner products: for the cosine, and for distances."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import LARGEST, Rows, block_rows, unsound
from vecstore.codecs.scan import JoinedScan, Scan
from vecstore.kernels import scores
from vecstore.kernels.threads import spread
from vecstore.search.keys import along, beside, length, shares

RowNumbers = NDArray[np.int64]
Decode = Callable[[RowNumbers], Rows]  # row numbers (n,) -> rows (n, dim)

_MIDDLE_OF = 256  # rows
_NEARLY_ALL = 0.9
_WIDE = 4.0  # times what rows differ by
_PROBES = 8  # rows, and queries
_FAR = 8.0  # times what rows differ by
_LOST = 24.0  # errors of an inner product with a query of length one: in shorter rows these tell too much
_LEAST = float(np.finfo(np.float32).tiny)  # length whose inverse float32 holds


class Terms:
    """Terms (n,) of a scan's rows, each made once, when it is first asked for."""

    def __init__(self, scan: Scan, decode: Decode, dim: int) -> None:
        self.scan = scan
        self._decode, self._dim = decode, dim
        self._cosine: Rows | None = None
        self._careful: Rows | None = None
        self._middle: Rows | None = None
        self._off = 0.0
        self._apart: tuple[bytes, Rows] | None = None
        self._aslant: tuple[bytes, Rows, Rows] | None = None

    @property
    def made(self) -> list[Rows]:
        """Those that there are by now, each once."""
        made = [self._cosine, self._careful, *(self._apart or ())[1:], *(self._aslant or ())[1:]]
        return list({id(terms): terms for terms in made if terms is not None}.values())

    @property
    def nbytes(self) -> int:
        """Of all that were made."""
        return sum(terms.nbytes for terms in self.made)

    @property
    def middle(self) -> Rows:
        """About where rows lie, (dim,); zero where they differ by as much as they are off it.

        Of rows with a mean that is large beside what they differ by, <q, x> - |x|^2 / 2 loses all that they
        differ by; <q - middle, x> - |x - middle|^2 / 2 orders them alike and does not.
        """
        if self._middle is None:
            self._middle = self._found_middle()
        return self._middle

    @property
    def far(self) -> bool:
        """Whether all rows lie so far from the origin, in one place, that they have one cosine with a query
        but for what inner products of a scan lose."""
        return self.middle is not None and self._off > _FAR  # the middle tells how far

    def _found_middle(self) -> Rows:
        rows = self._decode(np.arange(min(self.scan.rows, _MIDDLE_OF)))
        rows = rows[~unsound(rows, LARGEST)].astype(np.float64)
        if not len(rows):
            return np.zeros(self._dim, np.float32)
        # Of ranks, so that few rows that are far off move nothing; on so wide a grid that other rows of the
        # collection have the same.
        found = np.median(rows, axis=0)
        apart = np.quantile(np.abs(rows - found), _NEARLY_ALL, axis=0)
        grid = np.ldexp(1.0, np.frexp(_WIDE * apart)[1])
        middle = np.where(apart > 0, np.rint(found / grid) * grid, found).astype(np.float32)
        with np.errstate(divide="ignore"):
            self._off = float(np.linalg.norm(middle) / np.linalg.norm(apart)) if middle.any() else 0.0
        return middle

    def cosine(self) -> Rows:
        """1 / |x|; 0 of rows without length."""
        if self._cosine is None:
            self._cosine = self._inverse_lengths()
        return self._cosine

    def careful(self) -> Rows:
        """As `cosine`, but |x| / l^2 for rows shorter than l, from where on errors of `dots` tell little,
        unless these are bounded.

        Many codes have for a row of zeros one that is all but zero. Errors over such a length would make some
        of these rows the best of all, whatever the query.
        """
        if self._careful is None:
            self._careful = self._factors(None)
        return self._careful

    def apart(self, middle: Rows) -> Rows:
        """-|x - middle|^2 / 2; those of the middle that was last asked for are kept."""
        asked, kept = middle.tobytes(), self._apart
        if kept is None or kept[0] != asked:
            kept = self._apart = asked, self._half_distances(middle)
        return kept[1]

    def aslant(self, middle: Rows) -> tuple[Rows, Rows]:
        """Factors r as `cosine` or `careful`, and <m, x> r - |m|, m the middle; those of the m that was last
        asked for are kept.

        Where rows are `far`, <q / c - m, x> r plus this orders them by the cosine; c is the share of m in q.
        What rows have in common has cancelled before anything is rounded.
        """
        asked, kept = middle.tobytes(), self._aslant
        if kept is None or kept[0] != asked:
            kept = self._aslant = asked, *self._slants(middle)
        return kept[1:]

    def _inverse_lengths(self) -> Rows:
        def lengths(rows: Rows, out: NDArray[np.float64]) -> None:
            scores.squares(rows, out)
            with np.errstate(divide="ignore"):
                out[:] = np.where(out > 0, out**-0.5, 0)

        return self._made(lengths)

    def _half_distances(self, middle: Rows) -> Rows:
        def distances(rows: Rows, out: NDArray[np.float64]) -> None:
            scores.gaps(rows, middle, out)
            out *= -0.5

        return self._made(distances)

    def _slants(self, middle: Rows) -> tuple[Rows, Rows]:
        own = length(middle)

        def slants(rows: Rows, out: NDArray[np.float64]) -> None:
            lengths = np.empty(len(rows))
            scores.squares(rows, lengths)
            np.sqrt(lengths, out=lengths)
            scores.gaps(rows, middle, out)
            with np.errstate(divide="ignore"):
                out[:] = np.where(lengths > 0, ((lengths - own) ** 2 - out) / (2 * lengths), -own)

        found, usual, factors = self._made(slants), self.cosine(), self._factors(middle)
        if factors is not usual:
            short = np.flatnonzero(factors != usual)
            found[short] = (found[short] + own) * (factors[short] / usual[short]) - own
        return factors, found

    def _made(self, work: Callable[[Rows, NDArray[np.float64]], None]) -> Rows:
        out = np.empty(self.scan.rows, np.float32)

        def part(start: int, stop: int) -> None:
            found = np.empty(stop - start)
            with np.errstate(invalid="ignore", over="ignore"):
                work(self._decode(np.arange(start, stop)), found)
                out[start:stop] = found

        spread(len(out), max(block_rows(self._dim), self.scan.step), part)
        return out

    def _factors(self, middle: Rows | None) -> Rows:
        """What `careful` is made of, or `aslant`."""
        inverse = self.cosine()
        there = np.flatnonzero((inverse > 0) & np.isfinite(inverse))
        few = min(_PROBES, len(there))
        if few == 0 or self.scan.bounds:
            return inverse
        order = np.argpartition(inverse[there], (few - 1, len(there) - few))
        short, long = there[order[-few:]], there[order[:few]]
        error = self._error(np.sort(short), np.concatenate([long, there[:: -(-len(there) // few)]]), middle)
        lost = np.float32(max(_LOST * error, _LEAST))
        if not inverse.max() * lost > 1:
            return inverse
        with np.errstate(divide="ignore"):
            return np.where(inverse * lost > 1, 1 / (inverse * lost * lost), inverse).astype(np.float32)

    def _error(self, numbers: RowNumbers, asked: RowNumbers, middle: Rows | None) -> float:
        """By how much `dots` of these rows with queries of length one are off, in the mean square; the
        queries are rows with these numbers, and what is asked is what is left of them without the middle."""
        queries = self._decode(asked)
        if middle is not None:
            queries = queries[along(queries, middle)]
        squares = np.empty(len(queries))
        scores.squares(queries, squares)
        if middle is not None:
            squares /= np.square(shares(queries, middle)[:, 0])
            queries = beside(queries, middle)
        prepared, step = self.scan.prepare(queries), self.scan.step
        exact = np.empty((len(queries), len(numbers)), np.float32)
        rows = self._decode(np.tile(numbers, len(queries)))
        scores.exact(rows, queries, 0, exact)
        total = 0.0
        for at, number in enumerate(numbers):
            start = int(number) // step * step
            found = np.empty((len(queries), min(step, self.scan.rows - start)), np.float32)
            self.scan.dots(prepared, start, start + found.shape[1], found)
            total += float(
                (np.square(found[:, number - start] - exact[:, at], dtype=np.float64) / squares).sum()
            )
        return float(np.sqrt(total / max(exact.size, 1)))


class JoinedTerms(Terms):
    """Terms of scans behind each other, made of the parts' own."""

    def __init__(self, scan: JoinedScan, parts: Sequence[Terms], decode: Decode, dim: int) -> None:
        super().__init__(scan, decode, dim)
        self._starts, self._parts = scan.starts, parts

    def _found_middle(self) -> Rows:
        # The largest part's, which stays the same when small ones come.
        largest = max(self._parts, key=lambda part: part.scan.rows)
        middle, self._off = largest.middle, largest._off
        return middle

    def _inverse_lengths(self) -> Rows:
        return self._joined([part.cosine() for part in self._parts])

    def _half_distances(self, middle: Rows) -> Rows:
        return self._joined([part.apart(middle) for part in self._parts])

    def _slants(self, middle: Rows) -> tuple[Rows, Rows]:
        found = [part.aslant(middle) for part in self._parts]
        return self._joined([factors for factors, _ in found]), self._joined([terms for _, terms in found])

    def _factors(self, middle: Rows | None) -> Rows:
        assert middle is None  # aslant has the parts' own
        parts = [part.careful() for part in self._parts]
        if all(terms is part.cosine() for terms, part in zip(parts, self._parts, strict=True)):
            return self.cosine()
        return self._joined(parts)

    def _joined(self, parts: Sequence[Rows]) -> Rows:
        out = np.ones(self.scan.rows, np.float32)  # rows between the parts are none
        for start, terms in zip(self._starts, parts, strict=True):
            out[start : start + len(terms)] = terms
        return out
