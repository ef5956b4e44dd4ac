"""The published methods, each as a composition: stores, addresses, and what combines them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecstore.codecs.tables.addresses import Digits, Elements, Hashed, Hot, Own, salts
from vecstore.codecs.tables.combine import Product, Projected, Weighted
from vecstore.codecs.tables.layout import Branch, Field, Layout, Term
from vecstore.codecs.tables.rows import RowsPlan, kind_of
from vecstore.errors import SpecError

_ENDLESS = (1 << 32) - 1


@dataclass(frozen=True)
class Knob:
    """A whole number that a budget decides; `share` is how fast it grows beside the others."""

    low: int
    high: int
    share: float = 1.0


@dataclass(frozen=True)
class Shape:
    """What a method is asked for."""

    fields: Sequence[Field]
    seed: int
    options: Mapping[str, Any]

    def rows(self, count: int, width: int) -> RowsPlan:
        """Rows of the format that was asked for, drawn as it was asked for."""
        scale = self.options["init"]
        return RowsPlan(count, width, kind_of(self.options["rows"]), -scale, scale)

    def salts(self, field: Field, *shape: int) -> Any:
        """Salts of a field."""
        return salts(self.seed, field.name, *shape)


Knobs = Sequence[int]


def _own(shape: Shape, layout: Layout, field: Field) -> None:
    """A field with a row for each id."""
    store = layout.add(shape.rows(field.cardinality, field.dim))
    layout.branches[field.name] = Branch(field, (Term(Own(0), store),))


def plain(shape: Shape, knobs: Knobs) -> Layout:
    """E[x]."""
    layout = Layout()
    for field in shape.fields:
        _own(shape, layout, field)
    return layout


def _spread(field: Field) -> float:
    """How many ids a field has, rare ones hardly counted: exp of the entropy of their frequencies."""
    if field.frequencies is None:
        return float(field.cardinality)
    share = field.frequencies[field.frequencies > 0] / field.frequencies.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def each_rows(shape: Shape) -> list[Knob]:
    """Rows for each field: lost are about ids / rows of a field, so rows grow with the root of ids."""
    return [Knob(1, field.cardinality, math.sqrt(_spread(field))) for field in shape.fields]


def hashed(shape: Shape, knobs: Knobs) -> Layout:
    """sum over probes j of E[h_j(x)], a table for each field."""
    layout = Layout()
    for field, rows in zip(shape.fields, knobs, strict=True):
        if rows >= field.cardinality:
            _own(shape, layout, field)
            continue
        address = Hashed(0, rows, shape.salts(field, 1, shape.options["probes"]))
        store = layout.add(shape.rows(rows, field.dim))
        layout.branches[field.name] = Branch(field, (Term(address, store),))
    return layout


def pool_rows(shape: Shape) -> list[Knob]:
    """Rows of one store for all fields."""
    values = sum(field.cardinality * field.dim for field in shape.fields)
    return [Knob(1, min(_ENDLESS, max(1, values // _chunk(shape))))]


def _chunk(shape: Shape) -> int:
    """The width of a chunk: that of the narrowest field over the number of chunks that it has."""
    narrowest = min(field.dim for field in shape.fields)
    chunks = shape.options["chunks"] or next(k for k in (2, 3, 5, 1) if narrowest % k == 0)
    width, rest = divmod(narrowest, chunks)
    wrong = [field for field in shape.fields if rest or field.dim % width]
    if wrong:
        raise SpecError(
            f"field {wrong[0].name!r} has {wrong[0].dim} values, which are not {chunks} equal chunks"
        )
    return width


def unified(shape: Shape, knobs: Knobs) -> Layout:
    """E[h_f1(x)], E[h_f2(x)], ... side by side, from one table for all; wider fields have more chunks."""
    layout, width = Layout(), _chunk(shape)
    store = layout.add(shape.rows(knobs[0], width))
    for field in shape.fields:
        address = Hashed(0, knobs[0], shape.salts(field, field.dim // width, shape.options["probes"]))
        layout.branches[field.name] = Branch(field, (Term(address, store),))
    return layout


def weights_rows(shape: Shape) -> list[Knob]:
    """Rows of one store for all fields, and weights that take a tenth as many bytes."""
    return [Knob(1, min(_ENDLESS, sum(field.cardinality for field in shape.fields)))]


def hashemb(shape: Shape, knobs: Knobs) -> Layout:
    """sum over probes j of w_j(x) * E[h_j(x)], from one table for all fields, weights hashed too."""
    layout, probes, dim = Layout(), shape.options["probes"], _one_dim(shape)
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


def _one_dim(shape: Shape) -> int:
    dims = {field.dim for field in shape.fields}
    if len(dims) > 1:
        raise SpecError(f"this method has one dim for all fields; these are {sorted(dims)}")
    return dims.pop()


def digit_rows(shape: Shape) -> list[Knob]:
    """Rows for the higher digits of each field, at least as many as the lowest digit has values."""
    low = [math.ceil(field.cardinality ** (1 / shape.options["digits"])) for field in shape.fields]
    return [
        Knob(few, field.cardinality, math.sqrt(_spread(field)))
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
            _own(shape, layout, field)
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
    return [Knob(1, min(_ENDLESS, sum(field.cardinality * field.dim for field in shape.fields)))]


def flat(shape: Shape, knobs: Knobs) -> Layout:
    """sign * A[(h_c(x) + i) mod m], value i of block c, from one flat array for all fields."""
    layout = Layout()
    store = layout.add(shape.rows(knobs[0], 1))
    for field in shape.fields:
        block = min(shape.options["block"], field.dim)
        address = Elements(knobs[0], field.dim, block, shape.salts(field, -(-field.dim // block)))
        layout.branches[field.name] = Branch(field, (Term(address, store),))
    return layout


def memcom(shape: Shape, knobs: Knobs) -> Layout:
    """w[x] * E[h(x)] + b[x]: rows are shared, a weight and a bias are not."""
    layout = Layout()
    for field, rows in zip(shape.fields, knobs, strict=True):
        plan, weights = shape.rows(rows, field.dim), RowsPlan(field.cardinality, 1, low=1, high=1)
        biases = RowsPlan(field.cardinality, 1, low=0, high=0)
        if plan.bytes + weights.bytes + biases.bytes >= shape.rows(field.cardinality, field.dim).bytes:
            _own(shape, layout, field)
            continue
        terms = (
            Term(Hashed(0, rows, shape.salts(field, 1, 1)), layout.add(plan)),
            Term(Own(0), layout.add(weights)),
            Term(Own(0), layout.add(biases)),
        )
        layout.branches[field.name] = Branch(field, terms, Weighted())
    return layout


def ranks(shape: Shape) -> list[Knob]:
    """The rank of each field."""
    return [Knob(1, field.dim) for field in shape.fields]


def lowrank(shape: Shape, knobs: Knobs) -> Layout:
    """E[x] P, rows of rank r times a matrix (r, dim) of the field."""
    layout = Layout()
    for field, rank in zip(shape.fields, knobs, strict=True):
        rows, high = shape.rows(field.cardinality, rank), math.sqrt(3 / rank)
        matrix = RowsPlan(rank, field.dim, low=-high, high=high)
        if rows.bytes + matrix.bytes >= shape.rows(field.cardinality, field.dim).bytes:
            _own(shape, layout, field)
            continue
        terms = (Term(Own(0), layout.add(rows)),)
        layout.branches[field.name] = Branch(field, terms, Projected(), (layout.add(matrix),))
    return layout


def adapt(shape: Shape, knobs: Knobs) -> Layout:
    """The most frequent ids have their own rows, others share the rest: E[own(x)] or E[h(x)]."""
    layout = Layout()
    for field, rows in zip(shape.fields, knobs, strict=True):
        own = min(int(rows * shape.options["own"]), rows - 1)
        cold = Hashed(own, rows - own, shape.salts(field, 1, 1))
        address = Hot(0, most_frequent(field, own), field.cardinality, cold)
        plan = shape.rows(rows, field.dim)
        if plan.bytes + address.map_bytes >= shape.rows(field.cardinality, field.dim).bytes:
            _own(shape, layout, field)
            continue
        layout.branches[field.name] = Branch(field, (Term(address, layout.add(plan)),))
    return layout


def most_frequent(field: Field, count: int) -> Any:
    """The ids that come most often, ascending; without frequencies the lowest."""
    if field.frequencies is None:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.argsort(-field.frequencies, kind="stable")[:count]).astype(np.int64)


def nothing(shape: Shape) -> list[Knob]:
    """No knob: the bytes are what they are."""
    return []


@dataclass(frozen=True)
class Preset:
    """A method: a line on it, its layout of knobs, the knobs that a budget turns, options and defaults."""

    about: str
    layout: Callable[[Shape, Knobs], Layout]
    knobs: Callable[[Shape], list[Knob]]
    options: Mapping[str, Any]


_ANY = {"rows": "f32", "init": 0.05}

PRESETS: Mapping[str, Preset] = {
    "plain": Preset("a row for each id", plain, nothing, _ANY),
    "int16": Preset("rows of 16-bit integers", plain, nothing, {**_ANY, "rows": "int16"}),
    "int8": Preset("rows of 8-bit integers", plain, nothing, {**_ANY, "rows": "int8"}),
    "int4": Preset("rows of 4-bit integers", plain, nothing, {**_ANY, "rows": "int4"}),
    "alpt": Preset("rows of 8-bit integers, steps learned", plain, nothing, {**_ANY, "rows": "alpt"}),
    "hash": Preset("ids share rows, field by field", hashed, each_rows, {**_ANY, "probes": 1}),
    "multihash": Preset("sums of shared rows", hashed, each_rows, {**_ANY, "probes": 2}),
    "hashemb": Preset("weighted sums of shared rows", hashemb, weights_rows, {**_ANY, "probes": 2}),
    "qr": Preset(
        "products of rows for the digits of an id", quotient, digit_rows,
        {**_ANY, "digits": 2, "combine": "mult"},
    ),
    "unified": Preset(
        "chunks from one store for all fields", unified, pool_rows, {**_ANY, "chunks": None, "probes": 1}
    ),
    "robe": Preset("blocks of one flat array", flat, flat_values, {**_ANY, "block": 8}),
    "hashednet": Preset("values of one flat array", flat, flat_values, {**_ANY, "block": 1}),
    "memcom": Preset("shared rows, own weights", memcom, each_rows, _ANY),
    "lowrank": Preset("narrow rows times a matrix", lowrank, ranks, _ANY),
    "adapt": Preset("own rows for frequent ids", adapt, each_rows, {**_ANY, "own": 0.8}),
}  # fmt: skip
