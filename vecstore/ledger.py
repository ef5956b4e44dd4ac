"""The byte account, and what a budget is."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from vecstore.errors import BudgetError

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_TOTAL = re.compile(r"([0-9.]+)\s*([kKMGT]i?)?B")
_FORMS = "'64MiB', '64MB', '5%', '48B/row' or '1.5bit/dim'"

# Shared bytes beyond this share of the codes count into a per-row budget.
SHARED_ALLOWANCE = 0.1


@dataclass(frozen=True)
class Account:
    """Bytes in parts, the fields of a dataclass."""

    @property
    def total(self) -> int:
        """The sum of all parts, in bytes."""
        return sum(getattr(self, field.name) for field in dataclasses.fields(self))

    def as_dict(self) -> dict[str, int]:
        """The parts and `total`, for JSON."""
        return {**dataclasses.asdict(self), "total": self.total}


@dataclass(frozen=True)
class Ledger(Account):
    """Bytes on disk by what they are for; the parts sum to `total`.

    codes: the codes without side data. side: per-row scales and norms inside the codes. shared: learned
    state (codebooks, rotations). ids: the keys. index: what finds rows. format: headers, padding,
    checksums. carried: further columns.
    """

    codes: int = 0
    side: int = 0
    shared: int = 0
    ids: int = 0
    index: int = 0
    format: int = 0
    carried: int = 0


@dataclass(frozen=True)
class TableLedger(Account):
    """Bytes of a trainable table by what they are for; the parts sum to `total`.

    Of its live arrays, or of its file. parameters: rows and matrices. codebooks: centroids. maps: what finds
    the row of an id. masks: which parameters are there. sketches: counters. seeds: of hashes. optimizer: what
    it keeps of rows. training: what is needed until training is finished, and not to serve. format: of a
    file, names, shapes, padding.
    """

    parameters: int = 0
    codebooks: int = 0
    maps: int = 0
    masks: int = 0
    sketches: int = 0
    seeds: int = 0
    optimizer: int = 0
    training: int = 0
    format: int = 0

    @property
    def serve(self) -> int:
        """Without what only training needs."""
        return self.total - self.optimizer - self.training

    def bound(self, league: str) -> int:
        """The bytes that a budget of a league, `serve` or `train`, bounds."""
        return self.serve if league == "serve" else self.total


@dataclass(frozen=True)
class Budget:
    """A bound on bytes: `amount` of `unit`, one of `total`, `share`, `row` (bytes), `dim` (bits)."""

    amount: float
    unit: str
    text: str

    def row_bytes(self, dim: int, rows: int | None) -> float:
        """Bytes per row, whatever they are for; rows is needed for a total, BudgetError without."""
        if self.unit == "row":
            return self.amount
        if self.unit == "dim":
            return self.amount * dim / 8
        if self.unit == "share":
            return self.amount * dim * 4
        if rows is None:
            raise BudgetError(f"budget {self.text!r} is a total; say how many rows come (--rows N)")
        return self.amount / max(rows, 1)

    def total_bytes(self, dim: int, rows: int) -> float | None:
        """What the whole file may take without carried columns; None for a budget per row."""
        if self.unit == "total":
            return self.amount
        return self.amount * dim * 4 * rows if self.unit == "share" else None

    def keeps(self, ledger: Ledger, dim: int, rows: int) -> bool:
        """Whether the account stays inside the budget."""
        total = self.total_bytes(dim, rows)
        if total is not None:
            return ledger.total - ledger.carried <= total
        used = ledger.codes + ledger.side
        extra = max(0.0, ledger.shared - SHARED_ALLOWANCE * ledger.codes)
        return used + extra <= self.row_bytes(dim, rows) * rows + 1e-6


def parse_budget(text: str) -> Budget:
    """Reads `64MiB`, `64MB`, `5%`, `48B/row` or `1.5bit/dim`; BudgetError for anything else."""
    text = str(text).strip()
    number, unit = text, ""
    if text.endswith("%"):
        number, unit = text[:-1], "share"
    elif text.endswith("B/row"):
        number, unit = text[:-5], "row"
    elif text.endswith("bit/dim"):
        number, unit = text[:-7], "dim"
    elif match := _TOTAL.fullmatch(text):
        prefix = match[2] or ""
        number, unit = match[1], "total"
        # Both letters are in use for both: kB and KB, KiB and kiB.
        scale = _UNITS["k" if prefix == "K" else prefix.replace("ki", "Ki")]
    try:
        amount = float(number)
    except ValueError:
        amount = float("nan")
    if not unit or not 0 < amount < float("inf"):
        raise BudgetError(f"budget {text!r} cannot be read; expected a positive {_FORMS}")
    if unit == "share":
        amount /= 100
    elif unit == "total":
        amount *= scale
    return Budget(amount, unit, text)
