"""A system that fails: each call that writes, syncs or removes is refused in turn; then the store is read."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from store_trials.life import (
    STEPS,
    State,
    create,
    files_of_ids,
    left_over,
    put_step,
    rewrite_step,
    state_of,
    tag_step,
)

from vecstore import atomic
from vecstore.errors import InputError, NotFoundError, StorageError
from vecstore.kernels.threads import set_threads
from vecstore.store import Store, layout

KINDS = {  # kind -> (error, calls that give it, whether it stays until the call has failed)
    "disk full": (errno.ENOSPC, ("write", "create", "link", "mkdir"), False),
    "disk stays full": (errno.ENOSPC, ("write", "create", "link", "mkdir"), True),
    "fsync fails": (errno.EIO, ("fsync",), False),
    "unlink fails": (errno.EIO, ("unlink",), False),
}


class Faults:
    """Lets calls of the system through but for one, by its number; counts them."""

    def __init__(self, kind: str, at: int | None) -> None:
        self.errno, self.calls, self.stays = KINDS[kind]
        self.at = at
        self.seen = 0
        self.hit = False
        self.derived = False  # what was refused is about a file of ids, without which nothing is lost
        self.synced_again = False  # the descriptor whose fsync failed, before the call returned

    def _pass(self, call: str, path: str) -> None:
        if call not in self.calls:
            return
        self.seen += 1
        if self.seen - 1 == self.at or (self.hit and self.stays):
            self.derived |= not self.hit and f"/{layout.INDEX}" in path
            self.hit = True
            raise OSError(self.errno, os.strerror(self.errno))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Replaces the calls until the block ends."""
        real = {name: getattr(os, name) for name in ("link", "mkdir", "fsync", "unlink", "open")}
        write = atomic._Output.write
        failed: list[int] = []

        def through(name: str) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                if name == "fsync" and arguments[0] in failed:
                    self.synced_again = True
                try:
                    self._pass(name, _path(*arguments, **options))
                except OSError:
                    if name == "fsync":
                        failed.append(arguments[0])
                    raise
                return real[name](*arguments, **options)

            return call

        def opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & os.O_CREAT or flags & os.O_TMPFILE == os.O_TMPFILE:
                self._pass("create", str(path))
            descriptor: int = real["open"](path, flags, *arguments, **options)
            if descriptor in failed:
                failed.remove(descriptor)  # Another file by now.
            return descriptor

        def written(file: Any, data: Any) -> int:
            with atomic.storage_errors(file.target):
                self._pass("write", file.target)
            return write(file, data)

        try:
            for name in ("link", "mkdir", "fsync", "unlink"):
                setattr(os, name, through(name))
            os.open = opened  # type: ignore[assignment]
            atomic._Output.write = written  # type: ignore[method-assign]
            yield
        finally:
            for name, call in real.items():
                setattr(os, name, call)
            atomic._Output.write = write  # type: ignore[method-assign]


def _path(first: Any, second: Any = None, **folders: Any) -> str:
    """Where the file of a call is, or the folder that it is in."""
    for folder in (first, folders.get("dst_dir_fd"), folders.get("dir_fd")):
        if isinstance(folder, int):
            return os.readlink(f"/proc/self/fd/{folder}")
    return str(first)


def trial(root: str, kind: str, at: int) -> str | None:
    """Lives the life with one fault: what is wrong afterwards, '' if nothing, None if nothing was refused."""
    shutil.rmtree(root, ignore_errors=True)
    faults = Faults(kind, at)
    state, store, failed = State(), None, ""
    try:
        with faults.watching():
            store = create(root)
    except StorageError:
        failed = "create"
        try:
            Store.open(root)
            return f"{kind} {at}: a store is there whose creation failed"
        except (NotFoundError, InputError):
            store = create(root)
    for step in STEPS:
        try:
            with faults.watching() if not faults.hit else contextlib.nullcontext():
                step.call(store)
        except StorageError:
            allowed = [state, step.after(state)] if step.name.startswith("untag") else [state]
            failed = step.name
            if (found := state_of(root)) not in allowed:
                return f"{kind} {at}, {failed}: {found}; expected {state}"
            if at % 2:
                store.close()
                store = Store.open(root)
            with contextlib.suppress(NotFoundError):  # The name may be gone already.
                step.call(store)
        state = step.after(state)
    if not faults.hit:
        return None
    if faults.synced_again:
        return f"{kind} {at}: fsync was tried again on a descriptor whose fsync had failed"
    if not failed and not faults.derived:
        return f"{kind} {at}: the error was not passed on"
    if (found := state_of(root)) != state:
        return f"{kind} {at}, in the end after {failed}: {found}; expected {state}"
    extra = left_over(root)
    return f"{kind} {at}, {failed}: {extra} are left over" if extra else ""


def run(root: str, kind: str, every: int = 1) -> dict[str, Any]:
    """All calls of a kind refused in turn, or each of so many: a record."""
    trials, wrong = 0, []
    try:
        for threads in (1, 2):  # With one, calls have the same order each time.
            set_threads(threads)
            at = 0
            with files_of_ids():
                while (found := trial(root, kind, at)) is not None:
                    trials += 1
                    wrong += [found] if found else []
                    at += every
    finally:
        set_threads(0)
    return {"task": "faults", "fault": kind, "trials": trials, "wrong": wrong}


def run_full_disk(folder: str, sizes: int) -> dict[str, Any]:
    """A real file system of few KiB that runs full, of so many sizes; needs root."""
    trials, wrong = 0, []
    for size in range(300, 300 + 7 * sizes, 7):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", folder], check=True)
        try:
            with files_of_ids():
                wrong += _until_full(os.path.join(folder, "x.store"), size)
            trials += 1
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
    return {"task": "faults", "fault": "tmpfs runs full", "trials": trials, "wrong": wrong}


def _until_full(root: str, size: int) -> Iterator[str]:
    store = create(root)
    state, number = State(), 0
    while True:
        step = put_step([number % 50, 1000 + number], number % 90)
        if number % 9 == 8:
            step = rewrite_step("compact", lambda store: store.compact())
        if number % 30 == 29:
            step = tag_step(f"tag-{number}")
        try:
            step.call(store)
        except StorageError:
            break
        state, number = step.after(state), number + 1
    if (found := state_of(root)) != state:
        yield f"tmpfs of {size} KiB: {found}; expected {state}"
    subprocess.run(["mount", "-o", "remount,size=64m", os.path.dirname(root)], check=True)
    step.call(store)
    if (found := state_of(root)) != step.after(state):
        yield f"tmpfs of {size} KiB, larger: {found}; expected {step.after(state)}"
