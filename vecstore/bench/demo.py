"""The demonstration: word vectors through several codecs, what they cost and what they lose."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vecstore.archive import Archive
from vecstore.bench.fastrp import fastrp
from vecstore.bench.quality import relative_mse
from vecstore.bench.wordgraph import manual, word_graph
from vecstore.codecs.base import Rows
from vecstore.stream.compress import Summary

DIM = 128
K = 10  # of recall
SPECS = (
    "lossless",
    "f16",
    "sq:bits=8",
    "normalize+rotate+sq:bits=4",
    "sq:bits=4",
    "normalize+rotate+pq:m=64,bits=4",
    "normalize+pca:dim=64+sq:bits=4",
    "normalize+pca:dim=64+pq:m=32,bits=4",
    "pq:m=32,bits=4",
    "pq:m=16",
)
WORDS = ("complex", "bytes", "variable", "underscore")
SHOWN = ("normalize+rotate+sq:bits=4", "pq:m=32,bits=4")  # whose neighbours stand under the original ones
NEAREST = 5


class Compress(Protocol):
    """vecstore.api.compress, which stands on a higher floor and is handed down."""

    def __call__(
        self, source: Rows, target: Path, codec: str, *, ids: list[str], metric: str, seed: int
    ) -> Summary: ...


@dataclass(frozen=True)
class Words:
    """Words and their vectors."""

    names: list[str]
    rows: Rows  # (n, DIM)
    seconds: float  # it took to learn them

    @property
    def raw_bytes(self) -> int:
        """Bytes of the vectors as float32."""
        return self.rows.nbytes


@dataclass(frozen=True)
class Trip:
    """One codec: into an archive, back, and compared."""

    spec: str
    bytes: int  # of the archive, words included
    ledger: dict[str, int]
    row_bytes: float  # codes and side data; the mean, where rows differ
    relative_mse: float  # over all words
    recall_at_10: float  # over all words: cosine neighbours before against after
    seconds: float  # compress, restore and check, first-call compilation included
    rows: Rows  # (n, DIM), restored


def learn(seed: int = 0) -> Words:
    """Vectors of the words in Python's manual."""
    started = time.perf_counter()
    graph = word_graph(manual())
    rows = fastrp(graph, DIM, seed=seed)
    return Words(graph.names, rows, time.perf_counter() - started)


def trips(
    words: Words, compress: Compress, report: Callable[[str], None], *, seed: int = 0
) -> Iterator[Trip]:
    """Each of SPECS in turn, through archives in a temporary folder; report is told of each beforehand."""
    true = nearest(words.rows, K)
    with folder() as path:
        for at, spec in enumerate(SPECS):
            report(spec)
            yield _trip(words, true, spec, path / f"{at}.arrow", compress, seed)


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder while the block runs."""
    with tempfile.TemporaryDirectory(prefix="vecstore-demo-") as path:
        yield Path(path)


def _trip(
    words: Words, true: NDArray[np.int64], spec: str, path: Path, compress: Compress, seed: int
) -> Trip:
    started = time.perf_counter()
    summary = compress(words.rows, path, spec, ids=words.names, metric="cosine", seed=seed)
    with Archive(path) as archive:
        archive.check()
        back = archive.get(words.names)
    seconds = time.perf_counter() - started
    ledger = summary.ledger.as_dict()
    hits = [len(np.intersect1d(a, b)) for a, b in zip(true, nearest(back, K), strict=True)]
    return Trip(
        spec=spec,
        bytes=summary.bytes,
        ledger=ledger,
        row_bytes=(ledger["codes"] + ledger["side"]) / len(words.names),
        relative_mse=relative_mse(words.rows, back),
        recall_at_10=float(np.sum(hits) / true.size),
        seconds=seconds,
        rows=back,
    )


def nearest(rows: Rows, k: int) -> NDArray[np.int64]:
    """(n, k): the numbers of the k other rows of largest cosine to each row, best first."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, np.where(norms > 0, norms, 1), dtype=np.float32)
    found = []
    for start in range(0, len(rows), 512):
        scores = unit[start : start + 512] @ unit.T
        scores[np.arange(len(scores)), np.arange(start, start + len(scores))] = -np.inf
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(found)


def neighbours(words: Words, rows: Rows, word: str, k: int = NEAREST) -> list[str]:
    """The k words whose vectors are nearest to that of word, best first."""
    at = words.names.index(word)
    scores = rows @ rows[at] / np.maximum(np.linalg.norm(rows, axis=1), 1e-30)
    scores[at] = -np.inf
    return [words.names[i] for i in np.argsort(-scores, kind="stable")[:k]]
