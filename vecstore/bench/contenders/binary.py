"""Bits compared with bits: our symmetric scans, and FAISS's exhaustive index of binary codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.bench.contenders.base import Coded, Contender, account
from vecstore.bench.contenders.own import Own
from vecstore.codecs.base import Codec, Rows
from vecstore.kernels import top

PREFIX = "symmetric "
_ROWS = 1 << 13  # scored at a time
_NO_TERMS = np.empty(0, np.float32)
_ALL = np.empty(0, np.bool_)


class Symmetric(Own):
    """A codec of ours whose codes are searched with the codes of queries."""

    decodes = False

    def __init__(self, spec: str) -> None:
        super().__init__(spec)
        self.label = PREFIX + spec
        self._spec = spec

    def fit(self, sample: Rows, seed: int) -> None:
        """By the spec."""
        self.label, label = self._spec, self.label
        try:
            super().fit(sample, seed)
        finally:
            self.label = label

    def search(self, coded: Coded, queries: Rows, k: int) -> NDArray[np.int64]:
        """The best by `scan_symmetric`, of which nothing is scored again."""
        codec = self.codec
        scan = codec.scan_symmetric(coded) if isinstance(codec, Codec) else None
        if scan is None:
            raise TypeError(f"{self._spec} compares no codes")
        heap = top.empty_heap(len(queries), min(k, len(coded)))
        prepared = scan.prepare(queries)
        for start in range(0, len(coded), _ROWS):
            out = np.empty((len(queries), min(_ROWS, len(coded) - start)), np.float32)
            scan.dots(prepared, start, start + out.shape[1], out)
            top.push(out, _NO_TERMS, top.AS_THEY_ARE, _ALL, start, heap)
        top.sort(heap)
        return heap[1]


class FaissBinary(Contender):
    """IndexBinaryFlat: bits tell on which side of the sample's mean a value is."""

    family = "faiss"
    needs = ("faiss",)
    decodes = False

    def __init__(self) -> None:
        self.label = "faiss binary"
        self._mean: Rows = _NO_TERMS

    def use_threads(self, threads: int) -> None:
        """Sets the OpenMP threads."""
        import faiss

        faiss.omp_set_num_threads(threads)

    def fit(self, sample: Rows, seed: int) -> None:
        """The mean."""
        self._mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)

    def encode(self, rows: Rows) -> Coded:
        """Codes (n, ceil(dim / 8))."""
        return np.packbits(rows > self._mean, axis=1, bitorder="little")

    def decode(self, coded: Coded, out: Rows) -> Sequence[Rows]:
        """It keeps bits only."""
        raise TypeError("faiss binary gives no rows back")

    def search(self, coded: Coded, queries: Rows, k: int) -> NDArray[np.int64]:
        """By Hamming distance."""
        import faiss

        index: Any = faiss.IndexBinaryFlat(8 * coded.shape[1])
        index.add(coded)
        found: NDArray[np.int64] = index.search(self.encode(queries), min(k, len(coded)))[1]
        return found

    def ledger(self, coded: Coded, rows: int) -> dict[str, int]:
        """Codes, and the mean."""
        return account(coded.nbytes, shared=self._mean.nbytes)


def symmetric_specs(dim: int, sizes: Sequence[int]) -> list[str]:
    """Labels of what is searched code by code, at these bytes a row."""
    plain = (dim + 7) // 8
    specs = [f"itq:bytes={size}" for size in sizes if 8 * size <= dim + 7]
    if plain in sizes:
        specs += ["sign", "rotate+sign"]
    specs += [f"rbe:bits={size // plain}" for size in sizes if size % plain == 0 and size // plain <= 4]
    return [PREFIX + spec for spec in specs]
