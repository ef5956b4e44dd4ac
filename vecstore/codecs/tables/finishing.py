"""Methods that learn plain rows and make them small at the end, in `Table.finish`."""

from __future__ import annotations

import math

from vecstore.codecs.tables.addresses import Own
from vecstore.codecs.tables.coding import CodedPlan, MergedPlan
from vecstore.codecs.tables.evolving import EvolvedStore
from vecstore.codecs.tables.layout import Branch, Layout, Term
from vecstore.codecs.tables.pruning import GatedStore, PrunedPlan, PrunedStore, SoftStore, ThresholdStore
from vecstore.codecs.tables.shapes import Knob, Knobs, Shape, one_dim, own
from vecstore.codecs.tables.widths import WidthsPlan
from vecstore.errors import SpecError


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
    """How many rows are kept of all; values, where rows of fields come to have widths."""
    if shape.options["widths"] == "searched":
        return kept_values(shape)
    return [Knob(1, sum(field.cardinality for field in shape.fields))]


def _pruned(shape: Shape, kept: int, store: type[PrunedStore]) -> Layout:
    others = ("init", "half", "widths")
    numbers = {name: value for name, value in shape.options.items() if name not in others}
    plan = PrunedPlan(
        sum(field.cardinality for field in shape.fields), one_dim(shape), shape.options["init"], kept, store,
        half=shape.options["half"], whole=issubclass(store, ThresholdStore),
        options=tuple(sorted(numbers.items())), starts=tuple(_first_rows(shape)),
        orders=tuple(field.order for field in shape.fields) if store is GatedStore else (),
    )  # fmt: skip
    layout = Layout()
    return _branches(shape, layout, layout.add(plan))


def pruned(shape: Shape, knobs: Knobs) -> Layout:
    """E[x], of which the largest values stay."""
    return _pruned(shape, knobs[0], PrunedStore)


def soft(shape: Shape, knobs: Knobs) -> Layout:
    """sign(E[x]) max(|E[x]| - sigmoid(s), 0)."""
    return _pruned(shape, knobs[0], SoftStore)


def gated(shape: Shape, knobs: Knobs) -> Layout:
    """E[x] * gate[group of x], of which the largest values stay."""
    return _pruned(shape, knobs[0], GatedStore)


def whole(shape: Shape, knobs: Knobs) -> Layout:
    """E[x] if its sum of |v| is above a threshold of the field, else zeros; the largest rows stay.

    widths: 'full', or 'searched', with which only the first values of rows stay, as many as a field needs.
    """
    kinds = {"full": ThresholdStore, "searched": EvolvedStore}
    if shape.options["widths"] not in kinds:
        raise SpecError(f"widths={shape.options['widths']!r} is none of {', '.join(kinds)}")
    width = one_dim(shape) if shape.options["widths"] == "full" else 1
    return _pruned(shape, knobs[0] * width, kinds[shape.options["widths"]])


def choices(shape: Shape) -> list[Knob]:
    """How many centroids a part of a row may be."""
    return [Knob(4, 1 << 16)]


def _parts(shape: Shape, dim: int) -> int:
    """Parts of a row: as asked for, else the largest number up to 8 that divides it."""
    parts = int(shape.options["parts"] or max(k for k in range(1, 9) if dim % k == 0))
    if dim % parts:
        raise SpecError(f"parts={parts} does not divide dim {dim}")
    return parts


def coded(shape: Shape, knobs: Knobs) -> Layout:
    """The nearest centroid of each part of E[x]; for rare ids, with `frequent=`, of the first quarter."""
    layout, share = Layout(), shape.options["frequent"]
    for field in shape.fields:
        frequent, few = None, 0
        if share < 1:
            frequent = field.order[: math.ceil(share * field.cardinality)]
            few = max(1, knobs[0] // 4)
        plan = CodedPlan(
            field.cardinality, field.dim, shape.options["init"], _parts(shape, field.dim), knobs[0], few,
            frequent, shape.options["pull"],
        )  # fmt: skip
        kept = plan.parts()
        if sum(kept.values()) - kept["training"] >= shape.plain(field):
            own(shape, layout, field)
            continue
        layout.branches[field.name] = Branch(field, (Term(Own(0), layout.add(plan)),))
    return layout


def kept_blocks(shape: Shape) -> list[Knob]:
    """How many blocks stay of all."""
    rows = sum(field.cardinality for field in shape.fields)
    return [Knob(1, -(-rows // shape.options["block"]))]


def merged(shape: Shape, knobs: Knobs) -> Layout:
    """E[map[x div b] b + x mod b]."""
    options = shape.options
    rows = sum(field.cardinality for field in shape.fields)
    plan = MergedPlan(rows, one_dim(shape), options["init"], options["block"], knobs[0], options["near"])
    layout = Layout()
    return _branches(shape, layout, layout.add(plan))


def narrowed(shape: Shape, knobs: Knobs) -> Layout:
    """E[x] times the field's gates, of which the first values stay, as many as its gates ask for."""
    plan = WidthsPlan(
        sum(field.cardinality for field in shape.fields), one_dim(shape), shape.options["init"], knobs[0],
        tuple(_first_rows(shape)), shape.options["gate_rate"],
    )  # fmt: skip
    layout = Layout()
    return _branches(shape, layout, layout.add(plan))
