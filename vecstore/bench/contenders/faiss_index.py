"""FAISS: its other codecs, made by their factory strings and measured for what they lose only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.bench.contenders.base import Coded, Contender, account
from vecstore.codecs.base import Rows


class FaissIndex(Contender):
    """A flat index of codes: `sa_encode` and `sa_decode`."""

    family = "faiss"
    needs = ("faiss",)

    def __init__(
        self, label: str, factory: str, *, decodes: bool = True, searches: bool = False, unit: bool = False
    ) -> None:
        """searches: FAISS compares something else than decoded rows. unit: rows are given at length one,
        their lengths kept as float32 where the sample's differ."""
        self.label, self.decodes, self._searches = f"faiss {label}", decodes, searches
        self._factory, self._unit = factory, unit
        self._index: Any = None

    def use_threads(self, threads: int) -> None:
        """Sets the OpenMP threads."""
        import faiss

        faiss.omp_set_num_threads(threads)

    @property
    def index(self) -> Any:
        """The trained index."""
        assert self._index is not None
        return self._index

    def fit(self, sample: Rows, seed: int) -> None:
        """With FAISS's own seeds."""
        import faiss

        self._index = faiss.index_factory(sample.shape[1], self._factory)
        norms = _norms(sample)
        self._unit = self._unit and not np.allclose(norms, 1, atol=1e-3)
        self._index.train(sample / norms if self._unit else sample)

    def encode(self, rows: Rows) -> Coded:
        """Codes (n, code size), behind them lengths (n, 4) as bytes where they are kept."""
        if not self._unit:
            return self.index.sa_encode(rows)
        norms = _norms(rows)
        return np.hstack([self.index.sa_encode(rows / norms), norms.view(np.uint8)])

    def decode(self, coded: Coded, out: Rows) -> Sequence[Rows]:
        """New rows."""
        if not self._unit:
            return [self.index.sa_decode(coded)]
        norms = np.ascontiguousarray(coded[:, -4:]).view(np.float32)
        return [self.index.sa_decode(np.ascontiguousarray(coded[:, :-4])) * norms]

    def search(self, coded: Coded, queries: Rows, k: int) -> NDArray[np.int64] | None:
        """By FAISS's own least squared distance, which ranks unit rows as cosine does."""
        if not self._searches:
            return None
        import faiss

        turned = self.index  # the codes are of the index behind the rotation
        inner = faiss.downcast_index(turned.index)
        inner.add_sa_codes(coded)
        turned.ntotal = inner.ntotal
        found: NDArray[np.int64] = turned.search(queries, min(k, len(coded)))[1]
        turned.reset()
        return found

    def ledger(self, coded: Coded, rows: int) -> dict[str, int]:
        """Codes, and the empty index as FAISS saves it."""
        import faiss

        return account(coded.nbytes, shared=len(faiss.serialize_index(self.index)))


def faiss_indexes(dim: int, sizes: Sequence[int], widths: Sequence[int]) -> list[Contender]:
    """What takes about these bytes a row, and at these bits a dimension what has sizes of its own."""
    found: list[Contender] = []
    turn = f"RR{dim},"
    for m in sizes:
        if m <= 8:  # more stages take hours to train at hundreds of dimensions
            found += [FaissIndex(f"rq:m={m}", f"RQ{m}x8"), FaissIndex(f"lsq:m={m}", f"LSQ{m}x8")]
        elif m <= 32 and m % 8 == 0 and dim % (m // 8) == 0:
            label = f"m={m},splits={m // 8}"
            found += [FaissIndex(f"prq:{label}", f"PRQ{m // 8}x8x8")]
            found += [FaissIndex(f"plsq:{label}", f"PLSQ{m // 8}x8x8")]
        if 8 * m <= dim:
            found.append(FaissIndex(f"itq:bits={8 * m}", f"ITQ{8 * m},LSHt", decodes=False, searches=True))
    for bits in widths:
        found.append(FaissIndex(f"eden:bits={bits}", f"{turn}EDEN{bits}"))
        found.append(FaissIndex(f"turboquant:bits={bits}", f"{turn}SQtqmse{bits}", unit=True))
        # Of a code of several bits FAISS decodes the signs only; its search uses them all.
        name = "RaBitQ" if bits == 1 else f"RaBitQ{bits}"
        found.append(FaissIndex(f"rabitq:bits={bits}", turn + name, decodes=bits == 1, searches=True))
    return found


def _norms(rows: Rows) -> Rows:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norms > 0, norms, 1).astype(np.float32)
