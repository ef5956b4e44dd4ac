"""Golden tables: one file of each method, a delta behind it, the rows that both must give, and archives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import vecstore as vs
from vecstore.archive import layout
from vecstore.codecs.tables.presets import PRESETS
from vecstore.train.export import export

FIELDS = {"user": 40, "item": 9}
SMALL = {"dhe": {"hashes": 4, "layers": 1}, "cafe": {"threshold": 1.0}, "dynamic": {"admit": 2}}
CASES = {name: (name, {"optimizer": "rowwise_adagrad", **SMALL.get(name, {})}) for name in PRESETS}
CASES["unified_int8"] = ("unified", {"rows": "int8", "chunks": 2, "probes": 2, "optimizer": "adam"})
CASES["hash_int4"] = ("hash", {"rows": "int4", "optimizer": "sgd"})
CASES["plain_f16"] = ("plain", {"rows": "f16", "optimizer": "adagrad"})
FINISHED = ("prune", "pep", "autosrh", "optembed", "dpq", "mgqe", "dedup", "autodim")


def make_tables(folder: Path) -> None:
    """Writes what is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (method, options) in CASES.items():
        path = folder / f"{name}.table"
        if path.exists():
            continue
        table = _made(method, options)
        _learn(table, 0)
        table.save(path)
        _learn(table, 1)
        table.save(path.with_suffix(".delta"), since=path)
        rows = [all_rows(table)]
        if method in FINISHED:
            table.finish()
            table.save(folder / f"{name}_finished.table")
            rows.append(all_rows(table))
        np.savez(path.with_suffix(".npz"), *rows)
        ledger = vs.table_open(path).ledger().as_dict()
        path.with_suffix(".json").write_text(json.dumps({"method": method, "ledger": ledger}) + "\n")


def make_served(folder: Path) -> None:
    """Writes what is not there: archives of a table's parameters, whole and in pieces."""
    table = _made("unified", {"optimizer": "sgd"})
    for name, size in (("served", 1 << 20), ("served_in_pieces", 300)):
        path = folder / f"{name}.arrow"
        if not path.exists():
            layout.PIECE_BYTES = size  # so that a few hundred bytes are many pieces
            export(table, path, "user")
            np.save(path.with_suffix(".npy"), table.lookup({"user": np.arange(40)})["user"])


def all_rows(table: vs.Table) -> np.ndarray:
    """The rows of all ids of both fields, one field below the other."""
    found = table.lookup({field: np.arange(count) for field, count in FIELDS.items()})
    return np.concatenate([found[field] for field in FIELDS])


def _made(method: str, options: dict[str, object]) -> vs.Table:
    for budget in ("50%", "100%", "200%", "400%", None):
        try:
            return vs.table(method, FIELDS, dim=8, budget=budget, **options)
        except vs.BudgetError:
            continue
    raise AssertionError(method)


def _learn(table: vs.Table, seed: int) -> None:
    for step in range(3):
        rng = np.random.default_rng(10 * seed + step)
        rows = table.lookup({field: rng.integers(0, count, 12) for field, count in FIELDS.items()})
        table.update({field: np.sin(9 * value) for field, value in rows.items()}, lr=0.1)
