"""The codec that keeps the most inside a budget: the first of a plan, fitted on all of the sample."""

from __future__ import annotations

from vecstore.codecs.base import Array
from vecstore.planner.plan import Search, Wanted
from vecstore.planner.room import Room
from vecstore.registry import AnyCodec, fit
from vecstore.stream.compress import Progress


def choose(
    usable: Array, room: Room, *, metric: str = "ip", seed: int = 0, progress: Progress | None = None
) -> AnyCodec:
    """Fits the candidates that the budget holds on a part of the sample, and the best of them on all of it.

    Best is who finds the most of the nearest neighbours by the metric, or, where the sample is a small part
    of the collection, whose scores keep their order best; where there are too few rows for that, whose rows
    come back with the smallest error. usable: the sample's rows that codecs can be fitted on, (n, dim).
    progress: called with (fits done, fits to do). Raises BudgetError with the least feasible budget if no
    codec fits.
    """
    terms = Wanted(metric, seed, progress=progress)
    search = Search.of(usable, room, terms, speeds=False)
    for codec in search.exact():
        return codec if codec.name != "f32" else fit("f32", usable, seed=seed)
    search.run()
    spec = search.ranked()[0].spec
    codec = fit(spec, usable, seed=seed)
    # More rows than in the trial can mean more centroids.
    return codec if room.holds(codec) else fit(spec, search.trial.rows, seed=seed)
