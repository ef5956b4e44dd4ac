"""One contender on one collection in a process of its own: a case in as JSON, its record out as JSON.

    python -m vecstore.bench.vectors.worker < case.json

Under a cap on memory the control group is entered once the collection is read; what a contender then takes,
page cache included, may not exceed it.
"""

from __future__ import annotations

import os
import time
from types import ModuleType
from typing import Any

import numpy as np

from vecstore.bench import capped, limit, machine
from vecstore.bench.contenders.base import Contender
from vecstore.bench.process import Record, answer, failure
from vecstore.bench.vectors import (
    filtered,
    hops,
    methods,
    neighbours,
    pairs,
    probe,
    reconstruction,
    sets,
    words,
)
from vecstore.bench.vectors.sets import VectorSet
from vecstore.bench.vectors.stored import Stored

TASKS: dict[str, ModuleType] = {
    "neighbours": neighbours,
    "reconstruction": reconstruction,
    "filtered": filtered,
    "words": words,
    "graph": hops,
    "probe": probe,
    "capacity": pairs,
}


def main() -> None:
    """Answers one case."""
    answer(lambda case: [run(case)])


def loaded(case: Record) -> VectorSet:
    """The collection of a case."""
    if case["input"] is not None:
        given = {"judgments": case.get("judgments"), "quick": case["quick"]}
        return sets.own(case["input"], case["queries"], case["metric"], **given)
    return sets.load(case["dataset"], case["data"], quick=case["quick"])


def run(case: Record) -> Record:
    """What was measured; `missing` instead where a package is not installed."""
    data = loaded(case)
    contender = methods.contender(case["method"], data, tuple(case["budgets"]))
    if package := contender.missing():
        return {"missing": package}
    contender.use_threads(1)
    if case["memory"] is not None:
        capped.join(case["memory"], os.getppid())
    record, stored = _kept(contender, data, case)
    errors = dict(data.troubles)
    for name, task in TASKS.items():
        if task.applies(data) and (not case["tasks"] or name in case["tasks"]):
            try:
                record |= task.measure(stored)
            except Exception as error:  # One task that a contender cannot do leaves the others.
                errors[name] = next(iter(failure(error).values()))
    if record.get("relative_mse") is not None:
        values = limit.spectrum(data.base)
        bits = 8 * record["ledger"]["total"] / len(data.base)
        record["gap_db"] = limit.gap_db(values, record["relative_mse"], bits)
    return record | ({"errors": errors} if errors else {})


def _kept(contender: Contender, data: VectorSet, case: Record) -> tuple[Record, Stored]:
    """Fitted, encoded, decoded: sizes, seconds, and the most memory that these took."""
    machine.forget_peak()
    clock = time.process_time
    started = clock()
    contender.fit(data.fit, case["seed"])
    fitted = clock()
    coded: Any = contender.encode(data.base)
    encoded = clock()
    back = None
    if contender.decodes:
        pieces = contender.decode(coded, np.empty_like(data.base))
        back = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    decoded = clock()
    peak = machine.peak_bytes()
    ledger = contender.ledger(coded, len(data.base))
    per_row = (ledger["codes"] + ledger["side"]) / len(data.base)
    record: Record = {
        "dim": data.dim, "rows": len(data.base), "fit_rows": len(data.fit), "queries": len(data.queries),
        "budget": f"{per_row:.10g}B/row", "bytes_per_row": per_row, "ledger": ledger,
        "fit_s": fitted - started, "encode_us": 1e6 * (encoded - fitted) / len(data.base),
        "decode_us": 1e6 * (decoded - encoded) / len(data.base) if back is not None else None,
        "peak_bytes": None if peak is None else peak - case["empty_bytes"],
    }  # fmt: skip
    return record, Stored(data, contender, coded, back, case["seed"])


if __name__ == "__main__":
    main()
