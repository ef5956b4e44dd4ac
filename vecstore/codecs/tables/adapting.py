"""Methods that find out while they learn which ids need rows of their own."""

from __future__ import annotations

import math

import numpy as np

from vecstore.codecs.tables.addresses import Hashed
from vecstore.codecs.tables.clusters import Clusters, Pointed, Rehashed
from vecstore.codecs.tables.dynamic import DynamicIds, Given, GrowingRows, Rules
from vecstore.codecs.tables.layout import Branch, Layout, Term
from vecstore.codecs.tables.learners import ColdRows, HotRows, Important, Mapped, Sketch
from vecstore.codecs.tables.rows import RowsPlan, kind_of
from vecstore.codecs.tables.shapes import Knob, Knobs, Shape, chunk_width, one_dim, spread
from vecstore.kernels.hotsketch import CELLS


def sketched(shape: Shape, knobs: Knobs) -> Layout:
    """H[slot(x)] for ids with the largest gradients, else chunks of one table for all, as in `unified`."""
    layout, dim, width = Layout(), one_dim(shape), chunk_width(shape)
    options = shape.options
    cold = shape.moved_rows(knobs[0], width)
    hot_kind = kind_of(options["hot_rows"] or options["rows"])
    one = RowsPlan(1, dim, hot_kind).bytes + 12 * CELLS
    share = options["hot"]
    count = max(1, int(cold.bytes * share / (1 - share) / one))
    hot = layout.add(RowsPlan(count, dim, hot_kind, -options["init"], options["init"]))
    sketch = Sketch(count, count, hot, layout.add(cold), options["threshold"])
    layout.learners.append(sketch)
    for field in shape.fields:
        salts = shape.salts(field, dim // width + 1, 1)
        sketch.salts[field.name] = np.uint64(salts[-1, 0])
        sketch.shared[field.name] = Hashed(0, knobs[0], salts[:-1].copy())
        terms = (Term(HotRows(sketch, field.name), hot), Term(ColdRows(sketch, field.name), sketch.cold))
        layout.branches[field.name] = Branch(field, terms)
    return layout


def important_rows(shape: Shape) -> list[Knob]:
    """How many ids, of all fields, have a row."""
    return [Knob(1, sum(field.cardinality for field in shape.fields))]


def important(shape: Shape, knobs: Knobs) -> Layout:
    """E[row(x)] for ids with the largest gradients, else zeros."""
    layout, dim = Layout(), one_dim(shape)
    store = layout.add(shape.moved_rows(knobs[0], dim))
    counts = {field.name: field.cardinality for field in shape.fields}
    learner = Important(counts, knobs[0], store, shape.options["every"])
    layout.learners.append(learner)
    for field in shape.fields:
        layout.branches[field.name] = Branch(field, (Term(Mapped(learner, field.name), store),))
    return layout


def given_rows(shape: Shape) -> list[Knob]:
    """Rows of each field, with those that are shared."""
    return [Knob(2, max(2, field.cardinality), math.sqrt(spread(field))) for field in shape.fields]


def dynamic(shape: Shape, knobs: Knobs) -> Layout:
    """E[row given to x], else E[h(x)] from a share of the rows."""
    layout, options = Layout(), shape.options
    rules = Rules(**{name: options[name] for name in ("policy", "admit", "chance", "ttl", "first")})
    for field, rows in zip(shape.fields, knobs, strict=True):
        shared = min(rows - 1, max(1, int(rows * options["shared"])))
        plan, start = shape.moved_rows(rows, field.dim), int(options["start"])
        if start:
            begun = min(start, rows - shared) + shared
            plan = GrowingRows(plan.count, plan.width, plan.kind, plan.low, plan.high, start=begun)
        cold = Hashed(rows - shared, shared, shape.salts(field, 1, 1))
        learner = DynamicIds(field.name, rows - shared, layout.add(plan), cold, rules, start)
        layout.learners.append(learner)
        layout.branches[field.name] = Branch(field, (Term(Given(learner), learner.store),))
    return layout


def cluster_rows(shape: Shape) -> list[Knob]:
    """Rows of each chunk, in each of two stores."""
    return [Knob(1, sum(field.cardinality for field in shape.fields))]


def clustered(shape: Shape, knobs: Knobs) -> Layout:
    """T[pointer(x)] + S[h(x)], chunk by chunk, from tables for all fields."""
    layout, width, dim, options = Layout(), chunk_width(shape), one_dim(shape), shape.options
    chunks = dim // width
    pointed = layout.add(shape.moved_rows(chunks * knobs[0], width))
    hashed = layout.add(shape.moved_rows(chunks * knobs[0], width))
    counts = {field.name: field.cardinality for field in shape.fields}
    learner = Clusters(
        counts, knobs[0], chunks, pointed, hashed, options["every"], options["turns"], shape.seed
    )
    layout.learners.append(learner)
    for field in shape.fields:
        field.check_few()
        terms = (Term(Pointed(learner, field.name), pointed), Term(Rehashed(learner, field.name), hashed))
        layout.branches[field.name] = Branch(field, terms)
    return layout
