"""A measurement in a process of its own: a case goes in as JSON, its record comes out as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

Record = dict[str, Any]
_PACKAGES = Path(__file__).resolve().parents[2]


def record_of(module: str, case: Record, longest_s: float) -> Record:
    """What `python -m module` makes of a case; its `error`, in words, whatever happens to the process."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", module], input=json.dumps(case),
            capture_output=True, text=True, timeout=longest_s, env=environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {longest_s:g} s"}
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        return {"error": f"the process ended with {done.returncode}: {last}"[:300]}
    found: Record = json.loads(done.stdout.splitlines()[-1])
    return found


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
