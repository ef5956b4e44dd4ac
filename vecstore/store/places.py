"""Where the rows of one version lie, and their codes.

Ids are looked up in a file of ids and in a map of those that came after it; one kernel gathers codes from all
segments at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.archive.picks import Column
from vecstore.archive.reader import Archive
from vecstore.codecs.base import Codes
from vecstore.errors import CorruptError
from vecstore.formats.idkeys import keys_of
from vecstore.kernels import gather, idfile, idfind
from vecstore.kernels.gather import ROW_BITS
from vecstore.store import hashfile, tags
from vecstore.store.hashfile import HashFile
from vecstore.store.ids import I64, NONE, U64, IdMap, place_of, segment_of
from vecstore.store.parts import CODES, Part, Pool


class Known:
    """Ids by their place: those of a file, and those in memory that it does not know. Goes from version to
    version with whoever writes them, and serves one of them: whoever still reads another makes its own."""

    def __init__(self, file: HashFile | None) -> None:
        self.file = file
        self.serves: object = None  # what stands for those places; not these, which hold this
        self.later = IdMap()  # places have the numbers of parts
        self.entries = {} if file is None else {e.name: (at, e.rows) for at, e in enumerate(file.segments)}

    def knows(self, part: Part) -> bool:
        """Whether the file has the ids of a part."""
        return self.entries.get(part.segment.name, (0, -1))[1] == part.segment.rows


class _Ids(NamedTuple):
    """What is known of ids, and the part in a version of each number, and of each segment of the file; -1
    for none."""

    known: Known
    numbers: I64
    of_file: I64


class _Table:
    """Addresses of what is open, and what keeps them alive; one that is out of date goes on being right."""

    def __init__(self, parts: Sequence[Part], pool: Pool) -> None:
        self.closings = pool.closings
        self.lines = np.zeros((len(parts), gather.FACTS), np.int64)
        self.columns: dict[int, Column] = {}
        self._held: list[NDArray[np.bool_] | Archive | None] = []
        for at, part in enumerate(parts):
            self.lines[at, gather.ROWS] = part.segment.rows
            self.lines[at, gather.LIVE] = -1
            if part.knows_live:
                self.take_live(at, part)
            if part.files.opened() and (column := part.archive.picks.whole()) is not None:
                self._take(at, part.archive, column)

    def take_live(self, at: int, part: Part) -> None:
        """Which rows of a part are live."""
        live = part.live
        self._held.append(live)
        self.lines[at, gather.LIVE] = 0 if live is None else live.ctypes.data

    def take_column(self, at: int, part: Part) -> Column:
        """Where the codes of a part are, which is opened."""
        archive = part.archive
        column = archive.picks.whole()
        if column is None:
            raise CorruptError(f"{archive.path} has codes that no segment has")
        return self._take(at, archive, column)

    def _take(self, at: int, archive: Archive, column: Column) -> Column:
        self._held.append(archive)  # which is closed when nobody holds it
        self.note(at, column)
        return column

    def note(self, at: int, column: Column) -> None:
        """Where the codes of a part are, of which more may be verified by now."""
        self.columns[at] = column
        facts = column.facts()
        self.lines[at, gather.SHIFT : gather.VERIFIED + 1] = facts[gather.SHIFT : gather.VERIFIED + 1]
        self.lines[at, gather.BATCHES] = facts[gather.BATCHES]  # last: others may be looking


class Places:
    """The places of one version: place_of(number of a part in it, row)."""

    def __init__(self, root: str, version: int, parts: Sequence[Part], pool: Pool, key_words: int) -> None:
        """key_words: 64-bit words of a key, by the type of ids."""
        self._root, self._parts, self._pool, self._key_words = root, parts, pool, key_words
        self._version = version
        self._lines: _Table | None = None
        self._ids: _Ids | None = None
        self._mark = object()

    def take_over(self, known: Known, keys: U64 | None = None, places: I64 | None = None) -> None:
        """What the version before knew serves this one from now on, in which the ids with these keys have
        these places, or none."""
        with self._pool.lock:
            if keys is not None and places is not None:
                known.later.put(keys, places)
            elif keys is not None:
                known.later.remove(keys)
            self._use(known)

    @property
    def in_memory(self) -> object:
        """What is known of ids, if anything; that of a file is mapped."""
        return self._ids

    @property
    def in_files(self) -> NDArray[np.int64] | None:
        """Where codes are in the files that are open, if any was asked for."""
        return None if self._lines is None else self._lines.lines

    @property
    def known(self) -> Known:
        """Ids by place, read at the first use."""
        return self._mapped().known

    def _mapped(self) -> _Ids:
        return self._ids or self._use(self._read(hashfile.newest(self._root)))

    def _read(self, file: HashFile | None) -> Known:
        known = Known(file)
        if file is not None and file.key_words != self._key_words:
            known = Known(None)
        # Of a version that has been collected it may lack rows: looked for now, when the file is open.
        if file is not None and not file.is_whole and not tags.is_held(self._root, self._version):
            known = Known(None)
        if not any(known.knows(part) for part in self._parts):
            known = Known(None)
        for part in self._parts:
            if not known.knows(part):
                for rows, ids in live_ids(part):
                    known.later.put(keys_of(ids), place_of(part.number, rows))
        return known

    def _use(self, known: Known) -> _Ids:
        numbers = np.full(max((part.number for part in self._parts), default=-1) + 1, -1, np.int64)
        of_file = np.full(len(known.entries), -1, np.int64)
        for at, part in enumerate(self._parts):
            numbers[part.number] = at
            if known.knows(part):
                of_file[known.entries[part.segment.name][0]] = at
        known.serves = self._mark
        self._ids = _Ids(known, numbers, of_file)
        return self._ids

    def find(self, keys: U64) -> I64:
        """The place (n,) of the ids with keys (n, w), NONE where they have none."""
        known, numbers, of_file = self._mapped()
        answers = np.empty((2, len(keys)), np.int64)
        places: I64 = answers[0]
        places.fill(NONE)
        if known.file is not None:
            try:
                self._in_file(known.file, of_file, keys, answers)
            except hashfile.DamagedFile:
                self._use(self._read(None))
                return self.find(keys)
        # Without the lock: what a commit has begun to put there cannot be of this version.
        if not len(known.later) and known.serves is self._mark:
            return places
        with self._pool.lock:
            serves = known.serves is self._mark
            if serves:
                left = np.flatnonzero(places == NONE)
                if len(left):
                    found = known.later.find(keys[left])
                    idfile.renumber(found, numbers)
                    places[left] = found
        if not serves:  # Another thread has committed meanwhile.
            self._use(self._read(hashfile.newest(self._root)))
            return self.find(keys)
        return places

    def _in_file(self, file: HashFile, of_file: I64, keys: U64, answers: I64) -> None:
        cold = CODES in self._pool.cold
        if cold and len(keys) > (step := self._pool.at_once):
            for at in range(0, len(keys), step):
                some = np.full((2, len(keys[at : at + step])), NONE)
                self._in_file(file, of_file, keys[at : at + step], some)
                answers[:, at : at + step] = some
            return
        file.ensure_whole()
        table = self._table()
        if cold:
            file.prefetch(keys)
        while count := idfind.find((file.words, file.verified, of_file, table.lines), keys, answers):
            needs = np.unique(answers[1, :count])
            with self._pool.lock:
                file.verify((needs[needs > 0] - 1).tolist())
                for at in (-1 - needs[needs < 0]).tolist():
                    table.take_live(at, self._parts[at])
        if cold:
            file.touched(len(keys), (self._pool.memory or 0) // 4)

    def _table(self) -> _Table:
        table = self._lines
        if table is None or table.closings != self._pool.closings:
            table = self._lines = _Table(self._parts, self._pool)
        return table

    def take(self, places: I64, out: Codes) -> None:
        """The codes (n, width) of the rows at places (n,), all of which are in parts with such codes."""
        cold = CODES in self._pool.cold
        if cold and len(places) > (step := self._pool.at_once):
            for at in range(0, len(places), step):
                self.take(places[at : at + step], out[at : at + step])
            return
        table = self._table()
        _check_sizes(table, places)
        if cold:
            _prefetch(table, places)
        todo = np.empty(len(places), np.int64)
        count = gather.gather(places, table.lines, out, todo)
        if count:
            with self._pool.lock:
                self._open(todo[:count], places, out)
        if cold:
            numbers, counts = np.unique(segment_of(places)[0], return_counts=True)
            for at, rows in zip(numbers.tolist(), counts.tolist(), strict=True):
                if (column := table.columns.get(at)) is not None:
                    column.touched(rows)

    def _open(self, left: I64, places: I64, out: Codes) -> None:
        """The codes of those places (n,) whose numbers are left: their files are opened, and verified."""
        table = self._table()
        while len(left):
            parts = segment_of(places[left])[0]
            some = np.unique(parts)[: self._pool.most]
            for at in some.tolist():
                column = table.columns.get(at) or table.take_column(at, self._parts[at])
                column.open(segment_of(places[left[parts == at]])[1])
                table.note(at, column)  # Not that of the part: it may have been let go, and opened again.
            mine = np.isin(parts, some)
            codes = np.empty((int(mine.sum()), out.shape[1]), np.uint8)
            if gather.gather(places[left[mine]], table.lines, codes, np.empty(len(codes), np.int64)):
                raise CorruptError(f"rows of {self._root} are not where they should be; open it again")
            out[left[mine]] = codes
            left = left[~mine]
            table = self._table()


def _check_sizes(table: _Table, places: I64) -> None:
    """CorruptError where a file is shorter by now: reading what is mapped would kill the process."""
    if len(places) == 1:
        touched = [int(places[0]) >> ROW_BITS]
    else:
        marks = np.zeros(len(table.lines), np.bool_)
        gather.mark(places, marks)
        touched = np.flatnonzero(marks).tolist()
    for at in touched:
        if (column := table.columns.get(at)) is not None:
            column.ensure_whole()


def _prefetch(table: _Table, places: I64) -> None:
    """Has the system read the codes at places, where their files are open."""
    ordered = np.sort(places)
    numbers, rows = segment_of(ordered)
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(ordered)], strict=True):
        if (column := table.columns.get(int(numbers[start]))) is not None:
            column.prefetch(rows[start:stop])


def live_ids(part: Part) -> Iterator[tuple[I64, pa.Array]]:
    """The live rows of a part, and their ids, batch by batch."""
    first, live = 0, part.live
    for ids in part.archive.ids():
        rows = np.arange(first, first + len(ids))
        first += len(ids)
        if live is not None:
            keep = np.flatnonzero(live[rows])
            rows, ids = rows[keep], ids.take(pa.array(keep))
        yield rows, ids
