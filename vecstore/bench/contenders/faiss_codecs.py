"""FAISS: product and scalar quantizers, called through their lowest Python interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vecstore.bench.contenders.base import Coded, Contender, account
from vecstore.codecs.base import Rows


class Faiss(Contender):
    """What the quantizers have in common: `compute_codes` and `decode` without a copy."""

    family = "faiss"
    needs = ("faiss",)

    def __init__(self, label: str) -> None:
        self.label = label
        self.quantizer: Any = None

    def use_threads(self, threads: int) -> None:
        """Sets the OpenMP threads."""
        import faiss

        faiss.omp_set_num_threads(threads)

    def encode(self, rows: Rows) -> Coded:
        """Codes (n, code size)."""
        import faiss

        codes = np.empty((len(rows), self.quantizer.code_size), np.uint8)
        self.quantizer.compute_codes_c(faiss.swig_ptr(rows), faiss.swig_ptr(codes), len(rows))
        return codes

    def decode(self, coded: Coded, out: Rows) -> Sequence[Rows]:
        """Into out."""
        import faiss

        self.quantizer.decode_c(faiss.swig_ptr(coded), faiss.swig_ptr(out), len(coded))
        return [out]


class FaissPq(Faiss):
    """ProductQuantizer."""

    BLOCK_ROWS = 512

    def __init__(self, m: int, bits: int = 8) -> None:
        super().__init__(f"faiss pq:m={m}" + (f",bits={bits}" if bits != 8 else ""))
        self._m, self._bits = m, bits

    def use_threads(self, threads: int) -> None:
        """Also sets the block of `compute_codes`: FAISS's own writes tables of distances far beyond the cache
        from 16 dimensions a subspace on, and is up to four times slower."""
        import faiss

        super().use_threads(threads)
        settings: Any = faiss.cvar
        settings.product_quantizer_compute_codes_bs = self.BLOCK_ROWS

    def fit(self, sample: Rows, seed: int) -> None:
        """25 iterations of k-means in each subspace."""
        import faiss

        self.quantizer = faiss.ProductQuantizer(sample.shape[1], self._m, self._bits)
        self.quantizer.cp.seed = seed + 1234
        self.quantizer.train(sample)

    def ledger(self, coded: Coded, rows: int) -> dict[str, int]:
        """Codes, and all centroids as float32."""
        return account(coded.nbytes, shared=4 * self.quantizer.centroids.size())


class FaissSq(Faiss):
    """ScalarQuantizer, by the name of its type."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"faiss sq:{kind.removeprefix('QT_')}")
        self._kind = kind

    def fit(self, sample: Rows, seed: int) -> None:
        """The range of each dimension."""
        import faiss

        self.quantizer = faiss.ScalarQuantizer(sample.shape[1], getattr(faiss.ScalarQuantizer, self._kind))
        self.quantizer.train(sample)

    def ledger(self, coded: Coded, rows: int) -> dict[str, int]:
        """Codes, and the ranges as float32."""
        return account(coded.nbytes, shared=4 * self.quantizer.trained.size())


class FaissOpq(FaissPq):
    """OPQ: a learned rotation before the product quantizer; fewer rounds than FAISS's own 50, for time."""

    ROUNDS = 10

    def __init__(self, m: int) -> None:
        super().__init__(m)
        self.label = f"faiss opq:m={m},rounds={self.ROUNDS}"
        self._turn: Any = None

    def fit(self, sample: Rows, seed: int) -> None:
        """Rotation, then the quantizer of the rotated rows."""
        import faiss

        self._turn = faiss.OPQMatrix(sample.shape[1], self._m)
        self._turn.niter = self.ROUNDS
        self._turn.train(sample)
        super().fit(self._turn.apply(sample), seed)

    def encode(self, rows: Rows) -> Coded:
        """Rotates, then encodes."""
        return super().encode(self._turn.apply(rows))

    def decode(self, coded: Coded, out: Rows) -> Sequence[Rows]:
        """Decodes, then rotates back."""
        super().decode(coded, out)
        return [self._turn.reverse_transform(out)]

    def ledger(self, coded: Coded, rows: int) -> dict[str, int]:
        """The rotation is shared too."""
        own = 4 * self._turn.A.size()
        return account(coded.nbytes, shared=own + 4 * self.quantizer.centroids.size())
