"""One measurement in a process of its own: a case comes in as JSON, its record goes out as JSON.

    python -m vecstore.bench.worker < case.json

The process keeps to as many processors as the case has threads, from before any library starts threads of
its own. Whatever a contender raises becomes the record's `error`.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np

from vecstore import registry
from vecstore.bench import datasets, limit, machine, timing
from vecstore.bench.contenders import ladder
from vecstore.bench.contenders.base import Contender
from vecstore.bench.contenders.catalog import CELLS, Pair, contenders
from vecstore.bench.contenders.own import Own
from vecstore.bench.datasets import Dataset
from vecstore.bench.fidelity import goal_sizes
from vecstore.bench.process import answer
from vecstore.bench.quality import KS, inner_products, nearest, recalls, relative_mse, with_error
from vecstore.codecs.base import Codec, Rows
from vecstore.codecs.pq import Pq
from vecstore.codecs.tcq import Tcq
from vecstore.codecs.transforms.pca import product

Record = dict[str, Any]

_ROW_BYTES = {False: 48 << 20, True: 4 << 20}  # float32 rows that a timed run takes; True: --quick
_RUN_S = {False: 0.4, True: 0.1}  # a slow contender gets fewer rows, so that one run takes about this
_PROBE_ROWS = 256
_LIMIT_POINTS = 97
_BATCH_BYTES = 1 << 19
_FIT_RUNS = 5
_FIT_ROWS = 32_000  # at least, by repetition: on fewer, FAISS takes a path that is up to ten times slower


def main() -> None:
    """Answers one case."""
    answer(lambda case: [run(case)])


def run(case: Record) -> Record:
    """The measured part of a record; `missing` instead where a package is not installed."""
    data = datasets.load(case["dataset"], case["data"], quick=case["quick"])
    if case["kind"] == "limit":
        return _limit(data)
    if case["kind"] == "cells":
        return _cells(case["method"].removeprefix(CELLS), data, case)
    if case["kind"] == "quality":
        wanted = ladder.sizes(data.dim, goal_sizes(data.name), quick=case["quick"])
        chosen = [ladder.contender(case["method"], data.dim, wanted, data.metric)]
    else:
        known = contenders(data.dim)
        labels = [label for label in (case["method"], case.get("peer")) if label]
        chosen = [known[label] if label in known else Own(label) for label in labels]
    for contender in chosen:
        if package := contender.missing():
            return {"missing": package}
        contender.use_threads(case["threads"])
        contender.warm(data.fit)
    if case["kind"] == "pair":
        return _pair(Pair(**case["pair"]), chosen[0], chosen[1], data, case)
    record, rows = _method(chosen[0], data, case)
    return record if case["kind"] == "quality" else record | _speed(chosen[0], rows, case)


def _limit(data: Dataset) -> Record:
    """The least error of a Gaussian source with the set's covariance, by bytes a row."""
    values = limit.spectrum(data.base)
    sizes = [float(size) for size in np.geomspace(1, 4 * data.dim, _LIMIT_POINTS)]
    return {
        "dim": data.dim,
        "rows": len(data.base),
        "bytes_per_row": sizes,
        "relative_mse": None if values is None else limit.curve(values, sizes),
    }


def _cells(spec: str, data: Dataset, case: Record) -> Record:
    """The trellis search without the rotation before it."""
    codec = registry.fit(spec, data.fit, seed=case["seed"])
    assert isinstance(codec, Tcq)
    turned = product(data.base - codec.mean, codec.axes)
    times = timing.in_turn({"encode": lambda: codec.words_of(turned)}, runs=case["runs"], clock=_clock(case))
    speeds = timing.speeds("encode", times["encode"], len(turned), data.dim)
    return {"dim": data.dim, "rows": len(turned), "runs": case["runs"], **speeds}


