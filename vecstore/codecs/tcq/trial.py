"""What a sample is worth coding with, tried on rows that were not fitted on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from vecstore.codecs.base import Codec, Rows
from vecstore.codecs.trial import Trial

_FIT_ROWS = 12_288
_HELD_ROWS = 2432  # each is searched for among the others
_LEAST_ROWS = 2048  # of fewer, codebooks of 256 centroids learn the rows by heart
# Where more bytes make the error e-fold less, recall rises by about as much on the sets of the benchmarks: an
# option that errs more has to find more by that measure.
_WORTH = 0.1
_NO_ERROR = 1e-30

Option = TypeVar("Option")
Kind = TypeVar("Kind", bound=Codec)


def best(
    sample: Rows,
    seed: int,
    options: Sequence[Option],
    codecs: Callable[[Rows, Sequence[Option]], Iterable[tuple[Option, Kind]]],
) -> Kind:
    """The codec of the option that finds the most of the true nearest rows, its error weighed against that.

    codecs: each of some options, and its codec fitted on some rows. Few rows get the first option.
    """
    option = options[0] if len(options) == 1 else _choose(sample, seed, options, codecs)
    return next(codec for _, codec in codecs(sample, [option]))


def _choose(
    sample: Rows,
    seed: int,
    options: Sequence[Option],
    codecs: Callable[[Rows, Sequence[Option]], Iterable[tuple[Option, Kind]]],
) -> Option:
    if len(sample) < _LEAST_ROWS:
        return options[0]
    order = np.random.default_rng(seed).permutation(len(sample))
    held = min(_HELD_ROWS, len(sample) // 4)
    trial = Trial(sample[order[held : held + _FIT_ROWS]], sample[order[:held]], 0)
    found = {}
    for option, codec in codecs(trial.fit_rows, options):
        back = codec.decode(codec.encode(trial.rows))
        error = float(np.square(back - trial.rows, dtype=np.float64).sum())
        found[option] = float(trial.shares(back).mean()) - _WORTH * math.log(max(error, _NO_ERROR))
    return max(found, key=lambda option: found[option])
