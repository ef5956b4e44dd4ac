"""A first look at candidates, fitted on few rows: what finds far fewer near rows than another is left out.

Codecs that learn much are worth more with more rows, so that a margin is left.
"""

from __future__ import annotations

from collections.abc import Callable

from vecstore.codecs.base import Codec
from vecstore.errors import said
from vecstore.planner.trial import SCREEN_ROWS, Trial
from vecstore.registry import AnyCodec

_TIMES = 2  # so many times the rows of a first look, or it is not worth it
# Take nearly as long on few rows, and keep nearly all of those; worth it where codes are such a share of the
# most promising ones.
_SLOW, _SLOW_CODES = ("lsq", "prq"), 0.5
_MARGIN, _OF_MISSED = 0.05, 0.4  # of recall: so much, or that share of what the best does not find
_MOST = 5  # that are measured, those that are slow aside

Fit = Callable[[str, int | None], AnyCodec | None]  # spec, rows; None where it cannot be, or is too large


def promising(
    sizes: dict[str, int], sure: set[str], trial: Trial, fit: Fit
) -> tuple[list[str], dict[str, str]]:
    """The specs worth measuring, the most promising first, and why the others are not.

    sizes: bytes of their codes; sure: those that will be inside the budget, too, when they are fitted on more
    rows.
    """
    if len(trial.rows) < _TIMES * SCREEN_ROWS or not len(trial.field.queries):
        return list(sizes), {}
    slow = [spec for spec in sizes if spec.partition(":")[0] in _SLOW]
    found: dict[str, float] = {}
    failed: dict[str, str] = {}
    for spec in sizes:
        if spec not in slow and isinstance(codec := fit(spec, SCREEN_ROWS), Codec):
            try:
                found[spec] = trial.few.measure(codec).recall or 0.0
            except Exception as error:  # What one candidate cannot do leaves the others.
                failed[spec] = said(error)
    best = max((recall for spec, recall in found.items() if spec in sure), default=0.0)
    least = best - min(_MARGIN, _OF_MISSED * (1 - best))
    order = sorted(found, key=lambda spec: (-found[spec], spec))
    worth = [spec for spec in order if found[spec] >= least]
    # Of those that are not sure some may not fit in later, so that a sure one has to be among them.
    worth = (
        worth[:_MOST] + [spec for spec in worth[_MOST:] if spec in sure and not sure & set(worth[:_MOST])][:1]
    )
    left = failed | {
        spec: f"at a first look a search finds {found[spec]:.2f} of near rows, by another codec {best:.2f}"
        for spec in order
        if spec not in worth
    }
    least_bytes = _SLOW_CODES * sizes[order[0]] if order else 0.0
    for spec in slow:
        if sizes[spec] >= least_bytes:
            worth.append(spec)
        else:
            left[spec] = f"its codes have {sizes[spec]} bytes, the most promising ones {sizes[order[0]]}"
    return worth, left
