"""What is proven of a codec's error, row by row, and whether rows keep to it."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np

from vecstore.codecs.base import Codes, Rows
from vecstore.codecs.joined import Joined
from vecstore.codecs.rabitq import Rabitq
from vecstore.codecs.sq import Sq
from vecstore.registry import AnyCodec

_QUERIES, _ROWS = 64, 1024  # that bounds of inner products are held against
_DEVIATIONS = 3.0  # of RaBitQ's bound, which holds for all but one of 370 pairs
_SHEET = re.compile(r"^\s*error\s+(.+(?:\n\s{8,}.+)*)", re.M)
Figures = dict[str, Any]


def bound_of(codec: AnyCodec | None, true: Rows | None, decoded: Rows, codes: Codes | None) -> Figures:
    """The bound of a codec, and whether rows keep to it. true, decoded (n, dim), codes: of some rows."""
    if codec is None:
        return {"proven": False, "says": "rows are of several codecs; each has its own data sheet"}
    if codec.is_lossless:
        return {"proven": True, "says": "nothing is lost, bit for bit", "row_error_max": 0.0}
    if isinstance(codec, Sq):
        return {"proven": True, "says": _says(codec), **_grid(codec, true, decoded)}
    if isinstance(codec, Rabitq) and codes is not None and len(codes):
        return {"proven": True, "says": _says(codec), **_products(codec, true, decoded, codes)}
    return {"proven": False, "says": _says(codec)}


def _says(codec: AnyCodec) -> str:
    """The line on errors of the data sheet; of a chain that of its last step."""
    chain = isinstance(codec, Joined)
    last = codec.steps[-1] if chain else codec
    found = _SHEET.search(sys.modules[type(last).__module__].__doc__ or "")
    text = " ".join(found.group(1).split()) if found else "its data sheet says nothing of errors"
    return f"of a chain no bound is proven; its last step: {text}" if chain else text


def _grid(codec: Sq, true: Rows | None, decoded: Rows) -> Figures:
    """Half a step in each dimension, of rows inside the grid."""
    found: Figures = {"distance_inside_grid": float(np.linalg.norm(codec.step.astype(np.float64)) / 2)}
    if true is not None and len(true):
        high = codec.low + codec.step * np.float32(2**codec.bits - 1)
        inside = ((true >= codec.low) & (true <= high)).all(axis=1)
        found["share_inside"] = float(inside.mean())
        if inside.any():
            errors = np.linalg.norm((true - decoded)[inside].astype(np.float64), axis=1)
            found["largest_distance_inside"] = float(errors.max())
    return found


def _products(codec: Rabitq, true: Rows | None, decoded: Rows, codes: Codes) -> Figures:
    """Of inner products with queries of length one, which are rows themselves."""
    rows = decoded if true is None else true
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    queries = (rows / np.where(lengths > 0, lengths, 1))[:: max(1, len(rows) // _QUERIES)][:_QUERIES]
    some = slice(None, None, max(1, len(rows) // _ROWS))
    bounds = codec.error_bounds(codes[some], queries, epsilon=_DEVIATIONS)
    found: Figures = {
        "deviations": _DEVIATIONS,
        "inner_product_p50": float(np.median(bounds)),
        "inner_product_max": float(bounds.max()),
    }
    if true is not None:
        errors = np.abs(queries.astype(np.float64) @ (true - decoded)[some].T)
        found["share_within"] = float((errors <= bounds).mean())
    return found
