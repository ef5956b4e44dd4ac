"""Tries stores under faults, cuts, kills, races and damage: one JSON line per trial for docs/reliability.

    python scripts/trials_store.py [--quick] [TRIAL ...]

Trials: faults, cuts. Each is a function of `store_trials`; the tests run the same with small counts.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from store_trials import faults, powercut

Records = Iterator[dict[str, Any]]


def try_faults(folder: str, share: float) -> Records:
    """Every call that writes, syncs or removes refused in turn."""
    for kind in faults.KINDS:
        yield faults.run(os.path.join(folder, "x.store"), kind, max(1, round(0.1 / share)))


def try_cuts(folder: str, share: float) -> Records:
    """States that power cuts may leave."""
    yield powercut.run(folder, round(10_000 * share))


TRIALS: dict[str, Callable[[str, float], Records]] = {"faults": try_faults, "cuts": try_cuts}


def main() -> None:
    """Runs the trials that are named, all by default, and prints their lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("trials", nargs="*", default=list(TRIALS), metavar="TRIAL", choices=list(TRIALS))
    parser.add_argument("--quick", action="store_true", help="a hundredth of the counts")
    options = parser.parse_args()
    for name in options.trials:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            for record in TRIALS[name](folder, 0.01 if options.quick else 1.0):
                seconds = round(time.perf_counter() - start, 1)
                print(json.dumps({**record, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
