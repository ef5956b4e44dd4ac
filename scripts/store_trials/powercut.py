"""A model of power cuts: what a directory may hold after one, at any point of a recorded piece of work.

Recorded are the calls that give files names, take names away, and make files or folders durable. After a cut
a file that was not made durable may be whole, empty, cut short, or zeros; a name that was not may be there or
not. A record can be played again as if one of its fsyncs had not been, to see that it is needed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from store_trials.life import STEPS, State, create, files_of_ids, state_of

from vecstore.errors import InputError, NotFoundError, VecstoreError

GONE = -1  # in place of an inode
FOLDER = -2


@dataclass
class Disk:
    """Files by inode and names by path, each with what is surely on disk."""

    content: dict[int, bytes] = field(default_factory=dict)  # as written
    durable: set[int] = field(default_factory=set)  # inodes whose content is
    names: dict[str, int] = field(default_factory=dict)  # path -> inode, or FOLDER
    sure: dict[str, int] = field(default_factory=dict)  # names that are durable
    marks: int = 0  # pieces of work that were acknowledged
    removed: frozenset[str] = frozenset()  # by those

    def copy(self) -> Disk:
        """Its state now."""
        return Disk(
            dict(self.content), set(self.durable), dict(self.names), dict(self.sure), self.marks, self.removed
        )

    def play(self, call: str, path: str, inode: int, content: bytes) -> None:
        """One call more."""
        if call == "mark":
            self.marks += 1
            self.removed = frozenset({*self.removed, *self.sure} - set(self.names))
        elif call == "sync file":
            self.content[inode] = content
            self.durable.add(inode)
        elif call == "sync folder":
            for name in {*self.names, *self.sure}:
                if os.path.dirname(name) == path:
                    self.sure.pop(name, None)
                    if name in self.names:
                        self.sure[name] = self.names[name]
                    else:
                        self.removed |= {name}
        elif call == "unlink":
            self.names.pop(path, None)
        else:  # link or mkdir
            self.names[path] = inode
            if content:
                self.content[inode] = content


class Recorder:
    """Follows the calls of `os` under a root."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.fspath(root)
        self.calls: list[tuple[str, str, int, bytes]] = []
        self._serials: dict[int, int] = {}  # inode -> number; inodes are used again, numbers are not
        self._next = 0

    def mark(self) -> None:
        """The work so far has been acknowledged."""
        self.calls.append(("mark", "", 0, b""))

    def _serial(self, inode: int) -> int:
        if inode not in self._serials:
            self._serials[inode] = self._next
            self._next += 1
        return self._serials[inode]

    def syncs(self) -> list[int]:
        """Places of the calls that make something durable."""
        return [at for at, call in enumerate(self.calls) if call[0].startswith("sync")]

    def states(self, skip: int | None = None) -> Iterator[Disk]:
        """The disk after each call; skip: one that is left out, and only states from there on."""
        disk = Disk()
        for at, call in enumerate(self.calls):
            if at != skip:
                disk.play(*call)
            if skip is None or at >= skip:
                yield disk

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Records until the block ends."""
        real: dict[str, Any] = {
            name: getattr(os, name) for name in ("fsync", "link", "rename", "unlink", "mkdir")
        }

        def inside(path: Any, folder: int | None = None) -> str | None:
            path = os.fspath(path)
            if folder is not None:
                path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
            path = os.path.abspath(path)
            return path if path.startswith(self.root) else None

        def fsync(descriptor: int) -> None:
            real["fsync"](descriptor)
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if os.path.isdir(path):
                self.calls.append(("sync folder", path, 0, b""))
            else:
                content = Path(f"/proc/self/fd/{descriptor}").read_bytes()
                self.calls.append(("sync file", path, self._serial(os.fstat(descriptor).st_ino), content))

        def link(source: Any, target: Any, **options: Any) -> None:
            real["link"](source, target, **options)
            if (path := inside(target, options.get("dst_dir_fd"))) is not None:
                inode = os.stat(path).st_ino
                self.calls.append(("link", path, self._serial(inode), Path(path).read_bytes()))

        def unlink(path: Any, *, dir_fd: int | None = None) -> None:
            known = inside(path, dir_fd)
            inode = os.stat(path, dir_fd=dir_fd).st_ino
            real["unlink"](path, dir_fd=dir_fd)
            if known is not None:
                self._serials.pop(inode, None)
                self.calls.append(("unlink", known, GONE, b""))

        def mkdir(path: Any, *arguments: Any) -> None:
            real["mkdir"](path, *arguments)
            if (known := inside(path)) is not None:
                self.calls.append(("mkdir", known, FOLDER, b""))

        def rename(source: Any, target: Any, **options: Any) -> None:
            old = inside(source, options.get("src_dir_fd"))
            self._serials.pop(os.stat(target, dir_fd=options.get("dst_dir_fd")).st_ino, None)
            real["rename"](source, target, **options)
            path = inside(target, options.get("dst_dir_fd"))
            assert old is not None and path is not None and os.path.dirname(old) == os.path.dirname(path)
            inode = os.stat(path).st_ino
            # Both names at once is a state more than there is.
            self.calls.append(("link", path, self._serial(inode), Path(path).read_bytes()))
            self.calls.append(("unlink", old, GONE, b""))

        for call in (fsync, link, unlink, mkdir, rename):
            setattr(os, call.__name__, call)
        try:
            yield
        finally:
            for name, call in real.items():
                setattr(os, name, call)


def after_a_cut(
    disk: Disk, root: str, target: str, rng: np.random.Generator | None, last: str | None = None
) -> None:
    """Builds under `target` one of the states that the disk may be in; without rng the one with no bytes that
    are not durable, and no names, but for the `last` one, which is as it is by now."""
    shutil.rmtree(target, ignore_errors=True)
    kept: dict[str, int] = {}
    for path in sorted({*disk.names, *disk.sure}):
        now, before = disk.names.get(path, GONE), disk.sure.get(path, GONE)
        chosen = now if path == last or (rng is not None and rng.random() < 0.5) else before
        if chosen != GONE:
            kept[path] = chosen
    for path, inode in kept.items():
        if path != root and os.path.dirname(path) not in kept:
            del kept[path]  # Its folder is lost.
            return after_a_cut(_only(disk, kept), root, target, rng)
        place = Path(target) / os.path.relpath(path, root)
        if inode == FOLDER:
            place.mkdir(parents=path == root, exist_ok=True)
        else:
            place.write_bytes(_content(disk, inode, rng))


def _only(disk: Disk, names: dict[str, int]) -> Disk:
    return Disk(disk.content, disk.durable, dict(names), dict(names))


def _content(disk: Disk, inode: int, rng: np.random.Generator | None) -> bytes:
    data = disk.content[inode]
    if inode in disk.durable:
        return data
    kind = 1 if rng is None else rng.integers(4)
    if kind == 0:
        return data
    if kind == 1 or rng is None:
        return b""
    cut = int(rng.integers(len(data) + 1))
    return data[:cut] if kind == 2 else data[:cut] + bytes(len(data) - cut)


def record(root: str) -> tuple[Recorder, list[State]]:
    """Lives the life; gives the record, and what the store held after each acknowledged step."""
    recorder, held = Recorder(root), [State(), State()]
    with recorder.watching(), files_of_ids():
        store = create(root)
        recorder.mark()
        for step in STEPS:
            step.call(store)
            held.append(step.after(held[-1]))
            recorder.mark()
    store.close()
    return recorder, held


def fault(disk: Disk, held: list[State], root: str, target: str) -> str:
    """What is wrong with the store after a cut; '' if nothing."""
    try:
        found = state_of(target)
        # What was under way may have come through.
        if found not in held[disk.marks : disk.marks + 2]:
            return f"after {disk.marks} steps it holds {found}"
    except (NotFoundError, InputError) as error:  # No store.
        return f"after {disk.marks} steps: {error!r}" if disk.marks else ""
    except (VecstoreError, AssertionError) as error:
        return f"after {disk.marks} steps: {error!r}"
    back = [
        path for path in disk.removed if os.path.exists(os.path.join(target, os.path.relpath(path, root)))
    ]
    return f"after {disk.marks} steps what was removed is back: {back}" if back else ""


def run(folder: str, states: int, seed: int = 0) -> dict[str, Any]:
    """At least so many states that cuts may leave, and each fsync left out in turn: a record."""
    root, target = os.path.join(folder, "x.store"), os.path.join(folder, "after.store")
    recorder, held = record(root)
    rng = np.random.default_rng(seed)
    samples = -(-states // len(recorder.calls))
    wrong, count = [], 0
    for disk in recorder.states():
        for _ in range(samples):
            after_a_cut(disk, root, target, rng)
            count += 1
            wrong += [found] if (found := fault(disk, held, root, target)) else []
    needless = [at for at in recorder.syncs() if not needed(recorder, held, target, at)]
    return {
        "task": "power cuts", "trials": count, "wrong": wrong, "fsyncs": len(recorder.syncs()),
        "fsyncs_not_missed": [os.path.basename(recorder.calls[at][1]) for at in needless],
    }  # fmt: skip


def needed(recorder: Recorder, held: list[State], target: str, skip: int) -> bool:
    """Whether a state without this fsync is wrong: looked for where a step has just been acknowledged, then
    soon after it."""
    root = recorder.root

    def wrong(disk: Disk, rng: np.random.Generator | None, last: str | None = None) -> bool:
        after_a_cut(disk, root, target, rng, last)
        return fault(disk, held, root, target) != ""

    for at, disk in enumerate(recorder.states(skip), skip):
        if recorder.calls[at][0] == "mark" and wrong(disk, None):
            return True
    rng = np.random.default_rng(skip)
    for at, disk in enumerate(itertools.islice(recorder.states(skip), 12), skip):
        if wrong(disk, None, recorder.calls[at][1]) or any(wrong(disk, rng) for _ in range(3)):
            return True
    return False
