"""The data sets of the benchmarks: rows to fit on, other rows to measure on, queries and their metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from vecstore.codecs.base import Rows
from vecstore.errors import NotFoundError
from vecstore.spec import unknown

GENERATED = "generated"
_QUICK = {"fit": 2048, "base": 4096, "queries": 200}
_SEED = 7  # of the split and of the generated rows, apart from the seed that codecs are fitted with


Set = TypeVar("Set")  # of any task


@dataclass(frozen=True)
class Dataset:
    """One set. No row of `base` is in `fit`; recall is of `queries` among `base` under `metric`."""

    name: str
    metric: str  # l2 | cosine | ip
    fit: Rows  # (n, dim)
    base: Rows  # (n, dim)
    queries: Rows  # (q, dim)
    lossless_only: bool = False  # the same vectors as another set, which the other codecs are measured on

    @property
    def dim(self) -> int:
        """Dimensions of a row."""
        return int(self.base.shape[1])


def names() -> list[str]:
    """The sets that a full run measures."""
    return [GENERATED, *LOADERS]


def load(name: str, folder: str | Path | None, *, quick: bool = False) -> Dataset:
    """The set of this name; quick: the first few thousand rows of it.

    `generated` needs no files; `generated_384` is the same with 384 dimensions instead of 128. Raises
    SpecError for a name that is not there, NotFoundError if the set's files are not under folder.
    """
    if name.partition("_")[0] == GENERATED and (name == GENERATED or name.partition("_")[2].isdigit()):
        found = generated(int(name.partition("_")[2] or 128), name=name)
    elif name not in LOADERS:
        raise unknown("data set", name, names())
    else:
        found = from_files(LOADERS[name], name, folder)
    if not quick:
        return found
    return Dataset(
        found.name,
        found.metric,
        found.fit[: _QUICK["fit"]],
        found.base[: _QUICK["base"]],
        found.queries[: _QUICK["queries"]],
        found.lossless_only,
    )


def from_files(loader: Callable[[Path], Set], name: str, folder: str | Path | None) -> Set:
    """What a loader makes of a set's files; NotFoundError if they are not under folder, or none is given."""
    if folder is None:
        raise NotFoundError(
            f"data set {name!r} needs files; say where they are (--data DIR or VECSTORE_DATA)"
        )
    try:
        return loader(Path(folder))
    except FileNotFoundError as error:
        raise NotFoundError(f"data set {name!r} is not under {folder}: {error}") from error


def generated(dim: int, *, rows: int = 20_000, name: str = GENERATED) -> Dataset:
    """Unit-norm rows in 64 clusters whose variances fall as 1/i, rotated: shaped like embeddings."""
    rng = np.random.default_rng(_SEED)
    scale = np.arange(1, dim + 1, dtype=np.float32) ** -0.5
    turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
    centres = rng.standard_normal((64, dim), dtype=np.float32) * scale
    parts = []
    for count in (rows // 2, rows, 500):
        inside = rng.standard_normal((count, dim), dtype=np.float32) * scale
        found = (inside + centres[rng.integers(64, size=count)]) @ turn
        parts.append(_unit(found))
    return Dataset(name, "cosine", parts[0], parts[1], parts[2])


def _sift(folder: Path) -> Dataset:
    at = folder / "vectors" / "sift_sceaux"
    return Dataset(
        "sift_sceaux",
        "l2",
        _vecs(at / "learn.bvecs", np.uint8),
        _vecs(at / "base.bvecs", np.uint8),
        _vecs(at / "query.fvecs", np.float32),
    )


def _word2vec(folder: Path) -> Dataset:
    rows = _unit(_word2vec_rows(folder))
    chosen = np.random.default_rng(_SEED).permutation(len(rows))
    queries, rest = chosen[:500], chosen[500:]
    fit, base = _halves(rows[np.sort(rest)])
    return Dataset("word2vec_googlenews_8k", "cosine", fit, base, rows[queries])


def _word2vec_as_stored(folder: Path) -> Dataset:
    """Before normalization values have few bits, as the model was published: another case for lossless."""
    fit, base = _halves(_word2vec_rows(folder))
    return Dataset("word2vec_as_stored", "cosine", fit, base, base[:500], lossless_only=True)


def _word2vec_rows(folder: Path) -> Rows:
    rows: Rows = np.load(folder / "vectors" / "word2vec_googlenews_8k" / "vectors.npy").astype(np.float32)
    return rows


def _classic3(folder: Path) -> Dataset:
    at = folder / "retrieval" / "classic3_minilm"
    fit, base = _halves(np.load(at / "corpus.npy"))
    return Dataset("classic3_minilm", "cosine", fit, base, np.load(at / "queries.npy"))


def _limit(folder: Path) -> Dataset:
    """46 documents are too few to fit on a half of them, so half of the queries stand in."""
    at = folder / "retrieval" / "limit_small_minilm"
    queries = np.load(at / "queries.npy")
    return Dataset("limit_small_minilm", "cosine", queries[:500], np.load(at / "corpus.npy"), queries[500:])


LOADERS: Mapping[str, Callable[[Path], Dataset]] = {
    "sift_sceaux": _sift,
    "word2vec_googlenews_8k": _word2vec,
    "word2vec_as_stored": _word2vec_as_stored,
    "classic3_minilm": _classic3,
    "limit_small_minilm": _limit,
}


def _vecs(path: Path, dtype: type[np.generic]) -> Rows:
    """A TEXMEX file: each row is its dimension as int32, then its values."""
    data = np.fromfile(path, np.uint8)
    dim = int(data[:4].view(np.int32)[0])
    rows = data.reshape(-1, 4 + dim * np.dtype(dtype).itemsize)[:, 4:]
    return np.ascontiguousarray(rows).view(dtype).astype(np.float32)


def _halves(rows: Rows) -> tuple[Rows, Rows]:
    chosen = np.random.default_rng(_SEED).permutation(len(rows))
    half = len(rows) // 2
    return rows[np.sort(chosen[:half])], rows[np.sort(chosen[half:])]


def _unit(rows: Rows) -> Rows:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.where(norms > 0, norms, 1), dtype=np.float32)
