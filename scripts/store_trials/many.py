"""A store with many versions: what a commit, a refresh and an opening take there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from vecstore.store import Store, versions


def run(path: str, count: int, commits: int = 40) -> dict[str, Any]:
    """Medians in milliseconds, after so many versions."""
    store = Store.create(path, dim=8, codec="f32", keep=None)
    data = store.view.manifest.dumps()
    for number in range(1, count):
        with open(versions.path_of(path, number), "wb") as file:
            file.write(data)
    if count:
        versions.publish(path, replace(store.view.manifest, version=count))
    start = time.perf_counter()
    store = Store.open(path)
    opened = time.perf_counter() - start
    reader = Store.open(path, read_only=True)
    times: dict[str, list[float]] = {"commit_ms": [], "refresh_ms": []}

    def timed(name: str, call: Callable[[], object]) -> None:
        start = time.perf_counter()
        call()
        times[name].append(1000 * (time.perf_counter() - start))

    for number in range(commits):
        timed("commit_ms", partial(store.put, [number], np.ones((1, 8))))
        timed("refresh_ms", reader.refresh)
    found = {name: round(float(np.median(values)), 2) for name, values in times.items()}
    return {"task": "versions", "versions": count, **found, "open_ms": round(1000 * opened, 2), "wrong": []}
