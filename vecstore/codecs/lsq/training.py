"""Codebooks learned together, by least squares for codes that rows were given while they were shaken.

Codebooks of rq are made one after the other, so each is the best only for what the ones before it leave.
Least squares for all of them, and new codes, in turn, end soon in codes that fit these rows and no others:
2048 centroids may have 10 000 rows. Two things keep codes honest. Each row is moved by what was left of
another one when its code is chosen, less so from round to round (LSQ++ moves the codebooks instead, which
helps half as much). And each centroid is drawn to zero, the more the less of a principal axis' variance
codes keep: as in a normal prior that is shaped like the rows. Rows that took no part tell how much of that
is best, and whether any of it is: where the rows are normal themselves it is not, and codebooks are rq's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.residual import BEAM
from vecstore.codecs.residual.coding import Search
from vecstore.codecs.residual.training import CENTROIDS, train
from vecstore.codecs.transforms.center import mean_row
from vecstore.codecs.transforms.pca import principal_axes, product
from vecstore.kernels import kmeans
from vecstore.kernels.threads import spread

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_ROUNDS, _LAST = 10, 6  # on rows that are learned from; on them and those that judged
_SHAKE = 1.5  # times what was left of another row, in the first round
_SWEEPS = 2  # over all codebooks, of least squares for one after the other
_RIDGES = 8.0, 24.0  # to try; rows at zero for each centroid, along an axis of which codes keep nothing
_LEAST_SHARE = 0.01  # of an axis' variance, that counts as lost at least
_POINTS = 1 << 15  # that are learned from
_JUDGES = 8  # one of so many rows is kept apart
_FEW = 2 * CENTROIDS  # rows; fewer tell nothing about others


def learn(rows: F32, m: int, seed: int) -> F32:
    """Codebooks (m, k, d) for rows (n, d), n >= 1; those of rq where others are no better."""
    if len(rows) < _FEW:
        return train(rows, m, BEAM, (seed, 0))
    rng = np.random.default_rng((seed, 1))
    order = rng.permutation(len(rows))[:_POINTS]
    judges, learned = np.sort(order[: len(order) // _JUDGES]), np.sort(order[len(order) // _JUDGES :])
    start = train(rows[learned], m, BEAM, (seed, 0))
    mean = mean_row(rows)
    axes = principal_axes(rows[learned], mean, rows.shape[1])
    turned = product(rows[np.concatenate([learned, judges])] - mean, axes)
    seen, unseen = turned[: len(learned)], turned[len(learned) :]
    start[0] -= mean
    start = turn(start, axes)
    least, best, chosen = lost(unseen, start), start, 0.0
    for ridge in _RIDGES:
        books = start.copy()
        refit(seen, books, _ROUNDS, ridge, rng)
        if (error := lost(unseen, books)) < least:
            least, best, chosen = error, books, ridge
    if best is start:
        return train(rows, m, BEAM, (seed, 0))
    refit(turned, best, _LAST, chosen, rng)
    best = turn(best, np.ascontiguousarray(axes.T))
    best[0] += mean
    return best


def turn(books: F32, axes: F32) -> F32:
    """books (m, k, d) @ axes (d, d)."""
    return product(books.reshape(-1, len(axes)), axes).reshape(books.shape)


def lost(rows: F32, books: F32) -> float:
    """Squared error of the sums that a beam finds."""
    left = rows - add_up(books, encode(rows, books))
    return float(np.square(left, dtype=np.float64).sum())


def refit(rows: F32, books: F32, rounds: int, ridge: float, rng: np.random.Generator) -> None:
    """New codes for shaken rows (n, d) and new books (m, k, d) for these codes, in turn."""
    left = rows - add_up(books, encode(rows, books))
    for done in range(rounds):
        share = np.float32(_SHAKE * np.sqrt(1 - (done + 1) / rounds))
        codes = encode(rows + share * left[rng.permutation(len(left))], books)
        left = improve(rows, codes, books, ridge)


def encode(rows: F32, books: F32) -> U8:
    """Codes (n, m) that a beam finds."""
    search = Search(books, BEAM)
    codes = np.empty((len(rows), len(books)), np.uint8)
    spread(len(rows), 512, lambda start, stop: search.encode(rows[start:stop], codes[start:stop]))
    return codes


def add_up(books: F32, codes: U8) -> F32:
    """The rows (n, d) that codes (n, m) stand for."""
    total: F32 = sum(book[codes[:, t]] for t, book in enumerate(books))
    return total


def improve(rows: F32, codes: U8, books: F32, ridge: float) -> F32:
    """Least squares with a ridge for books (m, k, d), changed; what is left of the rows (n, d).

    Codebook after codebook, since the equations of one are diagonal: a centroid is the sum of what the
    others leave of its rows, over their number and the ridge.
    """
    left = rows - add_up(books, codes)
    whole = np.square(rows, dtype=np.float64).sum(axis=0)
    share = np.square(left, dtype=np.float64).sum(axis=0) / np.where(whole > 0, whole, 1)
    pull = ridge * np.clip(share, _LEAST_SHARE, 1)
    for _ in range(_SWEEPS):
        for t, book in enumerate(books):
            left += book[codes[:, t]]
            sums, counts = np.zeros(book.shape), np.zeros(len(book), np.int64)
            kmeans.sum_up(left, codes[:, t : t + 1], sums, counts)
            book[:] = sums / (counts[:, None] + pull)
            left -= book[codes[:, t]]
    return left
