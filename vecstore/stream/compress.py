"""Compression in one streaming pass: sample, fit, then read, check, encode, write, measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.archive import Archive, ArchiveWriter
from vecstore.archive.layout import RESERVED
from vecstore.codecs.base import LARGEST, Array, as_float32, unsound
from vecstore.errors import BudgetError, InputError, ShapeError, SpecError
from vecstore.formats.base import Batch, Source
from vecstore.ledger import Budget, Ledger
from vecstore.registry import AnyCodec
from vecstore.search.checks import check_metric
from vecstore.space.card import MODEL, REVISION, Claim, check_names, same_space, with_fingerprint
from vecstore.stream.clean import Cleaned, Cleaner
from vecstore.stream.measure import Loss
from vecstore.stream.prefetch import prefetch
from vecstore.stream.sample import Sample, draw, no_sample

Progress = Callable[[int, int | None], None]  # rows done, rows in all where known
Fitter = Callable[[Source, Sample, Array], AnyCodec]  # the rows are the sample's, cleaned


@dataclass(frozen=True)
class Summary:
    """What `compress` did. relative_mse is over `measured_rows` rows, `held_out` if none was fitted on.

    saturated: rows that are so far outside of what the codec was fitted on that their codes stand for rows
    much nearer, in about the same direction (`Codec.encode`).
    """

    rows: int  # of this run
    total_rows: int  # in the output: more where it was appended to
    dim: int
    spec: str
    raw_bytes: int  # total_rows x dim x 4
    bytes: int  # of the output
    ledger: Ledger
    relative_mse: float
    seconds: float
    fit_seconds: float = 0.0  # of these, for the sample and the codec
    skipped: int = 0
    saturated: int = 0
    measured_rows: int = 0
    held_out: bool = True
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = {key: value for key, value in vars(self).items() if key not in ("ledger", "notes")}
        return {**found, "ledger": self.ledger.as_dict(), "notes": list(self.notes)}


@dataclass
class Job:
    """One run of `compress`: the choices that do not depend on the source."""

    target: Any
    metric: str = "ip"
    seed: int = 0
    skip: bool = False
    force: bool = False
    append: bool = False
    budget: Budget | None = None
    card: dict[str, Any] = field(default_factory=dict)
    progress: Progress | None = None
    column: str | None = None  # that the codec is fitted with beside the rows

    @property
    def claim(self) -> Claim:
        """What is said of the rows' space."""
        return Claim(self.card.get(MODEL), self.card.get(REVISION))


def compress(source: Source, codec: AnyCodec | Fitter, job: Job) -> Summary:
    """Reads all of the source into an archive under job.target. Nothing appears there before it is whole."""
    started = time.perf_counter()
    check_terms(job.metric, job.seed)
    source.skip = job.skip
    if callable(codec):
        sample = drawn(source, job.seed, job.column)
        codec = _fit(codec, source, sample, job.metric)
    else:
        sample = no_sample(source)
    fitted = time.perf_counter()
    if codec.dim != source.dim:
        raise ShapeError(f"{source.path} has {source.dim} dimensions; the codec takes {codec.dim}")
    cleaner = Cleaner(codec, nonzero=job.metric == "cosine", skip=job.skip)
    writer, before = _open_writer(source, codec, job, cleaner, sample)
    if job.budget is not None:
        budget = job.budget
        writer.approve = lambda ledger: _keep(budget, ledger, codec.dim, cleaner)
    loss = Loss(codec)
    rounded, columns = 0, carried_columns(source)
    with writer:
        clean = cleaner.clean(sample.batches, before)
        # A pipe's other end reads ahead already, and a thread that waits for it could not be interrupted.
        with closing(prefetch(clean) if source.rereadable else clean) as batches:
            for cleaned in batches:
                _check_space(writer, cleaned, job)
                measure(loss, sample, cleaned)
                rounded += _rounded(cleaned.batch, codec)
                writer.write(_renamed(cleaned.batch, columns))
                if job.progress:
                    job.progress(cleaned.stop, sample.total)
        if cleaner.seen == cleaner.skipped:
            out = f": all {cleaner.seen} were left out" if cleaner.seen else ""
            raise InputError(f"{source.path} holds no rows to write{out}; nothing is written")
        ledger = writer.close()
    rows = cleaner.seen - cleaner.skipped
    return Summary(
        rows=rows,
        dim=codec.dim,
        spec=str(codec.spec),
        total_rows=before + rows,
        raw_bytes=(before + rows) * codec.dim * 4,
        bytes=ledger.total,
        ledger=ledger,
        relative_mse=loss.relative_mse,
        seconds=time.perf_counter() - started,
        fit_seconds=fitted - started,
        skipped=cleaner.skipped + source.lost,
        saturated=writer.saturated,
        measured_rows=loss.rows,
        held_out=len(sample.numbers) < cleaner.seen,
        notes=tuple(_notes(source, rounded, columns)),
    )


def check_terms(metric: str, seed: int) -> None:
    """SpecError for a metric or a seed that cannot be."""
    if type(seed) is not int or not 0 <= seed < 1 << 63:
        raise SpecError(f"seed is {seed!r}; expected a whole number from 0 to 2**63 - 1")
    check_metric(metric)


def continued(job: Job, metric: str | None) -> AnyCodec:
    """The codec of the archive that is appended to, whose metric the job takes over.

    SpecError for another metric, SpaceMismatchError for another model or revision than the archive's.
    """
    with Archive(job.target) as old:
        own = old.metric or "ip"
        if metric not in (None, own):
            raise SpecError(f"{job.target} has metric {own!r}; rows for {metric!r} cannot be appended")
        check_names(old.card, job.claim, "rows", job.target)
        job.metric = own
        return old.codec


