"""What `import vecstore as vs` shows: fit, plan, compress, decompress, open, check."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from vecstore import registry
from vecstore.archive.layout import TIERS
from vecstore.codecs.base import Array, BlockCodec, Codec, Rows
from vecstore.codecs.rbe import fit_compatible as fit_compatible
from vecstore.codecs.tables.making import Wish, open_table
from vecstore.codecs.tables.making import make as make_table
from vecstore.codecs.tables.table import Table as Table
from vecstore.codecs.tiers import tier as tier
from vecstore.errors import InputError, SpecError, WidthError
from vecstore.formats.base import Source
from vecstore.kernels.threads import set_threads
from vecstore.ledger import parse_budget
from vecstore.planner.choose import choose
from vecstore.planner.plan import Plan, Wanted
from vecstore.planner.plan import plan as run_plan
from vecstore.planner.room import Room
from vecstore.registry import AnyCodec
from vecstore.space.adapter import Adapter
from vecstore.space.card import Claim
from vecstore.store import Collection, open_collection
from vecstore.store import Store as Store
from vecstore.store import check as check_collection
from vecstore.store.repair import Consent, Repaired
from vecstore.store.repair import repair as run_repair
from vecstore.store.tuning import Tuned
from vecstore.stream.compress import Job, Progress, Summary, check_terms, continued, drawn, usable
from vecstore.stream.compress import compress as run_compress
from vecstore.stream.decompress import Restored
from vecstore.stream.decompress import decompress as run_decompress
from vecstore.stream.ingest import Ingested, Terms
from vecstore.stream.ingest import ingest as run_ingest
from vecstore.stream.sample import Sample
from vecstore.stream.sources import as_source, rows_of

PathLike: TypeAlias = "str | os.PathLike[str]"
RaggedInput: TypeAlias = "Sequence[Array] | pa.Array | pa.ChunkedArray"
_PUT_ROWS = 1 << 16  # a commit
Input: TypeAlias = "PathLike | Array | pa.Table | pa.RecordBatchReader | Source"


def fit(
    spec: str, sample: Array | RaggedInput, *, seed: int = 0, columns: Mapping[str, Any] | None = None
) -> AnyCodec:
    """A codec for `spec` learned from sample (n, dim) float32, float16, bfloat16, uint8 or any real dtype.

    A spec that starts with `fde` takes a ragged sample: a list of (tokens, dim) arrays or an Arrow list of
    fixed-size lists; so does then the codec's `encode`, and `queries` for what is asked. One that starts with
    `groupcenter` takes the column that it groups by in columns, {name: values of each row}; rows are then
    encoded by the codec's `encode_by`, with their values.

    The same sample and seed give the same codec. Raises SpecError, ShapeError, InputError.
    """
    return registry.fit(spec, cast("Array", sample), seed=seed, columns=columns)


def compress(
    source: Input,
    target: PathLike,
    codec: str | AnyCodec | None = None,
    *,
    budget: str | None = None,
    metric: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    ids: Any = None,
    vectors: str | None = None,
    rows: int | None = None,
    on_error: str = "fail",
    force: bool = False,
    append: bool = False,
    model: str | None = None,
    revision: str | None = None,
    tiers: Sequence[int | str] = (),
    progress: Progress | None = None,
    choosing: Progress | None = None,
) -> Summary:
    """Compresses vectors into one archive and says what it cost and lost.

    source: a file, folder, glob, URI or '-' for stdin, or an array (n, dim), or an Arrow table. codec: a spec
    or a fitted codec; or budget: '5%', '64MiB', '48B/row', '1.5bit/dim'; with append neither. ids, vectors:
    column names (for an array, ids are the ids themselves). metric: ip (default), cosine or l2, kept for
    search. threads: as `set_threads`; None leaves it as it is. rows: how many rows a pipe will bring, for a
    budget that is a total. on_error: 'fail' or 'skip' rows that cannot be taken. model, revision: what
    embedded the rows, kept in the card; with a model's name, and without a budget, a fingerprint of their
    space is kept too. tiers: as `tier` takes them, the smallest first; their bytes are stored apart, to be
    read without the rest (`open`). progress: called with (rows done, rows in all or None); choosing: before
    that, where there is a budget, with (codecs tried, codecs to try).

    Raises a VecstoreError and leaves nothing behind if anything is wrong; ConflictError if target exists.
    """
    if on_error not in ("fail", "skip"):
        raise SpecError(f"on_error is {on_error!r}; expected 'fail' or 'skip'")
    if (codec is not None) + (budget is not None) + append != 1:
        raise SpecError("give one of: a codec, a budget, or append to an archive (which has its codec)")
    if append and tiers:
        raise SpecError("rows that are appended are stored as those before, so there are no tiers to choose")
    if threads is not None:
        set_threads(threads)
    column = registry.column_of(codec) if isinstance(codec, str) else None
    card: dict[str, Any] = Claim(model, revision).names()
    if tiers:
        card[TIERS] = [int(part) if str(part).isdigit() else str(part) for part in tiers]
    job = Job(
        target=os.fspath(target), metric=metric or "ip", seed=seed, skip=on_error == "skip", force=force,
        append=append,
        budget=None if budget is None else parse_budget(budget),
        card=card, progress=progress, column=column,
    )  # fmt: skip
    with as_source(source, ids=ids, vectors=vectors) as opened:

        def fitter(source: Source, sample: Sample, usable: Array) -> AnyCodec:
            if budget is not None:
                room = Room.of(budget, source, sample, rows)
                return choose(usable, room, metric=metric or "ip", seed=seed, progress=choosing)
            assert isinstance(codec, str)
            columns = None if column is None else {column: sample.groups}
            return registry.fit(codec, usable, seed=seed, columns=columns)

        if append:
            codec = continued(job, metric)
        return run_compress(opened, codec if isinstance(codec, Codec | BlockCodec) else fitter, job)


def plan(
    source: Input,
    *,
    budget: str,
    metric: str = "ip",
    seed: int = 0,
    min_recall: float | None = None,
    max_scan_ns: float | None = None,
    seconds: float | None = None,
    resume: PathLike | None = None,
    threads: int | None = None,
    ids: Any = None,
    vectors: str | None = None,
    rows: int | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Codecs that a budget holds, measured on rows of a sample that they were not fitted on, best first.

    `compress` with the same source, budget, metric and seed takes the first; the rest of its arguments are as
    there. min_recall: of the ten nearest rows, the share that must be found; the fewest bytes a row that do
    come first. max_scan_ns: nanoseconds a row and query that a scan may take. seconds: no candidate is begun
    later. resume: a file that keeps what was measured, and from which a plan of the same rows, metric, seed
    and version goes on. progress: called with (candidates done, candidates).

    Raises BudgetError with the least feasible budget, or with what was found if nothing is good or fast
    enough; InputError and ConflictError for a resume file of something else.
    """
    check_terms(metric, seed)
    if threads is not None:
        set_threads(threads)
    path = None if resume is None else os.fspath(resume)
    terms = Wanted(metric, seed, min_recall, max_scan_ns, seconds, path, progress)
    with as_source(source, ids=ids, vectors=vectors) as opened:
        sample = drawn(opened, seed)
        keep = usable(sample.rows, metric)
        if not keep.any():
            raise InputError(f"{opened.path}: no row of {len(keep)} can be taken; there is nothing to plan")
        return run_plan(sample.rows[keep], Room.of(budget, opened, sample, rows), terms)


