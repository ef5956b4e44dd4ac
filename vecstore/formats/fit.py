"""Rows in the dtype that a target keeps, refused where a value does not fit it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import BFLOAT16, as_float32
from vecstore.errors import InputError
from vecstore.formats.base import Batch


def fit(batch: Batch, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The batch's rows (n, dim) as contiguous dtype; integers are rounded to nearest, ties to even.

    Raises InputError with row and value for what becomes infinite or lies outside an integer's range.
    """
    rows = batch.rows
    if rows.dtype == dtype:
        return np.ascontiguousarray(rows)
    if rows.dtype == BFLOAT16:
        rows = as_float32(rows)
    if dtype.kind in "iu":
        return _rounded(rows, dtype, batch)
    with np.errstate(over="ignore", invalid="ignore"):
        out = np.ascontiguousarray(rows, dtype=dtype)
    if (rows.dtype.kind == "f" and out.itemsize < rows.itemsize) or dtype == np.float16:
        wide = as_float32(out) if dtype == BFLOAT16 else out
        _refuse(np.isinf(wide) & np.isfinite(rows), rows, dtype, batch)
    return out


def _rounded(rows: NDArray[Any], dtype: np.dtype[Any], batch: Batch) -> NDArray[Any]:
    limits = np.iinfo(dtype)
    near = np.rint(rows) if rows.dtype.kind == "f" else rows
    # max + 1 is a power of two and exact in every float; max itself may not be.
    with np.errstate(over="ignore"):  # A limit that float16 does not reach is infinite to it, and never met.
        low = near < float(limits.min) if near.dtype.kind == "f" else near < limits.min
        high = near >= float(limits.max) + 1 if near.dtype.kind == "f" else near > limits.max
    _refuse(low | high | (near != near), rows, dtype, batch)
    return np.ascontiguousarray(near.astype(dtype))


def _refuse(wrong: NDArray[np.bool_], rows: NDArray[Any], dtype: np.dtype[Any], batch: Batch) -> None:
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise InputError(
            f"{batch.path}: row {batch.first + row} (counted from 0) holds {rows[row, column]} in dimension "
            f"{column}, which {dtype} cannot hold; scale the rows or choose another target"
        )
