"""What `bench scan` times: collections of one row set that are searched exhaustively, ours and others'."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from importlib import import_module, util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore import registry
from vecstore.bench.contenders.binary import PREFIX
from vecstore.codecs.base import Codec, Rows
from vecstore.kernels.threads import set_threads
from vecstore.search import Searcher

FIT_ROWS = 20_000


class Searching(ABC):
    """One way to keep rows and to search all of them by inner product."""

    label: str
    needs: str | None = None  # a package

    def missing(self) -> str | None:
        """The package that is not installed, if any."""
        return self.needs if self.needs and util.find_spec(self.needs) is None else None

    def use_threads(self, threads: int) -> None:  # noqa: B027 - some take them from the environment
        """Lets a search use this many threads."""

    @abstractmethod
    def build(self, rows: Rows) -> None:
        """Learns from the first FIT_ROWS of the rows (n, dim) and holds them all."""

    @property
    @abstractmethod
    def row_bytes(self) -> float:
        """Bytes a row that a search reads."""

    @abstractmethod
    def search(self, queries: Rows, k: int) -> Any:
        """The best k, as the library gives them."""

    def found(self, queries: Rows, k: int) -> NDArray[np.int64]:
        """The numbers (q, k) of the best k, which stand behind the scores."""
        return np.asarray(self.search(queries, k)[1], np.int64)


class Ours(Searching):
    """One spec; behind PREFIX, with queries that are encoded too."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._searcher: Searcher | None = None

    def use_threads(self, threads: int) -> None:
        """Sets the one setting of the process."""
        set_threads(threads)

    def build(self, rows: Rows) -> None:
        """Codes, and their scan."""
        codec = registry.fit(self.label.removeprefix(PREFIX), rows[:FIT_ROWS])
        assert isinstance(codec, Codec)
        self._bytes = codec.code_bytes
        self._searcher = Searcher.of(codec, codec.encode(rows), symmetric=self.label.startswith(PREFIX))

    @property
    def row_bytes(self) -> float:
        """A code."""
        return self._bytes

    def search(self, queries: Rows, k: int) -> Any:
        """As the library does."""
        assert self._searcher is not None
        return self._searcher.search(queries, k)

    def found(self, queries: Rows, k: int) -> NDArray[np.int64]:
        """Numbers come first."""
        return np.asarray(self.search(queries, k)[0], np.int64)


class FaissFlat(Searching):
    """A flat index of FAISS, by its factory string."""

    needs = "faiss"

    def __init__(self, label: str, factory: str) -> None:
        self.label, self._factory = f"faiss {label}", factory
        self._index: Any = None

    def use_threads(self, threads: int) -> None:
        """Sets the OpenMP threads."""
        import faiss

        faiss.omp_set_num_threads(threads)

    def build(self, rows: Rows) -> None:
        """Trains and adds."""
        import faiss

        self._index = faiss.index_factory(rows.shape[1], self._factory, faiss.METRIC_INNER_PRODUCT)
        if isinstance(self._index, faiss.IndexPQ):
            # It reorders centroids for a search that is not made here, and takes minutes.
            setattr(self._index, "do_polysemous_training", False)  # noqa: B010  its stubs lack it
        self._index.train(rows[:FIT_ROWS])
        self._index.add(rows)

    @property
    def row_bytes(self) -> float:
        """A code."""
        return float(self._index.code_size)

    def search(self, queries: Rows, k: int) -> Any:
        """Distances and numbers."""
        return self._index.search(queries, k)


