"""What can still be read of a damaged version: the rows of sound batches, in segments of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from vecstore.archive.reader import Archive, CodeBatch
from vecstore.codecs.base import BlockCodec, Codec
from vecstore.errors import VecstoreError
from vecstore.formats.base import Batch
from vecstore.formats.idkeys import keys_of
from vecstore.registry import AnyCodec
from vecstore.store import files, layout
from vecstore.store.ids import NONE, IdMap
from vecstore.store.manifest import Manifest, Segment

Codecs = dict[str, AnyCodec]


@dataclass
class Salvage:
    """What became of the rows of a version. lost: in words, which; of `rows` rows in all."""

    segments: list[Segment] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    rows: int = 0


def salvage(root: str, manifest: Manifest, known: Codecs, write: bool) -> Salvage:
    """Writes what is sound of damaged segments anew, or only looks; sound segments stay.

    known: the codecs that are sound.
    """
    kind = files.Kind(manifest.dim, manifest.id_type, manifest.columns)
    wrecks = [_Wreck(root, segment, kind, known) for segment in manifest.segments]
    found = Salvage()
    taken = IdMap() if any(wreck.deletes_lost for wreck in wrecks) else None
    saved: dict[str, list[Segment]] = {}
    # Where a list of deleted rows is lost, rows that were replaced are there again: the newer ones stay.
    for wreck in sorted(reversed(wrecks), key=lambda wreck: wreck.deletes_lost):
        wreck.leave_out(taken)
        saved[wreck.segment.name] = wreck.save(manifest) if write else []
        found.lost += wreck.lost
        found.rows += wreck.lost_rows
        wreck.close()
    found.segments = [segment for wreck in wrecks for segment in saved[wreck.segment.name]]
    return found


class _Wreck:
    """A segment, as far as it can be read. live: its rows that are to be saved."""

    def __init__(self, root: str, segment: Segment, kind: files.Kind, known: Codecs) -> None:
        self.segment, self._root = segment, root
        self._path = layout.segment_path(root, segment.name)
        self.lost: list[str] = []
        self.lost_rows = 0
        self._codec, self._fine_codec = known.get(segment.codec), known.get(segment.fine_codec or "")
        # Without its codec it tells ids and columns all the same.
        self._coarse = _opened(lambda: files.open_segment(root, segment, self._codec), kind)
        self._fine = None
        if self._fine_codec is not None:
            self._fine = _opened(lambda: files.open_fine(root, segment, self._fine_codec))
        self.live = np.ones(segment.rows, np.bool_)
        self.deletes_lost = False
        for deletes in segment.deletes:
            try:
                self.live[files.read_deletes(root, deletes, segment.rows)] = False
            except VecstoreError:
                self.deletes_lost = True
                self.lost.append(
                    f"which {deletes.rows} rows of {self._path} were deleted; they may be there again"
                )
        self._batches = list(self._pairs())

    def _pairs(self) -> Iterator[tuple[int, AnyCodec, Codec | None]]:
        """Batches of which rows can be saved, and the codecs of what there is of them."""
        step = self._coarse.batch_rows if self._coarse is not None else self.segment.rows
        for index in range(-(-self.segment.rows // step) if step else 0):
            pair = None if self._coarse is None else self._pair(index, self._coarse)
            rows = slice(index * step, min((index + 1) * step, self.segment.rows))
            if pair is not None:
                yield (index, *pair)
            elif count := int(self.live[rows].sum()):
                self.lost_rows += count
                self.lost.append(f"{count} rows, those from {rows.start} to {rows.stop - 1} of {self._path}")
                self.live[rows] = False

    def _pair(self, index: int, coarse: Archive) -> tuple[AnyCodec, Codec | None] | None:
        try:
            numbers = np.arange(len(coarse.record_batch(index))) + index * coarse.batch_rows
        except VecstoreError:
            return None
        fine = None
        if self._fine is not None and isinstance(self._fine_codec, Codec):
            with contextlib.suppress(VecstoreError):
                self._fine.codes_at(numbers)
                fine = self._fine_codec
        if self._codec is None:
            return None if fine is None else (fine, None)
        return self._codec, fine

    def leave_out(self, taken: IdMap | None) -> None:
        """Leaves rows out whose ids are taken, and takes those of the rest."""
        if taken is None or self._coarse is None:
            return
        for index, _, _ in self._batches:
            ids = self._coarse.record_batch(index).column("id")
            numbers = np.flatnonzero(self.live[self._rows(index)])
            names = ids.take(pa.array(numbers))
            keys = keys_of(names)
            mine = taken.find(keys) == NONE
            self.live[index * self._coarse.batch_rows + numbers[~mine]] = False
            taken.put(keys[mine], numbers[mine])

    def _rows(self, index: int) -> slice:
        assert self._coarse is not None
        return slice(index * self._coarse.batch_rows, (index + 1) * self._coarse.batch_rows)

    def save(self, manifest: Manifest) -> list[Segment]:
        """The segment if it is sound; else new ones of what is, one for each pair of codecs."""
        pairs: dict[tuple[str, str | None], tuple[AnyCodec, Codec | None, list[int]]] = {}
        for index, codec, fine in self._batches:
            key = codec.identity, None if fine is None else fine.identity
            pairs.setdefault(key, (codec, fine, []))[2].append(index)
        if not self.lost and set(pairs) == {(self.segment.codec, self.segment.fine_codec)}:
            return [self.segment]
        made = [
            files.write_segment(self._root, manifest, codec, fine, self._stored(codec, fine, chosen))
            for codec, fine, chosen in pairs.values()
        ]
        return [segment for segment in made if segment is not None]

    def _stored(self, codec: AnyCodec, fine: Codec | None, chosen: list[int]) -> Iterator[files.Rows]:
        """The rows of some batches as they are stored; decoded where they are stored by blocks."""
        assert self._coarse is not None
        for index in chosen:
            records = self._coarse.record_batch(index)
            keep = np.flatnonzero(self.live[self._rows(index)])
            if not len(keep):
                continue
            numbers, first = keep + index * self._coarse.batch_rows, index * self._coarse.batch_rows
            ids = records.column("id").take(pa.array(keep))
            names = self._coarse.columns.names
            columns = records.select(names).take(pa.array(keep)) if names else None
            if isinstance(codec, BlockCodec):
                yield Batch(self._coarse.rows_at(numbers), ids, columns, self._path, first)
                continue
            kept = None
            if fine is not None and self._fine is not None:
                kept = CodeBatch(first, ids, self._fine.codes_at(numbers), None)
            source = self._coarse if self._codec is not None else self._fine
            assert source is not None
            yield CodeBatch(first, ids, source.codes_at(numbers), columns), kept

    def close(self) -> None:
        """Lets go of the files."""
        for archive in (self._coarse, self._fine):
            if archive is not None:
                archive.close()


def _opened(opening: Callable[[], Archive], kind: files.Kind | None = None) -> Archive | None:
    try:
        archive = opening()
        if kind is not None:
            kind.check(archive)
    except VecstoreError:
        return None
    return archive