def _method(contender: Contender, data: Dataset, case: Record) -> tuple[Record, Rows]:
    """Size and loss of one contender, and the rows that it was measured on."""
    rows = data.base if contender.learns else np.concatenate([data.fit, data.base])
    machine.forget_peak()
    clock = _clock(case)
    started = clock()
    contender.fit(data.fit, case["seed"])
    fit_s = clock() - started
    started = clock()
    coded = contender.encode(rows)
    encode_s = clock() - started
    if contender.decodes:
        _decoded(contender, coded, rows)
    peak = machine.peak_bytes()
    ledger = contender.ledger(coded, len(rows))
    per_row = (ledger["codes"] + ledger["side"]) / len(rows)
    record: Record = {
        "dim": data.dim,
        "budget": f"{per_row:.10g}B/row",
        "bytes_per_row": per_row,
        "share_of_float32": per_row / (4 * data.dim),
        "ledger": ledger,
        "rows": len(rows),
        "fit_rows": len(data.fit),
        "fit_s": fit_s,
        "encode_once_s": encode_s,
        "peak_bytes": None if peak is None else peak - case["empty_bytes"],
        **_loss(contender, coded, rows, data),
    }
    bits = 8 * per_row, 8 * ledger["total"] / len(rows)
    values = None if contender.lossless else limit.spectrum(rows)
    for name, size in zip(("gap_codes_db", "gap_db"), bits, strict=True):
        record[name] = limit.gap_db(values, record["relative_mse"], size)
    return record, rows


def _clock(case: Record) -> timing.Clock:
    """One thread is timed by its own processor time, several by the wall."""
    return time.process_time if case["threads"] == 1 else time.perf_counter


def _decoded(contender: Contender, coded: Any, rows: Rows) -> Rows:
    pieces = contender.decode(coded, np.empty_like(rows))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _loss(contender: Contender, coded: Any, rows: Rows, data: Dataset) -> Record:
    """Errors are of decoded rows, where it decodes; recall is by its own search, where it has one."""
    back = _decoded(contender, coded, rows) if contender.decodes else None
    if contender.lossless:
        if back is None or back.tobytes() != rows.tobytes():
            raise ArithmeticError("the rows that came back are not the rows, bit for bit")
        exact = {f"recall_at_{k}": 1.0 if k < len(rows) else None for k in KS}
        return {"relative_mse": 0.0, "ip_error": 0.0, "ip_slope": 1.0, **exact}
    found: Record = {"relative_mse": None, "ip_error": None, "ip_slope": None}
    if back is not None:
        found["relative_mse"] = relative_mse(rows, back)
        found["ip_error"], found["ip_slope"] = inner_products(rows, back, data.queries)
    order = contender.search(coded, data.queries, max(KS))
    if order is None and back is not None:
        order = nearest(back, data.queries, data.metric, max(KS))
    if order is None:
        raise TypeError(f"{contender.label} neither decodes nor searches")
    for k, shares in recalls(rows, order, data.queries, data.metric).items():
        mean, error = (None, None) if shares is None else with_error(shares)
        found |= {f"recall_at_{k}": mean, f"recall_at_{k}_error": error}
    return found


def _speed(contender: Contender, rows: Rows, case: Record) -> Record:
    found: Record = {"runs": case["runs"]}
    times, counts = _times({"": contender}, rows, case)
    for what, seconds in times.items():
        found |= timing.speeds(what, seconds, counts[what], rows.shape[1])
    return found | timing.ratios("decode_to_memcpy", times["decode"], times["memcpy"])


