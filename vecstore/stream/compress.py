"""Compression in one streaming pass: sample, fit, then read, check, encode, write, measure."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.archive import ArchiveWriter
from vecstore.codecs.base import Array, BlockCodec, Codec, as_float32
from vecstore.errors import BudgetError, InputError, ShapeError, SpecError
from vecstore.formats.base import Batch, Source
from vecstore.ledger import Budget, Ledger
from vecstore.registry import AnyCodec
from vecstore.stream.clean import Cleaner
from vecstore.stream.measure import Loss
from vecstore.stream.prefetch import prefetch
from vecstore.stream.sample import Sample, draw, no_sample

METRICS = ("ip", "cosine", "l2")
Progress = Callable[[int, int | None], None]  # rows done, rows in all where known
Fitter = Callable[[Source, Sample, Array], AnyCodec]  # the rows are the sample's, cleaned


@dataclass(frozen=True)
class Summary:
    """What `compress` did. relative_mse is over `measured_rows` rows, `held_out` if none was fitted on."""

    rows: int
    dim: int
    spec: str
    raw_bytes: int  # rows x dim x 4
    bytes: int  # of the output
    ledger: Ledger
    relative_mse: float
    seconds: float
    skipped: int = 0
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


def compress(source: Source, codec: AnyCodec | Fitter, job: Job) -> Summary:
    """Reads all of the source into an archive under job.target. Nothing appears there before it is whole."""
    started = time.perf_counter()
    if job.metric not in METRICS:
        raise SpecError(f"metric is {job.metric!r}; expected one of {', '.join(METRICS)}")
    if callable(codec):
        sample = draw(source, job.seed)
        if sample.total == 0:
            raise InputError(f"{source.path} holds no rows; there is nothing to compress")
        codec = _fit(codec, source, sample, job.metric)
    else:
        sample = no_sample(source)
    if codec.dim != source.dim:
        raise ShapeError(f"{source.path} has {source.dim} dimensions; the codec takes {codec.dim}")
    cleaner = Cleaner(finite=not codec.keeps_nonfinite, nonzero=job.metric == "cosine", skip=job.skip)
    writer, before = _open_writer(source, codec, job, cleaner)
    if job.budget is not None:
        budget = job.budget
        writer.approve = lambda ledger: _keep(budget, ledger, codec.dim, cleaner)
    loss = Loss(codec)
    with writer:
        clean = cleaner.clean(sample.batches, before)
        # A pipe's other end reads ahead already, and a thread that waits for it could not be interrupted.
        with closing(prefetch(clean) if source.rereadable else clean) as batches:
            for start, batch in batches:
                measure(loss, sample, batch, start)
                writer.write(batch)
                if job.progress:
                    job.progress(cleaner.seen, sample.total)
        if cleaner.seen == cleaner.skipped:
            raise InputError(
                f"{source.path}: of {cleaner.seen} rows {cleaner.skipped} were left out, so none remain; "
                "nothing is written"
            )
        ledger = writer.close()
    rows = cleaner.seen - cleaner.skipped
    return Summary(
        rows=rows,
        dim=codec.dim,
        spec=str(codec.spec),
        raw_bytes=rows * codec.dim * 4,
        bytes=ledger.total,
        ledger=ledger,
        relative_mse=loss.relative_mse,
        seconds=time.perf_counter() - started,
        skipped=cleaner.skipped,
        measured_rows=loss.rows,
        held_out=len(sample.numbers) < cleaner.seen,
        notes=tuple(_notes(source, codec)),
    )


def measure(loss: Loss, sample: Sample, batch: Batch, start: int) -> None:
    """Adds to loss the held-out rows of a batch whose first row is the source's row number `start`."""
    numbers = sample.held_out(start, start + len(batch)) - start
    if len(numbers):
        loss.add(batch.rows[numbers])


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
    usable = _usable(sample.rows, metric)
    if len(usable):
        return fitter(source, sample, usable)
    try:
        return fitter(source, sample, sample.rows)  # Lossless codecs take them as they are.
    except InputError as error:
        raise InputError(
            f"{source.path}: none of the {len(sample.rows)} rows to fit a codec on can be taken: {error}"
        ) from error


def _usable(rows: NDArray[Any], metric: str) -> NDArray[Any]:
    """The sample without rows that no codec is fitted on; the pass that follows names or skips them."""
    if rows.dtype.kind not in "iu":
        step = 4096
        finite = [
            np.isfinite(as_float32(rows[at : at + step])).all(axis=1) for at in range(0, len(rows), step)
        ]
        keep = np.concatenate(finite) if finite else np.ones(0, bool)
        if not keep.all():
            rows = rows[keep]
    if metric == "cosine":
        rows = rows[np.asarray(rows != 0).any(axis=1)]
    return rows


def _open_writer(source: Source, codec: AnyCodec, job: Job, cleaner: Cleaner) -> tuple[ArchiveWriter, int]:
    """The writer, and how many rows stand in the archive before the first of this run."""
    if job.append:
        writer = ArchiveWriter.append_to(job.target)  # holds a lock from here on
        assert writer.previous is not None
        for ids in writer.previous.ids():
            cleaner.remember(ids)
        return writer, len(writer.previous)
    card = {"metric": job.metric, "source_dtype": str(source.dtype), **job.card}
    target = sys.stdout.buffer if job.target == "-" else job.target
    writer = ArchiveWriter(
        target, codec, card=card, id_type=source.id_type, columns=source.columns, force=job.force
    )
    return writer, 0


def _notes(source: Source, codec: Codec | BlockCodec) -> list[str]:
    wide = source.dtype.itemsize > 4 and source.dtype.kind in "fiu"
    if wide and codec.is_lossless:
        return [f"{source.path} holds {source.dtype}; rows are kept as float32, the nearest one"]
    return []
