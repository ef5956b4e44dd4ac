"""Search in several archives as if they were one: the only way that rows are searched.

Archives of one codec are searched at once: their scans stand behind each other, and the best of all of them
are scored again together. Small ones that follow each other are laid out as one scan, so that many cost what
one of their size does. What is found by different codecs is put in order by score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.archive.search import ArchiveSearch, Where
from vecstore.codecs.base import Array, Codec, Rows
from vecstore.codecs.scan import JoinedScan
from vecstore.search import Searcher
from vecstore.search.terms import Decode, JoinedTerms, RowNumbers

_SMALL_ROWS = 8192  # of an archive that is laid out together with its neighbours
_TOGETHER_BYTES = 1 << 26  # of codes that are


@dataclass(frozen=True)
class Asked:
    """What a search is for besides its queries, as in `Archive.search`. mix: how much of a code's score is
    added to that of its finer row."""

    k: int
    metric: str
    where: Where
    rerank: int
    symmetric: bool
    mix: float = 0.0


@dataclass(frozen=True)
class Piece:
    """An archive's share in a search. live: True for the rows (n,) that are there; None: all.

    finer: decodes rows finer than their codes say. always: whether it is asked without `rerank` too. names:
    what has the ids, if not the archive itself.
    """

    own: ArchiveSearch
    live: NDArray[np.bool_] | None = None
    finer: Decode | None = None
    always: bool = False
    names: ArchiveSearch | None = None

    @property
    def rows(self) -> int:
        """How many, dead ones too."""
        return self.own.rows

    def mask(self, where: Where) -> NDArray[np.bool_] | None:
        """True for the rows (n,) that are there and match; None: all."""
        found = self.own.mask(where)
        if found is None or self.live is None:
            return self.live if found is None else found
        return self.live & found


Found: TypeAlias = "tuple[NDArray[Any], Rows]"  # ids and scores, as `Together.search` gives them
Shares: TypeAlias = "list[tuple[Piece, NDArray[np.bool_] | slice, RowNumbers]]"
_Scans: TypeAlias = "dict[tuple[bool, tuple[ArchiveSearch, ...]], Searcher]"  # symmetric or not; of these


@dataclass
class Kept:
    """Scans of small archives that are laid out as one; from one `Together` to the next."""

    scans: _Scans = field(default_factory=dict)


class Together:
    """Some archives, as they are searched; they stay as they are. kept: see `Kept`."""

    def __init__(self, pieces: Sequence[Piece], kept: Kept | None = None) -> None:
        self._pieces = pieces
        self._kept = kept or Kept()
        self._groups: dict[bool, list[_Group]] = {}

    @property
    def terms(self) -> list[Rows]:
        """What searches by cosine and l2 keep of rows, by now."""
        groups = [group for made in self._groups.values() for group in made]
        return [terms for group in groups for terms in group.searcher.terms.made]

    def search(self, queries: Array, asked: Asked) -> tuple[NDArray[Any], Rows]:
        """Ids (int64, or str objects) and scores, (queries, min(k, rows that match)) each, the best first."""
        groups = self._groups.get(asked.symmetric)
        if groups is None:
            groups = self._groups[asked.symmetric] = self._made(asked.symmetric)
        return merged([group.search(queries, asked) for group in groups], asked)

    def _made(self, symmetric: bool) -> list[_Group]:
        by_codec: dict[tuple[str, bool], list[Piece]] = {}
        for piece in self._pieces:
            by_codec.setdefault((piece.own.codec.identity, piece.finer is None), []).append(piece)
        before = self._kept.scans
        # Of the other kind of search all stay, of this one those that serve.
        self._kept.scans = {key: found for key, found in before.items() if key[0] != symmetric}
        return [
            _Group([(run, self._searcher(run, symmetric, before)) for run in _runs(pieces)], symmetric)
            for pieces in by_codec.values()
        ]

    def _searcher(self, run: Sequence[Piece], symmetric: bool, before: _Scans) -> Searcher:
        """The searcher of some pieces as one; before: those that there are."""
        if len(run) == 1:
            return run[0].own.searcher(symmetric)
        key = symmetric, tuple(piece.own for piece in run)
        found = before.get(key)
        if found is None:
            codec = run[0].own.codec
            assert isinstance(codec, Codec)
            codes = np.concatenate([piece.own.codes() for piece in run])
            found = Searcher.of(codec, codes, symmetric=symmetric)
        self._kept.scans[key] = found
        return found


def merged(found: Sequence[Found], asked: Asked) -> Found:
    """The best of what several searches found."""
    if len(found) == 1:
        return found[0]
    names = np.concatenate([ids for ids, _ in found], axis=1)
    scores = np.concatenate([values for _, values in found], axis=1)
    rises = asked.metric == "l2" and (asked.rerank or not asked.symmetric)
    best = np.argsort(scores if rises else -scores, axis=1, kind="stable")[:, : asked.k]
    return np.take_along_axis(names, best, axis=1), np.take_along_axis(scores, best, axis=1)


class _Group:
    """Archives of one codec. units: pieces that are scanned as one, with their searcher."""

    def __init__(self, units: Sequence[tuple[Sequence[Piece], Searcher]], symmetric: bool) -> None:
        pieces = self._pieces = [piece for run, _ in units for piece in run]
        searchers = [searcher for _, searcher in units]
        scan = JoinedScan([searcher.scan for searcher in searchers]) if len(searchers) > 1 else None
        starts = [0] if scan is None else scan.starts.tolist()
        begins = []
        for start, (run, _) in zip(starts, units, strict=False):
            begins.append(start + np.cumsum([0, *(piece.rows for piece in run[:-1])]))
        found: RowNumbers = np.concatenate(begins).astype(np.int64)
        self._split = partial(_split, pieces, found)
        self._begins, dim = found, searchers[0].dim
        if scan is None:
            self.searcher = searchers[0]
        else:
            decode = _decoder(self._split, dim, lambda piece: piece.own.decode)
            terms = JoinedTerms(scan, [searcher.terms for searcher in searchers], decode, dim)
            self.searcher = Searcher(scan, decode, dim, symmetric=symmetric, terms=terms)
        self._whole = len(self.searcher) == sum(piece.rows for piece in self._pieces)

    def search(self, queries: Array, asked: Asked) -> tuple[NDArray[Any], Rows]:
        """As `Together.search`."""
        first = self._pieces[0]
        finer = None
        if first.finer is not None and (asked.rerank > 0 or (first.always and not asked.symmetric)):
            finer = _decoder(self._split, self.searcher.dim, lambda piece: piece.finer or piece.own.decode)
        numbers, scores = self.searcher.search(
            queries, asked.k, metric=asked.metric, where=self._mask(asked.where), rerank=asked.rerank,
            finer=finer, mix=asked.mix,
        )  # fmt: skip
        return self._ids(numbers.reshape(-1)).reshape(numbers.shape), scores

    def _mask(self, where: Where) -> NDArray[np.bool_] | None:
        masks = [piece.mask(where) for piece in self._pieces]
        if len(masks) == 1:
            return masks[0]
        if self._whole and all(mask is None for mask in masks):
            return None
        found = np.zeros(len(self.searcher), np.bool_)
        for begin, piece, mask in zip(self._begins, self._pieces, masks, strict=True):
            found[begin : begin + piece.rows] = True if mask is None else mask
        return found

    def _ids(self, numbers: RowNumbers) -> NDArray[Any]:
        """The ids of rows (n,)."""
        parts = [(mine, (piece.names or piece.own).ids(own)) for piece, mine, own in self._split(numbers)]
        if len(parts) == 1:
            only: NDArray[Any] = parts[0][1].to_numpy(zero_copy_only=False)
            return only
        text = any(names.type == pa.string() for _, names in parts)
        out = np.empty(len(numbers), object if text else np.int64)
        for mine, names in parts:
            out[mine] = names.to_numpy(zero_copy_only=False)
        return out


def _split(pieces: Sequence[Piece], begins: RowNumbers, numbers: RowNumbers) -> Shares:
    """The pieces that rows lie in, which of the rows do, and their numbers there."""
    if len(pieces) == 1:
        return [(pieces[0], slice(None), numbers)]
    places = np.searchsorted(begins, numbers, side="right") - 1
    found: Shares = []
    for at in np.unique(places):
        mine = places == at
        found.append((pieces[at], mine, numbers[mine] - begins[at]))
    return found


def _decoder(split: Callable[[RowNumbers], Shares], dim: int, of: Callable[[Piece], Decode]) -> Decode:
    """What decodes rows of several pieces, by what does of each."""

    def decode(numbers: RowNumbers) -> Rows:
        parts = split(numbers)
        if len(parts) == 1:
            return of(parts[0][0])(parts[0][2])
        out = np.empty((len(numbers), dim), np.float32)
        for piece, mine, own in parts:
            out[mine] = of(piece)(own)
        return out

    return decode


def _runs(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces of one codec in order: small ones next to each other together, others alone."""
    runs: list[list[Piece]] = []
    room = 0
    for piece in pieces:
        codec = piece.own.codec
        size = piece.rows * (codec.code_bytes or 0)
        small = isinstance(codec, Codec) and piece.rows < _SMALL_ROWS and size <= _TOGETHER_BYTES
        if small and not piece.own.cold and runs and 0 < size <= room:
            runs[-1].append(piece)
            room -= size
        else:
            runs.append([piece])
            room = _TOGETHER_BYTES - size if small else 0
    return runs
