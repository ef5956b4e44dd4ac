"""General compressors that give every bit back: zstd, Parquet, blosc2, pcodec, each on all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from vecstore.bench.contenders.base import Coded, Contender, account
from vecstore.codecs.base import Rows


class Bytes(Contender):
    """What they have in common: nothing is learned and the result is one string of bytes."""

    learns = False
    lossless = True
    dim: int

    def __init__(self, label: str, package: str) -> None:
        self.label, self.family, self.needs = label, package, (package,)

    def fit(self, sample: Rows, seed: int) -> None:
        """Nothing but the width."""
        self.dim = sample.shape[1]

    def ledger(self, coded: Coded, rows: int) -> dict[str, int]:
        """The bytes."""
        return account(len(coded))


class Zstd(Bytes):
    """The float32 bytes as they are, under zstd."""

    def __init__(self, level: int) -> None:
        super().__init__(f"zstd:level={level}", "zstandard")
        self._level, self._threads = level, 1

    def use_threads(self, threads: int) -> None:
        """Threads of the compressor; decompression has none."""
        self._threads = threads

    def encode(self, rows: Rows) -> Coded:
        """One frame."""
        import zstandard

        threads = self._threads if self._threads > 1 else 0
        return zstandard.ZstdCompressor(level=self._level, threads=threads).compress(rows.data)

    def decode(self, coded: Coded, out: Rows) -> Sequence[Rows]:
        """The frame's bytes as rows."""
        import zstandard

        data = zstandard.ZstdDecompressor().decompress(coded)
        return [np.frombuffer(data, np.float32).reshape(-1, self.dim)]


class Parquet(Bytes):
    """BYTE_STREAM_SPLIT under zstd, through pyarrow, in memory."""

    def __init__(self) -> None:
        super().__init__("parquet:byte_stream_split+zstd", "pyarrow")
        self._parallel = False

    def use_threads(self, threads: int) -> None:
        """Reading is parallel over columns, of which there is one."""
        self._parallel = threads > 1

    def encode(self, rows: Rows) -> Coded:
        """One file of one column."""
        import pyarrow.parquet as pq

        table = pa.table({"value": pa.array(rows.reshape(-1))})
        sink = pa.BufferOutputStream()
        pq.write_table(
            table, sink, compression="zstd", use_dictionary=False,
            column_encoding={"value": "BYTE_STREAM_SPLIT"}, write_statistics=False,
        )  # fmt: skip
        return sink.getvalue()

    def decode(self, coded: Coded, out: Rows) -> Sequence[Rows]:
        """The chunks of the column."""
        import pyarrow.parquet as pq

        table = pq.read_table(pa.BufferReader(coded), use_threads=self._parallel)
        column = table["value"].combine_chunks()
        return [np.asarray(column).reshape(-1, self.dim)]


class Blosc(Bytes):
    """blosc2 with a shuffle before zstd."""

    def __init__(self, shuffle: str) -> None:
        super().__init__(f"blosc2:{shuffle}+zstd", "blosc2")
        self._shuffle, self._threads = shuffle, 1

    def use_threads(self, threads: int) -> None:
        """Sets blosc2's threads."""
        import blosc2

        self._threads = threads
        blosc2.set_nthreads(threads)

    def encode(self, rows: Rows) -> Coded:
        """One chunk."""
        import blosc2

        filters: dict[str, Any] = {"shuffle": blosc2.Filter.SHUFFLE, "bitshuffle": blosc2.Filter.BITSHUFFLE}
        return blosc2.compress2(
            rows, typesize=4, codec=blosc2.Codec.ZSTD, clevel=5, filters=[filters[self._shuffle]],
            filters_meta=[0], nthreads=self._threads,
        )  # fmt: skip

    def decode(self, coded: Coded, out: Rows) -> Sequence[Rows]:
        """Into out."""
        import blosc2

        blosc2.decompress2(coded, dst=out, nthreads=self._threads)
        return [out]


class Pcodec(Bytes):
    """pcodec at its usual level."""

    def __init__(self, level: int = 8) -> None:
        super().__init__(f"pcodec:level={level}", "pcodec")
        self._level = level

    def encode(self, rows: Rows) -> Coded:
        """One standalone file."""
        from pcodec import ChunkConfig, standalone

        return standalone.simple_compress(rows.reshape(-1), ChunkConfig(compression_level=self._level))

    def decode(self, coded: Coded, out: Rows) -> Sequence[Rows]:
        """Into out."""
        from pcodec import standalone

        standalone.simple_decompress_into(coded, out.reshape(-1))
        return [out]


def all_lossless() -> list[Contender]:
    """One of each."""
    return [Zstd(3), Zstd(19), Parquet(), Blosc("shuffle"), Blosc("bitshuffle"), Pcodec()]
