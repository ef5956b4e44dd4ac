"""Tags: names of versions, which hold them until the name is taken away.

A tag's file has the whole manifest of its version: `gc` may remove that of the version, so that the numbers
of those that are left have no gaps.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from vecstore.atomic import AtomicFile, storage_errors
from vecstore.errors import ConflictError, CorruptError, NotFoundError, SpecError, VecstoreError
from vecstore.store import layout, versions
from vecstore.store.manifest import Manifest, sealed, unsealed

_ENDING = ".json"


def names(root: str) -> list[str]:
    """Names of all tags, in alphabetical order."""
    folder = os.path.join(root, layout.TAGS)
    with storage_errors(folder, "read"):
        entries = sorted(os.listdir(folder))
    found = []
    for entry in entries:
        name = entry.removesuffix(_ENDING)
        try:
            if name != entry:
                found.append(layout.checked_tag(name))
        except SpecError as error:
            raise CorruptError(f"{folder}/{entry} is no tag: {error}; remove it") from error
    return found


def read(root: str, name: str) -> Manifest:
    """The version that a tag stands for; NotFoundError, SpecError, CorruptError."""
    path = layout.tag_path(root, layout.checked_tag(name))
    try:
        facts = unsealed(versions.read_file(path), path)
    except FileNotFoundError as error:
        known = ", ".join(names(root)) or "none"
        raise NotFoundError(f"{root} has no tag {name!r}; its tags: {known}") from error
    if not isinstance(facts, dict) or facts.get("tag") != name:
        raise CorruptError(f"{path} is another tag's file; restore it from a copy")
    return Manifest.of(facts.get("manifest"), path)


def held(root: str) -> dict[str, Manifest]:
    """What each tag stands for."""
    return {name: read(root, name) for name in names(root)}


def add(root: str, name: str, manifest: Manifest) -> None:
    """Gives a version a name, durable when it returns; ConflictError if another version has it."""
    path = layout.tag_path(root, layout.checked_tag(name))
    data = sealed({"tag": name, "manifest": manifest.facts()})
    try:
        with AtomicFile(path) as file:
            file.write(data)
    except ConflictError as error:
        known = read(root, name).version
        if known != manifest.version:
            raise ConflictError(
                f"{root} has a tag {name!r} (version {known}); delete it first, or choose another name"
            ) from error
        with storage_errors(path):  # Whoever added it may have been killed before its name was durable.
            versions.sync_names(os.path.dirname(path))


def remove(root: str, name: str) -> None:
    """Takes a name away, be its file damaged; NotFoundError."""
    path = layout.tag_path(root, layout.checked_tag(name))
    with storage_errors(path, "remove"):
        try:
            os.unlink(path)
        except FileNotFoundError as error:
            raise NotFoundError(f"{root} has no tag {name!r}") from error
        versions.sync_names(os.path.dirname(path))


def resolve(root: str, version: int | str) -> Manifest:
    """A version by its number or by a tag; NotFoundError, SpecError, CorruptError."""
    if isinstance(version, str):
        return read(root, version)
    if type(version) is not int:
        raise SpecError(f"version is {version!r}; expected a number or a tag")
    try:
        return versions.read(root, version)
    except NotFoundError:
        for manifest in held(root).values():
            if manifest.version == version:
                return manifest
        raise


def is_held(root: str, version: int) -> bool:
    """Whether a version is there, by itself or by a tag, so that `gc` has kept all that it needs."""
    if os.path.exists(versions.path_of(root, version)):
        return True
    with contextlib.suppress(CorruptError):
        return any(manifest.version == version for manifest in held(root).values())
    return False


def faults(root: str) -> Iterator[str]:
    """What is wrong with the files of tags."""
    try:
        known = names(root)
    except VecstoreError as error:
        yield str(error)
        return
    for name in known:
        try:
            read(root, name)
        except VecstoreError as error:
            yield str(error)
