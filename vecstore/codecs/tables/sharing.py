"""Methods in which ids share rows by hashing or by their digits."""

from __future__ import annotations

import math

from vecstore.codecs.tables.addresses import Digits, Elements, Hashed
from vecstore.codecs.tables.combine import Product, Weighted
from vecstore.codecs.tables.layout import Branch, Layout, Term
from vecstore.codecs.tables.rows import RowsPlan
from vecstore.codecs.tables.shapes import ENDLESS, Knob, Knobs, Shape, chunk_width, one_dim, own, spread
from vecstore.errors import SpecError


def hashed(shape: Shape, knobs: Knobs) -> Layout:
    """sum over probes j of E[h_j(x)], a table for each field."""
    layout = Layout()
    for field, rows in zip(shape.fields, knobs, strict=True):
        if rows >= field.cardinality:
            own(shape, layout, field)
            continue
        address = Hashed(0, rows, shape.salts(field, 1, shape.options["probes"]))
        store = layout.add(shape.rows(rows, field.dim))
        layout.branches[field.name] = Branch(field, (Term(address, store),))
    return layout


def pool_rows(shape: Shape) -> list[Knob]:
    """Rows of one store for all fields."""
    values = sum(field.cardinality * field.dim for field in shape.fields)
    return [Knob(1, min(ENDLESS, max(1, values // chunk_width(shape))))]


def unified(shape: Shape, knobs: Knobs) -> Layout:
    """E[h_f1(x)], E[h_f2(x)], ... side by side, from one table for all; wider fields have more chunks."""
    layout, width = Layout(), chunk_width(shape)
    store = layout.add(shape.rows(knobs[0], width))
    for field in shape.fields:
        address = Hashed(0, knobs[0], shape.salts(field, field.dim // width, shape.options["probes"]))
        layout.branches[field.name] = Branch(field, (Term(address, store),))
    return layout


def weights_rows(shape: Shape) -> list[Knob]:
    """Rows of one store for all fields, and weights that take a tenth as many bytes."""
    return [Knob(1, min(ENDLESS, sum(field.cardinality for field in shape.fields)))]


def hashemb(shape: Shape, knobs: Knobs) -> Layout:
    """sum over probes j of w_j(x) * E[h_j(x)], from one table for all fields, weights hashed too."""
    layout, probes, dim = Layout(), shape.options["probes"], one_dim(shape)
    count = max(1, knobs[0] * dim // (9 * probes))
    rows = layout.add(shape.rows(knobs[0], dim))
    weights = layout.add(RowsPlan(count, probes, low=0.5, high=1.5))
    for field in shape.fields:
        salt = shape.salts(field, 1, probes + 1)
        terms = (
            Term(Hashed(0, knobs[0], salt[:, 1:].copy()), rows),
            Term(Hashed(0, count, salt[:, :1].copy()), weights),
        )
        layout.branches[field.name] = Branch(field, terms, Weighted())
    return layout


def digit_rows(shape: Shape) -> list[Knob]:
    """Rows for the higher digits of each field, at least as many as the lowest digit has values."""
    low = [math.ceil(field.cardinality ** (1 / shape.options["digits"])) for field in shape.fields]
    return [
        Knob(few, field.cardinality, math.sqrt(spread(field)))
        for few, field in zip(low, shape.fields, strict=True)
    ]


def quotient(shape: Shape, knobs: Knobs) -> Layout:
    """E_1[x mod c] * E_2[x div c] (or their sum, or side by side); with k digits, E_k[x div c**(k - 1)]."""
    layout = Layout()
    digits, combine = shape.options["digits"], shape.options["combine"]
    if combine not in ("mult", "sum", "concat"):
        raise SpecError(f"combine={combine!r} is none of mult, sum, concat")
    for field, rows in zip(shape.fields, knobs, strict=True):
        low = math.ceil((field.cardinality / rows) ** (1 / (digits - 1)))
        bases = (*[low] * (digits - 1), rows)
        if sum(bases) >= field.cardinality:
            own(shape, layout, field)
            continue
        width, rest = divmod(field.dim, digits if combine == "concat" else 1)
        if rest:
            raise SpecError(
                f"field {field.name!r} has {field.dim} values, which are not {digits} equal chunks"
            )
        store = layout.add(shape.rows(sum(bases), width))
        firsts = tuple(sum(bases[:at]) for at in range(digits))
        address = Digits(firsts, bases, across=combine == "concat")
        combiner = Product() if combine == "mult" else None
        layout.branches[field.name] = Branch(field, (Term(address, store),), combiner)
    return layout


def flat_values(shape: Shape) -> list[Knob]:
    """Values of one array for all fields."""
    return [Knob(1, min(ENDLESS, sum(field.cardinality * field.dim for field in shape.fields)))]


def flat(shape: Shape, knobs: Knobs) -> Layout:
    """sign * A[(h_c(x) + i) mod m], value i of block c, from one flat array for all fields."""
    layout = Layout()
    store = layout.add(shape.rows(knobs[0], 1))
    for field in shape.fields:
        block = min(shape.options["block"], field.dim)
        address = Elements(knobs[0], field.dim, block, shape.salts(field, -(-field.dim // block)))
        layout.branches[field.name] = Branch(field, (Term(address, store),))
    return layout
