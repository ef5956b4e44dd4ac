"""Methods in which each id, or each frequent one, has something of its own."""

from __future__ import annotations

import itertools
import math

from vecstore.codecs.tables.addresses import Digits, Hashed, Hot, Own
from vecstore.codecs.tables.combine import Projected, TensorTrain, Weighted
from vecstore.codecs.tables.layout import Branch, Layout, Term
from vecstore.codecs.tables.networks import Network, Norms
from vecstore.codecs.tables.rows import RowsPlan, kind_of
from vecstore.codecs.tables.shapes import Knob, Knobs, Shape, own
from vecstore.codecs.tables.stepped import MOST_BITS, SteppedPlan


def plain(shape: Shape, knobs: Knobs) -> Layout:
    """E[x]."""
    layout = Layout()
    for field in shape.fields:
        own(shape, layout, field)
    return layout


def memcom(shape: Shape, knobs: Knobs) -> Layout:
    """w[x] * E[h(x)] + b[x]: rows are shared, a weight and a bias are not."""
    layout = Layout()
    for field, rows in zip(shape.fields, knobs, strict=True):
        plan, weights = shape.rows(rows, field.dim), RowsPlan(field.cardinality, 1, low=1, high=1)
        biases = RowsPlan(field.cardinality, 1, low=0, high=0)
        if plan.bytes + weights.bytes + biases.bytes >= shape.plain(field):
            own(shape, layout, field)
            continue
        terms = (
            Term(Hashed(0, rows, shape.salts(field, 1, 1)), layout.add(plan)),
            Term(Own(0), layout.add(weights)),
            Term(Own(0), layout.add(biases)),
        )
        layout.branches[field.name] = Branch(field, terms, Weighted())
    return layout


def bits(shape: Shape) -> list[Knob]:
    """The bits of a value of each field; what is left of a budget goes to fields of few ids."""
    return [Knob(1, MOST_BITS, 1 + 1 / field.cardinality) for field in shape.fields]


def few_bits(shape: Shape, knobs: Knobs) -> Layout:
    """E[x], values of so many bits in each field."""
    layout, options = Layout(), shape.options
    for field, count in zip(shape.fields, knobs, strict=True):
        plan = SteppedPlan(field.cardinality, field.dim, options["init"], count, options["decay"])
        layout.branches[field.name] = Branch(field, (Term(Own(0), layout.add(plan)),))
    return layout


def ranks(shape: Shape) -> list[Knob]:
    """The rank of each field."""
    return [Knob(1, field.dim) for field in shape.fields]


def lowrank(shape: Shape, knobs: Knobs) -> Layout:
    """E[x] P, rows of rank r times a matrix (r, dim) of the field; rows of a format, or of so many bits."""
    layout, bits = Layout(), shape.options.get("bits")
    for field, rank in zip(shape.fields, knobs, strict=True):
        rows = (
            shape.rows(field.cardinality, rank)
            if bits is None
            else SteppedPlan(field.cardinality, rank, shape.options["init"], bits, shape.options["decay"])
        )
        high = math.sqrt(3 / rank)
        matrix = RowsPlan(rank, field.dim, low=-high, high=high)
        if rows.bytes + matrix.bytes >= shape.plain(field):
            own(shape, layout, field)
            continue
        terms = (Term(Own(0), layout.add(rows)),)
        layout.branches[field.name] = Branch(field, terms, Projected(), (layout.add(matrix),))
    return layout


def adapt(shape: Shape, knobs: Knobs) -> Layout:
    """The most frequent ids have their own rows, others share the rest: E[own(x)] or E[h(x)]."""
    layout = Layout()
    for field, rows in zip(shape.fields, knobs, strict=True):
        hot = min(int(rows * shape.options["own"]), rows - 1)
        cold = Hashed(hot, rows - hot, shape.salts(field, 1, 1))
        address = Hot(0, field.order[:hot], field.cardinality, cold)
        plan = shape.rows(rows, field.dim)
        if plan.bytes + address.map_bytes >= shape.plain(field):
            own(shape, layout, field)
            continue
        layout.branches[field.name] = Branch(field, (Term(address, layout.add(plan)),))
    return layout


def narrowing(shape: Shape) -> list[Knob]:
    """How little width falls with the number of ids: 0 is an exponent of 4, 4096 of 0."""
    return [Knob(0, 4096)]


