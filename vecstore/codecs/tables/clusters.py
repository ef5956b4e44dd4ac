"""Rows that are shared by ids that have come to be alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.addresses import Address, Hashed, salts
from vecstore.codecs.tables.combine import product
from vecstore.codecs.tables.learners import Learner, Lesson
from vecstore.codecs.tables.packed import PackedInts, bits_for, packed_bytes
from vecstore.codecs.tables.rows import Store, put_in

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

_ITERATIONS = 10
_SAMPLE = 200  # ids for each centroid
_BLOCK = 8192


@dataclass
class Clusters(Learner):
    """Each chunk of an id is a centroid that it points to plus a row that it is hashed to.

    After every `every` updates, `turns` times in all, the chunks of all ids as they are then are clustered:
    ids point to their centroids, are hashed anew, and begin with the mean of what centroids leave over.
    Tsang and Ahle 2023 (CCE), NeurIPS, algorithm 3.
    """

    counts: Mapping[str, int]  # ids, by field
    rows: int  # of each chunk, in each of two stores
    chunks: int
    pointed: int  # stores
    hashed: int
    every: int
    turns: int
    seed: int

    def __post_init__(self) -> None:
        self._kept: dict[str, NDArray[Any]] | None = None

    @property
    def _ids(self) -> int:
        return sum(self.counts.values())

    def parts(self) -> dict[str, int]:
        return {"maps": packed_bytes(self._ids * self.chunks, bits_for(self.rows)), "seeds": 8}

    def arrays(self) -> dict[str, NDArray[Any]]:
        if self._kept is None:
            pointers = PackedInts.zeros(self._ids * self.chunks, bits_for(self.rows))
            self._kept = {"maps": pointers.words, "seeds": np.zeros(1, np.uint64)}
            begun = [self._hash(name, np.arange(n)) for name, n in self.counts.items()]
            pointers.fill(np.concatenate(begun).reshape(-1))
        return self._kept

    def first(self, name: str) -> int:
        """The number of a field's first id among all."""
        names = list(self.counts)
        return sum(self.counts[other] for other in names[: names.index(name)])

    def pointers(self, places: I64) -> I64:
        """The centroids of ids, by their number among all, (n, chunks)."""
        packed = PackedInts(bits_for(self.rows), self.arrays()["maps"])
        return packed.at(places[:, None] * self.chunks + np.arange(self.chunks))

    def grow(self, name: str, count: int) -> None:
        at, more = self.first(name) + self.counts[name], count - self.counts[name]
        new = self._hash(name, np.arange(self.counts[name], count))
        pointers = put_in(self.pointers(np.arange(self._ids)), at, more, new)
        packed = PackedInts.zeros(pointers.size, bits_for(self.rows))
        packed.fill(pointers.reshape(-1))
        self._kept = {**self.arrays(), "maps": packed.words}
        self.counts = {**self.counts, name: count}

    def _hash(self, name: str, keys: I64, turn: int = 0) -> I64:
        """Rows of ids by hashing, before anything was clustered those that they point to, (n, chunks)."""
        salt = salts(self.seed, name, (turn + 1) * self.chunks, 1)[turn * self.chunks :]
        return Hashed(0, self.rows, salt.copy())(keys)[:, :, 0]

    def rehashed(self, name: str, keys: I64) -> I64:
        """Rows of ids by hashing, as after the last clustering, (n, chunks)."""
        return self._hash(name, keys, 1 + int(self.arrays()["seeds"][0]))

    def learn(self, lesson: Lesson) -> None:
        turn = int(self.arrays()["seeds"][0])
        if lesson.updates % self.every == 0 and turn < self.turns:
            self._cluster(lesson.stores[self.pointed], lesson.stores[self.hashed], lesson.seed)

    def _cluster(self, pointed: Store, hashed: Store, seed: int) -> None:
        kept = self.arrays()
        old = [self.rehashed(name, np.arange(n)) for name, n in self.counts.items()]
        kept["seeds"] += np.uint64(1)
        new = [self.rehashed(name, np.arange(n)) for name, n in self.counts.items()]
        before, after = np.concatenate(old), np.concatenate(new)
        pointers = self.pointers(np.arange(self._ids))
        for chunk in range(self.chunks):
            first = chunk * self.rows
            vectors = pointed.gather(first + pointers[:, chunk : chunk + 1])[:, 0]
            vectors = vectors + hashed.gather(first + before[:, chunk : chunk + 1])[:, 0]
            centroids = _means(vectors, self.rows, seed + chunk)
            nearest = _nearest(vectors, centroids)
            pointers[:, chunk] = nearest
            rows = np.arange(self.rows)
            rest, counts = np.zeros_like(centroids), np.bincount(after[:, chunk], minlength=self.rows)
            np.add.at(rest, after[:, chunk], vectors - centroids[nearest])
            rest /= np.maximum(counts, 1)[:, None].astype(np.float32)
            for store, values in ((pointed, centroids), (hashed, rest)):
                store.write(first + rows, values, seed)
                store.state[first + rows] = 0
        PackedInts(bits_for(self.rows), kept["maps"]).fill(pointers.reshape(-1))


def _nearest(points: F32, centroids: F32) -> I64:
    """The centroid that is nearest to each point."""
    out = np.empty(len(points), np.int64)
    half = (centroids**2).sum(1) / 2
    for start in range(0, len(points), _BLOCK):
        part = points[start : start + _BLOCK]
        out[start : start + _BLOCK] = (product(part, centroids.T) - half).argmax(1)
    return out


def _means(points: F32, count: int, seed: int) -> F32:
    """`count` centroids of points by Lloyd's iterations on a sample; those without points stay."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(points))[: _SAMPLE * count]
    sample = points[chosen]
    centroids = sample[np.arange(count) % len(sample)].copy()
    for _ in range(_ITERATIONS):
        nearest = _nearest(sample, centroids)
        counts = np.bincount(nearest, minlength=count)
        sums = np.zeros_like(centroids)
        np.add.at(sums, nearest, sample)
        there = counts > 0
        centroids[there] = sums[there] / counts[there, None].astype(np.float32)
    return centroids


@dataclass
class Pointed(Address):
    """The centroids of an id, chunk by chunk."""

    closed = True
    seeded = True
    learner: Clusters
    name: str

    def __call__(self, keys: I64) -> I64:
        found = self.learner.pointers(self.learner.first(self.name) + keys)
        return (found + np.arange(self.learner.chunks) * self.learner.rows)[:, :, None]


@dataclass
class Rehashed(Address):
    """The rows of an id by hashing, chunk by chunk, as after the last clustering."""

    closed = True
    seeded = True
    learner: Clusters
    name: str

    def __call__(self, keys: I64) -> I64:
        found = self.learner.rehashed(self.name, keys)
        return (found + np.arange(self.learner.chunks) * self.learner.rows)[:, :, None]
