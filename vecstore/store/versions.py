"""The versions of a store: which there are, reading one, and publishing the next, which is the commit.

What a manifest names is durable before it is published; the manifest is durable before it has its name; the
name is durable before `publish` returns. So a commit that returned survives a power cut, and one that did not
is as if it had never been, but for files that no manifest names.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator

from vecstore.archive.places import lock, unlock
from vecstore.atomic import AtomicFile, storage_errors, sync_folder
from vecstore.errors import ConflictError, CorruptError, FormatError, InputError, NotFoundError
from vecstore.store import layout
from vecstore.store.manifest import MOST_BYTES, Manifest


def create(root: str, first: Manifest) -> None:
    """Makes a new store with its first version; ConflictError if something is there already.

    FORMAT comes last: a folder without it is no store, but what is left of a creation that was interrupted.
    """
    made: list[str] = []
    try:
        with storage_errors(root, "create"):
            _make_folders(root, made)
        publish(root, first)
        write_format(root)
    except BaseException:
        for folder in made:
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(root)
        raise


def write_format(root: str, force: bool = False) -> None:
    """Says that a folder is a store."""
    with AtomicFile(os.path.join(root, layout.FORMAT), force=force) as file:
        file.write(_format(layout.VERSION))


def _format(version: int) -> bytes:
    return json.dumps({"vecstore": version}).encode() + b"\n"


def _make_folders(root: str, made: list[str]) -> None:
    """Folders that are made join `made`, so that those of another process that makes this store stay."""
    try:
        os.mkdir(root)
    except FileExistsError as error:
        if not os.path.isdir(root) or os.listdir(root):
            raise ConflictError(f"{root} exists; choose another name") from error
    except FileNotFoundError as error:
        raise NotFoundError(f"cannot create {root}: there is no folder to put it in") from error
    for name in layout.FOLDERS:
        folder = os.path.join(root, name)
        try:
            os.mkdir(folder)
        except FileExistsError as error:
            raise ConflictError(f"{root} is being created by another process") from error
        made.append(folder)
    sync_names(root)
    sync_names(os.path.dirname(os.path.abspath(root)))


def check_format(root: str) -> None:
    """NotFoundError or InputError for what is no store, FormatError for a newer one."""
    path = os.path.join(root, layout.FORMAT)
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 10)
        version = int(json.loads(data)["vecstore"])
        if version <= layout.VERSION and data != _format(version):
            raise ValueError(f"{data[:80]!r}")
    except (FileNotFoundError, NotADirectoryError) as error:
        if not os.path.exists(root):
            raise NotFoundError(f"there is no store {root}; make it with vecstore create") from error
        raise InputError(
            f"{root} is no store: it has no file {layout.FORMAT}; if it was one, mend it with vecstore repair"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"{path} is damaged: {error!r}; restore it from a copy") from error
    if version > layout.VERSION:
        raise FormatError(f"{root} has format {version}; this vecstore reads 1 to {layout.VERSION}: upgrade")


def numbers(root: str) -> list[int]:
    """Numbers of all versions that stand in the folder of versions, ascending."""
    with storage_errors(root, "read"):
        names = os.listdir(os.path.join(root, layout.VERSIONS))
    return sorted(number for name in names if (number := layout.manifest_version(name)) is not None)


def newest(root: str, known: int | None = None) -> int:
    """The number of the newest version; CorruptError if there is none.

    known: one that was the newest before. Only those after it are looked for then, so that a commit costs the
    same among any number of versions.
    """
    if known is not None:
        at = known
        while _is_there(root, at + 1):
            at += 1
        # Versions are removed oldest first: as long as one is there, nothing that came after it was removed.
        if _is_there(root, at):
            return at
    found = numbers(root)
    if not found:
        raise CorruptError(f"{root} has no version left; restore {layout.VERSIONS} from a copy")
    return found[-1]


def read(root: str, version: int) -> Manifest:
    """A version; NotFoundError, or CorruptError for one that is damaged."""
    path = path_of(root, version)
    try:
        found = Manifest.loads(read_file(path), path)
    except FileNotFoundError as error:
        there = numbers(root)
        known = f"it has {there[0]} to {there[-1]}" if there else "it has none"
        raise NotFoundError(f"{root} has no version {version}; {known}") from error
    if found.version != version:
        raise CorruptError(f"{path} is version {found.version}; restore it from a copy")
    return found


def read_file(path: str) -> bytes:
    """A manifest's bytes; FileNotFoundError, CorruptError for too many of them."""
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        with storage_errors(path, "read"):
            raise error
    with storage_errors(path, "read"), file:
        if (size := os.fstat(file.fileno()).st_size) > MOST_BYTES:
            raise CorruptError(f"{path} has {size} bytes; expected at most {MOST_BYTES}")
        return file.read()


def path_of(root: str, version: int) -> str:
    """The file of a version."""
    return os.path.join(root, layout.VERSIONS, layout.manifest_name(version))


def _is_there(root: str, version: int) -> bool:
    """Unlike os.path.exists, takes no error for an answer."""
    path = path_of(root, version)
    with storage_errors(path, "read"):
        try:
            os.stat(path)
        except FileNotFoundError:
            return False
    return True


def publish(root: str, manifest: Manifest) -> None:
    """Commits a version; ConflictError if another writer has committed one of this number."""
    path = path_of(root, manifest.version)
    try:
        with AtomicFile(path) as file:
            file.write(manifest.dumps())
    except ConflictError as error:
        raise ConflictError(
            f"another writer has changed {root} (version {manifest.version} exists); nothing was written: "
            "try again"
        ) from error


def sync_names(path: str) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_folder(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(root: str) -> Iterator[None]:
    """Keeps other writers away; ConflictError if one is writing. Publishing is guarded by itself as well."""
    path = os.path.join(root, layout.LOCK)
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if not lock(descriptor):
            raise ConflictError(f"{root} is being written to by another process; try again")
        yield
    finally:
        unlock(descriptor)
        os.close(descriptor)
