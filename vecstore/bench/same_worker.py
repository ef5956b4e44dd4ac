"""What one codec makes on one instruction set, on several threads and in batches, as digests.

    VECSTORE_ISA=avx2 python -m vecstore.bench.same_worker < case.json

A case comes in as JSON, its record goes out as JSON.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore import registry
from vecstore.bench import datasets
from vecstore.bench.process import answer
from vecstore.bench.sameness import LABEL
from vecstore.codecs.base import BlockCodec, Codec, Codes, Rows
from vecstore.codecs.grouped import GroupCenter, Grouped
from vecstore.codecs.ragged import Ragged, RaggedCodec
from vecstore.codecs.transforms.fde import Fde
from vecstore.kernels.threads import set_threads, spread
from vecstore.search.checks import METRICS
from vecstore.search.searcher import Searcher
from vecstore.spec import parse

Record = dict[str, Any]
AnyCodec = Codec | BlockCodec

THREADS = (1, 2)
BATCHES = (997, 1)  # beside all rows at once
_FIT, _ROWS, _QUERIES = 1500, 1200, 16
_FEW = 64  # rows that come one by one
_ALONE = 4  # queries that come one by one
_SCANNED = 40_000  # rows, by repetition: as many as two threads share for one query
_NEAREST = 10
_COLUMN = "group"


class Made:
    """Digests of what was made; the first of a name is what later ones are held against."""

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}
        self.differs: list[str] = []

    def hold(self, what: str, how: str, *made: bytes | NDArray[Any]) -> None:
        """Notes, or compares, what was made in some way."""
        found = hashlib.sha256()
        for part in made:
            found.update(part if isinstance(part, bytes) else part.tobytes())
        if self.digests.setdefault(what, found.hexdigest()) != found.hexdigest():
            self.differs.append(f"{what}, {how}")


def main() -> None:
    """Answers one case."""
    answer(lambda case: [run(case)], threads=None)


def run(case: Record) -> Record:
    """Digests by name, and the names of what was not the same."""
    data = datasets.load(case["dataset"], case["data"], quick=case["quick"])
    sample, rows, queries = data.fit[:_FIT], data.base[:_ROWS], data.queries[:_QUERIES]
    spec, made = case["method"].removeprefix(LABEL), Made()
    for threads in THREADS:
        set_threads(threads)
        how = f"{threads} threads"
        codec = _fitted(spec, sample, case["seed"])
        made.hold("codec", how, registry.dumps(codec))
        codes = _code(codec, rows, made, how)
        if isinstance(codec, Codec) and codes is not None:
            _search(codec, codes, queries, made, how)
    return {
        "dim": data.dim, "rows": len(rows), "fit_rows": len(sample), "queries": len(queries),
        "thread_counts": list(THREADS), "batches": list(BATCHES),
        "digests": made.digests, "differs": made.differs,
    }  # fmt: skip


def _fitted(spec: str, sample: Rows, seed: int) -> AnyCodec:
    first = parse(spec).steps[0].name
    given: Any = _ragged(sample) if first == Fde.name else sample
    columns = {_COLUMN: _groups(sample)} if first == GroupCenter.name else None
    return registry.fit(spec, given, seed=seed, columns=columns)


def _ragged(rows: Rows) -> Ragged:
    """Each row (dim,) as four tokens, or as many as divide it."""
    count = math.gcd(rows.shape[1], 4)
    return Ragged(rows.reshape(count * len(rows), -1), count * np.arange(len(rows) + 1))


def _groups(rows: Rows) -> list[str]:
    return [str(above) for above in rows[:, 0] > 0]


def _code(codec: AnyCodec, rows: Rows, made: Made, how: str) -> Codes | None:
    """Codes and decoded rows, of all rows at once, which are given back, and of batches."""
    whole = None
    for batch in (len(rows), *BATCHES):
        own = rows[:_FEW] if batch == 1 else rows
        where = f"{how}, {'all at once' if batch == len(rows) else f'batches of {batch}'}"
        if isinstance(codec, BlockCodec):  # A block is the code of a whole batch.
            blocks = _blocks(codec, own, batch)
            made.hold(f"codes in blocks of {batch}", where, *blocks)
            back = np.concatenate([codec.decode_block(block) for block in blocks])
        else:
            parts = range(0, len(own), batch)
            codes = np.concatenate([_encoded(codec, own[at : at + batch]) for at in parts])
            back = np.concatenate([codec.decode(codes[at : at + batch]) for at in parts])
            whole = codes if whole is None else whole
            if batch != 1:
                made.hold("codes", where, codes)
            made.hold(f"codes of {_FEW} rows", where, codes[:_FEW])
        if batch != 1:
            made.hold("rows", where, back)
        made.hold(f"the first {_FEW} rows", where, back[:_FEW])
    return whole


def _blocks(codec: BlockCodec, rows: Rows, batch: int) -> list[bytes]:
    """One block a batch, made by all threads."""
    found: dict[int, bytes] = {}
    spread(len(rows), batch, lambda at, stop: found.update({at: codec.encode_block(rows[at:stop])}))
    return [found[at] for at in sorted(found)]


def _encoded(codec: Codec, rows: Rows) -> Codes:
    if isinstance(codec, RaggedCodec):
        return codec.encode(_ragged(rows))
    if isinstance(codec, Grouped):
        return codec.encode_by(rows, _groups(rows))
    return codec.encode(rows)


def _search(codec: Codec, codes: Codes, queries: Rows, made: Made, how: str) -> None:
    """Numbers and scores of the best rows by every metric, and of codes among codes where these compare."""
    k = _NEAREST * -(-_SCANNED // max(len(codes), 1))  # so many different rows
    codes = np.resize(codes, (_SCANNED, codec.code_bytes))
    asked = codec.queries(_ragged(queries)) if isinstance(codec, RaggedCodec) else queries
    searchers = {f"scores by {metric}": (Searcher.of(codec, codes), metric) for metric in METRICS}
    if codec.scan_symmetric(codes[:1]) is not None:
        searchers["scores of codes"] = Searcher.of(codec, codes, symmetric=True), METRICS[0]
    for what, (searcher, metric) in searchers.items():
        every = searcher.search(asked, k, metric=metric)
        made.hold(what, f"{how}, all queries at once", *every)
        made.hold(f"{what}, {_ALONE} queries", f"{how}, all at once", *(part[:_ALONE] for part in every))
        alone = [searcher.search(asked[at : at + 1], k, metric=metric) for at in range(_ALONE)]
        both = (np.concatenate(parts) for parts in zip(*alone, strict=True))
        made.hold(f"{what}, {_ALONE} queries", f"{how}, one by one", *both)


if __name__ == "__main__":
    main()
