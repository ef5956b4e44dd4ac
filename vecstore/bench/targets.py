"""What the codecs are meant to reach against their peers, and whether records say that they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from vecstore.bench import fidelity, sameness
from vecstore.bench.line import Line
from vecstore.bench.process import trouble

Record = dict[str, Any]
COMMAND = "--methods pairs"


def judge(records: Sequence[Record]) -> list[Line]:
    """All targets; those of speed from the one-thread pairs on data sets of at least a thousand rows."""
    pairs = [r for r in records if r["kind"] == "pair" and r["threads"] == 1 and _sound(r)]
    products = [r for r in pairs if r["topic"] == "pq"]
    lines = [*_product(products), *_others(pairs), *_cells(records), *_lossless(pairs), *_sizes(records)]
    return [*lines, *sameness.judge(records), *fidelity.judge([r for r in records if _sound(r)])]


def _sound(record: Record) -> bool:
    return not trouble(record) and record["dataset"] != "limit_small_minilm"


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


def _others(pairs: list[Record]) -> Iterator[Line]:
    """Time of encode against FAISS's codec of the same kind."""
    for name, peer, least in (
        ("rq", "rq", 3),
        ("lsq", "lsq", 2),
        ("rabitq", "rabitq", 3),
        ("hadamard", "eden", 3),
    ):
        found = [
            r["encode_ratio"]
            for r in pairs
            if (_name(r["method"]), _name(r["peer"])) == (name, f"faiss {peer}")
        ]
        yield _least(f"{name} encode, ratio to FAISS's {peer}: each >= {least}", found, least)


def _cells(records: Sequence[Record]) -> Iterator[Line]:
    """The trellis search by itself, and decoding of whole batches."""
    one = [r for r in records if r["threads"] == 1 and _sound(r)]
    for states, most in ((64, 8), (256, 20)):
        what = f"trellis search of 384 dimensions at 2 bits, {states} states, us a row: <= {most}"
        slow = [
            1e6 / r["encode_rows_s"] for r in one if r["kind"] == "cells" and f"={states}," in r["method"]
        ]
        found = f"{max(slow):.1f}" if slow else "-"
        yield Line(what, found, max(slow) <= most if slow else None, "--methods 'cells*'")
    decode = [r["decode_mb_s"] for r in one if r["kind"] == "method" and r["method"] == "tcq"]
    line = _least("tcq decode, MB/s: each set >= 1,000", decode, 1000, digits=0)
    yield replace(line, command="--methods tcq")


def _name(label: str) -> str:
    return label.partition(":")[0]


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
    line = _least("lossless best, smallest peer's bytes to ours: each set >= 1", ratios, 1.0, digits=4)
    yield replace(line, command="")


def _least(what: str, found: list[float], bound: float, *, middle: bool = False, digits: int = 2) -> Line:
    if not found:
        return Line(what, "-", None, COMMAND)
    text = f"median {median(found):,.{digits}f}, {min(found):,.{digits}f} to {max(found):,.{digits}f}"
    value = median(found) if middle else min(found)
    return Line(what, f"{text} ({len(found)})", value >= bound, COMMAND)