def drawn(source: Source, seed: int, column: str | None = None) -> Sample:
    """As `draw`; InputError where there is no row."""
    sample = draw(source, seed, column)
    if sample.total == 0:
        raise InputError(f"{source.path} holds no rows; there is nothing to compress")
    return sample


def measure(loss: Loss, sample: Sample, cleaned: Cleaned) -> None:
    """Adds to loss the held-out rows of a batch."""
    places = cleaned.places(sample.held_out(cleaned.start, cleaned.stop))
    if len(places):
        columns = cleaned.batch.columns
        loss.add(cleaned.batch.rows[places], None if columns is None else columns.take(pa.array(places)))


def _rounded(batch: Batch, codec: AnyCodec) -> int:
    """Rows that a lossless codec cannot keep as they are, since float32 does not hold all their values."""
    wide = batch.rows.dtype.itemsize >= 4 and batch.rows.dtype != np.float32
    if not codec.is_lossless or not wide:
        return 0
    with np.errstate(over="ignore", invalid="ignore"):
        back = as_float32(batch.rows).astype(batch.rows.dtype)
    changed = (back != batch.rows) & ~((back != back) & (batch.rows != batch.rows))
    return int(changed.any(axis=1).sum())


def _keep(budget: Budget, ledger: Ledger, dim: int, cleaner: Cleaner) -> None:
    """Refuses to publish what came out larger than it was estimated to, as with ids that grow longer."""
    rows = cleaner.seen - cleaner.skipped
    if not budget.keeps(ledger, dim, rows):
        taken = ledger.total - ledger.carried
        raise BudgetError(
            f"budget {budget.text!r} was not kept: {rows} rows took {taken} bytes, "
            f"{ledger.ids} of them ids; nothing is written; give more, or a smaller codec with --codec"
        )


def _fit(fitter: Fitter, source: Source, sample: Sample, metric: str) -> AnyCodec:
    keep = usable(sample.rows, metric)
    rows = sample.rows if keep.all() else sample.rows[keep]
    if len(rows):
        groups = None if sample.groups is None else sample.groups[keep]
        return fitter(source, replace(sample, groups=groups), rows)
    try:
        return fitter(source, sample, sample.rows)  # Lossless codecs take them as they are.
    except InputError as error:
        raise InputError(
            f"{source.path}: none of the {len(sample.rows)} rows to fit a codec on can be taken: {error}"
        ) from error


def usable(rows: NDArray[Any], metric: str) -> NDArray[np.bool_]:
    """False for rows (n,) that no codec is fitted on; the pass that follows names or skips them."""
    step = 4096
    sound = [~unsound(as_float32(rows[at : at + step]), LARGEST) for at in range(0, len(rows), step)]
    keep = np.concatenate(sound) if sound else np.ones(0, bool)
    if metric == "cosine":
        keep &= np.asarray(rows != 0).any(axis=1)
    return keep


def _check_space(writer: ArchiveWriter, cleaned: Cleaned, job: Job) -> None:
    """SpaceMismatchError for rows of another space than those that they are appended to."""
    if writer.previous is not None:
        same_space(writer.previous.card, cleaned.batch.rows, job.claim, "rows", job.target)


def _open_writer(
    source: Source, codec: AnyCodec, job: Job, cleaner: Cleaner, sample: Sample
) -> tuple[ArchiveWriter, int]:
    """The writer, and how many rows stand in the archive before the first of this run."""
    if job.append:
        writer = ArchiveWriter.append_to(job.target)  # holds a lock from here on
        try:
            return writer, _remember(writer, source, cleaner)
        except BaseException:
            writer.abort()
            raise
    card = {"metric": job.metric, "source_dtype": str(source.dtype), **job.card}
    if MODEL in card and job.budget is None:  # A budget is planned without.
        card = with_fingerprint(card, sample.rows)
    writer = ArchiveWriter(
        job.target, codec, card=card, id_type=source.id_type, columns=carried_columns(source), force=job.force
    )
    return writer, 0


def _remember(writer: ArchiveWriter, source: Source, cleaner: Cleaner) -> int:
    """Tells the cleaner the ids of the archive that is appended to; how many there are."""
    previous = writer.previous
    assert previous is not None
    kind = source.id_type or pa.int64()
    if kind != previous.id_type:
        raise InputError(
            f"{source.path} has {kind} ids; {previous.path} has {previous.id_type} ones, so its rows cannot "
            "be appended (choose another id column with --ids)"
        )
    for ids in previous.ids():
        cleaner.remember(ids)
    return len(previous)


def carried_columns(source: Source) -> pa.Schema:
    """The source's carried columns; those whose names an archive needs itself get a `_` behind them."""
    names = list(source.columns.names)
    for at, name in enumerate(names):
        while names[at] in RESERVED or (names[at] != name and names.count(names[at]) > 1):
            names[at] += "_"
    fields = [field.with_name(name) for field, name in zip(source.columns, names, strict=True)]
    return pa.schema(fields)


def _renamed(batch: Batch, columns: pa.Schema) -> Batch:
    if batch.columns is None or batch.columns.schema.names == columns.names:
        return batch
    return replace(batch, columns=pa.RecordBatch.from_arrays(batch.columns.columns, names=columns.names))


def _notes(source: Source, rounded: int, columns: pa.Schema) -> list[str]:
    pairs = zip(source.columns.names, columns.names, strict=True)
    notes = [f"column {old!r} of {source.path} is carried as {new!r}" for old, new in pairs if old != new]
    if rounded:
        notes.append(f"{rounded} rows of {source.path} ({source.dtype}) are rounded to float32")
    return notes
