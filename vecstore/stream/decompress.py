"""Restoring: an archive's rows, decoded, into any format."""

from __future__ import annotations

import dataclasses
import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecstore.errors import InputError, SpecError
from vecstore.formats import open_sink
from vecstore.store import open_collection
from vecstore.stream.compress import Progress


@dataclass(frozen=True)
class Restored:
    """What `decompress` did. notes: what the target could not hold."""

    rows: int
    dim: int
    spec: str
    bytes: int  # of the output; 0 where it is a pipe
    seconds: float
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "notes": list(self.notes)}


def decompress(
    source: str, target: str, *, dtype: str, force: bool, progress: Progress | None = None
) -> Restored:
    """Decodes every row of the archive or store at `source` into the file `target`, in bounded memory."""
    if dtype not in ("float32", "float16"):
        raise SpecError(f"dtype is {dtype!r}; expected 'float32' or 'float16'")
    started = time.perf_counter()
    with open_collection(source) as archive:
        sink = open_sink(
            target, dim=archive.dim, dtype=np.dtype(dtype), id_type=archive.id_type,
            columns=archive.columns, rows=len(archive), force=force,
        )  # fmt: skip
        done = 0
        with sink:
            for batch in archive.batches():
                if dtype == "float16":
                    with np.errstate(over="ignore"):
                        narrow = batch.rows.astype(np.float16)
                    over = np.isinf(narrow) & np.isfinite(batch.rows)
                    if over.any():
                        row = done + int(over.any(axis=1).argmax())
                        raise InputError(
                            f"{source}: row {row} (counted from 0) holds values beyond float16; "
                            "use --dtype float32"
                        )
                    batch = dataclasses.replace(batch, rows=narrow)
                sink.write(batch)
                done += len(batch)
                if progress:
                    progress(done, len(archive))
        size = os.path.getsize(target) if os.path.isfile(target) else 0
        return Restored(
            rows=done,
            dim=archive.dim,
            spec=str(archive.spec),
            bytes=size,
            seconds=time.perf_counter() - started,
            notes=tuple(getattr(sink, "notes", ())),
        )
