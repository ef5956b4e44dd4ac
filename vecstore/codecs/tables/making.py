"""Tables made of a method's name, fields and a budget, and made again from a file."""

from __future__ import annotations

import difflib
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vecstore.codecs.tables.budgets import bytes_of, solve
from vecstore.codecs.tables.deltas import Delta, Saved
from vecstore.codecs.tables.dense import DenseStore
from vecstore.codecs.tables.layout import Field
from vecstore.codecs.tables.optimizers import Optimizer
from vecstore.codecs.tables.presets import PRESETS, Preset, checked
from vecstore.codecs.tables.shapes import Shape
from vecstore.codecs.tables.state import Setup, TableState, identity_of, load, read_part
from vecstore.codecs.tables.table import Table
from vecstore.errors import ConflictError, FormatError, InputError, ShapeError, SpecError

LEAGUES = ("serve", "train")
_MAX_DIM = 1 << 20
_MAX_IDS = (1 << 63) - 1


@dataclass
class Wish:
    """What a table is asked to be; see `vs.table`."""

    method: str
    fields: Mapping[str, int]
    dim: int | Mapping[str, int] = 16
    budget: str | None = None
    league: str = "serve"
    optimizer: str = "rowwise_adagrad"
    seed: int = 0
    frequencies: Mapping[str, ArrayLike] | None = None
    empty_bags: str = "error"
    options: Mapping[str, Any] = field(default_factory=dict)


def make(wish: Wish) -> Table:
    """A new table. SpecError for what is unknown, BudgetError for a budget that cannot be kept."""
    preset = _preset(wish.method)
    if wish.league not in LEAGUES:
        raise SpecError(f"league={wish.league!r}; expected one of {', '.join(LEAGUES)}")
    if wish.empty_bags not in ("error", "zeros"):
        raise SpecError(f"empty_bags={wish.empty_bags!r}; expected 'error' or 'zeros'")
    fields = _fields(wish)
    shape = Shape(fields, _seed(wish.seed), _options(wish.method, preset, wish.options))
    optimizer = Optimizer.named(wish.optimizer)
    knobs = preset.knobs(shape)
    rows = sum(each.cardinality for each in fields)
    values = sum(each.cardinality * each.dim for each in fields)
    # Without a budget a method is as large as it gets, which is no larger than the plain table's rows.
    bound = 1 << 62 if wish.budget is None else bytes_of(wish.budget, rows, values)

    def cost(trial: Sequence[int]) -> int:
        return preset.layout(shape, trial).ledger(optimizer).bound(wish.league)

    solved = solve(knobs, cost, bound, f"{wish.method!r}")
    setup = Setup(
        wish.method, tuple((each.name, each.cardinality, each.dim) for each in fields), dict(shape.options),
        tuple(solved), wish.optimizer, wish.league, shape.seed, wish.empty_bags == "zeros",
    )  # fmt: skip
    return Table(setup, preset.layout(shape, solved))


def open_table(path: str | os.PathLike[str], *deltas: str | os.PathLike[str]) -> Table:
    """The table of a file that `Table.save` wrote, and of the deltas behind it, in order.

    ConflictError for a delta that goes behind another file than the one before it here.
    """
    state = load(path)
    for before, delta in itertools.pairwise((path, *deltas)):
        found = read_part(delta, Delta, "delta of a table")
        if found.since != identity_of(before):
            raise ConflictError(
                f"{os.fspath(delta)} holds what changed since another file than {os.fspath(before)}; "
                "name all files of its chain, in the order in which they were saved"
            )
        state = found.onto(state, os.fspath(delta))
    table = table_of(state)
    table.saved = Saved(identity_of(deltas[-1] if deltas else path))
    return table


def table_of(state: TableState) -> Table:
    """The table whose `state` this is."""
    setup = state.setup
    if setup.method not in PRESETS or not setup.options.keys() <= PRESETS[setup.method].options.keys():
        raise FormatError(
            f"a table of method {setup.method!r} with options {', '.join(setup.options)}; this vecstore has "
            "no such method or option: upgrade"
        )
    preset = PRESETS[setup.method]
    # Options that are younger than the table are what they are by default.
    options = {**preset.options, **setup.options}
    begun = setup.begun or [count for _, count, _ in setup.fields]
    fields = [Field(name, count, dim) for (name, _, dim), count in zip(setup.fields, begun, strict=True)]
    layout = preset.layout(Shape(fields, setup.seed, options), setup.knobs)
    if setup.begun:
        now = {name: count for name, count, _ in setup.fields}
        layout.grow(now, layout.rooms(now))
    table = Table(setup, layout)
    if state.finished:
        for store in table.stores:
            if isinstance(store, DenseStore):
                store.let_go()
    table.restore(state)
    return table


def _preset(method: str) -> Preset:
    if str(method) not in PRESETS:
        near = difflib.get_close_matches(str(method), PRESETS, 3) or list(PRESETS)
        raise SpecError(f"there is no table method {method!r}; did you mean {' or '.join(near)}?")
    return PRESETS[method]


def _options(method: str, preset: Preset, given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [name for name in given if name not in preset.options]
    if unknown:
        raise SpecError(
            f"{method!r} has no option {unknown[0]!r}; it has {', '.join(sorted(preset.options))}"
        )
    return {**preset.options, **{name: checked(name, value) for name, value in given.items()}}


def _seed(seed: int) -> int:
    return _whole(seed, f"seed={seed!r}", 0, (1 << 63) - 1)


def _whole(given: Any, what: str, low: int, high: int) -> int:
    """A whole number; SpecError unless it is one from low to high."""
    try:
        if int(given) == given and low <= given <= high:
            return int(given)
    except (TypeError, ValueError, OverflowError):
        pass
    raise SpecError(f"{what}; expected a whole number from {low} to {high}")


def _fields(wish: Wish) -> list[Field]:
    if not wish.fields:
        raise SpecError("a table needs a field: fields={'user': 6040, 'item': 3706}")
    if not isinstance(wish.fields, Mapping) or not all(isinstance(name, str) for name in wish.fields):
        raise SpecError(f"fields={wish.fields!r}; expected {{name: number of ids}}")
    if not isinstance(wish.frequencies, Mapping | None):
        raise SpecError("frequencies are to be {field: counts}")
    found = []
    for name, count in wish.fields.items():
        size = _whole(count, f"field {name!r} has {count!r} ids", 1, _MAX_IDS)
        dim = wish.dim.get(name, 0) if isinstance(wish.dim, Mapping) else wish.dim
        width = _whole(dim, f"field {name!r} has dim {dim!r}", 1, _MAX_DIM)
        found.append(Field(name, size, width, _frequencies(name, size, wish.frequencies)))
    for what, given in (("dim", wish.dim), ("frequencies", wish.frequencies)):
        others = [name for name in given if name not in wish.fields] if isinstance(given, Mapping) else []
        if others:
            raise SpecError(f"{what} of field {others[0]!r}, which is none of {', '.join(wish.fields)}")
    return found


def _frequencies(name: str, count: int, given: Mapping[str, ArrayLike] | None) -> NDArray[np.float64] | None:
    if given is None or name not in given:
        return None
    try:
        found = np.asarray(given[name], np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"frequencies of field {name!r} are no numbers: {error}") from error
    if found.shape != (count,):
        raise ShapeError(f"frequencies of field {name!r} are {found.shape}; expected ({count},)")
    if not (np.isfinite(found).all() and (found >= 0).all() and found.any()):
        raise InputError(f"frequencies of field {name!r} are to be counts, at least one of them not zero")
    return found
