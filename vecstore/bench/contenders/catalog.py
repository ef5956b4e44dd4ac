"""Which contenders meet on rows of a given width, and which two of them are timed against each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vecstore.bench.contenders.base import Contender
from vecstore.bench.contenders.faiss_codecs import FaissOpq, FaissPq, FaissSq
from vecstore.bench.contenders.faiss_index import faiss_indexes
from vecstore.bench.contenders.lossless import all_lossless
from vecstore.bench.contenders.own import Own
from vecstore.registry import CODECS

WIDTHS = (4, 8, 16, 32)  # dimensions of a PQ subspace
_SQ_PEERS = {"f16": "QT_fp16", "sq:bits=8": "QT_8bit", "sq:bits=6": "QT_6bit", "sq:bits=4": "QT_4bit"}

CELLS = "cells "  # of labels: the trellis search of what comes behind, without the rotation before it
_CELLS_DIM = 384

_ADDITIVE = ("rq", "lsq")
_ADDITIVE_BYTES = 8
_ROTATED = {"hadamard": "eden", "rabitq": "rabitq"}


@dataclass(frozen=True)
class Pair:
    """Two contenders that do the same at the same size, timed in turn in one process."""

    topic: str  # pq | pq4 | additive | sq | rotated | lossless
    setting: str  # what the two have in common
    ours: str
    peer: str
    fits: bool = False  # whether the time of fit is compared too


def contenders(dim: int) -> dict[str, Contender]:
    """{label: contender}, ours first."""
    found: list[Contender] = [Own(spec) for spec in specs(dim)]
    found += [FaissPq(m) for m in subspaces(dim)] + [FaissPq(m, 4) for m in subspaces(dim)]
    found += [FaissSq(kind) for kind in _SQ_PEERS.values()]
    found += [FaissOpq(m) for m in subspaces(dim)[1:2]]
    peers = {pair.peer for pair in (*_additive_pairs(), *_rotated_pairs())}
    indexes = faiss_indexes(dim, (_ADDITIVE_BYTES,), (1, 2, 4))
    found += [index for index in indexes if index.label in peers]
    found += all_lossless()
    return {contender.label: contender for contender in found}


def specs(dim: int) -> list[str]:
    """Every codec of the registry at several sizes, and the transforms where they help."""
    found = ["f32", "f16", "bf16", "lossless:mode=best", "lossless:mode=plain"]
    found += [f"sq:bits={bits}" for bits in (8, 6, 4)]
    found += [f"pq:m={m}" for m in subspaces(dim)]
    found += [f"pq:m={m},bits=4" for m in subspaces(dim)]
    found += [pair.ours for pair in _additive_pairs()]
    found += [f"{name}:bits={bits}" for name in _ROTATED for bits in (1, 2, 4)]
    small = max(1, dim // 2)
    found += [f"pca:dim={dim}+pq:m={m}" for m in subspaces(dim)[1:]]
    found += [f"pca:dim={small}+sq:bits={bits}" for bits in (8, 4)]
    found += [f"pca:dim={small}+pq:m={subspaces(small)[:2][-1]}"]
    found += [f"rotate+sq:bits={bits}" for bits in (8, 4)] + [f"rotate+pq:m={subspaces(dim)[:2][-1]}"]
    found += [f"prefix:dim={small}+sq:bits=8", "normalize+sq:bits=8", "center+sq:bits=8"]
    named = {spec.rpartition("+")[2].partition(":")[0] for spec in found}
    return found + [name for name in CODECS if name not in named]


def pairs(dim: int) -> list[Pair]:
    """All pairs for rows of this width."""
    return [*_product_pairs(dim), *_additive_pairs(), *_scalar_pairs(), *_rotated_pairs(), *_lossless_pairs()]


def cells(dim: int) -> list[str]:
    """Labels of the trellis searches that are timed, on rows of one width: they take a time a dimension."""
    return [f"{CELLS}tcq:bits=2,states={states},stages=0" for states in (64, 256) if dim == _CELLS_DIM]


def subspaces(dim: int) -> list[int]:
    """Numbers of PQ subspaces that divide dim, nearest to WIDTHS dimensions each, most first."""
    divisors = [m for m in range(1, dim + 1) if dim % m == 0]
    return list(dict.fromkeys(min(divisors, key=lambda m: abs(dim / m - width)) for width in WIDTHS))


def _product_pairs(dim: int) -> Iterator[Pair]:
    for m in subspaces(dim):
        yield Pair("pq", f"{dim // m} dimensions a byte", f"pq:m={m}", f"faiss pq:m={m}", fits=True)
    for m in subspaces(dim):
        ours, peer = f"pq:m={m},bits=4", f"faiss pq:m={m},bits=4"
        yield Pair("pq4", f"{dim // m} dimensions a nibble", ours, peer, fits=True)


def _additive_pairs() -> Iterator[Pair]:
    """Both sides with their own defaults: beams of 5 in rq, and in lsq 16 iterations of FAISS's search."""
    for name in _ADDITIVE:
        setting = f"{name}, {_ADDITIVE_BYTES} bytes"
        yield Pair("additive", setting, f"{name}:m={_ADDITIVE_BYTES}", f"faiss {name}:m={_ADDITIVE_BYTES}")


def _scalar_pairs() -> Iterator[Pair]:
    for ours, kind in _SQ_PEERS.items():
        name = kind.removeprefix("QT_")
        yield Pair("sq", name, ours, f"faiss sq:{name}")


def _rotated_pairs() -> Iterator[Pair]:
    """FAISS's with its rotation, which is a matrix."""
    for ours, peer in _ROTATED.items():
        for bits in (1, 2, 4):
            yield Pair("rotated", f"{peer}, {bits} bits", f"{ours}:bits={bits}", f"faiss {peer}:bits={bits}")


def _lossless_pairs() -> Iterator[Pair]:
    for mode in ("plain", "best"):
        for peer in (
            "zstd:level=3",
            "parquet:byte_stream_split+zstd",
            "blosc2:shuffle+zstd",
            "pcodec:level=8",
        ):
            yield Pair("lossless", mode, f"lossless:mode={mode}", peer)
