"""Time of a lookup and of a step of large tables, beside torch and FBGEMM, runs taken in turn."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from importlib import util
from typing import Any

import numpy as np

from vecstore.bench import machine, timing
from vecstore.bench.tables import walks
from vecstore.bench.tables.clicks import F32, I64
from vecstore.codecs.tables.making import Wish, make
from vecstore.kernels.threads import set_threads

Record = dict[str, Any]
Jobs = tuple[Callable[[], object], Callable[[], object]]  # a lookup, and a whole step
TASK = "tables-speed"
DIMS = (16, 64)
_SIZES = {False: (1_000_000, 4096), True: (20_000, 512)}  # rows, bags; True: --quick
_IDS, _BATCHES, _RUNS, _QUICK_RUNS = 26, 16, 7, 2
_LR = 0.01
_WARM_ROWS = 1000
OURS = {"plain": "plain", "int8": "int8", "unified": "unified"}  # unified: two chunks


def run(case: Record) -> Record:
    """Nanoseconds an id of each contender's lookup and step: median and least of runs in turn."""
    set_threads(case["threads"])
    rows, bags = _SIZES[case["quick"]]
    batches, slope = _batches(rows, bags), _slope(bags, case["dim"])
    clock = time.process_time if case["threads"] == 1 else time.perf_counter
    record: Record = {"dim": case["dim"], "rows": rows, "bags": bags, "ids": _IDS, "missing": []}
    contenders: dict[str, Jobs] = {}
    for name, method in OURS.items():
        _ours(method, _WARM_ROWS, [ids % _WARM_ROWS for ids in batches[:1]], slope)[1]()  # compiles
        contenders[name] = _ours(method, rows, batches, slope)
        held = machine.forget_peak()
        contenders[name][1]()
        if held is not None:
            record[f"{name}_step_bytes"] = (machine.peak_bytes() or held) - held
    ids, runs = bags * _IDS, _QUICK_RUNS if case["quick"] else _RUNS
    found: dict[str, dict[str, float]] = {}
    if case["threads"] > 1:  # Threads of peers go on turning for a while when they have no more to do.
        found |= _timed(contenders, ids, runs, clock)
        contenders.clear()
    import torch

    torch.set_num_threads(case["threads"])
    contenders["torch sparse Adagrad"] = _torch("Adagrad", rows, batches, slope)
    contenders["torch SparseAdam"] = _torch("SparseAdam", rows, batches, slope)
    if util.find_spec("fbgemm_gpu"):
        contenders["FBGEMM row-wise Adagrad"] = _fbgemm(rows, batches, slope)
    else:
        record["missing"].append("fbgemm-gpu-cpu")
    found |= _timed(contenders, ids, runs, clock)
    if case["threads"] == 1 and case["dim"] == walks.LINE_VALUES:
        record["walk_ns"] = walks.walks(batches, rows)
    return record | {"times": found, "runs": runs}


def _timed(
    contenders: Mapping[str, Jobs], ids: int, runs: int, clock: timing.Clock
) -> dict[str, dict[str, float]]:
    """Nanoseconds an id of lookups and steps, runs taken in turn."""
    found: dict[str, dict[str, float]] = {}
    for at, what in enumerate(("lookup", "step")):
        jobs: dict[str, timing.Job] = {name: both[at] for name, both in contenders.items()}
        times = timing.in_turn(jobs, runs=runs, clock=clock)
        for name, each in times.items():
            scaled = 1e9 * np.array(each) / ids
            found.setdefault(name, {})[f"{what}_ns"] = float(np.median(scaled))
            found[name][f"{what}_ns_min"] = float(scaled.min())
    return found


def _batches(rows: int, bags: int) -> list[I64]:
    """Bags of ids by Zipf's law (1.05), which lie anywhere in the table."""
    rng = np.random.default_rng(9)
    weights = np.cumsum(np.arange(1, rows + 1) ** -1.05)
    places = rng.permutation(rows)
    return [
        places[np.searchsorted(weights, weights[-1] * rng.random((bags, _IDS)))].astype(np.int64)
        for _ in range(_BATCHES)
    ]


def _slope(bags: int, dim: int) -> F32:
    return np.random.default_rng(10).standard_normal((bags, dim), np.float32) / np.float32(bags)


def _ours(method: str, rows: int, batches: list[I64], slope: F32) -> Jobs:
    options = {"chunks": 2} if method == "unified" else {}
    table = make(Wish(method, {"x": rows}, slope.shape[1], options=options))
    turn = itertools.cycle(batches)

    def step() -> None:
        table.lookup({"x": next(turn)})
        table.update({"x": slope}, _LR)

    return lambda: table.lookup({"x": next(turn)}), step


def _torch(optimizer: str, rows: int, batches: list[I64], slope: F32) -> Jobs:
    import torch

    table = torch.nn.EmbeddingBag(rows, slope.shape[1], mode="sum", sparse=True)
    rule = getattr(torch.optim, optimizer)(table.parameters(), lr=_LR)
    turn, gradient = itertools.cycle([torch.from_numpy(ids) for ids in batches]), torch.from_numpy(slope)

    def lookup() -> None:
        with torch.no_grad():
            table(next(turn))

    def step() -> None:
        rule.zero_grad()
        table(next(turn)).backward(gradient)
        rule.step()

    return lookup, step


def _fbgemm(rows: int, batches: list[I64], slope: F32) -> Jobs:
    import torch
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

    table = SplitTableBatchedEmbeddingBagsCodegen(
        [(rows, slope.shape[1], EmbeddingLocation.HOST, ComputeDevice.CPU)],
        optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD, learning_rate=_LR,
    )  # fmt: skip
    offsets = torch.arange(0, (len(slope) + 1) * _IDS, _IDS)
    turn = itertools.cycle([torch.from_numpy(ids.reshape(-1)) for ids in batches])
    gradient = torch.from_numpy(slope)

    def lookup() -> None:
        with torch.no_grad():
            table(next(turn), offsets)

    def step() -> None:
        table(next(turn), offsets).backward(gradient)

    return lookup, step
