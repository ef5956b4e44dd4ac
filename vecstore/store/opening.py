"""One door to what is stored, be it an archive or a store."""

from __future__ import annotations

import os
from typing import TypeAlias

from vecstore.archive import Archive, is_archive
from vecstore.errors import CorruptError, InputError, SpecError
from vecstore.store import layout, versions
from vecstore.store.collect import all_faults
from vecstore.store.store import Store

Collection: TypeAlias = "Archive | Store"
_TRIES = 3  # to look at all of a store while some of it is collected


def open_collection(path: str, tier: int | str | None = None, memory: int | str | None = None) -> Collection:
    """Opens an archive, or a store to read. SpecError for a tier of a store, whose codes lie whole.

    memory: of a store, see `Store.open`.
    """
    if not _is_store(path):
        return Archive(path, tier)
    if tier is not None:
        raise SpecError(f"{path} is a store, which has no tiers; leave out the tier")
    return Store.open(path, read_only=True, memory=memory)


def is_collection(path: str) -> bool:
    """Whether a path is an archive or a store, be it damaged."""
    return _is_store(path) or is_archive(path)


def check(path: str) -> list[str]:
    """Findings of a full check, also of what is damaged too much to be opened; an empty list is sound."""
    if not _is_store(path):
        return Archive.examine(path)
    try:
        for _ in range(_TRIES):
            before = versions.numbers(path)
            with Store.open(path, read_only=True) as store:
                found = all_faults(store.view)
            if not found or before == versions.numbers(path):
                break
        return found
    except (CorruptError, InputError) as error:
        return [str(error)]


def _is_store(path: str) -> bool:
    """Whether a folder is a store, be its FORMAT lost."""
    marks = layout.FORMAT, os.path.join(layout.VERSIONS, ""), os.path.join(layout.SEGMENTS, "")
    has_format, *has_folders = (os.path.exists(os.path.join(path, mark)) for mark in marks)
    return os.path.isdir(path) and (has_format or all(has_folders))
