"""Reading of archives."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.archive.check import Findings, faults, inspect
from vecstore.archive.contents import CodeBatch as CodeBatch
from vecstore.archive.contents import Contents, block_of, fixed_codes, runs
from vecstore.archive.ids import Ids, all_found, as_ids
from vecstore.archive.layout import ID, TIERS, AnyCodec, code_types
from vecstore.archive.pages import Bytes
from vecstore.archive.picks import Picks
from vecstore.archive.places import local_name, lock
from vecstore.archive.search import ArchiveSearch, Where
from vecstore.archive.together import Asked, Piece, Together
from vecstore.codecs.base import Array, BlockCodec, Codec, Codes, Rows
from vecstore.codecs.plain import F32
from vecstore.codecs.tiers import tier as tier_of
from vecstore.errors import ConflictError, CorruptError, FormatError, SpecError
from vecstore.formats.base import Batch
from vecstore.kernels.threads import get_threads
from vecstore.ledger import Ledger
from vecstore.memory import Memory, account
from vecstore.registry import loads
from vecstore.space.adapter import Adapter, queries_in
from vecstore.space.card import Claim
from vecstore.spec import Spec, parse


class Archive:
    """The read side of an archive, or of its stream form; '-' is stdin.

    Every byte is verified before anything made from it is given out: CorruptError otherwise. It goes on
    reading the file it opened when another takes its name. It can be pickled (by path) and used after fork.
    tier: dimensions, or bytes as in '16B' (`vecstore.codecs.tiers`): codes are read as far as these go, and
    not beyond where they are stored apart. codec: of a segment of a store, with its identity. descriptor: of
    an open file. Raises NotFoundError, InputError for a file that is no archive, CorruptError, FormatError
    for a newer one, SpecError for a tier that its codec has not."""

    generations = 1  # codecs that its rows are encoded by

    def __init__(
        self, path: str | os.PathLike[str], tier: int | str | None = None, *,
        codec: tuple[str, AnyCodec] | None = None, descriptor: int | None = None,
    ) -> None:  # fmt: skip
        self.path = os.fspath(path)
        self._contents = Contents(self.path, descriptor)
        self.format_version = self._contents.version
        self.schema: pa.Schema = self._contents.schema
        self.id_type: pa.DataType = self.schema.field(ID).type
        self.columns = pa.schema(list(self.schema)[1 + len(self._contents.code_names) :])
        self.card: dict[str, Any] = self._contents.card
        self.dim = self._contents.dim
        self.batch_rows = self._contents.batch_rows
        self.picks = Picks(self._contents)
        self._last: tuple[int, Rows] | None = None
        self._given = codec
        self._codec: AnyCodec | None = None
        self._search: ArchiveSearch | None = None
        self._searched: Together | None = None
        self.tier = tier
        if tier is not None:
            _ = self.codec

    def __len__(self) -> int:
        return self._contents.rows

    @property
    def metric(self) -> str | None:
        """What the collection is searched by, if told: ip, cosine or l2."""
        return self.card.get("metric")

    @property
    def spec(self) -> Spec:
        """The codec's spec in full."""
        return parse(self._contents.spec)

    @property
    def codec(self) -> AnyCodec:
        """The codec, or that of the tier. FormatError if it is not installed."""
        # functools.cached_property would hold a lock, and a fork may come while it is held.
        if self._codec is None:
            self._codec = self._whole = self._load_codec()
            if self.tier is not None:
                if not isinstance(self._whole, Codec):
                    raise SpecError(f"{self.path} is compressed by {self.spec}, whose codes have no tiers")
                self._codec = tier_of(self._whole, self.tier)
        return self._codec

    def _load_codec(self) -> AnyCodec:
        codec = self._read_codec()
        try:
            stored = ", ".join(map(str, code_types(codec, self.card)))
        except SpecError as error:
            raise CorruptError(f"{self.path} is stored in tiers that its codec has not: {error}") from error
        found = ", ".join(str(self.schema.field(name).type) for name in self._contents.code_names)
        if codec.dim != self.dim or found != stored:
            raise CorruptError(f"{self.path} has a codec of dim {codec.dim} and {stored} codes, not {found}")
        return codec

    def _read_codec(self) -> AnyCodec:
        if (state := self._contents.state()) is not None:
            return loads(state)
        if self._given is None:
            raise FormatError(f"{self.path} is a segment of a store, which has its codec; open the store")
        identity, codec = self._given
        if identity != self._contents.codec_identity:
            raise CorruptError(f"{self.path} was made by another codec than {identity}")
        return codec

    @property
    def tiers(self) -> dict[str, int]:
        """The tiers that are stored apart, and the bytes of their codes."""
        names = self._contents.code_names[:-1]
        ends = np.cumsum([self.schema.field(name).type.byte_width for name in names], dtype=int).tolist()
        return {str(part): end for part, end in zip(self.card.get(TIERS, []), ends, strict=True)}

    def ledger(self) -> Ledger:
        """The byte account of the file; `total` is its size."""
        return self._contents.ledger

    def memory_ledger(self) -> Memory:
        """The account of what is held in memory by now: more once rows are read by id, or searched."""
        return account({**self.held(), "codes": [self]})

    def held(self) -> dict[str, list[Any]]:
        """By part of `memory_ledger`, where its arrays are; all others are codes."""
        terms = [] if self._search is None else self._search.terms
        index = [self._contents, self.picks]
        return {"shared": [self._codec], "ids": self.picks.held_ids, "side": terms, "index": index}

    def get(self, ids: Ids) -> Rows:
        """The rows (n, dim) of n ids, int64 or strings; NotFoundError names the first unknown one."""
        return self.rows_at(self._find(ids))

    def rows_at(self, rows: NDArray[np.int64], codec: AnyCodec | None = None) -> Rows:
        """The rows (n, dim) with these numbers, by the archive's codec or by another of its tiers."""
        codec = codec or self.codec
        if isinstance(codec, Codec):
            return codec.decode(self.picks.codes(rows, codec.code_bytes))
        out = np.empty((len(rows), self.dim), np.float32)
        batches, places = self.picks.places(rows)
        order = np.argsort(batches, kind="stable")
        for run in np.split(order, np.flatnonzero(np.diff(batches[order])) + 1):
            if len(run):
                out[run] = self._block(int(batches[run[0]]))[places[run]]
        return out

    def search(
        self,
        queries: Array,
        k: int = 10,
        metric: str | None = None,
        where: Where = None,
        rerank: int = 0,
        symmetric: bool = False,
        *,
        mix: float = 0.0,
        adapter: Adapter | None = None,
        model: str | None = None,
        revision: str | None = None,
        check_space: bool = True,
    ) -> tuple[NDArray[Any], Rows]:
        """Ids (int64, or str objects) and scores of the best rows, (queries, min(k, rows that match)) each.

        queries (q, dim), any real dtype. Best first, ties in the order of the rows: similarity falls, l2
        (squared) rises. metric: ip, cosine or l2; by default the archive's own. where: an array of bool (n,),
        an Arrow expression on the carried columns and `id`, or its text: "lang = 'en' and year >= 2020".
        rerank: how many of the best rows are decoded and scored again in float64, before the best k of them
        are taken; 0: as many as the codec's scan needs, which may be none. Of an archive opened at a tier,
        they are read whole for it; mix: how much of the tier's score is added to theirs. symmetric: queries
        are encoded too and codes are compared with codes, which is coarser and faster; scores are then the
        codec's own (for one bit a dimension, dimensions less twice the bits that differ), but those of the
        metric with `rerank`. SpecError for a codec that cannot. adapter: what turns queries of a new model
        into the rows' space (`Adapter.fit`). model, revision: what embedded the queries; check_space: whether
        these are looked at where that does not settle that they are of the card's space. SpaceMismatchError
        if they are not. What is kept in memory is said in `vecstore.archive.search`.
        """
        claim = Claim(model, revision, check_space)
        rows = queries_in(self.card, queries, claim, adapter, self.path)
        asked = Asked(k, metric or self.metric or "ip", where, rerank, symmetric, mix)
        return self._together().search(rows, asked)

    def _together(self) -> Together:
        if self._searched is None:
            own, whole = self.searching, self._whole
            finer = None if self.codec is whole else lambda numbers: self.rows_at(numbers, whole)
            self._searched = Together([Piece(own, finer=finer)])
        return self._searched

    @property
    def searching(self) -> ArchiveSearch:
        """What searches have in common, made at the first; without memory to keep it in, at each."""
        found = self._search
        if found is None:
            found = ArchiveSearch(self._contents, self.picks, self.codec, self._decode_batch, self.rows_at)
            self._search = None if self.picks.cold else found
        return found

    def _decode_batch(self, index: int) -> Rows:
        """The rows of a batch; Arrow's memory where they are stored as they are."""
        codec = self.codec
        if not isinstance(codec, Codec):
            return self._load(index)[2]
        codes = self._contents.codes(index, codec.code_bytes)
        return codes.view(np.float32) if isinstance(codec, F32) else codec.decode(codes)

    def get_codes(self, ids: Ids) -> Codes:
        """The codes (n, code_bytes) of n ids; SpecError for a codec without a code per row."""
        rows = self._find(ids)
        width = self.codec.code_bytes
        if width is None:
            raise SpecError(f"{self.path} is compressed by {self.spec}, block by block; use get")
        return self.picks.codes(rows, width)

    def _find(self, ids: Ids) -> NDArray[np.int64]:
        wanted = as_ids(ids, self.id_type, self.path)
        rows = self.picks.lookup().find(wanted) if len(self) else np.full(len(wanted), -1)
        all_found(wanted, rows, self.path)
        return rows

    def ids_at(self, rows: NDArray[np.int64]) -> pa.Array:
        """The ids of the rows with these numbers."""
        return self.picks.ids(rows)

    @property
    def tail_hash(self) -> str:
        """xxh3_128 of the end of the file, whose checksums stand for all of it."""
        return self._contents.tail_hash

    def _block(self, index: int) -> Rows:
        """The rows of a block; the last one used is kept."""
        last = self._last
        if last is None or last[0] != index:
            last = self._last = (index, self._load(index)[2])
        return last[1]

    def _decoded(self, index: int, batch: pa.RecordBatch) -> Rows:
        """All rows of a batch of blocks."""
        assert isinstance(self.codec, BlockCodec)
        try:
            rows = self.codec.decode_block(block_of(batch), batch.num_rows)
        except CorruptError as error:
            raise CorruptError(f"batch {index} of {self.path} cannot be decoded: {error}") from error
        if rows.shape != (batch.num_rows, self.dim):
            raise CorruptError(
                f"batch {index} of {self.path} decodes to {rows.shape}; expected {(batch.num_rows, self.dim)}"
            )
        return rows

    def ids(self) -> Iterator[pa.Array]:
        """All ids in order, read without the codes."""
        for index in range(self._contents.batches):
            yield self._contents.ids(index)

    def code_batches(self) -> Iterator[CodeBatch]:
        """The rows as they are stored, batch by batch, with ids and carried columns."""
        width = self.codec.code_bytes
        for index in range(self._contents.batches):
            batch = self._contents.batch(index, width=width)
            columns = batch.select(self.columns.names) if len(self.columns) else None
            codes = block_of(batch) if width is None else self._codes(batch, width)
            yield CodeBatch(index * self.batch_rows, batch.column(ID), codes, columns)

    def record_batch(self, index: int) -> pa.RecordBatch:
        """One batch as Arrow has it, for which its codec need not be there; CorruptError."""
        return self._contents.batch(index)

    def codes_at(self, rows: NDArray[np.int64]) -> Codes:
        """The codes (n, code_bytes) of rows by number, of a codec that has one for each row."""
        width = self.codec.code_bytes
        assert width is not None
        return self.picks.codes(rows, width)

    def _codes(self, batch: pa.RecordBatch, width: int) -> Codes:
        return fixed_codes(batch, self._contents.columns_of(width), width)

    def batches(self, batch_rows: int = 8192) -> Iterator[Batch]:
        """All rows in order, decoded, with ids and carried columns, at most batch_rows at a time."""
        if batch_rows < 1:
            raise SpecError(f"batch_rows is {batch_rows}; expected 1 or more")
        for index, batch, source in self._stored(None):
            for start in range(0, batch.num_rows, batch_rows):
                part, stored = batch.slice(start, batch_rows), source[start : start + batch_rows]
                rows = self.codec.decode(stored) if isinstance(self.codec, Codec) else stored
                columns = part.select(self.columns.names) if len(self.columns) else None
                yield Batch(rows, part.column(ID), columns, self.path, index * self.batch_rows + start)

    def _stored(self, buffer: Bytes | None) -> Iterator[tuple[int, pa.RecordBatch, NDArray[Any]]]:
        """The batches in order, each with its codes (n, code_bytes), or with its rows (n, dim) where it is a
        block. In `buffer`, a batch of codes is gone when the next one comes."""
        if isinstance(self.codec, Codec):
            width = self.codec.code_bytes
            for index in range(self._contents.batches):
                batch = self._contents.batch(index, buffer, width)
                yield index, batch, self._codes(batch, width)
            return
        threads = get_threads()
        flying: deque[Future[tuple[int, pa.RecordBatch, Rows]]] = deque()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="vecstore-blocks")
        try:
            for index in range(self._contents.batches):
                flying.append(pool.submit(self._load, index))
                if len(flying) > threads:
                    yield flying.popleft().result()
            while flying:
                yield flying.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _load(self, index: int) -> tuple[int, pa.RecordBatch, Rows]:
        batch = self._contents.batch(index)
        return index, batch, self._decoded(index, batch)

    def scan(self, batch_rows: int = 8192) -> Iterator[tuple[NDArray[Any], Rows]]:
        """All rows in order: ids (n,), int64 or str objects, and rows (n, dim); the last n may be less."""
        if batch_rows < 1:
            raise SpecError(f"batch_rows is {batch_rows}; expected 1 or more")
        buffer = np.empty(self._contents.longest_batch(), np.uint8)
        out: Rows | None = None
        ids: list[NDArray[Any]] = []
        filled = 0
        for index, start, stop, names, source in runs(self._stored(buffer), self.batch_rows, batch_rows):
            if out is None:
                out = np.empty((min(batch_rows, len(self) - index), self.dim), np.float32)
            if isinstance(self.codec, Codec):
                self.codec.decode(source[start:stop], out=out[filled : filled + stop - start])
            else:
                out[filled : filled + stop - start] = source[start:stop]
            ids.append(names)
            filled += stop - start
            if filled == len(out):
                yield np.concatenate(ids), out
                out, ids, filled = None, [], 0

    def check(self) -> list[str]:
        """Findings of a full check: every byte, every batch, every block; an empty list is sound."""
        return faults(self._contents, self._load_codec)

    def inspect(self) -> Findings:
        """`check`, but for ids that come twice, whose keys it gives."""
        return inspect(self._contents, self._load_codec)

    @classmethod
    def examine(cls, path: str | os.PathLike[str]) -> list[str]:
        """`check` of a file that may be damaged too much to be opened; NotFoundError if there is none."""
        try:
            with cls(path) as archive:
                return archive.check()
        except CorruptError as error:
            return [str(error)]

    @property
    def has_row_number_ids(self) -> bool:
        """Whether the ids are 0, 1, 2 and so on."""
        return self._contents.row_number_ids

    def lock(self) -> None:
        """Keeps others from locking the same file until `close`; ConflictError if one has locked it."""
        if not lock(self._contents.descriptor):
            raise ConflictError(f"{self.path} is being appended to by another process; try again later")

    def is_current(self) -> bool:
        """Whether the file's name still leads to this very file."""
        try:
            return os.path.samestat(os.stat(local_name(self.path)), os.fstat(self._contents.descriptor))
        except FileNotFoundError:
            return False

    def duplicate(self) -> int:
        """Another descriptor of the file, for whoever opens it again."""
        return os.dup(self._contents.descriptor)

    def close(self) -> None:
        """Lets go of the file."""
        self._contents.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if "_contents" in self.__dict__:
            self._contents.close()

    def __reduce__(self) -> tuple[type[Self], tuple[str, int | str | None]]:
        return type(self), (os.path.abspath(self.path), self.tier)
