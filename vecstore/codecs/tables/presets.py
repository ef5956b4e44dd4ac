"""The published methods, each as a composition: stores, addresses, and what combines them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vecstore.codecs.tables import adapting, finishing, owning, sharing
from vecstore.codecs.tables.layout import Layout
from vecstore.codecs.tables.shapes import Knob, Knobs, Shape, each_rows, nothing
from vecstore.errors import SpecError


@dataclass(frozen=True)
class Preset:
    """A method: a line on it, its layout of knobs, the knobs that a budget turns, options and defaults."""

    about: str
    layout: Callable[[Shape, Knobs], Layout]
    knobs: Callable[[Shape], list[Knob]]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """What an option may be: a number from low to high, whole or not; or None, where that says the method."""

    low: float
    high: float
    whole: bool = False
    none: bool = False


_SHARE, _RATE, _COUNT = Limits(0, 1), Limits(0, 1e6), Limits(1, 1 << 30, whole=True)
_PARTS, _SINCE = Limits(1, 1 << 20, whole=True, none=True), Limits(0, 1 << 62, whole=True)

LIMITS: Mapping[str, Limits] = {
    "init": _RATE, "decay": _RATE, "threshold_rate": _RATE, "gate_rate": _RATE, "alpha": _RATE, "near": _RATE,
    "pull": _RATE, "threshold": Limits(-1e6, 1e6), "damping": _SHARE, "fine": _SHARE, "own": _SHARE,
    "frequent": _SHARE, "shared": _SHARE, "chance": _SHARE, "hot": Limits(0, 0.999),
    "half": Limits(0, 1, whole=True), "norm": Limits(0, 1, whole=True), "second": Limits(0, 1, whole=True),
    "chunks": _PARTS, "parts": _PARTS,
    "probes": Limits(1, 64, whole=True),
    "digits": Limits(2, 64, whole=True), "block": _COUNT, "hashes": _COUNT, "every": _COUNT,
    "layers": Limits(0, 64, whole=True), "bits": Limits(1, 8, whole=True), "warm": _SINCE, "turns": _SINCE,
    "ttl": _SINCE, "start": _SINCE, "admit": Limits(1, 255, whole=True),
}  # fmt: skip


def checked(name: str, value: Any) -> Any:
    """The value of an option; SpecError unless it is within its limits. Options that are words have none."""
    limits = LIMITS.get(name)
    if limits is None or (value is None and limits.none):
        return value
    try:
        if limits.low <= value <= limits.high and not (limits.whole and int(value) != value):
            return int(value) if limits.whole else float(value)
    except (TypeError, ValueError):
        pass
    kind = "a whole number" if limits.whole else "a number"
    raise SpecError(f"{name}={value!r}; expected {kind} from {limits.low:g} to {limits.high:g}")


_ANY = {"rows": "f32", "init": 0.05, "decay": 0.0}

PRESETS: Mapping[str, Preset] = {
    "plain": Preset("a row for each id", owning.plain, nothing, _ANY),
    "int16": Preset("rows of 16-bit integers", owning.plain, nothing, {**_ANY, "rows": "int16"}),
    "int8": Preset("rows of 8-bit integers", owning.plain, nothing, {**_ANY, "rows": "int8"}),
    "int4": Preset("rows of 4-bit integers", owning.plain, nothing, {**_ANY, "rows": "int4"}),
    "alpt": Preset(
        "rows of 8-bit integers, steps learned", owning.plain, nothing,
        {**_ANY, "rows": "alpt", "second": False},
    ),
    "fewbits": Preset(
        "rows of 1 to 8 bits a value, steps learned", owning.few_bits, owning.bits,
        {"init": 0.05, "decay": 0.0},
    ),
    "hash": Preset("ids share rows, field by field", sharing.hashed, each_rows, {**_ANY, "probes": 1}),
    "multihash": Preset("sums of shared rows", sharing.hashed, each_rows, {**_ANY, "probes": 2}),
    "hashemb": Preset(
        "weighted sums of shared rows", sharing.hashemb, sharing.weights_rows, {**_ANY, "probes": 2}
    ),
    "qr": Preset(
        "products of rows for the digits of an id", sharing.quotient, sharing.digit_rows,
        {**_ANY, "digits": 2, "combine": "mult"},
    ),
    "unified": Preset(
        "chunks from one store for all fields", sharing.unified, sharing.pool_rows,
        {**_ANY, "chunks": None, "probes": 1},
    ),
    "robe": Preset("blocks of one flat array", sharing.flat, sharing.flat_values, {**_ANY, "block": 8}),
    "hashednet": Preset("values of one flat array", sharing.flat, sharing.flat_values, {**_ANY, "block": 1}),
    "memcom": Preset("shared rows, own weights", owning.memcom, each_rows, _ANY),
    "lowrank": Preset("narrow rows times a matrix", owning.lowrank, owning.ranks, _ANY),
    "lowbit": Preset(
        "narrow rows of few bits times a matrix", owning.lowrank, owning.ranks,
        {"init": 0.05, "bits": 4, "decay": 0.0},
    ),
    "mde": Preset("widths by popularity of fields", owning.mixed, owning.narrowing, _ANY),
    "tt": Preset("products of matrices for three digits of an id", owning.train, owning.train_ranks, _ANY),
    "dhe": Preset(
        "a network of many hashes", owning.network, owning.widths,
        {"init": 0.05, "hashes": 1024, "layers": 5, "norm": False},
    ),
    "mpe": Preset("bits by frequency", owning.by_frequency, owning.kept_rows, {"init": 0.05, "fine": 1 / 16}),
    "prune": Preset(
        "the largest values are kept", finishing.pruned, finishing.kept_values,
        {"init": 0.05, "half": True, "warm": 0, "every": 10, "damping": 0.99},
    ),
    "pep": Preset(
        "values above thresholds that are learned", finishing.soft, finishing.kept_values,
        {"init": 0.05, "half": True, "threshold": -8.0, "threshold_rate": 0.01, "pull": 1.0, "every": 10},
    ),
    "autosrh": Preset(
        "values times gates of groups of ids, the largest kept", finishing.gated, finishing.kept_values,
        {"init": 0.05, "half": True, "gate_rate": 0.01},
    ),
    "optembed": Preset(
        "rows above thresholds that are learned", finishing.whole, finishing.kept_whole_rows,
        {"init": 0.05, "half": True, "threshold_rate": 0.0001, "alpha": 0.0001,
         "widths": "full"},
    ),
    "dpq": Preset(
        "parts of rows are centroids", finishing.coded, finishing.choices,
        {"init": 0.05, "parts": None, "frequent": 1, "pull": 0.05},
    ),
    "mgqe": Preset(
        "parts of rows are centroids, fewer for rare ids", finishing.coded, finishing.choices,
        {"init": 0.05, "parts": None, "frequent": 0.1, "pull": 0.05},
    ),
    "dedup": Preset(
        "rows that are alike are one", finishing.merged, finishing.kept_blocks,
        {"init": 0.05, "block": 1, "near": 0.01},
    ),
    "autodim": Preset(
        "widths of fields that are learned", finishing.narrowed, finishing.kept_values,
        {"init": 0.05, "gate_rate": 0.01},
    ),
    "cce": Preset(
        "shared rows for ids that have come to be alike", adapting.clustered, adapting.cluster_rows,
        {**_ANY, "chunks": None, "every": 500, "turns": 6},
    ),
    "dynamic": Preset(
        "rows for ids as they come", adapting.dynamic, adapting.given_rows,
        {**_ANY, "policy": "lfu", "admit": 1, "chance": 1.0, "ttl": 0, "shared": 0.05,
         "start": 0, "first": "shared"},
    ),
    "cafe": Preset(
        "own rows for ids with large gradients", adapting.sketched, sharing.pool_rows,
        {**_ANY, "chunks": None, "hot": 0.3, "hot_rows": None, "threshold": 10.0},
    ),
    "adaembed": Preset(
        "rows for ids with large gradients alone", adapting.important, adapting.important_rows,
        {**_ANY, "every": 256},
    ),
    "adapt": Preset("own rows for frequent ids", owning.adapt, each_rows, {**_ANY, "own": 0.8}),
}  # fmt: skip
