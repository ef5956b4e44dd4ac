"""A first look at candidates: what no more rows to fit on could make the best is not measured.

A codec that is fitted on few rows keeps more of these rows than it will ever keep of others, and less of
others than it will when it is fitted on many. So a candidate is left out if what it keeps of the rows that it
was fitted on is less than what another one, fitted on the same rows, keeps of rows that it was not.
"""

from __future__ import annotations

from collections.abc import Callable

from vecstore.codecs.base import Codec
from vecstore.planner.trial import SCREEN_ROWS, Trial
from vecstore.registry import AnyCodec

_TIMES = 2  # so many times the rows of a first look, or it is not worth it
_SLOW = ("lsq", "prq")  # take nearly as long on few rows, and keep nearly all of those
_MARGIN = 0.03  # of the correlation: what two sets of rows differ by, and more

Fit = Callable[[str, int | None], AnyCodec | None]  # spec, rows; None where it cannot be, or is too large


def promising(specs: list[str], sure: set[str], trial: Trial, fit: Fit) -> tuple[list[str], dict[str, str]]:
    """The specs worth measuring, the most promising first, and why the others are not.

    sure: those that will be inside the budget, too, when they are fitted on more rows.
    """
    if len(trial.rows) < _TIMES * SCREEN_ROWS or not len(trial.field.queries):
        return specs, {}
    most: dict[str, float] = {}
    surely: dict[str, float] = {}
    slow = [spec for spec in specs if spec.partition(":")[0] in _SLOW]
    for spec in specs:
        if spec not in slow and isinstance(codec := fit(spec, SCREEN_ROWS), Codec):
            surely[spec] = trial.measure(codec).order
            most[spec] = max(surely[spec], trial.few.measure(codec).order)
    best = max((kept for spec, kept in surely.items() if spec in sure), default=0.0)
    left = {
        spec: f"at best it keeps {most[spec]:.2f} of the order of near rows, where another keeps {best:.2f}"
        for spec in most
        if most[spec] + _MARGIN < best
    }
    return sorted(set(most) - set(left), key=lambda spec: (-surely[spec], spec)) + slow, left
