"""The accounts of a collection or a table: what lies on disk, and what is held in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from vecstore import api
from vecstore.cli.output import size
from vecstore.codecs.tables.state import file_ledger
from vecstore.errors import InputError, VecstoreError
from vecstore.ledger import Account
from vecstore.store import Collection

Facts = dict[str, Any]
Lines = list[tuple[str, object]]


def read_all(opened: Collection) -> None:
    """Reads all rows, one by its id, and searches all of them by the collection's metric."""
    first = None
    for ids, _ in opened.scan():
        first = ids[:1] if first is None else first
    if first is not None:
        opened.get(first)
        opened.search(np.ones((1, opened.dim), np.float32), 1, check_space=False)


def lines(name: str, account: Account, rows: int) -> Lines:
    """The parts of an account that are not empty, and their sum."""
    counts = account.as_dict().items()
    return [(f"{name} {part}", f"{size(n)} ({n / max(rows, 1):.2f} a row)") for part, n in counts if n]


def table_facts(path: str, error: InputError) -> tuple[Facts, Lines]:
    """What a table's file holds, as JSON and as lines; raises error if it is no such file."""
    try:
        disk, table = file_ledger(path), api.table_open(path)
    except VecstoreError:
        raise error from None
    setup = table.setup
    found: Facts = {"method": setup.method, "optimizer": setup.optimizer, "finished": table.finished}
    found |= {"fields": {name: {"ids": ids, "dim": dim} for name, ids, dim in setup.fields}}
    shown: Lines = [(name, found[name]) for name in ("method", "optimizer", "finished")]
    shown += [(f"field {name}", f"{ids} ids, {dim} dimensions") for name, ids, dim in setup.fields]
    rows, held = sum(ids for _, ids, _ in setup.fields), table.ledger()
    shown += lines("bytes", disk, rows) + lines("memory", held, rows)
    return {**found, "ledger": disk.as_dict(), "memory": held.as_dict()}, shown