def mixed(shape: Shape, knobs: Knobs) -> Layout:
    """`lowrank` whose ranks are dim * (ids / least ids)**-alpha, to the nearest power of two."""
    fewest, alpha = min(field.cardinality for field in shape.fields), (4096 - knobs[0]) / 1024
    found = []
    for field in shape.fields:
        width = field.dim * (field.cardinality / fewest) ** -alpha
        found.append(min(field.dim, 2 ** max(0, round(math.log2(width)))))
    return lowrank(shape, found)


def train_ranks(shape: Shape) -> list[Knob]:
    """The rank of each field's cores, at most where they outgrow its rows."""
    return [Knob(1, max(1, math.isqrt(field.cardinality * field.dim))) for field in shape.fields]


def _thirds(value: int) -> tuple[int, int, int]:
    """Three factors of a number, as equal as they come, ascending."""
    triples = [
        (a, b, value // a // b)
        for a in range(1, round(value ** (1 / 3)) + 1)
        if value % a == 0
        for b in range(a, math.isqrt(value // a) + 1)
        if value // a % b == 0
    ]
    return max(triples)


def train(shape: Shape, knobs: Knobs) -> Layout:
    """G_1[i] G_2[j] G_3[k], products of matrices for the three digits of x."""
    layout = Layout()
    for field, rank in zip(shape.fields, knobs, strict=True):
        base = next(b for b in range(1, field.cardinality + 1) if b**3 >= field.cardinality)
        top = -(-field.cardinality // base**2)
        a, b, c = _thirds(field.dim)
        variance = (shape.options["init"] ** 2 / 3 / rank**2) ** (1 / 3)  # so that products have that of rows
        high = math.sqrt(3 * variance)
        cores = [
            shape.rows(count, width, high)
            for count, width in ((top, a * rank), (base, rank * b * rank), (base, rank * c))
        ]
        if sum(core.bytes for core in cores) >= shape.plain(field):
            own(shape, layout, field)
            continue
        terms = tuple(
            Term(Digits((0,), (count,), below=below, top=core is cores[0]), layout.add(core))
            for core, count, below in zip(cores, (top, base, base), (base * base, base, 1), strict=True)
        )
        layout.branches[field.name] = Branch(field, terms, TensorTrain((a, b, c), rank))
    return layout


def widths(shape: Shape) -> list[Knob]:
    """The width of layers, for all fields."""
    return [Knob(1, 4096)]


def network(shape: Shape, knobs: Knobs) -> Layout:
    """A network of many hashes of x, for each field."""
    layout, hashes, width = Layout(), shape.options["hashes"], knobs[0]
    hidden = shape.options["layers"] if shape.options["norm"] else 0
    for field in shape.fields:
        sizes = [hashes, *[width] * shape.options["layers"], field.dim]
        layers: list[RowsPlan] = []
        for inputs, outputs in itertools.pairwise(sizes):
            high = math.sqrt(6 / inputs) * (shape.options["init"] if len(layers) == len(sizes) - 2 else 1)
            layers.append(RowsPlan(inputs + 1, outputs, low=-high, high=high))
        for _ in range(hidden):
            layers += [RowsPlan(1, width, low=1, high=1), RowsPlan(1, width, low=0, high=0)]
        norms = 8 * hidden * width
        if sum(layer.bytes for layer in layers) + norms >= shape.plain(field):
            own(shape, layout, field)
            continue
        stores = tuple(layout.add(layer) for layer in layers)
        network = Network(shape.salts(field, hashes))
        if hidden:
            learner = Norms(field.name, hidden, width, stores)
            network = learner.network = Network(network.salts, learner)
            layout.learners.append(learner)
        layout.branches[field.name] = Branch(field, (), network, stores)
    return layout


def kept_rows(shape: Shape) -> list[Knob]:
    """How many ids of each field have a row at all."""
    return [Knob(1, field.cardinality, field.cardinality) for field in shape.fields]


def by_frequency(shape: Shape, knobs: Knobs) -> Layout:
    """The most frequent ids have 8 bits a value, those that come next 4, and others no row at all.

    Four more bits take a 256th off the error, so a row must be read that much more often to be worth them.
    """
    layout, init = Layout(), shape.options["init"]
    for field, count in zip(shape.fields, knobs, strict=True):
        fine = math.ceil(count * shape.options["fine"])
        groups = {"int8": field.order[:fine], "int4": field.order[fine:count]}
        terms = tuple(
            Term(
                Hot(0, ids, field.cardinality),
                layout.add(RowsPlan(len(ids), field.dim, kind_of(kind), -init, init)),
            )
            for kind, ids in groups.items()
            if len(ids)
        )
        layout.branches[field.name] = Branch(field, terms)
    return layout
