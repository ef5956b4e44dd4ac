"""When the file of ids is written anew, what it must not hold any more, and whether it is right."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import StorageError, VecstoreError
from vecstore.formats.idkeys import keys_of
from vecstore.kernels import idfile
from vecstore.kernels.threads import spread
from vecstore.store import files, hashfile, tags, versions
from vecstore.store.given import Given
from vecstore.store.hashfile import DamagedFile, Entry, HashFile
from vecstore.store.ids import U64, place_of
from vecstore.store.manifest import Segment
from vecstore.store.places import Known
from vecstore.store.view import View

_SPAN = 1 << 19  # slots that one thread looks at
LEAST_ROWS = 1 << 16  # that no file knows before one is written
SHARE = 4  # and at least one part in so many of those that it knows

Hidden = Mapping[str, NDArray[np.bool_]]  # by a segment's name, which of its rows no version has live


def keep_up(view: View, known: Known | None = None, given: Given | None = None) -> bool:
    """Writes the file of ids of a version if many of its rows are in none; whether it did.

    known: ids of the version before, as they were in it; None where they are still to be read. given: what
    was put, as `write` takes it.
    """
    known = known or Known(hashfile.newest(view.root))
    rows = sum(part.segment.rows for part in view.parts if known.knows(part))
    later = sum(part.segment.rows for part in view.parts) - rows
    return later > max(LEAST_ROWS, rows // SHARE) and write(view, given=given)


def write(view: View, hidden: Hidden | None = None, given: Given | None = None) -> bool:
    """Writes the file of ids of a version; whether it could. If not, all that is lost is time.

    given: the rows of the last part, or its last ones, which spares reading where they are all that there is.
    """
    entries = [Entry(part.segment.name, part.segment.rows) for part in view.parts]
    try:
        if given is not None and [entry.rows for entry in entries] == [len(given)]:
            words, rows = given.slots(), len(given)
        else:
            words, rows = _filled(view, hidden or {})
        path = hashfile.write(view.root, view.manifest.version, entries, words, rows)
        view.ids.take_over(Known(HashFile(path)))
    except VecstoreError:
        return False
    return True


def _filled(view: View, hidden: Hidden) -> tuple[U64, int]:
    """The slots of a version, and how many rows are in them."""
    words = idfile.free_slots(sum(part.segment.rows for part in view.parts), view.key_words)
    count = 0
    for number, part in enumerate(view.parts):
        gone, first = hidden.get(part.segment.name), 0
        for ids in part.archive.ids():
            rows, keys = np.arange(first, first + len(ids)), keys_of(ids)
            first += len(ids)
            if gone is not None:
                rows, keys = rows[~gone[rows]], keys[~gone[rows]]
            idfile.fill(words, keys, place_of(number, rows), True)
            count += len(rows)
    return words, count


def prune(view: View) -> list[str]:
    """Removes files of ids that hold an id of a row which no version has any more, for the sake of that row;
    their paths. One that holds none instead is written of this version, the newest."""
    gone = []
    segments = _segments(view.root)
    hidden = {name: mask for name, same in segments.items() if (mask := _hidden(view.root, same)) is not None}
    for path in hashfile.paths(view.root):
        if not _is_clean(path, segments, hidden):
            gone.append(path)
    hashfile.remove(gone)
    if left := [path for path in gone if os.path.lexists(path)]:
        raise StorageError(f"cannot remove {left[0]}, which holds ids that were deleted")
    if gone and len(view) > LEAST_ROWS:
        write(view, hidden)
    return gone


def _segments(root: str) -> dict[str, list[Segment]]:
    """The segments of all versions that there are, as each of these has them."""
    found: dict[str, list[Segment]] = {}
    manifests = {number: versions.read(root, number) for number in versions.numbers(root)}
    for manifest in [*manifests.values(), *tags.held(root).values()]:
        for segment in manifest.segments:
            found.setdefault(segment.name, []).append(segment)
    return found


def _hidden(root: str, same: Iterable[Segment]) -> NDArray[np.bool_] | None:
    """The rows (rows,) of a segment that are deleted wherever it is read; None where none is."""
    found: NDArray[np.bool_] | None = None
    for deletes, segment in {segment.deletes: segment for segment in same}.items():
        if not deletes:
            return None
        dead = np.zeros(segment.rows, np.bool_)
        for entry in deletes:
            dead[files.read_deletes(root, entry, segment.rows)] = True
        found = dead if found is None else found & dead
    return found


def _is_clean(path: str, segments: Mapping[str, list[Segment]], hidden: Hidden) -> bool:
    """Whether a file of ids holds only ids of rows that some version has."""
    try:
        with contextlib.closing(HashFile(path)) as file:
            names = {entry.name for entry in file.segments}
            dead = sum(int(hidden[name].sum()) for name in names & hidden.keys())
            rows = sum(entry.rows for entry in file.segments)
            return names <= segments.keys() and file.rows <= rows - dead
    except VecstoreError:
        return False


@dataclass(frozen=True)
class Audit:
    """What is wrong with files of ids, which nothing but speed depends on. repeats: how many live rows have
    the id of another one; None if no file tells."""

    faults: list[str]
    repeats: int | None


def faults(view: View) -> list[str]:
    """What is wrong with files of ids; nothing where ids cannot be read, with which more is wrong."""
    try:
        keys = [
            np.concatenate([np.empty((0, view.key_words), np.uint64), *map(keys_of, part.archive.ids())])
            for part in view.parts
        ]
        return audit(view, keys).faults
    except VecstoreError:
        return []


def audit(view: View, keys: Sequence[U64]) -> Audit:
    """Compares the files of ids with the keys (rows, w) of the ids of each part."""
    found, repeats = [], None
    for path in hashfile.paths(view.root):
        try:
            count = _audited(view, keys, path)
            repeats = count if repeats is None else repeats
        except DamagedFile as error:
            found.append(f"{error}; remove {path}: it is only derived, and will be made again")
    return Audit(found, repeats)


def _audited(view: View, keys: Sequence[U64], path: str) -> int | None:
    """The repeats that one file tells of, None if it does not know all parts; DamagedFile."""
    with contextlib.closing(HashFile(path)) as file:
        file.verify_all()
        known = Known(file)
        starts = np.full(len(file.segments), -1, np.int64)
        begin, own, live = 0, [np.empty((0, view.key_words), np.uint64)], [np.empty(0, np.bool_)]
        for part, some in zip(view.parts, keys, strict=True):
            if known.knows(part):
                starts[known.entries[part.segment.name][0]] = begin
                begin += len(some)
                own.append(some)
                live.append(np.ones(len(some), np.bool_) if part.live is None else part.live)
        if view.parts and file.key_words != view.key_words:
            raise DamagedFile(f"{path} has ids of another kind")
        lives, seen = np.concatenate(live), np.zeros(begin, np.bool_)
        rows = np.array([entry.rows for entry in file.segments], np.int64)
        file.ensure_whole()
        theirs, found = np.concatenate(own), []

        def work(start: int, stop: int) -> None:
            found.append(idfile.audit((start, stop), file.words, (starts, rows), theirs, (lives, seen)))

        spread(len(file.words), _SPAN, work)
        # Two slots of one row might be seen at the same moment: then there is a slot too many.
        many = len(own) == 1 + len(file.segments) and file.rows != np.count_nonzero(seen)
        if many or any(slot >= 0 for slot, _ in found) or not (seen | ~lives).all():
            raise DamagedFile(f"{path} leads to other rows than those of {view.root}")
        repeats = sum(count for _, count in found)
        return repeats if len(own) == 1 + len(view.parts) else None
