"""What tcq learns from a sample: axes, bits for them, scales and tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows
from vecstore.codecs.tcq import stages as residual
from vecstore.codecs.tcq import tables as cells_tables
from vecstore.codecs.tcq.allocation import GROUP, Rates, allocate, lay_out
from vecstore.codecs.transforms.center import mean_row
from vecstore.codecs.transforms.pca import product, spectrum, with_fixed_signs
from vecstore.kernels import scores

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_REFINE_ROWS = 4096  # that tables and scales are refined on
REFINE = 6  # iterations
_LENGTH_TOLERANCE = 2e-3  # float16 rows that were normalized before are of length one as well
_NONE = 1e-30


def learn(sample: Rows, size: int, states: int, stages: int, seed: int) -> dict[str, Any]:
    """The arrays of a codec of `size` bytes: books, mean, axes, scales, tables, kinds, groups."""
    books = residual.train(sample, stages, seed)
    if stages:
        chosen = np.empty((len(sample), stages), np.uint8)
        residual.ready(books, stages).encode(sample, chosen)
        sample = sample - residual.decode(chosen, books)
    parts, kinds = allot(sample, size - stages, cells_tables.rates(states))
    table = np.stack([cells_tables.normal_table(states, *kind)[0] for kind in kinds])
    layout = lay_out(parts["groups"], kinds)
    turned = some_turned(sample, parts)
    for _ in range(REFINE):
        table, _ = cells_tables.improve(turned, parts["scales"], table, layout)
    return {"books": books, "tables": table, **parts}


def allot(sample: Rows, size: int, rates: Rates) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """Axes and the bits for them: mean, axes, scales, kinds, groups; and the kinds as a list."""
    mean = mean_row(sample)
    values, vectors = spectrum(sample, mean)
    variances = np.maximum(values, 0)
    words = allocate(variances, size, rates)
    groups = np.array([(i, g.bits, g.width) for i, word in enumerate(words) for g in word], np.int32)
    order = np.concatenate([g.first + np.arange(GROUP * g.width) for word in words for g in word])
    axes, scales = _chosen(with_fixed_signs(vectors), variances, order)
    kinds = sorted({(int(bits), int(width)) for _, bits, width in groups})
    found = {"mean": mean, "axes": axes, "scales": scales, "groups": groups}
    return found | {"kinds": np.array(kinds, np.int32)}, kinds


def some_turned(sample: Rows, parts: dict[str, Any]) -> Rows:
    """Rows along the axes, enough to refine tables on."""
    count = min(len(sample), _REFINE_ROWS)
    rows = sample[np.linspace(0, len(sample) - 1, count).astype(np.int64)]
    return product(rows - parts["mean"], parts["axes"])


def _chosen(vectors: F32, variances: F64, order: NDArray[np.int64]) -> tuple[F32, F32]:
    """Axes (dim, kept) and their deviations in the order of cells; zeros where there are no more axes."""
    dim = len(variances)
    axes = np.zeros((dim, len(order)), np.float32)
    scales = np.zeros(len(order), np.float32)
    there = order < dim
    axes[:, there] = vectors[:, order[there]]
    scales[there] = np.sqrt(variances[order[there]])
    return axes, scales


def have_length_one(rows: Rows) -> bool:
    """Whether all rows are unit vectors."""
    lengths = np.empty(len(rows))
    scores.squares(rows, lengths)
    return bool((np.abs(np.sqrt(lengths) - 1) <= _LENGTH_TOLERANCE).all())


def to_length_one(rows: Rows) -> None:
    """Scales rows (n, dim) in place; those without length stay."""
    lengths = np.empty(len(rows))
    scores.squares(rows, lengths)
    rows *= (1 / np.sqrt(np.where(lengths > _NONE, lengths, 1.0))).astype(np.float32)[:, None]
