"""How many rows to score again, and how much of the code's score to mix in, by what a store's rows show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.archive.together import Asked, Piece, Together
from vecstore.codecs.base import Array, Rows
from vecstore.errors import InputError, ShapeError, SpecError
from vecstore.search import METRICS
from vecstore.store.view import View

_QUERIES = 256  # drawn from the rows, or taken of those given
_MOST = 2048  # rows that are scored again for a query, at most
_MIXES = (0.0, 0.1, 0.3, 1.0)
_FEWEST = 2  # rows that a neighbour can be found among

Ids = NDArray[Any]


@dataclass(frozen=True)
class Tried:
    """One setting, and the share of the true `k` nearest rows that it finds."""

    rerank: int
    mix: float
    recall: float


@dataclass(frozen=True)
class Tuned(Tried):
    """The setting that was chosen: of those that find enough the one that reads least, with the best mix.

    queries: how many it was measured on; own: whether these are rows of the store. tried: all settings.
    """

    k: int
    metric: str
    queries: int
    own: bool
    tried: tuple[Tried, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Sought:
    """What a setting is judged by. queries: (q, dim) in the store's space; None: rows of the store, each
    looking for others. truth: ids (q, any) of the rows to be found, the best first; None: the nearest by the
    finest rows. recall: the share of them that is enough."""

    queries: Array | None
    truth: Ids | None
    recall: float

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise SpecError(f"recall is {self.recall!r}; expected a share, above 0 and at most 1")
        if self.queries is not None and not len(self.queries):
            raise InputError("there are no queries to tune by; leave them out to take rows of the store")
        if self.truth is not None and (self.queries is None or len(self.truth) != len(self.queries)):
            raise ShapeError("truth needs queries, and a line of ids for each of them")


def tune(view: View, sought: Sought, asked: Asked) -> Tuned:
    """The least rows to score again, and the best mix, by which enough is found; else what finds most.

    asked: k and metric. SpecError where no finer rows are kept, InputError for a store without rows.
    """
    if asked.metric not in METRICS or type(asked.k) is not int or asked.k < 1:
        raise SpecError(
            f"metric is {asked.metric!r} and k {asked.k!r}; expected {', '.join(METRICS)}, and 1 or more"
        )
    if not any(part.finer for part in view.parts):
        raise SpecError(
            f"{view.root} keeps no finer rows to score the best by; make a store with keep, or refit with "
            "keep and put the rows again"
        )
    if len(view) < _FEWEST:
        raise InputError(f"{view.root} has {len(view)} rows; put more to tune a search among them")
    asks, own, truth = _asks(view, sought)
    k = asked.k + (own is not None)  # a row finds itself first
    truth = _finest(view).search(asks, _of(asked, k))[0] if truth is None else truth[:, : asked.k]
    tried = tuple(_settings(view, asks, (truth, own), _of(asked, k)))
    enough = min(sought.recall, max(setting.recall for setting in tried))
    found = [setting for setting in tried if setting.recall >= enough]
    least = min(setting.rerank for setting in found)
    best = max((setting for setting in found if setting.rerank == least), key=lambda s: (s.recall, -s.mix))
    facts = asked.k, asked.metric, len(asks), own is not None, tried
    return Tuned(best.rerank, best.mix, best.recall, *facts)


def _asks(view: View, sought: Sought) -> tuple[Rows, Ids | None, Ids | None]:
    """At most _QUERIES queries, their ids where they are rows of the store, what they are to find if told."""
    if sought.queries is not None:
        step = -(-len(sought.queries) // _QUERIES)
        truth = None if sought.truth is None else np.asarray(sought.truth)[::step]
        return np.asarray(sought.queries)[::step], None, truth
    rng = np.random.default_rng(0)
    rows, ids = [], []
    for part, mine in view.picked(np.sort(rng.permutation(len(view))[:_QUERIES])):
        rows.append(part.fine.rows_at(mine))
        ids.append(part.archive.ids_at(mine).to_numpy(zero_copy_only=False))
    return np.concatenate(rows), np.concatenate(ids), None


def _finest(view: View) -> Together:
    """A search of the finest rows, whole."""
    return Together([
        Piece(part.fine.searching, part.live, names=part.archive.searching) for part in view.parts
    ])  # fmt: skip


def _of(asked: Asked, k: int, rerank: int = 0) -> Asked:
    return Asked(k, asked.metric, None, rerank, False)


def _settings(view: View, asks: Rows, truth: tuple[Ids, Ids | None], asked: Asked) -> Iterator[Tried]:
    """All settings, by the scores of the best rows by their codes, and by their finer rows."""
    most = min(_MOST, len(view))
    codes = Together([Piece(part.archive.searching, part.live) for part in view.parts])
    names, coarse = codes.search(asks, _of(asked, most))
    fine_names, fine = view.search(asks, _of(asked, most, most))
    dense = _lined_up(names, fine_names, fine)
    sign = -1 if asked.metric == "l2" else 1
    depth = asked.k
    while True:
        for mix in _MIXES:
            scores = sign * (dense[:, :depth] + mix * coarse[:, :depth])
            best = np.argsort(-scores, axis=1, kind="stable")[:, : asked.k]
            yield Tried(depth, mix, _recall(np.take_along_axis(names[:, :depth], best, axis=1), *truth))
        if depth >= most:
            return
        depth = min(2 * depth, most)


def _lined_up(names: Ids, others: Ids, values: Rows) -> Rows:
    """values (q, n), which belong to others, in the order of names; NaN, which comes last, for no value."""
    out = np.full(names.shape, np.nan, np.float32)
    for row in range(len(names)):
        order = np.argsort(others[row], kind="stable")
        places = np.searchsorted(others[row][order], names[row]).clip(max=len(order) - 1)
        same = others[row][order][places] == names[row]
        out[row, same] = values[row][order][places][same]
    return out


def _recall(found: Ids, truth: Ids, own: Ids | None) -> float:
    """The share of true neighbours (q, k) that are found, the queries themselves left out."""
    hits = (found[:, :, None] == truth[:, None, :]).any(axis=1)
    wanted = np.ones(truth.shape, np.bool_) if own is None else truth != own[:, None]
    return float((hits & wanted).sum() / max(int(wanted.sum()), 1))
