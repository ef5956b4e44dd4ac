"""The card of a collection: what is known of its embedding space, and whether rows are from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecstore.codecs.base import Array
from vecstore.errors import SpaceMismatchError, SpecError
from vecstore.space.fingerprint import FEWEST, Fingerprint

MODEL, REVISION, FINGERPRINT = "model", "revision", "fingerprint"
NAMES = (MODEL, REVISION)
_ANYWAY = "; if they are of the same space all the same, say so with check_space=False (--any-space)"


@dataclass(frozen=True)
class Claim:
    """What is said of rows: the model that made them, its revision, and whether a look at them counts."""

    model: str | None = None
    revision: str | None = None
    check: bool = True

    def __post_init__(self) -> None:
        for name in NAMES:
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise SpecError(f"{name} is {value!r}; expected a name")

    def names(self) -> dict[str, str]:
        """Those that are told, as they stand in a card."""
        return {name: value for name in NAMES if (value := getattr(self, name)) is not None}


NOTHING = Claim()  # is said


def checked_card(card: Mapping[str, Any], dim: int) -> None:
    """ValueError unless what stands in a card about the space is laid out as it should be."""
    for name in NAMES:
        if not isinstance(card.get(name, ""), str):
            raise ValueError(f"{name} is {str(card[name])[:40]}; expected a name")
    if FINGERPRINT in card:
        Fingerprint.from_dict(card[FINGERPRINT], dim)


def with_fingerprint(card: Mapping[str, Any], sample: Array) -> dict[str, Any]:
    """The card with the fingerprint of rows (n, dim), in place of the one that it had."""
    found = Fingerprint.of(sample)
    return dict(card) if found is None else {**card, FINGERPRINT: found.as_dict()}


def check_names(card: Mapping[str, Any], claim: Claim, what: str, where: str) -> bool:
    """Whether the names told settle that rows are of a card's space; SpaceMismatchError if of another.

    what: the rows, for messages, as in "queries"; where: the collection.
    """
    for name, value in claim.names().items():
        known = card.get(name)
        if known is not None and known != value:
            raise SpaceMismatchError(
                f"{where} holds vectors of {name} {known!r}; {what} of {name} {value!r} are of another "
                f"space: embed them by {known!r}, or fit an adapter between the two"
            )
    return claim.model is not None and claim.model == card.get(MODEL)


def same_space(card: Mapping[str, Any], rows: Array, claim: Claim, what: str, where: str) -> None:
    """SpaceMismatchError for rows (n, dim) of another space than the card's, by the names that are told or,
    where they settle nothing, by a look at the rows.

    what: "rows" that are to be kept, or "queries", whose length does not matter to inner products.
    """
    if check_names(card, claim, what, where) or not claim.check:
        return
    if FINGERPRINT not in card or len(rows) < FEWEST:
        return
    found = Fingerprint.from_dict(card[FINGERPRINT], rows.shape[1])
    metric = card.get("metric", "ip")
    length = found.loses_unit(rows) if metric == "l2" or (metric == "ip" and what == "rows") else None
    if length is not None:
        raise SpaceMismatchError(
            f"{what} have a length of {length:.4g}; those of {where} have length 1: divide each by its "
            f"length{_ANYWAY}"
        )
    if found.is_foreign(rows):
        model = f" (model {card[MODEL]!r})" if MODEL in card else ""
        raise SpaceMismatchError(
            f"{what} lie in other directions than the rows of {where}{model}, as those of another model do: "
            f"embed them by the same model and revision, or fit an adapter between the two{_ANYWAY}"
        )