class FaissBits(FaissFlat):
    """FAISS's flat index of bits, which tell on which side of the mean a value is."""

    def __init__(self) -> None:
        super().__init__("binary", "")

    def build(self, rows: Rows) -> None:
        """Adds the bits."""
        import faiss

        self._mean = rows[:FIT_ROWS].mean(axis=0)
        self._index = faiss.IndexBinaryFlat(-(-rows.shape[1] // 8) * 8)
        self._index.add(self._bits(rows))

    def _bits(self, rows: Rows) -> Any:
        return np.packbits(rows > self._mean, axis=1, bitorder="little")

    def search(self, queries: Rows, k: int) -> Any:
        """Hamming distances and numbers."""
        return self._index.search(self._bits(queries), k)


class UsearchI8(Searching):
    """usearch's exact search of signed bytes."""

    label, needs = "usearch i8", "usearch"

    def use_threads(self, threads: int) -> None:
        """Kept for the searches."""
        self._threads = threads

    def build(self, rows: Rows) -> None:
        """One scale for all values."""
        self._scale = np.float32(127 / np.abs(rows).max())
        self._rows = self._bytes(rows)

    def _bytes(self, rows: Rows) -> Any:
        return np.clip(np.rint(rows * self._scale), -127, 127).astype(np.int8)

    @property
    def row_bytes(self) -> float:
        """A byte a dimension."""
        return float(self._rows.shape[1])

    def search(self, queries: Rows, k: int) -> Any:
        """By inner product."""
        usearch = import_module("usearch.index")
        return usearch.search(
            self._rows, self._bytes(queries), k, usearch.MetricKind.IP, exact=True, threads=self._threads
        )

    def found(self, queries: Rows, k: int) -> NDArray[np.int64]:
        """Its keys."""
        return np.asarray(self.search(queries, k).keys, np.int64)


class Turbovec(Searching):
    """turbovec's index of 2 or 4 bits a dimension."""

    needs = "turbovec"

    def __init__(self, bits: int) -> None:
        self.label, self._bits = f"turbovec {bits} bit", bits

    def use_threads(self, threads: int) -> None:
        """Read when the package is first used."""
        os.environ["RAYON_NUM_THREADS"] = str(threads)

    def build(self, rows: Rows) -> None:
        """Adds and lays out."""
        self._dim = rows.shape[1]
        self._index = import_module("turbovec").TurboQuantIndex(dim=self._dim, bit_width=self._bits)
        self._index.add(rows)
        self._index.prepare()

    @property
    def row_bytes(self) -> float:
        """A code and its scale."""
        return float(self._dim * self._bits / 8 + 4)

    def search(self, queries: Rows, k: int) -> Any:
        """Scores and numbers."""
        return self._index.search(queries, k)


class Rabitq(Searching):
    """rabitqlib's index with one cluster, which every search reads."""

    needs = "rabitqlib"

    def __init__(self, bits: int) -> None:
        self.label, self._bits = f"rabitqlib {bits} bit", bits

    def use_threads(self, threads: int) -> None:
        """Kept for the searches."""
        self._threads = threads

    def build(self, rows: Rows) -> None:
        """One centroid, the mean."""
        count, self._dim = rows.shape
        self._index = import_module("rabitqlib").IvfIndex(self._dim, count, 1, self._bits, "ip")
        self._index.build(rows, rows.mean(axis=0, keepdims=True), np.zeros(count, np.uint32))

    @property
    def row_bytes(self) -> float:
        """Codes and the factors that its estimate needs."""
        return float(self._dim * self._bits / 8 + (12 if self._bits == 1 else 20))

    def search(self, queries: Rows, k: int) -> Any:
        """Of the one cluster."""
        return self._index.search(queries, k, 1, num_threads=self._threads)

    def found(self, queries: Rows, k: int) -> NDArray[np.int64]:
        """Numbers come first."""
        return np.asarray(self.search(queries, k)[0], np.int64)


def searching(label: str) -> Searching:
    """The contender that a label names."""
    family, _, rest = label.partition(" ")
    if label == "faiss binary":
        return FaissBits()
    if family == "faiss":
        return FaissFlat(rest, FACTORIES[rest])
    if family == "turbovec":
        return Turbovec(int(rest.split()[0]))
    if family == "rabitqlib":
        return Rabitq(int(rest.split()[0]))
    return UsearchI8() if family == "usearch" else Ours(label)


FACTORIES = {
    "SQ8": "SQ8", "SQ6": "SQ6", "SQ4": "SQ4", "PQ48x8": "PQ48", "PQ96x8": "PQ96", "PQ96x4fs": "PQ96x4fs",
    "PQ192x4fs": "PQ192x4fs", "RaBitQ": "RaBitQ", "RaBitQfs": "RaBitQfs",
}  # fmt: skip
