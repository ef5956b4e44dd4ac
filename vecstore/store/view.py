"""One version of a store as it is read: rows by id, in order, and by search."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.archive.ids import Ids, all_found, as_ids
from vecstore.archive.reader import Archive
from vecstore.archive.together import Asked, Kept, Piece, Together
from vecstore.atomic import storage_errors
from vecstore.codecs.base import Array, Rows
from vecstore.errors import SpecError
from vecstore.formats.base import Batch
from vecstore.ledger import Ledger
from vecstore.registry import AnyCodec
from vecstore.search.searcher import Decode
from vecstore.store import files, layout
from vecstore.store.ids import IdMap, place_of, segment_of
from vecstore.store.manifest import Manifest, Segment

I64 = NDArray[np.int64]


class Part:
    """An open segment and which of its rows are live; immutable. Its open files serve later versions too."""

    def __init__(self, root: str, segment: Segment, codecs: dict[str, AnyCodec], known: Part | int):
        """known: the same segment in another version, whose open files and number serve this one; or a number
        that no other part has."""
        like = known if isinstance(known, Part) else None
        self.segment = segment
        self.number: int = known.number if isinstance(known, Part) else known
        self._fine: list[Archive] = [] if like is None else like._fine  # one, once it is open
        if like is None:
            self.archive = files.open_segment(root, segment, codecs[segment.codec])
        else:
            self.archive = like.archive
        self._root, self._codecs = root, codecs
        before = () if like is None else like.segment.deletes
        if segment.deletes[: len(before)] != before:
            before = ()
        self.live: NDArray[np.bool_] | None = like.live if like and before else None  # (rows,), None: all
        for deletes in segment.deletes[len(before) :]:
            live = np.ones(segment.rows, np.bool_) if self.live is None else self.live.copy()
            live[files.read_deletes(root, deletes, segment.rows)] = False
            self.live = live

    @property
    def fine(self) -> Archive:
        """The finer rows that are kept, or those that there are."""
        if self.segment.fine_codec is None:
            return self.archive
        if not self._fine:
            codec = self._codecs[self.segment.fine_codec]
            self._fine.append(files.open_fine(self._root, self.segment, codec))
        return self._fine[0]

    @property
    def finer(self) -> Decode | None:
        """Decodes the finer rows that are kept, if any."""
        return None if self.segment.fine_codec is None else lambda numbers: self.fine.rows_at(numbers)

    def live_rows(self) -> I64:
        """Numbers of rows that are not deleted, ascending."""
        return np.arange(self.segment.rows) if self.live is None else np.flatnonzero(self.live)

    def close(self) -> None:
        """Lets go of the files."""
        for archive in (self.archive, *self._fine):
            archive.close()


class View:
    """Reads one version. Parts are opened when the view is made; ids are mapped at the first use."""

    def __init__(self, root: str, manifest: Manifest, like: View | None = None) -> None:
        """like: another version, whose open files and codecs serve this one too."""
        self.root = root
        self.manifest = manifest
        codecs: dict[str, AnyCodec] = {} if like is None else like.codecs
        self.codecs: dict[str, AnyCodec] = {
            identity: codecs.get(identity) or files.read_codec(root, identity)
            for identity in sorted(manifest.codecs)
        }
        before = {} if like is None else {part.segment.name: part for part in like.parts}
        self._numbers: Iterator[int] = count() if like is None else like._numbers
        self.parts: list[Part] = []
        for segment in manifest.segments:
            known = before.get(segment.name)
            if known is None or known.segment != segment:
                known = Part(root, segment, self.codecs, next(self._numbers) if known is None else known)
            self.parts.append(known)
        self._by_number = {part.number: part for part in self.parts}
        self._map: IdMap | None = None
        self._together: Together | None = None
        self._kept: Kept = Kept() if like is None else like._kept

    def __len__(self) -> int:
        return self.manifest.rows

    def take_ids(self, ids: IdMap) -> None:
        """Takes over the map of the version before, brought up to date."""
        self._map = ids

    @property
    def ids(self) -> IdMap:
        """Where each id's row lies, by the number of its part."""
        if self._map is None:
            found = IdMap()
            for part in self.parts:
                rows = part.live_rows()
                found.put(part.archive.ids_at(rows), place_of(part.number, rows))
            self._map = found
        return self._map

    def places(self, ids: Ids) -> I64:
        """The place of each id; NotFoundError names the first that is not there."""
        kind = self.manifest.id_type or pa.int64()
        wanted = as_ids(ids, kind, self.root)
        names = wanted if isinstance(wanted, pa.Array) else pa.array(wanted)
        places = self.ids.find(names)
        all_found(names, places, self.root)
        return places

    def get(self, ids: Ids) -> Rows:
        """The rows (n, dim) of n ids, from their codes."""
        places = self.places(ids)
        out = np.empty((len(places), self.manifest.dim), np.float32)
        numbers, rows = segment_of(places)
        for number in np.unique(numbers):
            mine = numbers == number
            out[mine] = self._by_number[int(number)].archive.rows_at(rows[mine])
        return out

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """Live rows in the order in which they came, with ids and carried columns."""
        if batch_rows < 1:
            raise SpecError(f"batch_rows is {batch_rows}; expected 1 or more")
        for part in self.parts:
            for batch in part.archive.batches(batch_rows):
                if part.live is None:
                    yield batch
                    continue
                keep = np.flatnonzero(part.live[batch.first : batch.first + len(batch)])
                if len(keep):
                    columns = None if batch.columns is None else batch.columns.take(pa.array(keep))
                    assert batch.ids is not None
                    ids = batch.ids.take(pa.array(keep))
                    yield Batch(batch.rows[keep], ids, columns, batch.path, batch.first + int(keep[0]))

    def search(self, queries: Array, asked: Asked) -> tuple[NDArray[Any], Rows]:
        """Ids and scores (queries, min(k, rows that match)), best first, ties in the order of the rows."""
        if not self.parts:
            integers = self.manifest.id_type in (None, pa.int64())
            none = np.empty((len(queries), 0), np.float32)
            return none.astype(np.int64 if integers else object), none
        if self._together is None:
            pieces = [
                Piece(part.archive.searching, part.live, part.finer, always=True) for part in self.parts
            ]
            self._together = Together(pieces, self._kept)
        return self._together.search(queries, asked)

    def ledger(self) -> Ledger:
        """Bytes of all files that this version needs, but what is derived from them."""
        counts = Counter(shared=sum(map(_size, self._codec_paths())), format=len(self.manifest.dumps()))
        counts["format"] += _size(os.path.join(self.root, layout.FORMAT))
        for part in self.parts:
            for archive in (part.archive, part.fine) if part.segment.fine_codec else (part.archive,):
                counts.update(dataclasses.asdict(archive.ledger()))
            counts["format"] += sum(deletes.size for deletes in part.segment.deletes)
        return Ledger(**counts)

    def _codec_paths(self) -> list[str]:
        return [layout.codec_path(self.root, identity) for identity in self.codecs]

    def close(self) -> None:
        """Lets go of all files."""
        for part in self.parts:
            part.close()


def _size(path: str) -> int:
    with storage_errors(path, "read"):
        return os.path.getsize(path)
