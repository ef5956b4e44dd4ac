"""When the file of ids is written anew, what it must not hold any more, and whether it is right."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import StorageError, VecstoreError
from vecstore.formats.idkeys import keys_of
from vecstore.kernels import idaudit, idfile
from vecstore.kernels.gather import ROW_BITS
from vecstore.kernels.threads import beside, spread
from vecstore.store import files, hashfile, tags, versions
from vecstore.store.given import Given
from vecstore.store.hashfile import DamagedFile, Draft, Entry, HashFile
from vecstore.store.ids import I64, U64, place_of
from vecstore.store.manifest import Segment
from vecstore.store.places import Known
from vecstore.store.view import View

_SPAN = 1 << 19  # slots that one thread follows
_RUNS = 8  # of slots that one thread looks through
LEAST_ROWS = 1 << 16  # that no file knows before one is written
SHARE = 4  # and at least one part in so many of those that it knows

Keys = Sequence[U64]  # (n, w) of the ids in each batch of a segment
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


def begun(view: View, given: Given) -> Given:
    """The same; beside, their slots are made, and begin to be written if these rows will be all of the next
    version and enough for a file."""

    def begin() -> Draft | None:
        draft = None
        if not view.parts and len(given) > LEAST_ROWS:
            with contextlib.suppress(VecstoreError):
                shape = idfile.slots_for(len(given), given.keys.shape[1])
                draft = Draft(view.root, view.manifest.version + 1, shape, 1)
                if draft.fill(given.keys):
                    return draft
            if draft is not None:
                draft.abort()
        given.slots()
        return None

    return replace(given, file=beside(cache(begin)))


def write(view: View, hidden: Hidden | None = None, given: Given | None = None) -> bool:
    """Writes the file of ids of a version; whether it could. If not, all that is lost is time.

    given: the rows of the last part, or its last ones, which spares reading where they are all that there is.
    """
    entries = [Entry(part.segment.name, part.segment.rows) for part in view.parts]
    try:
        if given is not None and [entry.rows for entry in entries] == [len(given)]:
            file, rows = given.file() or _written(view, given.slots()), len(given)
        else:
            words, rows = _filled(view, hidden or {})
            file = _written(view, words)
        view.ids.take_over(Known(HashFile(file.publish(entries, rows))))
    except VecstoreError:
        return False
    return True


def _written(view: View, words: U64) -> Draft:
    """Slots on their way to the disk."""
    draft = Draft(view.root, view.manifest.version, words.shape, len(view.parts))
    draft.write(0, words)
    return draft


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
        keys = [list(map(keys_of, part.archive.ids())) for part in view.parts]
        return audit(view, keys).faults
    except VecstoreError:
        return []


def audit(view: View, keys: Sequence[Keys]) -> Audit:
    """Compares the files of ids with the keys of the ids of each part."""
    found, repeats = [], None
    for path in hashfile.paths(view.root):
        try:
            count = _audited(view, keys, path)
            repeats = count if repeats is None else repeats
        except DamagedFile as error:
            found.append(f"{error}; remove {path}: it is only derived, and will be made again")
    return Audit(found, repeats)


def _audited(view: View, keys: Sequence[Keys], path: str) -> int | None:
    """The repeats that one file tells of, None if it does not know all parts; DamagedFile."""
    with contextlib.closing(HashFile(path)) as file:
        if view.parts and file.key_words != view.key_words:
            raise DamagedFile(f"{path} has ids of another kind")
        known = Known(file)
        starts = np.full(len(file.segments), -1, np.int64)
        own, live = list[Keys](), [np.empty(0, np.bool_)]
        for part, some in zip(view.parts, keys, strict=True):
            if known.knows(part):
                starts[known.entries[part.segment.name][0]] = sum(map(len, live))
                own.append(some)
                live.append(np.ones(part.segment.rows, np.bool_) if part.live is None else part.live)
        rows = np.array([entry.rows for entry in file.segments], np.int64)
        file.ensure_whole()
        if not file.is_whole and not tags.is_held(view.root, view.manifest.version):
            return None  # It may lack rows of a version that has been collected.
        # A file without rows that no version has is looked at row by row: those may be missing, or not.
        look = _traced if file.is_whole else _followed
        repeats = look(file, (starts, rows), own, np.concatenate(live))
        if repeats is None:
            raise DamagedFile(f"{path} leads to other rows than those of {view.root}")
        return repeats if len(own) == len(view.parts) else None


def _traced(
    file: HashFile, segments: tuple[I64, I64], own: Sequence[Keys], live: NDArray[np.bool_]
) -> int | None:
    """The repeats in a file that has all rows of its segments; None if its slots are not those of the rows.

    segments: as `idaudit.audit` takes them. own: the keys of those that are there. All is read in order: sums
    of secret hashes tell whether slots and rows are the same.
    """
    starts, rows = segments
    secret = np.frombuffer(os.urandom(24), np.uint64) | np.uint64(1)
    there = starts >= 0
    elsewhere = np.where(there, 0, rows)[: 0 if there.all() else None]
    numbers = np.flatnonzero(there)
    firsts = (numbers[np.argsort(starts[there])] << ROW_BITS).tolist()
    wanted = 0
    for first, keys in zip(firsts, own, strict=True):
        for some in keys:
            wanted += int(idaudit.trace_rows(some, first, secret))
            first += len(some)
    sums, picks, sound = [], [np.empty(0, np.int64)], []

    def work(begin: int, stop: int) -> None:
        slots = None
        for number in range(begin, stop):
            first, slots = file.run(number, slots)
            found = np.empty(len(slots) + 1, np.int64)
            total, reached, count = idaudit.trace_slots(first, slots, file.words, elsewhere, secret, found)
            sums.append(int(total))
            sound.append(reached)
            picks.append(found[:count].copy())

    spread(file.runs, _RUNS, work)
    if not all(sound) or (sum(sums) - wanted) % (1 << 64):
        return None
    return idaudit.count_alike(file.words, np.concatenate(picks), segments, live)


def _followed(
    file: HashFile, segments: tuple[I64, I64], own: Sequence[Keys], live: NDArray[np.bool_]
) -> int | None:
    """The repeats in a file, each slot of which is followed to its row; None if one leads astray, or no slot
    to a live row. Arguments as in `_traced`."""
    for number in range(file.runs):
        file.run(number)
    theirs, seen, found = (
        np.concatenate([file.words[:0, :-1], *chain.from_iterable(own)]),
        np.zeros(len(live), np.bool_),
        [],
    )

    def work(start: int, stop: int) -> None:
        found.append(idaudit.audit((start, stop), file.words, segments, theirs, (live, seen)))

    spread(len(file.words), _SPAN, work)
    # Two slots of one row might be seen at the same moment: then there is a slot too many.
    many = (segments[0] >= 0).all() and file.rows != np.count_nonzero(seen)
    if many or any(slot >= 0 for slot, _ in found) or not (seen | ~live).all():
        return None
    return sum(count for _, count in found)
