"""What a codec costs: processor time of encoding, decoding and scanning, a row."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vecstore.codecs.base import BlockCodec, Codec, Rows
from vecstore.registry import AnyCodec
from vecstore.search.searcher import Searcher

_RUNS, _ENOUGH_S = 3, 0.05  # of which the best counts; of longer ones there are fewer
_ROWS, _LEAST_ROWS = 2048, 256
_SCANNED, _QUERIES = 1 << 15, 4


@dataclass(frozen=True)
class Speeds:
    """Microseconds a row; nanoseconds a row and query of an exhaustive search, None where there is none."""

    encode_us: float
    decode_us: float
    scan_ns: float | None


def timed(codec: AnyCodec, rows: Rows) -> Speeds:
    """The best of a few runs on rows (n, dim), which are repeated where they are few.

    Processor time counts, of all threads: it is what one thread would take.
    """
    rows = _repeated(rows[:_ROWS], _LEAST_ROWS)
    if isinstance(codec, BlockCodec):
        block = codec.encode_block(rows)
        encode = _best(lambda: codec.encode_block(rows))
        return Speeds(
            1e6 * encode / len(rows), 1e6 * _best(lambda: codec.decode_block(block)) / len(rows), None
        )
    assert isinstance(codec, Codec)
    codes = codec.encode(rows)
    encode, decode = _best(lambda: codec.encode(rows)), _best(lambda: codec.decode(codes))
    many = np.resize(codes, (_SCANNED, codec.code_bytes))
    searcher, queries = Searcher.of(codec, many), np.resize(rows, (_QUERIES, codec.dim))
    scan = _best(lambda: searcher.search(queries, 10, metric="ip"))
    return Speeds(1e6 * encode / len(rows), 1e6 * decode / len(rows), 1e9 * scan / (_SCANNED * _QUERIES))


def _repeated(rows: Rows, least: int) -> Rows:
    return rows if len(rows) >= least else np.resize(rows, (least, rows.shape[1]))


def _best(job: Callable[[], object]) -> float:
    """Seconds of the fastest run after one that compiles."""
    job()
    found: list[float] = []
    while len(found) < _RUNS and sum(found) < _ENOUGH_S:
        started = time.process_time()
        job()
        found.append(time.process_time() - started)
    return min(found)
