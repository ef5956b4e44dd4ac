"""Records of `bench tables`, gathered: one cell for each data set, method and budget, over its seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from vecstore.bench.tables.methods import NARROW, Method

Record = dict[str, Any]
Key = tuple[str, str, float | None]  # data set, label, budget

# The VLDB'24 study's, as far as they are presets here.
FOURTEEN = (
    "qr", "tt", "dhe", "robe", "dedup", "dpq", "mgqe", "adapt", "int8", "int16", "alpt", "mde", "autodim",
    "optembed", "prune", "autosrh", "pep", "hash",
)  # fmt: skip


@dataclass
class Cell:
    """Runs that differ in their seed alone."""

    dataset: str
    method: str
    budget: float | None
    runs: list[Record] = field(default_factory=list)

    def mean(self, key: str) -> float:
        """Of a number of the records, or of one of their byte counts."""
        return mean(float(run["bytes"].get(key, run.get(key))) for run in self.runs)

    @property
    def spread(self) -> float:
        """The largest AUC of a seed less the smallest."""
        found = [float(run["auc"]) for run in self.runs]
        return max(found) - min(found)

    @property
    def published(self) -> bool:
        """Whether it is one of the study's methods, or full or narrower rows, however trained.

        With rows of a precision that its source does not have it is a hybrid of ours.
        """
        method = Method.of(self.method)
        return "rows" not in method.options and method.name in (*FOURTEEN, "plain", NARROW)

    @property
    def league(self) -> str:
        """What its budget counts."""
        return Method.of(self.method).league


def gather(records: Iterable[Record]) -> dict[Key, Cell]:
    """Cells of what was measured, in the order of the records."""
    found: dict[Key, Cell] = {}
    for record in records:
        if "auc" in record:
            key = (record["dataset"], record["method"], record["budget"])
            found.setdefault(key, Cell(*key)).runs.append(record)
    return found


def within(cells: Iterable[Cell], dataset: str, share: float, league: str = "serve") -> list[Cell]:
    """Cells of a data set whose bytes are at most a share of the plain table's, the best AUC first.

    A method is there once, as the best of its budgets.
    """
    best: dict[str, Cell] = {}
    for cell in cells:
        if cell.dataset != dataset or cell.league != league:
            continue
        kept = cell.mean("share") <= share * (1 + 1e-9) if league == "serve" else cell.budget == share
        if kept and (cell.method not in best or cell.mean("auc") > best[cell.method].mean("auc")):
            best[cell.method] = cell
    return sorted(best.values(), key=lambda cell: -cell.mean("auc"))
