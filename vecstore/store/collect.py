"""Removing what no version needs, and checking what one does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from vecstore.atomic import storage_errors
from vecstore.errors import CorruptError, SpecError, VecstoreError
from vecstore.store import files, layout, versions
from vecstore.store.ids import NONE, IdMap
from vecstore.store.manifest import Manifest
from vecstore.store.view import View


def collect(root: str, keep: int) -> list[str]:
    """Removes all versions but the newest `keep`, then files that none of those names; gives their paths.

    Versions go first, so that none is left whose files are gone. Nobody may be writing meanwhile.
    """
    if type(keep) is not int or keep < 1:
        raise SpecError(f"keep is {keep!r}; expected a whole number, 1 or more")
    known = versions.versions(root)
    manifests = [versions.read(root, version) for version in known[-keep:]]
    needed = {path for manifest in manifests for path in paths_of(root, manifest)}
    gone: list[str] = []
    for name in (layout.VERSIONS, layout.SEGMENTS, layout.FINE, layout.CODECS, layout.DELETES):
        folder = os.path.join(root, name)
        with storage_errors(folder, "read"):
            found = [os.path.join(folder, entry) for entry in sorted(os.listdir(folder))]
        unneeded = [path for path in found if path not in needed]
        _remove(unneeded)
        gone += unneeded
    return gone


def paths_of(root: str, manifest: Manifest) -> Iterator[str]:
    """Every file that a version needs, its manifest first."""
    yield os.path.join(root, layout.VERSIONS, layout.manifest_name(manifest.version))
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
    """What is wrong with a version that could be opened; an empty list is sound."""
    found: list[str] = []
    ids = IdMap()
    for part in view.parts:
        try:
            archives = [part.archive, *([part.fine] if part.segment.fine_codec else [])]
            for archive in archives:
                found += archive.check()
            for deletes in part.segment.deletes:
                files.read_deletes(view.root, deletes, part.segment.rows)
            rows = part.live_rows()
            before = ids.put(part.archive.ids_at(rows), rows)
            if (before != NONE).any():
                found.append(
                    f"{part.archive.path} repeats {int((before != NONE).sum())} ids of other segments"
                )
        except VecstoreError as error:
            found.append(str(error))
    for identity in view.codecs:
        try:
            files.read_codec(view.root, identity)
        except CorruptError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))
