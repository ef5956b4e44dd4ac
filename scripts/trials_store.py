"""Tries stores under faults, cuts, kills, races and damage: one JSON line per trial for docs/reliability.

    python scripts/trials_store.py [--quick] [--out FILE] [--page FILE] [TRIAL ...]

Each trial is a function of `store_trials`; the tests run the same with small counts. Its record has `wrong`,
what was not as it should be; the exit code is 1 if there is any. One runs as root only: `tmpfs`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from store_trials import damage, faults, many, page, powercut, races

Records = Iterator[dict[str, Any]]


def try_faults(folder: str, share: float) -> Records:
    """Every call that writes, syncs or removes refused in turn."""
    for kind in faults.KINDS:
        yield faults.run(os.path.join(folder, "x.store"), kind, max(1, round(0.1 / share)))


def try_cuts(folder: str, share: float) -> Records:
    """States that power cuts may leave."""
    yield powercut.run(folder, round(5000 * share))


def try_tmpfs(folder: str, share: float) -> Records:
    """A real disk that runs full."""
    yield faults.run_full_disk(folder, max(2, round(60 * share)))


def try_writers(folder: str, share: float) -> Records:
    """Writers that race."""
    yield races.run_writers(os.path.join(folder, "x.store"), max(5, round(200 * share)))


def try_readers(folder: str, share: float) -> Records:
    """Eight readers during commits."""
    yield races.run_readers(os.path.join(folder, "x.store"), max(20, round(1000 * share)), readers=8)


def try_kills(folder: str, share: float) -> Records:
    """Writers that are killed while others read."""
    yield races.run_kills(os.path.join(folder, "x.store"), max(2, round(200 * share)))
    yield races.run_stream_kills(os.path.join(folder, "y.store"), max(2, round(100 * share)))
    yield races.run_bulk_kills(folder, max(2, round(100 * share)), 100_000)


def try_damage(folder: str, share: float) -> Records:
    """Damage to any file."""
    for kind in damage.KINDS:
        yield damage.run(folder, kind, round((5000 if kind == "flip" else 1000) * share))


def try_versions(folder: str, share: float) -> Records:
    """Commits after many versions."""
    for count in (0, round(100_000 * share)):
        yield many.run(os.path.join(folder, f"{count}.store"), count)


TRIALS: dict[str, Callable[[str, float], Records]] = {
    "faults": try_faults, "tmpfs": try_tmpfs, "cuts": try_cuts, "writers": try_writers,
    "readers": try_readers, "kills": try_kills, "damage": try_damage, "versions": try_versions,
}  # fmt: skip


def main() -> None:
    """Runs the trials that are named, all by default, and prints their lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("trials", nargs="*", default=list(TRIALS), metavar="TRIAL", help=", ".join(TRIALS))
    parser.add_argument("--quick", action="store_true", help="a hundredth of the counts")
    parser.add_argument("--out", metavar="FILE", help="keep the records here, in place of older ones")
    parser.add_argument("--page", metavar="FILE", help="the page of what is in --out (TRIAL none: only that)")
    options = parser.parse_args()
    wrong = 0
    for name in options.trials if options.trials != ["none"] else []:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            for record in TRIALS[name](folder, 0.01 if options.quick else 1.0):
                record["seconds"] = round(time.perf_counter() - start, 1)
                print(json.dumps(record), flush=True)
                wrong += len(record["wrong"])
                if options.out:
                    page.merged(options.out, record)
    if options.page:
        with open(options.out, encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
        with open(options.page, "w", encoding="utf-8") as file:
            file.write(page.page(records))
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
