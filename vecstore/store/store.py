"""A store: a directory that takes writes, and is read at its newest version or an older one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

from vecstore.archive.ids import Ids
from vecstore.codecs.base import Array
from vecstore.codecs.parts import MAX_DIM
from vecstore.errors import BudgetError, ConflictError, CorruptError, NotFoundError, SpecError, StorageError
from vecstore.formats.base import Batch
from vecstore.ledger import parse_budget
from vecstore.search.checks import check_metric
from vecstore.space.card import NOTHING, Claim, check_names, same_space
from vecstore.store import collect, compaction, files, index, layout, tags, versions, writing
from vecstore.store.given import checked, checked_batch
from vecstore.store.manifest import Manifest
from vecstore.store.parts import Pool
from vecstore.store.reading import StoreReader
from vecstore.store.streaming import StreamWriter, joined
from vecstore.store.view import View

Columns = Mapping[str, Any]  # name -> one value a row


class Store(StoreReader):
    """An open store: `Store.create` makes one, `Store.open` opens it. It can be pickled, and used after fork.

    Every change is one commit: durable when the call returns, whole or not at all, and a new version. A
    reader stays at the version that it opened until `refresh`. One writes at a time; another process or
    thread gets a ConflictError and can try again. Threads may read while another one writes.
    """

    format_version = layout.VERSION

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        version: int | str | None = None,
        read_only: bool = False,
        memory: int | str | None = None,
    ) -> None:
        """`open` by another name."""
        # As from here, wherever the process goes later.
        self.path = _whole(path)
        self._pinned = version
        self.read_only = read_only or version is not None
        versions.check_format(os.fspath(path))
        self.memory = memory
        pool = Pool(_bytes(memory))
        self._view: View | None = (
            _newest(self.path, None, pool)
            if version is None
            else View(self.path, tags.resolve(self.path, version), None, pool)
        )

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        dim: int,
        codec: str,
        metric: str = "ip",
        keep: str | None = "f16",
        model: str | None = None,
        revision: str | None = None,
    ) -> Self:
        """A new store without rows.

        codec: the spec of what rows are compressed by, which is fitted on the first rows that are put; until
        there are enough of them they are kept as they are. keep: the spec of finer codes that are kept beside
        for exact scores, None for none. metric: ip, cosine or l2. model, revision: what embeds the rows; both
        are kept in the card. Raises ConflictError if path exists, SpecError for specs and a metric that are
        none.
        """
        check_metric(metric)
        if type(dim) is not int or not 1 <= dim <= MAX_DIM:
            raise SpecError(f"dim is {dim!r}; expected a whole number, 1 to {MAX_DIM}")
        for spec in (codec,) if keep is None else (codec, keep):
            writing.check_spec(spec, dim)
        root = os.fspath(path)
        card = {"dim": dim, "metric": metric, **Claim(model, revision).names()}
        versions.create(root, Manifest(0, writing.now(), card, codec, keep))
        return cls(root)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        version: int | str | None = None,
        read_only: bool = False,
        memory: int | str | None = None,
    ) -> Self:
        """An existing store.

        version: an older one by its number or a tag, which can only be read. memory: how much there is for
        codes, as 100_000_000 or '100MB': finer rows, and codes if they are more than that, are then read from
        the disk side by side for all rows of a call, and do not stay mapped; searches read such codes a batch
        at a time, and keep none. Raises NotFoundError, InputError for what is no store,
        CorruptError, FormatError for a newer one, BudgetError.
        """
        return cls(path, version=version, read_only=read_only, memory=memory)

    @property
    def view(self) -> View:
        """What is read; StorageError after `close`."""
        if self._view is None:
            raise StorageError(f"{self.path} is closed; open it again")
        return self._view

    def versions(self) -> list[int]:
        """Numbers of all versions that can be opened, ascending."""
        held = {manifest.version for manifest in tags.held(self.path).values()}
        return sorted(held.union(versions.numbers(self.path)))

    def tags(self) -> dict[str, int]:
        """The version that each tag stands for."""
        return {name: manifest.version for name, manifest in tags.held(self.path).items()}

    def tag(self, name: str, version: int | str | None = None) -> None:
        """Names a version, by default the newest, which `gc` then keeps; durable when it returns.

        name: letters, digits, '.', '_' and '-'. Raises ConflictError if another version has the name.
        """
        with self._commit() as view:
            tags.add(self.path, name, view.manifest if version is None else tags.resolve(self.path, version))

    def untag(self, name: str) -> None:
        """Takes a name away, and so what keeps its version; NotFoundError."""
        with self._commit():
            tags.remove(self.path, name)

    def put(
        self,
        ids: Any,
        rows: Array,
        columns: Columns | None = None,
        *,
        model: str | None = None,
        revision: str | None = None,
        check_space: bool = True,
    ) -> None:
        """Adds rows (n, dim) under their ids, int64 or strings, in place of those that these ids had.

        columns: carried values, of the same names and types at every call. model, revision: what embedded the
        rows; SpaceMismatchError if the store's card says another. If the card names the same model, that
        settles it; else the rows are looked at, and those that lie as rows of another space do are refused
        (`vecstore.space.fingerprint`), unless check_space is False. Raises InputError for ids that repeat,
        rows of NaN, infinity or (cosine) zeros, ShapeError, ConflictError.
        """
        claim = Claim(model, revision, check_space)
        with self._commit() as view:
            given = checked(view.manifest, ids, rows, columns)
            self._check_space(given.batch.rows, claim, "rows")
            if len(given):
                self._view = writing.put(view, given)

    def _check_space(self, rows: Array, claim: Claim, what: str) -> None:
        same_space(self.view.manifest.card, rows, claim, what, self.path)

    def writer(
        self, source: str, *, model: str | None = None, revision: str | None = None, check_space: bool = True
    ) -> StreamWriter:
        """A writer of the stream with this name, which commits offsets with rows; a context manager.

        model, revision, check_space: of its rows, as `put`.
        """
        claim = Claim(model, revision, check_space)
        check_names(self.view.manifest.card, claim, "rows", self.path)
        commit = partial(self.take_in, claim=claim)
        return StreamWriter(source, lambda: self.view.manifest, self._checked, commit)

    def _checked(self, batch: Batch, like: Batch | None) -> Batch:
        """A batch of a stream as the store takes it. like: one that waits, which the store's rows will be of
        the kind of."""
        given = checked_batch(self.view.manifest, batch, like)
        writing.admit(self.view, given.batch.rows)
        return given.batch

    def take_in(
        self, batches: list[Batch], source: str | None, offset: int, *, claim: Claim = NOTHING
    ) -> None:
        """Commits batches with ids, and how far the source is taken in with them, if it has a name.

        Of rows of one id the last stands. claim: what is said of their space. ConflictError if another writer
        has taken the source in so far.
        """
        with self._commit() as view:
            known = None if source is None else view.manifest.sources.get(source)
            if known is not None and known >= offset:
                raise ConflictError(
                    f"another writer has taken {source} in up to offset {known}; go on behind that"
                )
            given = checked_batch(view.manifest, joined(batches))
            self._check_space(given.batch.rows, claim, "rows")
            self._view = writing.put(view, given, {} if source is None else {source: offset})

    def delete(self, ids: Ids) -> None:
        """Deletes rows; NotFoundError names the first id that is not there, and then nothing is deleted.

        Older versions keep them until `gc`; their bytes are gone once no version that is left has them.
        """
        with self._commit() as view:
            self._view = writing.delete(view, ids)

    def refit(self, codec: str | None = None, keep: str | None = compaction.UNCHANGED) -> None:
        """Fits the codec of rows to come, of another spec if one is given, on the rows that are there.

        keep: the spec of the finer codes of rows to come, None for none.
        """
        with self._commit() as view:
            self._view = compaction.refit(view, codec, keep)

    def compact(self, thinned: float = 0.0, *, keep: str | None = compaction.UNCHANGED) -> None:
        """Writes the live rows of small, older and thinned segments anew, by the codec of rows to come.

        thinned: the share of a segment's rows above which deleted ones have it written anew. keep: the spec
        of the finer codes of all rows from now on, None for none: they are dropped, or encoded anew from the
        finest that there are. The bytes are gone from the disk after `gc`. SpecError if finer rows than there
        are would be needed.
        """
        with self._commit() as view:
            self._view = compaction.compact(view, thinned, keep)

    def gc(self, keep: int = 1, older_than: float | None = None, *, purge: bool = False) -> list[str]:
        """Removes versions and every file that none of those left, and no tag, needs: their paths.

        keep: how many of the newest stay. older_than: in seconds; what was the newest at any time since stays
        too. purge: whether to `compact` first, so that of rows that were deleted no byte is left which no
        version that stays, and no tag, holds. Readers that have a version open go on reading it on this
        machine.
        """
        with self._commit() as view:
            if purge:
                view = self._view = compaction.compact(view, 0.0, compaction.UNCHANGED)
            return [*collect.collect(view.root, keep, older_than), *index.prune(view)]

    def reindex(self) -> None:
        """Writes the file by which ids are found anew. Writers do so by themselves when it pays."""
        with self._commit() as view:
            index.write(view)

    def check(self) -> list[str]:
        """Findings of a full check of what this version consists of, and of tags; an empty list is sound.

        If it has been collected since, the newest one is looked at. `vecstore.check` looks at all.
        """
        view = self.view
        while (found := collect.faults(view)) and self._pinned is None:
            if tags.is_held(self.path, view.manifest.version):
                break
            view = _newest(self.path, view)
        return found

    def refresh(self) -> None:
        """Reads the newest version from now on; one that was opened by its number stays."""
        if self._pinned is None:
            self._view = _newest(self.path, self.view)

    @contextmanager
    def _commit(self) -> Iterator[View]:
        """The newest version, which nobody else changes meanwhile."""
        if self.read_only:
            raise ConflictError(f"{self.path} is open to read only (an older version always is)")
        with versions.locked(self.path), files.taken_back():
            self.refresh()
            yield self.view

    def close(self) -> None:
        """Lets go of all files."""
        if self._view is not None:
            self._view.close()
            self._view = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), self.path, self._pinned, self.read_only, self.memory)


def _reopen(
    kind: type[Store], path: str, version: int | str | None, read_only: bool, memory: int | str | None
) -> Store:
    return kind(path, version=version, read_only=read_only, memory=memory)


def _whole(path: str | os.PathLike[str]) -> str:
    """A path from the root on."""
    path = os.fspath(path)
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)


def _bytes(memory: int | str | None) -> int | None:
    """A number of bytes, or what a budget's text says in total; BudgetError for another kind of budget."""
    if memory is None or isinstance(memory, int):
        return memory
    budget = parse_budget(memory)
    if budget.unit != "total":
        raise BudgetError(f"memory is {memory!r}; expected bytes in all, as '100MB'")
    return int(budget.amount)


def _newest(root: str, like: View | None = None, pool: Pool | None = None) -> View:
    """The newest version, which is `like` if nothing was committed since.

    A damaged one is never passed over for the one before: what it committed would be lost unseen.
    """
    version = versions.newest(root, None if like is None else like.manifest.version)
    while like is None or version != like.manifest.version:
        try:
            return View(root, versions.read(root, version), like, pool)
        except (NotFoundError, CorruptError):
            # It may have been collected since: then there is a newer one.
            if (now := versions.newest(root)) == version:
                raise
            version = now
    return like
