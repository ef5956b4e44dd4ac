"""Whether a codec makes the same bytes on every instruction set, thread count and batch size, and whether its
searches give the same scores: cases, their records, and what a page says of them.

Each instruction set is a process of its own (`same_worker`). Scores are compared inside each: they are sums
in the order of its registers, so that other sets give others in the last digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from vecstore.bench.contenders.catalog import subspaces
from vecstore.bench.line import Line
from vecstore.bench.process import record_of, trouble
from vecstore.kernels.isa import available

Record = dict[str, Any]
SAME = "same"  # the kind of records, and how all of them are asked for
LABEL = f"{SAME} "  # of labels, before the spec
COMMAND = f"--methods {SAME}"
_SEARCHES = "scores"
_FEW = 8  # one of so many shows that all works


def labels(dim: int, few: bool = False) -> list[str]:
    """Of every codec and every transform, with one setting or two, for rows of this width; or of few."""
    return [f"{LABEL}{spec}" for spec in _specs(dim)[:: _FEW if few else 1]]


def _specs(dim: int) -> list[str]:
    m, half = subspaces(dim)[:2][-1], max(1, dim // 2)
    return [
        "f32", "f16", "bf16", "lossless:mode=best", "lossless:mode=plain",
        "sq:bits=8", "sq:bits=6", "sq:bits=4,clip=0.01", f"pq:m={m}", f"pq:m={m},bits=4",
        "rq:m=8", "rq:m=4,beam=1", "prq:m=8,splits=2", "lsq:m=4",
        "sign", "sign:scale=true", "itq", f"itq:bits={half}", "rbe:bits=2", "rbe:bits=3,rotate=true",
        "hadamard:bits=1", "hadamard:bits=3,scale=mse", "rabitq", "rabitq:bits=4",
        "klt:bits=2", "klt:bytes=12,scale=mse", "tcq", "tcq:bits=4,states=64,stages=0",
        "tcq:bytes=9,stages=1,states=64,scale=length",
        "center+sq", f"normalize+pq:m={m}", "rotate+normalize+sq:bits=4", "whiten+sq:bits=6",
        f"pca:dim={half}+sq", f"opq:m={m}+pq:m={m}", f"prefix:dim={half}+f16", f"center+jl:dim={half}+sq",
        "normalize+relative:anchors=50+sq", "groupcenter:by=group+sq", "fde:reps=2,bits=2,dim=4+sq",
    ]  # fmt: skip


def record(case: Record, longest_s: float) -> Record:
    """The measured part of a case's record, or `error`. Each instruction set has longest_s."""
    found: dict[str, Record] = {}
    for isa in available():
        found[isa] = record_of("vecstore.bench.same_worker", case, longest_s, VECSTORE_ISA=isa)
        if why := trouble(found[isa]):
            return {"error": f"{isa}: {why}"}
    return compared(found)


def compared(found: dict[str, Record]) -> Record:
    """One record of those of the instruction sets, {name: record}, the best set first."""
    best, first = next(iter(found.items()))
    kept = {what: digest for what, digest in first["digests"].items() if not what.startswith(_SEARCHES)}
    differs = [f"{isa}: {what}" for isa, made in found.items() for what in made["differs"]]
    apart = [
        f"{isa} and {best}: {what}"
        for isa, made in found.items()
        for what, digest in kept.items()
        if made["digests"].get(what) != digest
    ]
    inside = {what.startswith(_SEARCHES) for made in found.values() for what in made["differs"]}
    scored = len(kept) < len(first["digests"])
    told = ("dim", "rows", "fit_rows", "queries", "thread_counts", "batches")
    return {
        **{key: first[key] for key in told},
        "sets": list(found),
        "digest": sha256("".join(kept.values()).encode()).hexdigest(),  # to be held against other machines'
        "same_over_sets": not apart,
        "same_over_threads_and_batches": False not in inside,
        "same_scores": True not in inside if scored else None,
        "differs": [*apart, *differs],
    }


def judge(records: Sequence[Record]) -> list[Line]:
    """Two targets: codes, and scores. A case that failed is one that is not kept."""
    own = [r for r in records if r["kind"] == SAME]
    scored = [r for r in own if trouble(r) or r["same_scores"] is not None]
    good = next((r for r in own if not trouble(r)), None)
    ways = "threads and batches"
    if good:
        threads, batches = (" and ".join(map(str, good[key])) for key in ("thread_counts", "batches"))
        ways = f"{threads} threads, batches of {batches} and all"
    return [
        _line(f"same codec, codes and decoded rows on every instruction set of the kernels, {ways}", own,
              [not trouble(r) and r["same_over_sets"] and r["same_over_threads_and_batches"] for r in own]),
        _line(f"same scores on each instruction set, {ways.partition(',')[0]}, queries together and alone",
              scored, [not trouble(r) and r["same_scores"] for r in scored]),
    ]  # fmt: skip


def _line(what: str, own: Sequence[Record], kept: Sequence[bool]) -> Line:
    if not own:
        return Line(f"{what}: every codec", "-", None, COMMAND)
    sets = ", ".join(dict.fromkeys(isa for r in own for isa in r.get("sets", [])))
    text = (
        f"{sum(kept)} of {len(kept)} codecs fitted on {len({r['dataset'] for r in own})} data sets ({sets})"
    )
    return Line(f"{what}: every codec", text, all(kept), COMMAND)


def table(good: Sequence[Record]) -> tuple[str, list[str], list[list[str]]] | None:
    """Every codec, over the data sets that it was measured on; None without such records."""
    own = [r for r in good if r["kind"] == SAME]
    lines = []
    for method in dict.fromkeys(r["method"] for r in own):
        here = [r for r in own if r["method"] == method]
        scores = [r["same_scores"] for r in here if r["same_scores"] is not None]
        lines.append([
            method.removeprefix(LABEL), ", ".join(dict.fromkeys(r["dataset"] for r in here)),
            ", ".join(dict.fromkeys(isa for r in here for isa in r["sets"])),
            _told([r["same_over_sets"] for r in here]),
            _told([r["same_over_threads_and_batches"] for r in here]),
            _told(scores), "; ".join(dict.fromkeys(what for r in here for what in r["differs"])) or "-",
        ])  # fmt: skip
    header = [
        "codec", "data sets", "instruction sets", "same over these", "over threads and batches",
        "same scores", "what differs",
    ]  # fmt: skip
    return ("Same bytes everywhere", header, lines) if lines else None


def _told(found: Sequence[bool]) -> str:
    return ("yes" if all(found) else "no") if found else "-"