def _times(who: dict[str, Contender], rows: Rows, case: Record) -> tuple[timing.Times, dict[str, int]]:
    """Seconds of each job, run in turn, and the rows that it took.

    `encode`, `decode` and `batch`, with the contender's name behind (`encode_ours`); `memcpy` of as many
    bytes as are decoded. `batch` decodes again and again into a buffer that stays in the cache, as a stream
    of small batches does.
    """
    given = _enough(rows, list(who.values()), "encode", case["quick"])
    wanted = _enough(rows, list(who.values()), "decode", case["quick"])
    out, copy = np.empty_like(wanted), np.empty_like(wanted)
    encoding: dict[str, timing.Job] = {}
    decoding: dict[str, timing.Job] = {}
    for name, contender in who.items():
        suffix = f"_{name}" if name else ""
        encoding[f"encode{suffix}"] = partial(contender.encode, given)
        decoding[f"decode{suffix}"] = partial(contender.decode, contender.encode(wanted), out)
    decoding["memcpy"] = partial(np.copyto, copy, wanted)
    small = wanted[: max(1, _BATCH_BYTES // (4 * rows.shape[1]))]
    batches: dict[str, timing.Job] = {
        f"batch_{name}" if name else "batch": partial(
            contender.decode, contender.encode(small), out[: len(small)]
        )
        for name, contender in who.items()
    }
    times: timing.Times = {}
    counts: dict[str, int] = {}
    for jobs, count in ((encoding, len(given)), (decoding, len(wanted)), (batches, len(small))):
        times |= timing.in_turn(jobs, runs=case["runs"], clock=_clock(case))
        counts |= dict.fromkeys(jobs, count)
    return times, counts


def _enough(rows: Rows, against: list[Contender], what: str, quick: bool) -> Rows:
    """Rows for timed runs: repeated where the set is small, fewer where the slowest contender needs it.

    Those that compress without learning get no repeated rows, which they could find.
    """
    wanted = max(1, _ROW_BYTES[quick] // (4 * rows.shape[1]))
    probe = rows[:_PROBE_ROWS]
    out = np.empty_like(probe)
    for contender in against:
        coded = contender.encode(probe)
        contender.decode(coded, out)
        started = time.process_time()
        contender.encode(probe) if what == "encode" else contender.decode(coded, out)
        per_row = (time.process_time() - started) / len(probe)
        wanted = min(wanted, max(len(probe), int(_RUN_S[quick] / per_row)))
    if wanted > len(rows) and all(contender.learns for contender in against):
        rows = np.tile(rows, (-(-wanted // len(rows)), 1))
    return np.ascontiguousarray(rows[:wanted])


def _pair(pair: Pair, ours: Contender, peer: Contender, data: Dataset, case: Record) -> Record:
    """Ratios of two contenders, their runs taken in turn."""
    both = {"ours": ours, "peer": peer}
    found: Record = {"dim": data.dim}
    if pair.fits:
        rows = np.concatenate([data.fit, data.base])
        if not case["quick"]:
            rows = np.tile(rows, (-(-_FIT_ROWS // len(rows)), 1))
        found |= _fit_ratios(both, rows, case)
    else:
        for contender in both.values():
            contender.fit(data.fit, case["seed"])
    rows = data.base if ours.learns else np.concatenate([data.fit, data.base])
    times, counts = _times(both, rows, case)
    for what, seconds in times.items():
        found |= timing.speeds(what, seconds, counts[what], data.dim)
    for what in ("encode", "decode", "batch"):
        found |= timing.ratios(what, times[f"{what}_ours"], times[f"{what}_peer"])
    found |= timing.ratios("decode_to_memcpy", times["decode_ours"], times["memcpy"])
    for who, contender in both.items():
        found[f"bytes_{who}"] = contender.ledger(contender.encode(rows), len(rows))["codes"]
    return found | {"rows": len(rows), "runs": case["runs"], **_agreement(ours, peer, rows)}


def _fit_ratios(both: dict[str, Contender], rows: Rows, case: Record) -> Record:
    """Time of fit on all rows and the distortion on these rows, what k-means minimises."""
    jobs: dict[str, timing.Job] = {
        who: partial(contender.fit, rows, case["seed"]) for who, contender in both.items()
    }
    times = timing.in_turn(jobs, runs=min(_FIT_RUNS, case["runs"]), least_s=0.0, clock=_clock(case))
    found: Record = {"fit_rows": len(rows), **timing.ratios("fit", times["ours"], times["peer"])}
    for who, contender in both.items():
        found[f"fit_s_{who}"] = float(np.median(times[who]))
        found[f"fit_mse_{who}"] = relative_mse(rows, _decoded(contender, contender.encode(rows), rows))
    return found


def _agreement(ours: Contender, peer: Contender, rows: Rows) -> Record:
    """Share of equal codes when both use the peer's centroids: the two must do the same work."""
    codec = ours.codec if isinstance(ours, Own) else None
    if not isinstance(codec, Pq) or codec.bits != 8 or peer.family != "faiss":
        return {}
    import faiss

    quantizer = peer.quantizer  # type: ignore[attr-defined]
    centroids = faiss.vector_to_array(quantizer.centroids).reshape(codec.m, 256, -1)
    shared = np.ascontiguousarray(centroids.transpose(1, 0, 2).reshape(256, -1))
    twin: Codec = Pq(dim=codec.dim, m=codec.m, bits=8, centroids=shared)
    return {"equal_codes": float(np.mean(twin.encode(rows[:4096]) == peer.encode(rows[:4096])))}


if __name__ == "__main__":
    main()
