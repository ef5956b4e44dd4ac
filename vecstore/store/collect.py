"""Removing what no version needs, and checking what one does."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

import numpy as np

from vecstore.atomic import storage_errors
from vecstore.errors import CorruptError, SpecError, VecstoreError
from vecstore.formats.idkeys import repeats
from vecstore.kernels.threads import spread
from vecstore.store import files, hashfile, index, layout, tags, versions
from vecstore.store.ids import U64
from vecstore.store.manifest import Manifest, Segment
from vecstore.store.view import View


def collect(root: str, keep: int, older_than: float | None = None) -> list[str]:
    """Removes old versions, then files that no version that is left and no tag names; gives their paths.

    keep: how many of the newest versions stay. older_than: in seconds; those stay, too, that were the newest
    at any time since. Versions go first, so that none is left whose files are gone, and the oldest first, so
    that those left have no gaps. Nobody may be writing meanwhile.
    """
    if type(keep) is not int or keep < 1:
        raise SpecError(f"keep is {keep!r}; expected a whole number, 1 or more")
    known = versions.numbers(root)
    first = max(0, len(known) - keep)
    if older_than is not None:
        if not isinstance(older_than, int | float) or not older_than >= 0:
            raise SpecError(f"older_than is {older_than!r}; expected seconds, 0 or more")
        now = datetime.datetime.now(datetime.UTC)
        # One was the newest until the next was made.
        while first and (now - versions.read(root, known[first]).made).total_seconds() <= older_than:
            first -= 1
    manifests = [versions.read(root, version) for version in known[first:]]
    return remove_unneeded(root, [*manifests, *tags.held(root).values()], known[:first])


def remove_unneeded(root: str, manifests: list[Manifest], old: Collection[int] = ()) -> list[str]:
    """Removes old versions, then files that none of these manifests names; gives their paths."""
    needed = {path for manifest in manifests for path in paths_of(root, manifest)}
    needed |= {layout.tag_path(root, name) for name in tags.names(root)}
    needed |= {versions.path_of(root, number) for number in versions.numbers(root) if number not in old}
    needed |= set(hashfile.paths(root))  # but not what is left of one that was being written
    gone: list[str] = []
    for name in (*layout.FOLDERS, layout.INDEX):
        folder = os.path.join(root, name)
        if name == layout.INDEX and not os.path.isdir(folder):
            break
        with storage_errors(folder, "read"):
            found = [os.path.join(folder, entry) for entry in sorted(os.listdir(folder))]
        unneeded = [path for path in found if path not in needed]
        # One by one, or a power cut might leave versions with gaps, as if some had been lost.
        for some in [[path] for path in unneeded] if name == layout.VERSIONS else [unneeded]:
            _remove(some)
        gone += unneeded
    return gone


def paths_of(root: str, manifest: Manifest) -> Iterator[str]:
    """Every file that a version needs besides its manifest."""
    for identity in manifest.codecs:
        yield layout.codec_path(root, identity)
    for segment in manifest.segments:
        yield layout.segment_path(root, segment.name)
        if segment.fine_codec:
            yield layout.fine_path(root, segment.name)
        for deletes in segment.deletes:
            yield layout.deletes_path(root, deletes.name)


def _remove(paths: list[str]) -> None:
    for path in paths:
        with storage_errors(path, "remove"), contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    for folder in {os.path.dirname(path) for path in paths}:
        with storage_errors(folder, "write"):
            versions.sync_names(folder)


def faults(view: View) -> list[str]:
    """What is wrong with a version that could be opened, and with tags; an empty list is sound."""
    found, keys = _parts(view)
    found += _codecs(view)
    found += tags.faults(view.root)
    if keys is not None:
        audit = index.audit(view, keys)
        found += audit.faults
        if keys and (count := _repeats(view, keys) if audit.repeats is None else audit.repeats):
            found.append(f"{view.root} has {count} ids in more than one of its rows")
    return list(dict.fromkeys(found))


def _repeats(view: View, keys: Sequence[Sequence[U64]]) -> int:
    parts = [(part.live, np.concatenate(own)) for part, own in zip(view.parts, keys, strict=True)]
    return repeats(np.concatenate([own if live is None else own[live] for live, own in parts]))


def _parts(view: View) -> tuple[list[str], list[list[U64]] | None]:
    """What is wrong with the files of segments, and the keys of the ids of each if nothing is."""

    found: list[list[str]] = [[] for _ in view.parts]
    keys: list[list[U64]] = [[] for _ in view.parts]

    def work(start: int, stop: int) -> None:
        for at in range(start, stop):
            part = view.parts[at]
            try:
                looked = part.archive.inspect()
                found[at] += looked.faults
                keys[at] = looked.keys
                if part.segment.fine_codec:
                    found[at] += part.fine.check()
                for deletes in part.segment.deletes:
                    files.read_deletes(view.root, deletes, part.segment.rows)
                _ = part.live
            except VecstoreError as error:
                found[at].append(str(error))

    spread(len(view.parts), 1, work)
    lines = [line for some in found for line in some]
    return lines, None if lines else keys


def _codecs(view: View) -> Iterator[str]:
    for identity in view.codecs:
        try:
            files.read_codec(view.root, identity)
        except CorruptError as error:
            yield str(error)


def all_faults(view: View) -> list[str]:
    """The same of a store's newest version and of all others, by number or tag."""
    found, seen = faults(view), {name for part in view.parts for name in _names(part.segment)}
    manifests: list[Manifest] = []
    numbers = versions.numbers(view.root)
    for number, following in pairwise(numbers):
        if following != number + 1:  # gc takes the oldest.
            found.append(f"{view.root} has no version {number + 1}, but {number} and {following}")
    known: list[int | str] = [*numbers, *_tag_names(view.root)]
    for name in known:
        try:
            manifests.append(
                tags.read(view.root, name) if isinstance(name, str) else versions.read(view.root, name)
            )
        except VecstoreError as error:
            found.append(str(error))
    for manifest in manifests:
        if all(name in seen for segment in manifest.segments for name in _names(segment)):
            continue
        try:
            found += _files(View(view.root, manifest, view), seen)
        except VecstoreError as error:
            found.append(str(error))
        seen |= {name for segment in manifest.segments for name in _names(segment)}
    return list(dict.fromkeys(found))


def _names(segment: Segment) -> list[str]:
    return [segment.name, *(deletes.name for deletes in segment.deletes)]


def _tag_names(root: str) -> list[str]:
    try:
        return tags.names(root)
    except CorruptError:
        return []  # `faults` says why.


def _files(view: View, seen: set[str]) -> Iterator[str]:
    """What is wrong with the files of a version, but for those whose names were seen."""
    for part in view.parts:
        try:
            if part.segment.name not in seen:
                for archive in (part.archive, *([part.fine] if part.segment.fine_codec else [])):
                    yield from archive.check()
            for deletes in part.segment.deletes:
                if deletes.name not in seen:
                    files.read_deletes(view.root, deletes, part.segment.rows)
        except VecstoreError as error:
            yield str(error)
    yield from _codecs(view)
