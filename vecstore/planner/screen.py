"""First looks at candidates, fitted on few rows: what finds far fewer near rows than another is left out.

Codecs that learn much are worth more with more rows, so that a margin is left, the wider the fewer rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vecstore.codecs.base import Codec
from vecstore.errors import said
from vecstore.planner.candidates import Member
from vecstore.planner.trial import Trial

_LEAST = 2  # go on
_TIMES = 2  # so many times the rows of a look, or it is not worth it
# Take nearly as long on few rows, and keep nearly all of those; worth it where codes are such a share of the
# most promising ones.
_SLOW, _SLOW_CODES = ("lsq", "prq"), 0.5


@dataclass(frozen=True)
class Look:
    """How many rows are fitted on, how many of these and of others are searched, and for how many of these;
    and who may go on: at most so many, if they find as much as the best but for `margin` of recall, or that
    `share` of what it does not find; in any case two, so that a plan shows what else there is."""

    fit_rows: int
    rows: int
    held: int
    queries: int
    margin: float
    share: float
    most: int


LOOKS = (
    Look(512, 1152, 384, 256, margin=0.07, share=0.5, most=8),
    Look(2048, 3072, 1024, 512, margin=0.04, share=0.3, most=3),
)
# Where the sample is a small part of the collection, what is learned may be large: 512 rows say little of it.
LOOKS_AT_PART = (Look(2048, 4096, 4608, 1024, margin=0.05, share=0.4, most=5),)

# On so many rows; None where it cannot be, or is not to be.
Fit = Callable[[Member, int | None], Codec | None]


def promising(
    listed: Sequence[Member], trial: Trial, fit: Fit, slowness: Callable[[Codec], float] | None = None
) -> tuple[list[Member], dict[Member, str]]:
    """The members of families worth measuring, the most promising first, and why the others are not.

    slowness: what a codec costs over what is asked; where all cost more, the one that costs least goes on.
    """
    left: dict[Member, str] = {}
    slow = [one for one in listed if one.spec.partition(":")[0] in _SLOW]
    worth = [one for one in listed if one not in slow]
    looked = False
    for look in LOOKS if trial.by_recall else LOOKS_AT_PART:
        if len(trial.rows) >= _TIMES * look.fit_rows and len(trial.field.queries):
            worth, looked = _looked(look, worth, trial, fit, None if looked else slowness, left), True
    if not looked:
        return list(listed), {}
    least_bytes = _SLOW_CODES * worth[0].code_bytes if worth else 0.0
    for one in slow:
        if one.code_bytes >= least_bytes:
            worth.append(one)
        else:
            left[one] = (
                f"its codes have {one.code_bytes} bytes, the most promising ones {worth[0].code_bytes}"
            )
    return worth, left


def _looked(
    look: Look,
    listed: list[Member],
    trial: Trial,
    fit: Fit,
    slowness: Callable[[Codec], float] | None,
    left: dict[Member, str],
) -> list[Member]:
    """Who goes on."""
    found: dict[Member, float] = {}
    slow: dict[Member, float] = {}
    for one in listed:
        if (codec := fit(one, look.fit_rows)) is None:
            continue
        try:
            if slowness and (times := slowness(codec)) > 1:
                slow[one], left[one] = times, f"a scan takes {times:.3g} times what is asked"
            else:
                found[one] = trial.look(look.rows, look.held, look.queries).measure(codec).recall or 0.0
        except Exception as error:  # What one candidate cannot do leaves the others.
            left[one] = said(error)
    if slow and not found:
        return [min(slow, key=lambda one: slow[one])]
    best = max(found.values(), default=0.0)
    least = best - min(look.margin, look.share * (1 - best))
    order = sorted(found, key=lambda one: (-found[one], one.spec))
    worth = [one for at, one in enumerate(order) if found[one] >= least or at < _LEAST][: look.most]
    for one in order:
        if one not in worth:
            left[one] = (
                f"at a first look a search finds {found[one]:.2f} of near rows, by another codec {best:.2f}"
            )
    return worth