def decompress(
    source: PathLike,
    target: PathLike,
    *,
    dtype: str = "float32",
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Restored:
    """Writes the rows of an archive, with ids and carried columns, to any format; '-' is stdin or stdout.

    dtype: float32 or float16. Raises CorruptError before any damaged row is written out, ConflictError if
    target exists.
    """
    if threads is not None:
        set_threads(threads)
    return run_decompress(os.fspath(source), os.fspath(target), dtype=dtype, force=force, progress=progress)


def open(path: PathLike, tier: int | str | None = None, *, memory: int | str | None = None) -> Collection:
    """Opens an archive or a store to read; `Store.open` opens a store to write.

    tier: of an archive only the first bytes of each code are read (see `tier`). Where they are stored apart,
    the rest is not touched, except by a search with rerank. memory: how much there is for the codes of a
    store, as `Store.open`. Raises NotFoundError, InputError, CorruptError, FormatError, and SpecError for a
    tier that its codec has not.
    """
    return open_collection(os.fspath(path), tier, memory)


def put(
    path: PathLike,
    source: Input,
    *,
    ids: Any = None,
    vectors: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    model: str | None = None,
    revision: str | None = None,
    check_space: bool = True,
) -> tuple[int, int]:
    """Adds the rows of a source, which comes as to `compress`, to a store: how many, and the version then.

    Rows without ids get their numbers. They are committed as they come, so that of a source that fails the
    first rows are there. model, revision, check_space: as `Store.put`.
    """
    if threads is not None:
        set_threads(threads)
    with Store.open(path) as store, as_source(source, ids=ids, vectors=vectors) as opened:
        done = 0
        try:
            for batch in opened.batches(_PUT_ROWS):
                names = np.arange(done, done + len(batch)) if batch.ids is None else batch.ids
                carried = batch.columns or pa.RecordBatch.from_arrays([], names=[])
                columns = dict(zip(carried.schema.names, carried.columns, strict=True))
                store.put(names, batch.rows, columns, model=model, revision=revision, check_space=check_space)
                done += len(batch)
                if progress is not None:
                    progress(done, opened.rows)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted; the first {done} rows are committed") from None
        return done, store.version


def table(
    method: str,
    fields: Mapping[str, int],
    *,
    dim: int | Mapping[str, int] = 16,
    budget: str | None = None,
    league: str = "serve",
    optimizer: str = "rowwise_adagrad",
    seed: int = 0,
    frequencies: Mapping[str, ArrayLike] | None = None,
    empty_bags: str = "error",
    **options: Any,
) -> Table:
    """A trainable table of a method (docs/tables.md) over fields {name: number of ids}, inside a budget.

    dim: values of a vector, or {field: values}. budget: '791kB', '5%' of rows x dim x 4 bytes, '4B/row'; None
    is no bound. league: what it bounds, 'serve' all that lookups need, 'train' the optimizer's state, too.
    optimizer: sgd, rowwise_adagrad, adagrad, adam. frequencies: {field: how often each id comes}, for methods
    that give frequent ids more. empty_bags: 'error', or 'zeros' for bags without ids. options: of the method.

    Raises SpecError for what is unknown, BudgetError with the least feasible budget.
    """
    return make_table(
        Wish(method, fields, dim, budget, league, optimizer, seed, frequencies, empty_bags, options)
    )


def table_open(path: PathLike, *deltas: PathLike) -> Table:
    """The table that `Table.save` wrote, and its deltas, in order; ConflictError for one of another chain."""
    return open_table(path, *deltas)


def ingest(
    path: PathLike,
    source: Input,
    *,
    name: str | None = None,
    offset: int = 0,
    every_rows: int = 1 << 16,
    every_s: float = 5.0,
    ids: Any = None,
    vectors: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    model: str | None = None,
    revision: str | None = None,
    check_space: bool = True,
) -> Ingested:
    """Takes a stream into a store as it comes; '-' is an Arrow stream on stdin.

    Rows are committed every so many of them or seconds, and no more is read meanwhile. name: of the stream;
    with each commit the store then keeps how many of its rows it has, and leaves these out when the stream is
    sent again. offset: number of the first row that is sent, if it is not 0. model, revision, check_space:
    as `Store.put`. Of a stream that fails, what was committed stays; the error, also KeyboardInterrupt, says
    how far that is. Raises InputError for a stream that ends without its end marker.
    """
    if threads is not None:
        set_threads(threads)
    terms = Terms(name, offset, every_rows, every_s, progress, Claim(model, revision, check_space))
    with Store.open(path) as store, as_source(source, ids=ids, vectors=vectors) as opened:
        return run_ingest(store, opened, terms)


def check(path: PathLike) -> list[str]:
    """Findings of a full check of an archive, or of all versions of a store; an empty list is sound."""
    return check_collection(os.fspath(path))


def repair(
    path: PathLike, *, to_version: int | str | None = None, salvage: bool = False, yes: bool = False
) -> Repaired:
    """Looks at all of a store, mends what can be mended without loss, and says what else could be done.

    With yes it is done: to_version makes an older version (or a tag) the newest, and gives up what was
    committed after it; salvage makes a version of those rows of the newest that can be read, and lists the
    others; damaged tags are removed. Nothing is given up without it. Raises InputError for what never was a
    store, ConflictError while somebody writes, CorruptError if the version to go back to is damaged, too.
    """
    return run_repair(os.fspath(path), Consent(to_version, salvage, yes))


def tune(
    path: PathLike,
    queries: Input | None = None,
    *,
    k: int = 10,
    metric: str | None = None,
    recall: float = 0.99,
    vectors: str | None = None,
) -> Tuned:
    """How many rows a search of a store should score again, for queries, which come as rows do to `compress`.

    See `Store.tune`.
    """
    with Store.open(path, read_only=True) as store:
        if queries is None:
            return store.tune(k=k, metric=metric, recall=recall)
        with as_source(queries, vectors=vectors) as source:
            return store.tune(rows_of(source), k=k, metric=metric, recall=recall)


def fit_adapter(
    path: PathLike,
    old: Input,
    new: Input,
    *,
    vectors: str | None = None,
    model: str | None = None,
    revision: str | None = None,
) -> Adapter:
    """What turns queries of a new model into the space of a store's rows, from rows of the same items by both
    models, which come as to `compress`. The rest: see `Store.adapter`."""
    with Store.open(path, read_only=True) as store:
        rows = []
        for given in (old, new):
            with as_source(given, vectors=vectors) as source:
                rows.append(rows_of(source))
        return store.adapter(rows[0], rows[1], model=model, revision=revision)


def search(
    path: PathLike,
    queries: Input,
    k: int = 10,
    *,
    metric: str | None = None,
    where: str | None = None,
    rerank: int = 0,
    symmetric: bool = False,
    vectors: str | None = None,
    threads: int | None = None,
    tier: int | str | None = None,
    mix: float = 0.0,
    adapter: PathLike | Adapter | None = None,
    model: str | None = None,
    revision: str | None = None,
    check_space: bool = True,
) -> tuple[NDArray[Any], Rows]:
    """Ids and scores of the best rows of an archive for queries, which come as rows do to `compress`.

    vectors: the column of the queries. threads: as `set_threads`. tier: as `open`. adapter: it, or the file
    that it was saved to. The rest: see `Archive.search`.
    """
    if threads is not None:
        set_threads(threads)
    with open(path, tier) as archive, as_source(queries, vectors=vectors) as source:
        if adapter is not None and not isinstance(adapter, Adapter):
            adapter = Adapter.load(adapter)
        if adapter is None and source.dim != archive.dim:
            raise WidthError(
                f"{source.path} has {source.dim} dimensions; {archive.path} has {archive.dim}: search with "
                "vectors of the model that made it"
            )
        rows = rows_of(source)
        return archive.search(
            rows, k, metric, where, rerank, symmetric,
            mix=mix, adapter=adapter, model=model, revision=revision, check_space=check_space,
        )  # fmt: skip
