"""What the codecs are meant to reach against their peers, and whether records say that they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Record = dict[str, Any]
LOSSLESS_PEERS = ("zstd", "parquet", "blosc2", "pcodec")


@dataclass(frozen=True)
class Line:
    """One target and what was found. kept is None where nothing was measured."""

    what: str
    found: str
    kept: bool | None

    @property
    def verdict(self) -> str:
        """For a table."""
        return {True: "yes", False: "no", None: "not measured"}[self.kept]


def judge(records: Sequence[Record]) -> list[Line]:
    """All targets, from the one-thread pairs on data sets of at least a thousand rows."""
    pairs = [r for r in records if r["kind"] == "pair" and r["threads"] == 1 and _sound(r)]
    products = [r for r in pairs if r["topic"] == "pq"]
    return [*_product(products), *_lossless(pairs), *_sizes(records)]


def _sound(record: Record) -> bool:
    return "error" not in record and "missing" not in record and record["dataset"] != "limit_small_minilm"


def _product(pairs: list[Record]) -> Iterator[Line]:
    encode = [r["encode_ratio"] for r in pairs]
    yield _least("PQ encode, ratio to FAISS: median >= 2.5", encode, 2.5, middle=True)
    yield _least("PQ encode, ratio to FAISS: each >= 2", encode, 2.0)
    yield _least("PQ decode, ratio to FAISS: each >= 2", [r["decode_ratio"] for r in pairs], 2.0)
    shares = [r["decode_to_memcpy_ratio"] for r in pairs]
    yield _least("PQ decode, share of memcpy: each >= 0.7", shares, 0.7)
    yield _least("k-means, ratio of FAISS's time: each >= 2", [r["fit_ratio"] for r in pairs], 2.0)
    losses = [r["fit_mse_peer"] / r["fit_mse_ours"] for r in pairs]
    yield _least("k-means, FAISS's distortion to ours: each >= 1", losses, 1.0, digits=4)


def _lossless(pairs: list[Record]) -> Iterator[Line]:
    for mode, encode, decode in (("plain", 300, 800), ("best", 100, 400)):
        mine = [r for r in pairs if r["method"] == f"lossless:mode={mode}"]
        for what, least in (("encode", encode), ("decode", decode)):
            # A set is in several pairs; its speed is the median of them.
            by_set = {
                r["dataset"]: [p[f"{what}_ours_mb_s"] for p in mine if p["dataset"] == r["dataset"]]
                for r in mine
            }
            found = [median(speeds) for speeds in by_set.values()]
            yield _least(f"lossless {mode}, {what} MB/s: each set >= {least}", found, least, digits=0)


def _sizes(records: Sequence[Record]) -> Iterator[Line]:
    """lossless best against the smallest peer, set by set."""
    ratios = []
    sets = dict.fromkeys(r["dataset"] for r in records if r["kind"] == "method" and _sound(r))
    for name in sets:
        sizes = {
            r["method"]: r["ledger"]["codes"]
            for r in records
            if r["kind"] == "method" and r["dataset"] == name and _sound(r) and r["relative_mse"] == 0
        }
        peers = [
            size for method, size in sizes.items() if method.partition(":")[0] not in ("lossless", "f32")
        ]
        if peers and "lossless:mode=best" in sizes:
            ratios.append(min(peers) / sizes["lossless:mode=best"])
    yield _least("lossless best, smallest peer's bytes to ours: each set >= 1", ratios, 1.0, digits=4)


def _least(what: str, found: list[float], bound: float, *, middle: bool = False, digits: int = 2) -> Line:
    if not found:
        return Line(what, "-", None)
    text = f"median {median(found):,.{digits}f}, {min(found):,.{digits}f} to {max(found):,.{digits}f}"
    value = median(found) if middle else min(found)
    return Line(what, f"{text} ({len(found)})", value >= bound)
