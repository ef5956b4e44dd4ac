"""The codec that keeps the most inside a budget, measured on rows that it was not fitted on."""

from __future__ import annotations

import math

from vecstore.codecs.base import Array, BlockCodec, Codec
from vecstore.planner.candidates import STATE_BYTES, candidates, infeasible
from vecstore.planner.room import Room
from vecstore.planner.trial import Kept, Trial, best
from vecstore.registry import AnyCodec, fit
from vecstore.stream.compress import Progress

# Of the largest codes that the budget holds: smaller ones leave room unused, and some learn slowly.
_WORTH = 0.7


def choose(
    usable: Array, room: Room, *, metric: str = "ip", seed: int = 0, progress: Progress | None = None
) -> AnyCodec:
    """Fits the candidates that the budget holds on a part of the sample, and the best of them on all of it.

    Best is whose scores by the metric keep the order of the nearest neighbours best; where there are too few
    rows for that, whose rows come back with the smallest error. usable: the sample's rows that codecs can be
    fitted on, (n, dim). progress: called with (fits done, fits to do). Raises BudgetError with the least
    feasible budget if no codec fits.
    """
    if room.keeps(4 * room.dim, STATE_BYTES):
        return fit("f32", usable, seed=seed)
    specs = candidates(room)
    report = progress or (lambda done, total: None)
    report(0, len(specs) + 1)
    trial = Trial(usable, metric, seed)
    lossless = fit("lossless", trial.rows, seed=seed)
    if room.keeps(_block_bytes(lossless, trial.rows), STATE_BYTES):
        return lossless
    found: dict[str, Kept] = {}
    largest = 0
    for done, (spec, code_bytes) in enumerate(specs.items()):
        report(done, len(specs) + 1)
        if code_bytes <= _WORTH * largest:
            continue
        codec = fit(spec, trial.rows, seed=seed)
        if room.holds(codec):
            assert isinstance(codec, Codec)
            largest = max(largest, code_bytes)
            found[spec] = trial.measure(codec)
    if not found:
        raise infeasible(room)
    report(len(specs), len(specs) + 1)
    codec = fit(best(found), usable, seed=seed)
    if not room.holds(codec):  # More rows than in the trial can mean more centroids.
        codec = fit(best(found), trial.rows, seed=seed)
    report(len(specs) + 1, len(specs) + 1)
    return codec


def _block_bytes(codec: AnyCodec, rows: Array) -> int:
    """Bytes a row of a codec that works block by block, from a few blocks, and a little more."""
    assert isinstance(codec, BlockCodec)
    if not len(rows):
        return 4 * codec.dim
    # Every row has an offset beside it.
    return math.ceil(1.03 * len(codec.encode_block(rows)) / len(rows)) + 4
