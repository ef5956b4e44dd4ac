"""Times of jobs that are run in turn, so that a change of the machine's speed meets all of them."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping

import numpy as np

Job = Callable[[], object]
Clock = Callable[[], float]
Times = dict[str, list[float]]  # seconds of each run, in order

RUNS = 5
LEAST_S = 0.02  # of one run; shorter jobs are repeated inside it


def in_turn(
    jobs: Mapping[str, Job], *, runs: int = RUNS, least_s: float = LEAST_S, clock: Clock = time.perf_counter
) -> Times:
    """Seconds of each job in each of `runs` rounds A B C A B C, after a warm-up that is not counted.

    clock: time.process_time where all is on one thread, which other processes cannot lengthen.
    """
    repeats = {}
    for name, job in jobs.items():
        job()  # compiles, fills caches
        repeats[name] = max(1, math.ceil(least_s / max(_seconds(job, 1, clock), 1e-9))) if least_s else 1
    times: Times = {name: [] for name in jobs}
    was_on = gc.isenabled()
    gc.disable()
    try:
        for _ in range(runs):
            for name, job in jobs.items():
                times[name].append(_seconds(job, repeats[name], clock))
    finally:
        if was_on:
            gc.enable()
    return times


def _seconds(job: Job, repeats: int, clock: Clock) -> float:
    started = clock()
    for _ in range(repeats):
        job()
    return (clock() - started) / repeats


def speeds(what: str, times: list[float], rows: int, dim: int) -> dict[str, float]:
    """MB/s of float32 (median, least, most; MB = 10^6 bytes) and median rows/s, as keys of a record."""
    size = rows * dim * 4 / 1e6
    return {
        f"{what}_mb_s": size / float(np.median(times)),
        f"{what}_mb_s_min": size / max(times),
        f"{what}_mb_s_max": size / min(times),
        f"{what}_rows_s": rows / float(np.median(times)),
    }


def ratios(what: str, ours: list[float], peer: list[float]) -> dict[str, float]:
    """How many times faster ours is: the median, least and most of the rounds' ratios peer / ours."""
    found = [b / a for a, b in zip(ours, peer, strict=True)]
    return {
        f"{what}_ratio": float(np.median(found)),
        f"{what}_ratio_min": min(found),
        f"{what}_ratio_max": max(found),
    }
