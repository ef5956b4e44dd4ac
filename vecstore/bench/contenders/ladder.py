"""Codecs at a ladder of sizes, ours from the registry and FAISS's, of which only the quality is measured.

Ours come from the registry by what their `fit` takes: `bytes=` at each size of the ladder, or `bits=` where a
codec has few sizes. So a new codec is measured as soon as it is listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from vecstore import registry
from vecstore.bench.contenders.base import Contender
from vecstore.bench.contenders.binary import PREFIX, FaissBinary, Symmetric, symmetric_specs
from vecstore.bench.contenders.faiss_codecs import FaissOpq, FaissPq, FaissSq
from vecstore.bench.contenders.faiss_index import faiss_indexes
from vecstore.bench.contenders.own import BUDGET, Chosen, Own
from vecstore.codecs.base import Codec
from vecstore.errors import InputError, ShapeError, SpecError

SIZES = (8, 16, 32, 48, 96, 192, 384)  # bytes a row
_BITS = (1, 2, 4, 6, 8)  # bits a dimension that come on top of these
_OPQ = 96  # subspaces; beyond, FAISS's Procrustes steps take minutes
_MOST_CHOSEN = 96  # bytes a row that a budget's choice is measured at: beyond, all find nearly all
_FEW = 3  # a codec that fits fewer sizes than this has sizes of its own
_NO_SCALE = "tcq:bytes={size},renormalize=false,scale=none"  # which no probe of few rows has
_UNSCALED = (_NO_SCALE, _NO_SCALE + ",stages=2")
_CHAINS = (
    "pca:dim={size}+sq:bits=8",
    "pca:dim={double}+sq:bits=4",
    "opq:m={size}+pq:m={size}",
    "opq:m={double}+pq:m={double},bits=4",
    "rotate+pq:m={size}",
    "pca:dim={quad}+pq:m={size}",
    "tcq:bytes={size},renormalize=false",
    "klt:bytes={size},renormalize=false",
)


def sizes(dim: int, more: Sequence[int] = (), *, quick: bool = False) -> list[int]:
    """Bytes a row to measure at: up to one byte a dimension, and those that a set has goals at.

    quick: one of them, for a run that only shows that all works.
    """
    if quick:
        return [max(1, dim // 8)]
    own = [-(-dim * bits // 8) for bits in _BITS]
    return sorted({size for size in (*SIZES, *own, *more) if size <= dim})


def labels(dim: int, wanted: Sequence[int], but_for: Sequence[str] = ()) -> list[str]:
    """Labels of all that is measured at these sizes, ours first, but for those that do the same as a label
    given."""
    ours = own_specs(dim, tuple(wanted), tuple(label for label in but_for if not label.startswith("faiss ")))
    ours += symmetric_specs(dim, wanted)
    ours += [f"{BUDGET}{size}B/row" for size in wanted if size <= _MOST_CHOSEN]
    return ours + [label for label in of_faiss(dim, wanted) if label not in but_for]


def contender(label: str, dim: int, wanted: Sequence[int], metric: str = "cosine") -> Contender:
    """The contender of one of `labels`; metric: what a budget's choice is judged by."""
    if label.startswith(PREFIX):
        return Symmetric(label.removeprefix(PREFIX))
    if label.startswith(BUDGET):
        return Chosen(int(label.removeprefix(BUDGET).removesuffix("B/row")), metric)
    if not label.startswith("faiss "):
        return Own(label)
    return of_faiss(dim, wanted)[label]


def of_faiss(dim: int, wanted: Sequence[int]) -> dict[str, Contender]:
    """{label: contender} at these sizes."""
    products = _divisors(dim, wanted)
    found: list[Contender] = [FaissPq(m) for m in products]
    found += [FaissPq(m, 4) for m in _divisors(dim, [2 * m for m in wanted])]
    found += [FaissOpq(m) for m in products if m <= _OPQ]
    found += [FaissSq(kind) for kind in ("QT_8bit", "QT_6bit", "QT_4bit")]
    found.append(FaissBinary())
    found += faiss_indexes(dim, wanted, (1, 2, 4) if len(wanted) > 1 else (2,))
    return {contender.label: contender for contender in found}


@lru_cache(maxsize=16)
def own_specs(dim: int, wanted: Sequence[int], but_for: Sequence[str] = ()) -> list[str]:
    """Specs of ours that can be fitted on rows of this width, each codec once a size."""
    known: dict[str, str] = {}  # by full spec, so that none is measured twice
    for spec in but_for:
        _enter(known, spec, dim)
    for name, part in registry.CODECS.items():
        if not issubclass(part, Codec) or part.is_lossless:
            continue
        given = part.option_names()
        fits = 0
        if "bytes" in given:
            fits = sum(_enter(known, f"{name}:bytes={size}", dim) for size in wanted)
        if name == "pq":
            for size in wanted:
                _enter(known, f"pq:bytes={size},bits=4", dim)
        if "bits" in given and fits < min(_FEW, len(wanted)):
            for bits in range(1, 9) if len(wanted) > 1 else (2,):  # one width where there is one size
                _enter(known, f"{name}:bits={bits}", dim, least=min(wanted))
        if not {"bytes", "bits"} & set(given):
            _enter(known, name, dim)
    for spec in _chains(dim, wanted):
        _enter(known, spec, dim)
    unscaled = [text.format(size=size) for size in wanted for text in _UNSCALED]
    unscaled = [spec for spec in unscaled if _enter({}, spec, dim)]
    return [spec for spec in known.values() if spec not in but_for] + unscaled


def _chains(dim: int, wanted: Sequence[int]) -> Iterator[str]:
    """Those whose names are all listed."""
    listed = {*registry.CODECS, *registry.TRANSFORMS}
    for text in _CHAINS:
        if {step.partition(":")[0] for step in text.split("+")} <= listed:
            sizes = ({"size": size, "double": 2 * size, "quad": min(4 * size, dim)} for size in wanted)
            yield from dict.fromkeys(text.format(**numbers) for numbers in sizes)


def _enter(known: dict[str, str], spec: str, dim: int, least: int = 1) -> bool:
    """Whether the spec can be, at this many bytes or more; keeps it under its full form, so that no codec is
    measured twice at a size."""
    probe = np.random.default_rng(0).standard_normal((16, dim), dtype=np.float32)
    probe /= np.linalg.norm(probe, axis=1, keepdims=True)  # so that what is done for such rows alone differs
    try:
        codec = registry.fit(spec, probe)
    except (SpecError, InputError, ShapeError):
        return False
    if not isinstance(codec, Codec) or codec.code_bytes < least:
        return False
    known.setdefault(str(codec.spec), spec)
    return True


def _divisors(dim: int, wanted: Sequence[int]) -> list[int]:
    """The divisors of dim that are nearest to these numbers, by ratio."""
    divisors = np.array([m for m in range(1, dim + 1) if dim % m == 0])
    near = [int(divisors[np.abs(np.log(divisors / m)).argmin()]) for m in wanted]
    return list(dict.fromkeys(near))
