"""What `import vecstore as vs` shows: fit, compress, decompress, open, check."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from vecstore import registry
from vecstore.archive import Archive
from vecstore.codecs.base import Array, BlockCodec, Codec
from vecstore.errors import SpecError
from vecstore.formats.base import Source
from vecstore.kernels.threads import set_threads
from vecstore.ledger import parse_budget
from vecstore.planner.choose import choose
from vecstore.registry import AnyCodec
from vecstore.stream.compress import Job, Progress, Summary
from vecstore.stream.compress import compress as run_compress
from vecstore.stream.decompress import Restored
from vecstore.stream.decompress import decompress as run_decompress
from vecstore.stream.sample import Sample
from vecstore.stream.sources import as_source

PathLike: TypeAlias = "str | os.PathLike[str]"
Input: TypeAlias = "PathLike | Array | pa.Table | pa.RecordBatchReader | Source"


def fit(spec: str, sample: Array, *, seed: int = 0) -> AnyCodec:
    """A codec for `spec` learned from sample (n, dim) float32, float16, bfloat16, uint8 or any real dtype.

    The same sample and seed give the same codec. Raises SpecError, ShapeError, InputError.
    """
    return registry.fit(spec, np.asarray(sample), seed=seed)


def compress(
    source: Input,
    target: PathLike,
    codec: str | AnyCodec | None = None,
    *,
    budget: str | None = None,
    metric: str = "ip",
    seed: int = 0,
    threads: int = 0,
    ids: Any = None,
    vectors: str | None = None,
    rows: int | None = None,
    on_error: str = "fail",
    force: bool = False,
    append: bool = False,
    model: str | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Compresses vectors into one archive and says what it cost and lost.

    source: a file, folder, glob, URI or '-' for stdin, or an array (n, dim), or an Arrow table. codec: a spec
    or a fitted codec; or budget: '5%', '64MiB', '48B/row', '1.5bit/dim'; with append neither. ids, vectors:
    column names (for an array, ids are the ids themselves). rows: how many rows a pipe will bring, for a
    budget that is a total. on_error: 'fail' or 'skip' rows that cannot be taken. model: name of the embedding
    model, kept with the archive. progress: called with (rows done, rows in all or None).

    Raises a VecstoreError and leaves nothing behind if anything is wrong; ConflictError if target exists.
    """
    if on_error not in ("fail", "skip"):
        raise SpecError(f"on_error is {on_error!r}; expected 'fail' or 'skip'")
    if (codec is not None) + (budget is not None) + append != 1:
        raise SpecError("give one of: a codec, a budget, or append to an archive (which has its codec)")
    set_threads(threads)
    job = Job(
        target=os.fspath(target), metric=metric, seed=seed, skip=on_error == "skip", force=force,
        append=append,
        budget=None if budget is None else parse_budget(budget),
        card={} if model is None else {"model": model}, progress=progress,
    )  # fmt: skip
    with as_source(source, ids=ids, vectors=vectors) as opened:

        def fitter(source: Source, sample: Sample, usable: Array) -> AnyCodec:
            if budget is not None:
                return choose(source, sample, usable, budget, rows=rows, seed=seed)
            assert isinstance(codec, str)
            return registry.fit(codec, usable, seed=seed)

        if append:
            with Archive(job.target) as old:
                codec = old.codec
        return run_compress(opened, codec if isinstance(codec, Codec | BlockCodec) else fitter, job)


def decompress(
    source: PathLike,
    target: PathLike,
    *,
    dtype: str = "float32",
    threads: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> Restored:
    """Writes the rows of an archive, with ids and carried columns, to any format; '-' is stdin or stdout.

    dtype: float32 or float16. Raises CorruptError before any damaged row is written out, ConflictError if
    target exists.
    """
    set_threads(threads)
    return run_decompress(os.fspath(source), os.fspath(target), dtype=dtype, force=force, progress=progress)


def open(path: PathLike) -> Archive:
    """Opens an archive to read. Raises NotFoundError, InputError, CorruptError, FormatError."""
    return Archive(os.fspath(path))


def check(path: PathLike) -> list[str]:
    """Findings of a full check of an archive: every byte, every block. An empty list is sound."""
    return Archive.examine(os.fspath(path))
