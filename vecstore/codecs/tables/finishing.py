"""Methods that learn plain rows and make them small at the end, in `Table.finish`."""

from __future__ import annotations

import numpy as np

from vecstore.codecs.tables.addresses import Own
from vecstore.codecs.tables.layout import Branch, Layout, Term
from vecstore.codecs.tables.pruning import GROUPS, PrunedPlan
from vecstore.codecs.tables.shapes import Knob, Knobs, Shape, one_dim


def _first_rows(shape: Shape) -> list[int]:
    """The first row of each field in a store of all."""
    counts = [field.cardinality for field in shape.fields]
    return [sum(counts[:at]) for at in range(len(counts))]


def _branches(shape: Shape, layout: Layout, store: int) -> Layout:
    """Each field has its own rows of one store."""
    for first, field in zip(_first_rows(shape), shape.fields, strict=True):
        layout.branches[field.name] = Branch(field, (Term(Own(first), store),))
    return layout


def kept_values(shape: Shape) -> list[Knob]:
    """How many values are kept of all."""
    return [Knob(1, sum(field.cardinality for field in shape.fields) * one_dim(shape))]


def kept_whole_rows(shape: Shape) -> list[Knob]:
    """How many rows are kept of all."""
    return [Knob(1, sum(field.cardinality for field in shape.fields))]


def _groups(shape: Shape) -> bytes:
    """For each row, how often its id comes: six groups of as many ids, the most frequent first."""
    found = []
    for field in shape.fields:
        often = np.ones(field.cardinality) if field.frequencies is None else field.frequencies
        order = np.argsort(np.argsort(-often, kind="stable"), kind="stable")
        found.append(order * GROUPS // field.cardinality)
    return bytes(np.concatenate(found).astype(np.uint8))


def _pruned(shape: Shape, kept: int, rule: str) -> Layout:
    numbers = {name: value for name, value in shape.options.items() if name not in ("init", "half")}
    plan = PrunedPlan(
        sum(field.cardinality for field in shape.fields), one_dim(shape), shape.options["init"], kept,
        half=shape.options["half"], whole=rule == "optembed", rule=rule,
        options=tuple(sorted(numbers.items())), starts=tuple(_first_rows(shape)),
        groups=_groups(shape) if rule == "autosrh" else b"",
    )  # fmt: skip
    layout = Layout()
    return _branches(shape, layout, layout.add(plan))


def pruned(shape: Shape, knobs: Knobs) -> Layout:
    """E[x], of which the largest values stay."""
    return _pruned(shape, knobs[0], "prune")


def soft(shape: Shape, knobs: Knobs) -> Layout:
    """sign(E[x]) max(|E[x]| - sigmoid(s), 0)."""
    return _pruned(shape, knobs[0], "pep")


def gated(shape: Shape, knobs: Knobs) -> Layout:
    """E[x] * gate[group of x], of which the largest values stay."""
    return _pruned(shape, knobs[0], "autosrh")


def whole(shape: Shape, knobs: Knobs) -> Layout:
    """E[x] if its sum of |v| is above a threshold of the field, else zeros; the largest rows stay."""
    return _pruned(shape, knobs[0] * one_dim(shape), "optembed")
