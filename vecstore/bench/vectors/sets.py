"""Collections to compress and to use: rows, what is asked of them, and what else is known of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from gzip import open as gunzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.bench import capacity, datasets
from vecstore.bench.fastrp import fastrp
from vecstore.bench.wordgraph import Graph, manual, word_graph
from vecstore.codecs.base import Rows
from vecstore.errors import InputError, NotFoundError, SpecError
from vecstore.spec import unknown
from vecstore.stream.sources import as_source, rows_of

Relevant = dict[int, frozenset[int]]  # {query: rows}

CAPACITY = "limit_free_"  # then the dimensions
_SEED = 7  # of splits, apart from the seed that codecs are fitted with
_QUERIES = 500  # rows that are asked for among the others, where no queries are given
_MOST_FIT = 65_536
_NODE_DIM = 128
_POWERS = (0.0, 0.0, 1.0, 6.67)  # of BlogCatalog's graph, as the authors of FastRP weigh them
_QUICK_ROWS, _QUICK_QUERIES = 4096, 100


@dataclass(frozen=True)
class VectorSet:
    """One collection. Codecs are fitted on `fit`, and keep `base`, of which the rows `held` are not in it."""

    name: str
    metric: str  # l2 | cosine | ip
    fit: Rows  # (m, dim)
    base: Rows  # (n, dim)
    held: NDArray[np.int64]  # numbers of base's rows; all of them where none is left
    queries: Rows  # (q, dim)
    relevant: Mapping[int, frozenset[int]] | None = None  # {query: rows of base}, as people judged
    troubles: Mapping[str, str] = field(default_factory=dict)  # {what of it cannot be used: why}
    pairs: NDArray[np.int64] | None = None  # (q, 2): the two rows that a query should find first
    words: list[str] | None = None  # of base's rows
    graph: Graph | None = None  # whose nodes base's rows are
    groups: NDArray[np.bool_] | None = None  # (n, g) that base's rows are in

    @property
    def dim(self) -> int:
        """Dimensions of a row."""
        return int(self.base.shape[1])


def names() -> list[str]:
    """The sets that a full run measures."""
    return [datasets.GENERATED, "manual", *FILES]


def load(name: str, folder: str | Path | None, *, quick: bool = False) -> VectorSet:
    """The set of this name; quick: few rows and queries of it.

    `generated` and `manual` (words of Python's manual, as in the demo) need no files, nor does
    `limit_free_16`, free vectors of 16 dimensions (`vecstore.bench.capacity`). Raises SpecError for a name
    that is not there, NotFoundError if the set's files are not under folder.
    """
    if name.startswith(CAPACITY) and name.removeprefix(CAPACITY).isdigit():
        return _free(int(name.removeprefix(CAPACITY)))
    if name == "manual":
        return _manual()
    if name in FILES:
        found = datasets.from_files(FILES[name], name, folder)
    elif name.partition("_")[0] == datasets.GENERATED:
        known = datasets.load(name, None)
        found = VectorSet(
            name, known.metric, known.fit, known.base, np.arange(len(known.base)), known.queries
        )
    else:
        raise unknown("data set", name, [*names(), f"{CAPACITY}16"])
    return _few(found) if quick else found


def own(
    path: str, queries: str | None, metric: str, *, judgments: str | None = None, quick: bool = False
) -> VectorSet:
    """Rows of a file of any format; without queries, some rows are left out to be asked for.

    judgments: a file as `judged` reads it, of the ids of queries and rows, or of their numbers from 0.
    Queries of other dimensions are a trouble of the set, of which all but searches can still be measured.
    """
    rows, names = _read(path)
    if not len(rows):
        raise InputError(f"{path} has no rows; there is nothing to measure")
    troubles: dict[str, str] = {}
    if queries is not None:
        asked, asked_names = _read(queries)
        if asked.shape[1] != rows.shape[1]:
            troubles["queries"] = f"{queries} has {asked.shape[1]} dimensions; {path} has {rows.shape[1]}"
            asked, asked_names = np.empty((0, rows.shape[1]), np.float32), []
    else:
        order = np.random.default_rng(_SEED).permutation(len(rows))
        count = min(_QUERIES, len(rows) // 4)
        asked, rows = rows[np.sort(order[:count])], rows[np.sort(order[count:])]
    more: dict[str, Any] = {}
    if judgments is not None:
        if queries is None:
            raise SpecError("judgments are of queries; give these, too (--queries)")
        if not Path(judgments).is_file():
            raise NotFoundError(f"{judgments} does not exist; check the name")
        if "queries" not in troubles:
            more["relevant"], strange = judged(judgments, asked_names, names)
            troubles |= _unknown(strange)
    found = _halved(Path(path).name, metric, rows, asked, troubles=troubles, **more)
    return _few(found) if quick else found


def judged(path: str | Path, queries: Sequence[str], rows: Sequence[str]) -> tuple[Relevant, int]:
    """What people judged, from lines `query <tab> row <tab> score` behind a header; a score above 0 counts.

    With how many of the judgments name a query or a row that is not there. Raises InputError for other lines.
    """
    query, row = ({key: number for number, key in enumerate(keys)} for keys in (queries, rows))
    relevant: dict[int, set[int]] = {}
    unknown = 0
    with open(path, encoding="utf-8", newline="") as file:
        for number, line in enumerate(list(csv.reader(file, delimiter="\t"))[1:], 2):
            try:
                score = float(line[2])
            except (IndexError, ValueError):
                raise InputError(
                    f"line {number} of {path} is {line}; expected query, row, score, with tabs"
                ) from None
            if line[0] not in query or line[1] not in row:
                unknown += 1
            elif score > 0:
                relevant.setdefault(query[line[0]], set()).add(row[line[1]])
    return {number: frozenset(found) for number, found in relevant.items()}, unknown


def _unknown(judgments: int) -> dict[str, str]:
    """The trouble with so many that name what is not there."""
    return (
        {"judgments": f"{judgments} judgments name a query or a row that is not there"} if judgments else {}
    )


def _read(path: str) -> tuple[Rows, list[str]]:
    """Rows and their ids as text."""
    with as_source(path) as source:
        rows = rows_of(source)
    names = [str(number) for number in range(len(rows))]
    with as_source(path) as source:
        if source.id_type is not None:
            ids = (batch.ids for batch in source.batches(1 << 14) if batch.ids is not None)
            names = [str(key) for part in ids for key in part.to_pylist()]
    return rows, names


def _halved(name: str, metric: str, base: Rows, queries: Rows, **more: Any) -> VectorSet:
    """Fitted on half of the rows."""
    order = np.random.default_rng(_SEED).permutation(len(base))
    count = min(_MOST_FIT, -(-len(base) // 2))
    held = np.sort(order[count:]) if len(base) > count else np.arange(len(base))
    return VectorSet(name, metric, base[np.sort(order[:count])], base, held, queries, **more)


def _few(data: VectorSet) -> VectorSet:
    """Fewer queries, and fewer rows where nothing else is known of them."""
    data = replace(data, queries=data.queries[:_QUICK_QUERIES])
    if any(each is not None for each in (data.relevant, data.words, data.graph)):
        return data
    held = data.held[data.held < _QUICK_ROWS]
    return replace(data, fit=data.fit[:_QUICK_ROWS], base=data.base[:_QUICK_ROWS], held=held)


def _free(dim: int) -> VectorSet:
    documents, queries = capacity.free_vectors(dim)
    fit = capacity.sample(dim)
    numbers = np.arange(len(documents))
    return VectorSet(f"{CAPACITY}{dim}", "ip", fit, documents, numbers, queries, pairs=capacity.pairs())


def _manual() -> VectorSet:
    graph = word_graph(manual())
    rows = fastrp(graph, _NODE_DIM)
    return _halved("manual", "cosine", rows, rows[::10].copy(), words=graph.names, graph=graph)


def _sift(folder: Path) -> VectorSet:
    known = datasets.load("sift_sceaux", folder)
    return VectorSet(known.name, "l2", known.fit, known.base, np.arange(len(known.base)), known.queries)


def _word2vec(folder: Path) -> VectorSet:
    at = folder / "vectors" / "word2vec_googlenews_8k"
    rows = np.load(at / "vectors.npy").astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    chosen = np.sort(np.random.default_rng(_SEED).permutation(len(rows))[:_QUERIES])
    words = (at / "words.txt").read_text("utf-8").splitlines()
    return _halved("word2vec_googlenews_8k", "cosine", rows, rows[chosen], words=words)


def _classic3(folder: Path) -> VectorSet:
    at = folder / "retrieval" / "classic3_minilm"
    ids = [_key(line) for line in gunzip(at / "corpus.jsonl.gz", "rt", encoding="utf-8")]
    asked = [_key(line) for line in gunzip(at / "queries.jsonl.gz", "rt", encoding="utf-8")]
    relevant, strange = judged(at / "qrels.tsv", asked, ids)
    more: dict[str, Any] = {"relevant": relevant, "troubles": _unknown(strange)}
    return _halved(
        "classic3_minilm", "cosine", np.load(at / "corpus.npy"), np.load(at / "queries.npy"), **more
    )


def _key(line: str) -> str:
    return str(json.loads(line)["_id"])


def _blogcatalog(folder: Path) -> VectorSet:
    """People who follow each other and the groups they are in; rows are FastRP's, queries some of them."""
    path = folder / "graph" / "blogcatalog" / "blogcatalog.mat"
    try:
        from scipy.io import loadmat  # type: ignore[import-untyped]
    except ImportError:
        raise NotFoundError(
            "data set 'blogcatalog' is a file that only scipy reads: pip install scipy"
        ) from None
    found = loadmat(str(path))
    edges = found["network"].tocsr()
    edges.sort_indices()
    counts = [str(number) for number in range(edges.shape[0])]
    graph = Graph(
        counts, edges.indptr.astype(np.int64), edges.indices.astype(np.int64), edges.data.astype(np.float32)
    )
    rows = fastrp(graph, _NODE_DIM, weights=_POWERS)
    groups = np.asarray(found["group"].todense()) > 0
    return _halved("blogcatalog", "cosine", rows, rows[::20].copy(), graph=graph, groups=groups)


FILES: Mapping[str, Callable[[Path], VectorSet]] = {
    "classic3_minilm": _classic3,
    "word2vec_googlenews_8k": _word2vec,
    "sift_sceaux": _sift,
    "blogcatalog": _blogcatalog,
}
