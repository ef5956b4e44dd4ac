"""What tcq learns from a sample: axes, bits for them, scales and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows
from vecstore.codecs.tcq import gains
from vecstore.codecs.tcq import stages as residual
from vecstore.codecs.tcq import tables as cells_tables
from vecstore.codecs.tcq.allocation import GROUP, Rates, allocate, lay_out
from vecstore.codecs.transforms.center import mean_row
from vecstore.codecs.transforms.pca import product, spectrum, with_fixed_signs
from vecstore.errors import SpecError
from vecstore.kernels import scores

Option = tuple[int, str]  # residual stages, and the way of a row's scale
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_REFINE_ROWS = 4096  # that tables and scales are refined on
REFINE = 6  # iterations
_TRIED = 2  # iterations for each of several options: the others make all of them better alike
_LENGTH_TOLERANCE = 2e-3  # float16 rows that were normalized before are of length one as well
_NONE = 1e-30


def learn(
    sample: Rows, size: int, states: int, options: Sequence[Option], seed: int
) -> Iterator[tuple[Option, dict[str, Any]]]:
    """For each of the options what a codec of `size` bytes has of it and of the sample."""
    books = residual.train(sample, max(stages for stages, _ in options), seed)
    rounds = REFINE if len(options) == 1 else _TRIED
    for stages, same in groupby(options, lambda option: option[0]):
        own = books[: stages * residual.centroids(sample)]
        rest = sample - residual.nearest(sample, own, stages) if stages else sample
        for scaled, alike in groupby(same, lambda option: option[1] != gains.NONE):
            found = _learn(rest, size - stages, states, scaled, rounds)
            for option in alike:
                fields = {"states": states, "stages": stages, "scale": option[1], "books": own}
                yield option, {**fields, **found}


def _learn(rest: Rows, size: int, states: int, scaled: bool, rounds: int) -> dict[str, Any]:
    """mean, axes, scales, tables, kinds, groups, gains of what the stages leave of a sample.

    size: bytes of the words, and of the scale where rows have one. Tables are refined `rounds` times.
    """
    parts, turned = allot(rest, size, cells_tables.rates(states), scaled)
    kinds = as_pairs(parts["kinds"])
    table = np.stack([cells_tables.normal_table(states, *kind)[0] for kind in kinds])
    layout = lay_out(parts["groups"], kinds)
    for _ in range(rounds):
        table, _ = cells_tables.improve(turned, parts["scales"], table, layout)
    return {"tables": table, **parts}


def allot(sample: Rows, size: int, rates: Rates, scaled: bool) -> tuple[dict[str, Any], Rows]:
    """Axes and the bits for them: mean, axes, scales, kinds, groups, gains; and rows along the axes.

    size: bytes of the words, and of the scale. The rows are enough to refine tables on.
    """
    if size <= scaled:
        raise SpecError("stages and a scale take a byte each and leave none for cells; expected more bytes=")
    mean = mean_row(sample)
    even = gains.evened(sample, mean) if scaled else sample
    values, vectors = spectrum(even, np.zeros_like(mean) if scaled else mean)
    variances = np.maximum(values, 0)
    words = allocate(variances, size - scaled, rates)
    groups = np.array([(i, g.bits, g.width) for i, word in enumerate(words) for g in word], np.int32)
    order = np.concatenate([g.first + np.arange(GROUP * g.width) for word in words for g in word])
    axes, scales = _chosen(with_fixed_signs(vectors), variances, order)
    kinds = sorted({(int(bits), int(width)) for _, bits, width in groups})
    count = min(len(sample), _REFINE_ROWS)
    rows = sample[np.linspace(0, len(sample) - 1, count).astype(np.int64)]
    turned, levels = product(rows - mean, axes), gains.no_levels()
    if scaled:
        levels, scales, turned = gains.learn(turned, scales)
    found = {"mean": mean, "axes": axes, "scales": scales, "groups": groups, "gains": levels}
    return found | {"kinds": np.array(kinds, np.int32)}, turned


def as_pairs(kinds: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Kinds of cells (t, 2): bits and dimensions."""
    return [(int(bits), int(width)) for bits, width in kinds]


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
    rows *= to_one(rows)[:, None]


def to_one(rows: Rows) -> Rows:
    """What makes each row (n, dim) one of length one, (n,); 1 for rows without length."""
    lengths = np.empty(len(rows))
    scores.squares(rows, lengths)
    found: Rows = (1 / np.sqrt(np.where(lengths > _NONE, lengths, 1.0))).astype(np.float32)
    return found
