"""Rows that tables are tried on: ids and a label, from a file, or drawn from what is known of fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv, ipc, parquet

from vecstore.errors import InputError, NotFoundError

ROWS = 60_000  # at most, of which a fifth are to test on
_DRAWN_ROWS = 40_000
_DIM = 8  # of the rows that drawn labels come from

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Log:
    """Rows of fields {name: number of ids}: ids (n, fields) and labels (n,), 0 or 1.

    counts: {field: how often each id comes}. drawn: labels are of a random model, not of anybody's clicks.
    """

    fields: Mapping[str, int]
    ids: I64
    labels: NDArray[np.float32]
    counts: Mapping[str, I64]
    drawn: bool = False


def log_of(source: Any, label: str | None, seed: int) -> Log:
    """An Arrow table, or a CSV, Parquet or Arrow file, of rows with a column of labels; or a JSON file or a
    mapping of `fields` {name: number of ids} and, if known, `frequencies` {name: how often each id comes}.

    Raises NotFoundError and InputError for what is not there or cannot be taken.
    """
    if isinstance(source, Mapping):
        return _drawn(source, seed)
    table = source if isinstance(source, pa.Table) else None
    if table is None:
        path = Path(source)
        if not path.exists():
            raise NotFoundError(f"{path} is not there")
        if path.suffix == ".json":
            return _drawn(_json(path), seed)
        table = _read(path)
    return _rows(table, label, seed)


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(
            f'{path} holds {type(found).__name__}; expected {{"fields": {{name: number of ids}}}}'
        )
    return found


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix == ".csv":
            return csv.read_csv(path)
        if path.suffix in (".parquet", ".pq"):
            return parquet.read_table(path)
        return ipc.open_file(str(path)).read_all()
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} cannot be read as rows of fields: {error}") from None


def _rows(table: pa.Table, label: str | None, seed: int) -> Log:
    """At most ROWS of them, drawn."""
    if label is None or label not in table.column_names:
        raise InputError(f"there is no column {label!r} of labels; there are {', '.join(table.column_names)}")
    if len(table) < 10:
        raise InputError(f"{len(table)} rows are too few to learn from; expected at least 10")
    if len(table) > ROWS:
        table = table.take(np.sort(np.random.default_rng(seed).permutation(len(table))[:ROWS]))
    labels = np.asarray(table.column(label).to_numpy(), np.float64) > 0
    if labels.all() or not labels.any():
        raise InputError(f"column {label!r} has one kind of label; expected positive numbers and others")
    fields, columns, counts = {}, [], {}
    for name in table.column_names:
        column = table.column(name)
        if name == label:
            continue
        if pa.types.is_floating(column.type) or pa.types.is_nested(column.type):
            raise InputError(f"column {name!r} is {column.type}; expected ids: whole numbers or words")
        values, place = np.unique(column.cast(pa.string()).fill_null("").to_numpy(), return_inverse=True)
        fields[name] = len(values)
        columns.append(place)
        counts[name] = np.bincount(place, minlength=len(values))
    if not fields:
        raise InputError(f"there is no column beside {label!r}; expected a column of ids for each field")
    return Log(fields, np.column_stack(columns).astype(np.int64), labels.astype(np.float32), counts)


def _drawn(known: Mapping[str, Any], seed: int) -> Log:
    """Ids by their frequencies (without: by Zipf's law), labels by products of random rows."""
    fields = known.get("fields")
    if not isinstance(fields, Mapping) or not fields:
        raise InputError('there are no fields; expected {"fields": {name: number of ids}}')
    rng = np.random.default_rng(seed)
    often = known.get("frequencies") or {}
    columns, counts, total = [], {}, np.zeros((_DRAWN_ROWS, _DIM))
    for name, count in fields.items():
        if type(count) is not int or count < 1:
            raise InputError(f"field {name!r} has {count!r} ids; expected a whole number from 1 on")
        weights = np.asarray(often.get(name, 1 / np.arange(1, count + 1)), np.float64)
        if weights.shape != (count,) or not (weights >= 0).all() or not weights.sum() > 0:
            raise InputError(
                f"frequencies of {name!r} are {weights.shape}; expected {count} positive numbers"
            )
        ids = rng.choice(count, _DRAWN_ROWS, p=weights / weights.sum())
        total += rng.standard_normal((count, _DIM))[ids]
        columns.append(ids)
        counts[name] = np.maximum(1, weights / weights.max() * 1e6).astype(np.int64)
    scores = np.square(total).sum(axis=1)
    scores = (scores - np.median(scores)) / scores.std()
    labels = rng.random(_DRAWN_ROWS) < 1 / (1 + np.exp(-3 * scores))
    return Log(dict(fields), np.column_stack(columns), labels.astype(np.float32), counts, True)
