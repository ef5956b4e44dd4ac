"""One version of a store as it is read: rows by id, in order, and by search."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.archive.ids import Ids, all_found, as_ids
from vecstore.archive.together import Asked, Kept, Piece, Together, merged
from vecstore.atomic import storage_errors
from vecstore.codecs.base import Array, Codec, Codes, Rows
from vecstore.errors import CorruptError, SpecError
from vecstore.formats.base import Batch
from vecstore.formats.idkeys import key_of, keys_of
from vecstore.kernels.threads import spread
from vecstore.ledger import Ledger
from vecstore.memory import Memory, account
from vecstore.registry import AnyCodec
from vecstore.search.checks import check_asked, check_mix
from vecstore.store import files, hashfile, layout
from vecstore.store.ids import I64, segment_of
from vecstore.store.manifest import Manifest
from vecstore.store.parts import CODES, Part, Pool, SegmentFiles
from vecstore.store.places import Places

_BLOCK_ROWS = 16_384  # that are gathered at a time


class View:
    """Reads one version. Segments are opened when they are needed, ids are known from the first use on."""

    def __init__(
        self, root: str, manifest: Manifest, like: View | None = None, pool: Pool | None = None
    ) -> None:
        """like: another version, whose open files and codecs serve this one too. pool: without such a one, of
        open files."""
        self.root = root
        self.manifest = manifest
        codecs: dict[str, AnyCodec] = {} if like is None else like.codecs
        self.codecs: dict[str, AnyCodec] = {
            identity: codecs.get(identity) or files.read_codec(root, identity)
            for identity in sorted(manifest.codecs)
        }
        before = {} if like is None else {part.segment.name: part for part in like.parts}
        self._numbers: Iterator[int] = count() if like is None else like._numbers
        self.pool: Pool = (pool or Pool()) if like is None else like.pool
        self.pool.measure(sum(segment.size for segment in manifest.segments), len(manifest.segments))
        kind = files.Kind(manifest.dim, manifest.id_type, manifest.columns)
        if any(codec.dim != kind.dim for codec in self.codecs.values()):
            raise CorruptError(f"{root} has codecs of other widths than {kind.dim}; restore it from a copy")
        self.parts: list[Part] = []
        for segment in manifest.segments:
            known = before.get(segment.name)
            if known is not None and known.again_as(segment):
                self.parts.append(known.again(segment))
                continue
            opened = SegmentFiles(root, segment, kind, self.codecs, self.pool)
            self.parts.append(Part(root, segment, opened, next(self._numbers)))
        self.key_words = 2 if manifest.id_type == pa.string() else 1
        kinds = {part.segment.codec for part in self.parts}
        self._sole = self.codecs[kinds.pop()] if len(kinds) == 1 else None  # the codec of all rows
        self._codecs: tuple[list[AnyCodec], I64] | None = None  # of segments, and which each part has
        self.ids = Places(root, manifest.version, self.parts, self.pool, self.key_words)
        self._together: Together | None = None
        self._kept: Kept = Kept() if like is None else like._kept

    def __len__(self) -> int:
        return self.manifest.rows

    def places(self, ids: Ids) -> I64:
        """The place of each id; NotFoundError names the first that is not there."""
        if (type(ids) is int and self.key_words == 1 and -1 << 63 <= ids < 1 << 63) or (
            type(ids) is str and self.key_words == 2 and ids.isascii()
        ):
            places = self.ids.find(key_of(ids))
            if places[0] >= 0:
                return places
        wanted = as_ids(ids, self.manifest.id_type or pa.int64(), self.root)
        keys = keys_of(wanted) if isinstance(wanted, pa.Array) else wanted.view(np.uint64).reshape(-1, 1)
        places = self.ids.find(keys)
        all_found(wanted, places, self.root)
        return places

    def get(self, ids: Ids) -> Rows:
        """The rows (n, dim) of n ids, from their codes."""
        places, codec = self.places(ids), self._sole
        if len(places) == 1 and isinstance(codec, Codec):
            codes = np.empty((1, codec.code_bytes), np.uint8)
            self.ids.take(places, codes)
            return codec.decode(codes)
        if codec is not None:
            return self._rows(codec, places)
        out = np.empty((len(places), self.manifest.dim), np.float32)
        for codec, mine in self._by_codec(places):
            out[mine] = self._rows(codec, places[mine])
        return out

    def get_codes(self, ids: Ids) -> Codes:
        """The codes (n, code_bytes) of n ids; SpecError unless all are of one codec that has a code a row."""
        places, codec = self.places(ids), self._sole
        if codec is None and len(groups := self._by_codec(places)) == 1:
            codec = groups[0][0]
        if not isinstance(codec, Codec):
            specs = sorted({str(codec.spec) for codec, _ in self._by_codec(places)})
            raise SpecError(f"the rows asked for have codes of {' and '.join(specs)}; use get")
        codes = np.empty((len(places), codec.code_bytes), np.uint8)
        self.ids.take(places, codes)
        return codes

    def _by_codec(self, places: I64) -> list[tuple[AnyCodec, I64]]:
        """The codecs of the rows at places (n,), each with the numbers of its rows in it."""
        if self._codecs is None:
            identities = sorted({part.segment.codec for part in self.parts})
            of_part = np.array([identities.index(part.segment.codec) for part in self.parts], np.int64)
            self._codecs = [self.codecs[identity] for identity in identities], of_part
        codecs, of_part = self._codecs
        of_row = of_part[segment_of(places)[0]]
        return [(codecs[at], np.flatnonzero(of_row == at)) for at in np.unique(of_row).tolist()]

    def _rows(self, codec: AnyCodec, places: I64) -> Rows:
        """The rows at places (n,), all in parts of one codec."""
        out = np.empty((len(places), self.manifest.dim), np.float32)
        if isinstance(codec, Codec):
            width = codec.code_bytes

            def work(start: int, stop: int) -> None:
                codes = np.empty((stop - start, width), np.uint8)
                self.ids.take(places[start:stop], codes)
                codec.decode(codes, out=out[start:stop])

            if len(places) <= _BLOCK_ROWS:  # On all threads, once they are gathered.
                work(0, len(places))
            else:
                spread(len(places), _BLOCK_ROWS, work)
            return out
        numbers, rows = segment_of(places)
        for number in np.unique(numbers).tolist():
            mine = numbers == number
            out[mine] = self.parts[number].archive.rows_at(rows[mine])
        return out

    def picked(self, numbers: I64) -> Iterator[tuple[Part, I64]]:
        """Of live rows those with these ascending numbers (n,): parts, and the rows' numbers in them."""
        first = 0
        for part in self.parts:
            live = part.live_rows()
            mine = live[numbers[(numbers >= first) & (numbers < first + len(live))] - first]
            first += len(live)
            if len(mine):
                yield part, mine

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
            check_asked(asked.k, asked.metric, asked.rerank)
            check_mix(asked.mix, asked.symmetric)
            integers = self.manifest.id_type in (None, pa.int64())
            none = np.empty((len(queries), 0), np.float32)
            return none.astype(np.int64 if integers else object), none
        if CODES in self.pool.cold:  # Nothing stays, and no more is open at a time than may be.
            runs = [self.parts[at : at + self.pool.most] for at in range(0, len(self.parts), self.pool.most)]
            return merged([Together(_pieces(run)).search(queries, asked) for run in runs], asked)
        if self._together is None:
            self._together = Together(_pieces(self.parts), self._kept)
        return self._together.search(queries, asked)

    def ledger(self) -> Ledger:
        """Bytes of all files that this version needs, and of the index that is derived from them."""
        counts = Counter(shared=sum(map(_size, self._codec_paths())), format=len(self.manifest.dumps()))
        counts["index"] = sum(map(_size, hashfile.paths(self.root)))
        counts["format"] += _size(os.path.join(self.root, layout.FORMAT))
        for part in self.parts:
            for archive in (part.archive, part.fine) if part.segment.fine_codec else (part.archive,):
                counts.update(dataclasses.asdict(archive.ledger()))
            counts["format"] += sum(deletes.size for deletes in part.segment.deletes)
        return Ledger(**counts)

    def memory_ledger(self) -> Memory:
        """What is held in memory by now, of the segments that are open."""
        together = [] if self._together is None else self._together.terms
        roots: dict[str, list[Any]] = {
            "shared": [self.codecs],
            "ids": [self.ids.in_memory],
            "side": [*together, *(searcher.terms.made for searcher in self._kept.scans.values())],
            "index": [part.known_live for part in self.parts],
        }
        for part in self.parts:
            for archive in part.files.archives:
                for name, objects in archive.held().items():
                    roots[name] += objects
        roots["index"].append(self.ids.in_files)
        return account({**roots, "codes": [self]})

    def _codec_paths(self) -> list[str]:
        return [layout.codec_path(self.root, identity) for identity in self.codecs]

    def close(self) -> None:
        """Lets go of all files."""
        for part in self.parts:
            part.close()


def _pieces(parts: Sequence[Part]) -> list[Piece]:
    return [Piece(part.archive.searching, part.live, part.finer, always=True) for part in parts]


def _size(path: str) -> int:
    with storage_errors(path, "read"):
        return os.path.getsize(path)
