"""A short life of a store, step by step, and what it holds after each: the work that faults interrupt."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

import vecstore as vs
from vecstore.store import Store, collect, hashfile, index, layout, tags, versions

ROWS = np.arange(800, dtype=np.float32).reshape(100, 8)  # float16 has them exactly
SOURCE = "stream"
ID_ROWS = 2  # more of them, and a file of ids is written


@dataclass(frozen=True)
class State:
    """What a reader finds: version, first values of rows by id, those that tags hold, the stream's offset."""

    version: int = 0
    rows: Mapping[int, float] = field(default_factory=dict)
    tags: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    offset: int | None = None


@dataclass(frozen=True)
class Step:
    """One call, and what it makes of a state."""

    name: str
    call: Callable[[Store], object]
    after: Callable[[State], State] = lambda state: state


def put_step(ids: list[int], at: int) -> Step:
    """Puts rows from `at` on under ids."""
    new = {number: float(ROWS[at + place, 0]) for place, number in enumerate(ids)}
    return Step(
        f"put {ids}",
        lambda store: store.put(ids, ROWS[at : at + len(ids)]),
        lambda state: replace(state, version=state.version + 1, rows={**state.rows, **new}),
    )


def _stream(ids: list[int], at: int, offset: int) -> Step:
    def call(store: Store) -> None:
        values = pa.array(ROWS[at : at + len(ids)].reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(values, 8)
        with store.writer(SOURCE) as writer:
            writer.write(pa.record_batch({"id": pa.array(ids), "vector": vectors}), offset=offset)

    return Step(f"stream {ids}", call, lambda state: replace(put_step(ids, at).after(state), offset=offset))


def _delete(number: int) -> Step:
    def after(state: State) -> State:
        rows = {key: value for key, value in state.rows.items() if key != number}
        return replace(state, version=state.version + 1, rows=rows)

    return Step(f"delete {number}", lambda store: store.delete([number]), after)


def rewrite_step(name: str, call: Callable[[Store], object]) -> Step:
    """What makes a version of the same rows."""
    return Step(name, call, lambda state: replace(state, version=state.version + 1))


def tag_step(name: str) -> Step:
    """Names the newest version."""
    return Step(
        f"tag {name}",
        lambda store: store.tag(name),
        lambda state: replace(state, tags={**state.tags, name: state.rows}),
    )


def _untag(name: str) -> Step:
    def after(state: State) -> State:
        return replace(state, tags={key: rows for key, rows in state.tags.items() if key != name})

    return Step(f"untag {name}", lambda store: store.untag(name), after)


@contextlib.contextmanager
def files_of_ids(least: int = ID_ROWS) -> Iterator[None]:
    """They are written for few rows, too, until the block ends."""
    before, index.LEAST_ROWS = index.LEAST_ROWS, least
    try:
        yield
    finally:
        index.LEAST_ROWS = before


# With `files_of_ids` such a file is written beside the first rows, behind a stream, at compaction, by gc in
# place of one that has a deleted row, and in place of itself.
STEPS = [
    put_step([1, 2, 3], 0),
    tag_step("first"),
    put_step([2, 4], 10),
    _delete(1),
    _stream([6, 7], 30, 5),
    rewrite_step("compact", lambda store: store.compact()),
    Step("gc", lambda store: store.gc()),
    _delete(6),
    Step("gc", lambda store: store.gc()),
    Step("reindex", lambda store: store.reindex()),
    rewrite_step("refit", lambda store: store.refit("center+f32")),
    tag_step("second"),
    put_step([5], 20),
    _untag("first"),
    rewrite_step("compact", lambda store: store.compact()),
    Step("gc", lambda store: store.gc()),
]


def create(root: str) -> Store:
    """The store in which the steps are taken."""
    return Store.create(root, dim=8, codec="f16", keep="f32")


def rows_of(store: Store) -> dict[int, float]:
    """The first value of each row by id."""
    return {
        int(i): float(row[0].round()) for ids, rows in store.scan() for i, row in zip(ids, rows, strict=True)
    }


def state_of(root: str) -> State:
    """What a reader finds now; raises if any version or tag cannot be read whole, or a check has findings."""
    with Store.open(root, read_only=True) as store:
        if findings := vs.check(root):
            raise AssertionError(f"check: {findings}")
        held = {}
        for version in [*store.versions(), *store.tags()]:
            with Store.open(root, version=version) as old:
                held[version] = rows_of(old)
                findings = old.check()
            if findings:
                raise AssertionError(f"version {version}: {findings}")
        found = rows_of(store)
        if found and store.get(list(found))[:, 0].round().tolist() != list(found.values()):
            raise AssertionError("get and scan differ")
        return State(
            store.version,
            found,
            {name: held[name] for name in store.tags()},
            store.writer(SOURCE).last_offset,
        )


def left_over(root: str) -> set[str]:
    """Files that no version and no tag needs, and files of ids but for one."""
    needed = {os.path.join(root, name) for name in (layout.FORMAT, layout.LOCK)}
    needed |= set(hashfile.paths(root)[:1])
    for number in versions.numbers(root):
        needed |= {versions.path_of(root, number), *collect.paths_of(root, versions.read(root, number))}
    for name, manifest in tags.held(root).items():
        needed |= {layout.tag_path(root, name), *collect.paths_of(root, manifest)}
    return {os.path.join(place, name) for place, _, names in os.walk(root) for name in names} - needed
