"""One run of `bench tables` in a process of its own: a case in as JSON, its record out as JSON.

python -m vecstore.bench.tables.worker < case.json
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from vecstore.bench import machine
from vecstore.bench.process import answer, failure
from vecstore.bench.tables import clicks, networks, speed
from vecstore.bench.tables.clicks import Clicks
from vecstore.bench.tables.methods import Method
from vecstore.bench.tables.scores import auc, logloss, tail
from vecstore.bench.tables.training import Trained, logits, train
from vecstore.codecs.tables.table import Table
from vecstore.kernels.threads import set_threads

Record = dict[str, Any]
_LOOKUP_ROWS, _LOOKUP_RUNS = 4096, 5


def main() -> None:
    """Answers one case."""
    answer(lambda case: [run(case)])


def run(case: Record) -> Record:
    """What was measured; `infeasible` or `error` instead, in words, where there is nothing."""
    try:
        networks.need()
        if case["task"] == speed.TASK:
            return speed.run(case)
        set_threads(1)
        return _measured(clicks.load(case["dataset"], case["data"], quick=case["quick"]), case)
    except Exception as error:  # A method may fail in any way; the run goes on and the page says so.
        return failure(error)


def _measured(data: Clicks, case: Record) -> Record:
    """The best of the learning rates that are tried, by the AUC of the validation part."""
    method = Method.of(case["method"])
    _warm(method.table(data, case["budget"], case["seed"]), data)
    tried: list[tuple[float, float, Trained, dict[str, int]]] = []
    machine.forget_peak()
    for times in case["rates"]:
        lr = (method.lr or data.recipe.lr) * times
        table = method.table(data, case["budget"], case["seed"])
        sizes = bytes_of(table)
        trained = train(data, table, case["seed"], lr)
        tried.append((max(trained.valid), lr, trained, sizes))
        trained.valid = [round(value, 5) for value in trained.valid]
    valid, lr, best, sizes = max(tried, key=lambda each: each[0])
    peak = machine.peak_bytes()
    served, test = bytes_of(best.table), data.parts["test"]
    found = logits(best.table, best.network, data, test)
    rare = tail(list(data.counts().values()), test.ids)
    ids = best.steps * data.recipe.batch * len(data.fields)
    full = 4 * data.rows * data.recipe.dim
    return {
        "auc": auc(test.labels, found), "logloss": logloss(test.labels, found),
        "tail_auc": auc(test.labels[rare], found[rare]), "tail_rows": int(rare.sum()),
        "valid_auc": valid, "valid": best.valid, "lr": lr, "epoch": best.epoch, "steps": best.steps,
        "bytes": {**sizes, "serve": served["serve"]}, "full_bytes": full, "share": served["serve"] / full,
        "knobs": list(best.table.setup.knobs[:8]), "train_s": best.seconds,
        "lookup_ns": _lookup_ns(best.table, data), "step_lookup_ns": 1e9 * best.lookup_s / ids,
        "update_ns": 1e9 * best.update_s / ids, "updates_s": best.steps / (best.lookup_s + best.update_s),
        "peak_bytes": peak,
    }  # fmt: skip


def bytes_of(table: Table) -> dict[str, int]:
    """The five byte counts of a table, from its ledger, which its live arrays must agree with."""
    ledger = table.ledger()
    live = sum(array.nbytes for array in table.arrays().values())
    if live != ledger.total:
        raise AssertionError(f"the live arrays have {live:,} bytes, the ledger says {ledger.total:,}")
    return {
        "parameters": ledger.parameters + ledger.codebooks,
        "index": ledger.maps + ledger.masks + ledger.sketches + ledger.seeds,
        "optimizer": ledger.optimizer,
        "serve": ledger.serve,
        "train": ledger.total,
    }


def _warm(table: Table, data: Clicks) -> None:
    """Has kernels compiled before they are timed."""
    ids = data.parts["train"].ids[: data.recipe.batch]
    for _ in range(2):
        found = table.lookup({name: ids[:, at] for at, name in enumerate(data.fields)})
        table.update(found, 1e-3)


def _lookup_ns(table: Table, data: Clicks) -> float:
    """Median time of a lookup of one id of the test part, processor time of one thread."""
    ids = data.parts["test"].ids[:_LOOKUP_ROWS]
    batch = {name: np.ascontiguousarray(ids[:, at]) for at, name in enumerate(data.fields)}
    times = []
    for _ in range(_LOOKUP_RUNS):
        started = time.process_time()
        table.lookup(batch)
        times.append(time.process_time() - started)
    return 1e9 * float(np.median(times)) / ids.size


if __name__ == "__main__":
    main()
