"""An adapter between two embedding spaces: queries of a new model, turned to where the old rows lie.

It is fitted on paired rows, the same items by both models: the rotation that brings the new ones closest to
the old ones, and, where that finds more on pairs that it was not fitted on, an affine residual of low rank.
What recall to expect is measured on pairs that neither of the two has seen.

source      orthogonal Procrustes, Schonemann 1966, doi:10.1007/BF02289451; the low-rank residual is the
            reduced-rank ridge regression of what is left; both for this use in "Drift-Adapter",
            arXiv:2509.23471
departures  of a wider new space the rotation keeps the directions that the pairs fill (semi-orthogonal)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.atomic import AtomicFile, storage_errors
from vecstore.codecs.base import LARGEST, Array, Rows, as_float32, check_rows, unsound
from vecstore.codecs.parts import Part, dumps, loads, require
from vecstore.codecs.plain import F32
from vecstore.codecs.transforms.pca import product
from vecstore.errors import CorruptError, FormatError, InputError, NotFoundError, ShapeError
from vecstore.search import Searcher
from vecstore.space.card import Claim, check_names, same_space

F64 = NDArray[np.float64]
_FEWEST = 64  # pairs; and two for each dimension of the narrower space
_SHARE = 10  # a tenth of the pairs chooses, a tenth measures
_MOST_MEASURED = 1000  # of each tenth
_MOST_SEARCHED = 20_000  # pairs that are searched among for it
_NEIGHBOURS = 10
_RANKS = (16, 64, 256)  # of residuals that are tried
_RIDGES = (1e-3, 1e-1)  # that they are fitted under, as multiples of the mean energy of a dimension
_SURE = 2.0  # standard errors by which a residual has to find more than none
_NOTHING = 1e-6  # of the largest singular value: directions that no pair fills
_MOST_BYTES = 1 << 33


@dataclass(frozen=True, eq=False)
class Adapter(Part):
    """rows of the new space -> rows of the old: (row - mean) @ matrix + offset.

    recall_at_10: share of the ten nearest of a new row's kind that its adapted row finds among the old ones;
    old_recall_at_10: that its old row finds. Both of `held_out` pairs, which nothing was fitted on, among
    `searched`.
    """

    name: ClassVar[str] = "adapter"
    dim: int  # of new rows
    mean: NDArray[np.float32]  # (dim,)
    matrix: NDArray[np.float32]  # (dim, dim_out)
    offset: NDArray[np.float32]  # (dim_out,)
    metric: str
    rank: int  # of the residual; 0: a rotation alone
    unit: bool  # whether the old rows have length 1, and then what comes out
    pairs: int
    held_out: int
    searched: int
    recall_at_10: float
    old_recall_at_10: float
    model: str | None = None
    revision: str | None = None
    old_model: str | None = None

    def __post_init__(self) -> None:
        require(self.mean, (self.dim,), np.float32)
        require(self.matrix, (self.dim, None), np.float32)
        require(self.offset, (self.matrix.shape[1],), np.float32)

    @property
    def dim_out(self) -> int:
        """Dimensions of the old space."""
        return int(self.matrix.shape[1])

    @classmethod
    def fit(cls, old_rows: Array, new_rows: Array, *, metric: str = "ip", seed: int = 0) -> Self:
        """The adapter from paired rows: old (n, dim_out), new (n, dim), any real dtypes.

        InputError for too few pairs that differ (two for each dimension of the narrower space, and 64), rows
        of NaN or infinity, and pairs that fill less than half of the dimensions; ShapeError.
        """
        old, new = _pairs(old_rows, new_rows)
        order = np.random.default_rng(seed).permutation(len(old))
        share = min(len(old) // _SHARE, _MOST_MEASURED)
        choosing, measuring, fitted = order[:share], order[share : 2 * share], order[2 * share :]
        trial = _Trial(old, new, metric, order[:_MOST_SEARCHED])
        map_, form = _chosen(_Fit(old[fitted], new[fitted]), trial, choosing)
        # Measured as fitted on its part of the pairs, kept as fitted on all of them.
        mean, matrix, offset = _as_float32(_Fit(old, new).map(form))
        lengths = np.linalg.norm(old, axis=1)
        return cls(
            dim=new.shape[1], mean=mean, matrix=matrix, offset=offset, metric=metric, rank=form[1],
            unit=bool((np.abs(lengths - 1) < 1e-2).all()), pairs=len(old), held_out=share,
            searched=len(trial.among), recall_at_10=float(trial.found(measuring, map_).mean()),
            old_recall_at_10=float(trial.found(measuring, None).mean()),
        )  # fmt: skip

    def named(self, model: str | None, revision: str | None, old_model: str | None) -> Self:
        """The same with the names of the new model and its revision, and of the old one."""
        return replace(self, model=model, revision=revision, old_model=old_model)

    def apply(self, rows: Array) -> Rows:
        """Rows (n, dim_out) in the old space of rows (n, dim) in the new one."""
        given = as_float32(check_rows(rows, self.dim))
        found = _applied(given, self.mean, self.matrix, self.offset)
        if self.unit:
            lengths = np.linalg.norm(found, axis=1, keepdims=True)
            found /= np.where(lengths > 0, lengths, 1)
        return found

    def report(self) -> dict[str, Any]:
        """Its facts, without the arrays."""
        return {**self.config(), "dim_out": self.dim_out}

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Writes it into a file; ConflictError if there is one and not force."""
        with AtomicFile(path, force=force) as file:
            file.write(dumps(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The adapter that `save` wrote; NotFoundError, CorruptError, FormatError for what is none."""
        name = os.fspath(path)
        with storage_errors(name, "read"):
            try:
                with open(name, "rb") as file:
                    data = file.read(_MOST_BYTES)
            except FileNotFoundError as error:
                raise NotFoundError(f"there is no adapter {name}; make it with vecstore adapter") from error
        try:
            (found,) = loads(data, lambda kind: _kind(cls, kind, name))
        except (CorruptError, ValueError) as error:
            raise CorruptError(f"{name} is no adapter, or a damaged one: {error}") from error
        assert isinstance(found, cls)
        return found


def _kind(adapter: type[Adapter], name: str, path: str) -> type[Adapter]:
    if name != adapter.name:
        raise FormatError(f"{path} holds a {name!r}; expected an adapter")
    return adapter


_Form = tuple[bool, int, float]  # whether about the means; rank and ridge of the residual
_Map = tuple[F64, F64, F64]  # mean (dim,), matrix (dim, dim_out), offset (dim_out,)


def _as_float32(map_: _Map) -> list[Rows]:
    return [np.ascontiguousarray(part, dtype=np.float32) for part in map_]


def _applied(rows: Rows, mean: Rows, matrix: Rows, offset: Rows) -> Rows:
    found: Rows = product(rows - mean, matrix) + offset
    return found


def _pairs(old_rows: Array, new_rows: Array) -> tuple[Rows, Rows]:
    found = []
    for name, rows in (("old", old_rows), ("new", new_rows)):
        array = np.asarray(rows)
        if array.ndim != 2 or not array.shape[1]:
            raise ShapeError(f"the {name} rows are {array.dtype} {array.shape}; expected (n, dim)")
        checked = as_float32(check_rows(array, array.shape[1]))
        bad = unsound(checked, LARGEST)
        if bad.any():
            raise InputError(
                f"pair {int(bad.argmax())} holds NaN or infinity in its {name} row; leave that pair out"
            )
        found.append(checked)
    old, new = found
    if len(old) != len(new):
        raise ShapeError(f"there are {len(old)} old rows and {len(new)} new ones; row i of both is one item")
    needed = max(_FEWEST, 2 * min(old.shape[1], new.shape[1]))
    both = np.ascontiguousarray(np.concatenate([old, new], axis=1))
    differ = len(np.unique(both.view(f"V{both.itemsize * both.shape[1]}"))) if len(both) else 0
    if differ < needed:
        raise InputError(
            f"there are {differ} pairs that differ, of {old.shape[1]} and {new.shape[1]} dimensions; an "
            f"adapter needs {needed} or more: embed more of the stored items by the new model"
        )
    return old, new


class _Fit:
    """Maps from new rows to old ones, all from the same sums over pairs."""

    def __init__(self, old: Rows, new: Rows) -> None:
        self.old, self.new = old.astype(np.float64), new.astype(np.float64)
        least = min(old.shape[1], new.shape[1]) // 2
        for name, rows in (("old", self.old), ("new", self.new)):
            sizes = np.linalg.svd(rows.T @ rows, compute_uv=False)
            filled = int((sizes > _NOTHING**2 * sizes[0]).sum()) if sizes[0] > 0 else 0
            if filled < least or not filled:
                raise InputError(
                    f"the {name} rows of the pairs fill {filled} of {rows.shape[1]} dimensions, so they say "
                    "little of the rest; take pairs that differ more"
                )

    def rotation(self, centred: bool) -> _Map:
        """The rotation between rows, about their means or as they are."""
        mean = self.new.mean(axis=0) if centred else np.zeros(self.new.shape[1])
        offset = self.old.mean(axis=0) if centred else np.zeros(self.old.shape[1])
        new = self.new - mean
        left, sizes, right = np.linalg.svd(new.T @ (self.old - offset), full_matrices=False)
        kept = sizes > _NOTHING**2 * sizes[0]
        turn: F64 = left[:, kept] @ right[kept]
        # The rotation's scale: of unit rows about 1, but not where models give rows of other lengths.
        scale = sizes[kept].sum() / max(float(((new @ turn) ** 2).sum()), np.finfo(float).tiny)
        return mean, turn * scale, offset

    def map(self, form: _Form) -> _Map:
        """The map of a form."""
        rotation = self.rotation(form[0])
        return next((found for found, *how in self.residuals(rotation) if tuple(how) == form[1:]), rotation)

    def residuals(self, rotation: _Map) -> Iterator[tuple[_Map, int, float]]:
        """Maps with a residual beside a rotation: what new rows under a ridge say of what is left, by its
        leading axes."""
        mean, matrix, offset = rotation
        new = self.new - mean
        left = self.old - offset - new @ matrix
        energy, known = new.T @ new, new.T @ left
        for ridge in _RIDGES:
            whole = np.linalg.solve(
                energy + ridge * np.trace(energy) / len(energy) * np.eye(len(energy)), known
            )
            axes = np.linalg.eigh(whole.T @ energy @ whole)[1]
            for rank in sorted({min(rank, *whole.shape) for rank in _RANKS}):
                yield (mean, matrix + whole @ axes[:, -rank:] @ axes[:, -rank:].T, offset), rank, ridge


class _Trial:
    """How well maps do on pairs: neighbours among new rows, looked for among old ones."""

    def __init__(self, old: Rows, new: Rows, metric: str, among: NDArray[np.int64]) -> None:
        self.old, self.new, self.metric, self.among = old, new, metric, among
        self._places = np.full(len(old), -1)
        self._places[among] = np.arange(len(among))
        self._truths: dict[bytes, NDArray[np.int64]] = {}
        self._searchers = [_searcher(rows[among]) for rows in (old, new)]

    def found(self, pairs: NDArray[np.int64], map_: _Map | None) -> F64:
        """Shares (n,) of each new row's nearest others that its map finds; None: that its old row finds."""
        key = pairs.tobytes()
        if key not in self._truths:
            self._truths[key] = self._nearest(1, self.new[pairs], pairs)
        queries = self.old[pairs] if map_ is None else _applied(self.new[pairs], *_as_float32(map_))
        found = self._nearest(0, queries, pairs)
        hits = (found[:, :, None] == self._truths[key][:, None, :]).any(axis=2)
        shares: F64 = hits.mean(axis=1)
        return shares

    def _nearest(self, side: int, queries: Rows, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """The nearest of the others (n, _NEIGHBOURS), a pair's own row left out."""
        numbers, _ = self._searchers[side].search(queries, _NEIGHBOURS + 1, metric=self.metric)
        own = numbers == self._places[pairs][:, None]
        own[~own.any(axis=1), -1] = True  # Not among them: the last one goes.
        others: NDArray[np.int64] = numbers[~own].reshape(len(pairs), -1)
        return others


def _searcher(rows: Rows) -> Searcher:
    codec = F32.fit(rows)
    return Searcher.of(codec, codec.encode(rows))


def _chosen(fit: _Fit, trial: _Trial, choosing: NDArray[np.int64]) -> tuple[_Map, _Form]:
    """The map that finds most on pairs kept back for choosing, and its form; a residual has to be surely
    better than none."""
    rotations = [fit.rotation(centred) for centred in (False, True)]
    shares = [trial.found(choosing, rotation) for rotation in rotations]
    centred = bool(shares[1].mean() > shares[0].mean())
    plain = shares[centred]
    best, best_share, form = rotations[centred], plain.mean(), (centred, 0, 0.0)
    for map_, rank, ridge in fit.residuals(rotations[centred]):
        found = trial.found(choosing, map_)
        gain = found - plain
        sure = gain.mean() > _SURE * gain.std() / np.sqrt(len(gain))
        if sure and found.mean() > best_share:
            best, best_share, form = map_, found.mean(), (centred, rank, ridge)
    return best, form


def queries_in(
    card: Mapping[str, Any], queries: Array, claim: Claim, adapter: Adapter | None, where: str
) -> Rows:
    """Queries as rows of the space of a card with `dim`, adapted if need be; where: the collection.

    WidthError for another width, SpaceMismatchError for another space.
    """
    dim = card["dim"]
    if adapter is None:
        rows = check_rows(queries, dim)
        same_space(card, rows, claim, "queries", where)
        return rows
    if adapter.dim_out != dim:
        raise ShapeError(f"the adapter gives {adapter.dim_out} dimensions; {where} has {dim}: fit one for it")
    check_names(card, Claim(adapter.old_model), "rows that the adapter was fitted on,", where)
    check_names(adapter.config(), claim, "queries", "the adapter")
    rows = adapter.apply(queries)
    same_space(card, rows, Claim(check=claim.check), "queries", where)
    return rows
