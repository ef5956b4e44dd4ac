"""A measurement in a process of its own: a case goes in as JSON, its records come out as JSON lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from vecstore.bench import machine
from vecstore.errors import BudgetError, said

Record = dict[str, Any]
_RECORD = '{"'  # how a record begins
_LONGEST = 300  # characters of what went wrong
_PACKAGES = Path(__file__).resolve().parents[2]


def record_of(module: str, case: Record, longest_s: float, **variables: str) -> Record:
    """The one record, or `error`, that `records_of` has last."""
    return records_of(module, case, longest_s, **variables)[-1]


def records_of(module: str, case: Record, longest_s: float, **variables: str) -> list[Record]:
    """What `python -m module` makes of a case; last an `error`, in words, whatever happens to the process.

    variables: of its environment, beside ours.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module], input=json.dumps(case), timeout=longest_s,
            env=environment() | variables, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [{"error": f"took longer than {longest_s:g} s"}]
    # Libraries of others may print what they like.
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(_RECORD)]
    if done.returncode or not found:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        found.append({"error": f"the process ended with {done.returncode}: {last}"[:_LONGEST]})
    return found


def answer(run: Callable[[Record], Iterable[Record]], threads: str | None = "threads") -> None:
    """What the process does: reads a case from stdin, writes its records to stdout.

    threads: what a case calls the number that it may have, one by default; None where it takes its own. A
    contender may fail in any way: then the record says so, and the run goes on.
    """
    case = json.load(sys.stdin)
    if threads is not None:
        machine.pin(case.get(threads, 1))
    try:
        for record in run(case):
            print(json.dumps(record), flush=True)
    except Exception as error:
        print(json.dumps(failure(error)), flush=True)


def failure(error: Exception) -> Record:
    """What a record says of a case that ended in an error."""
    return {"infeasible" if isinstance(error, BudgetError) else "error": said(error)[:_LONGEST]}


def trouble(record: Record) -> str:
    """Why a record has no figures; empty where it has."""
    if "missing" in record and not isinstance(record["missing"], list):  # a list: of some peers
        return f"{record['missing']} is not installed"
    known = {"error": "failed", "infeasible": "infeasible"}
    return next((f"{word}: {record[key]}" for key, word in known.items() if key in record), "")


def environment() -> dict[str, str]:
    """Ours, with the package in reach and without what makes a BLAS run code for another processor."""
    found = {key: value for key, value in os.environ.items() if key != "OPENBLAS_CORETYPE"}
    found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGES), os.environ.get("PYTHONPATH")]))
    return found


@lru_cache(maxsize=1)
def empty_interpreter() -> int:
    """Peak memory of a Python that does nothing, bytes."""
    program = "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return 1024 * int(done.stdout) if not done.returncode else 0
