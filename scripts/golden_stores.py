"""Golden stores, which every later version must read: made once by `make_golden.py`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vecstore.store import Store, layout, writing

ROWS, DIM = 90, 8
STORES = {  # name -> options, the codec of the second generation
    "integers": ({"codec": "sq:bits=8", "keep": "f16", "metric": "l2", "model": "none"}, "pq:m=4,bits=4"),
    "strings": ({"codec": "center+f16", "keep": None, "metric": "cosine"}, "normalize+sq:bits=6"),
}


def make_stores(folder: Path) -> None:
    """One store of each kind, and what must come out of it in a JSON beside; none is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (options, second) in STORES.items():
        path = folder / f"{name}.store"
        if not path.exists():
            _live(str(path), options, second, name == "strings")
            os.unlink(path / layout.LOCK)
            path.with_suffix(".json").write_text(json.dumps(facts(str(path))) + "\n")
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            print(f"{path.name}: {size} bytes")


def _live(path: str, options: dict[str, Any], second: str, text: bool) -> None:
    """Puts, replaces and deletes rows, in two generations of codecs, with tags and a stream."""
    rng = np.random.default_rng(7)
    before, writing.FIT_ROWS = writing.FIT_ROWS, 50
    store = Store.create(path, dim=DIM, **options)

    def some(first: int, count: int) -> tuple[pa.Array, np.ndarray, dict[str, Any]]:
        numbers = range(first, first + count)
        ids = pa.array([f"item {n}" for n in numbers] if text else [1000 - 7 * n for n in numbers])
        rows = (rng.standard_normal((count, DIM)) * np.linspace(1, 3, DIM)).astype(np.float32)
        columns = {"year": pa.array([None if n % 5 == 0 else n % 30 for n in numbers], pa.int16())}
        if text:
            columns["word"] = pa.array([f"word {n % 11}" for n in numbers])
        return ids, rows, columns

    try:
        store.put(*some(0, ROWS))
        store.tag("first")
        store.delete(some(5, 4)[0])
        store.refit(second)
        store.put(*some(ROWS - 20, 50))
        ids, rows, columns = some(200, 6)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), DIM)
        with store.writer("clicks") as writer:
            writer.write(pa.record_batch({"id": ids, "vector": vectors, **columns}), offset=41)
        store.tag("second.one")
        store.delete(some(200, 2)[0])
        store.gc(keep=3)
        store.close()
    finally:
        writing.FIT_ROWS = before


def facts(path: str) -> dict[str, Any]:
    """What a store gives, of its newest version and of its tags."""
    with Store.open(path, read_only=True) as store:
        names = list(store.tags())
        found: dict[str, Any] = {
            "tags": store.tags(),
            "versions": store.versions(),
            "offset": store.writer("clicks").last_offset,
            "newest": _held(store),
        }
    for name in names:
        with Store.open(path, version=name) as store:
            found[name] = _held(store)
    return found


def _held(store: Store) -> dict[str, Any]:
    batches = list(store.batches())
    columns = pa.Table.from_batches([batch.columns for batch in batches])
    ids = [name for batch in batches for name in batch.ids.to_pylist()]
    queries = np.eye(DIM, dtype=np.float32)[:3]
    return {
        "version": store.version,
        "spec": str(store.spec),
        "metric": store.metric,
        "keep": store.keep,
        "generations": store.generations,
        "ids": ids,
        "rows": [[round(value, 4) for value in row] for row in store.get(ids).tolist()],
        "columns": columns.to_pydict(),
        "nearest": store.search(queries, k=5)[0].tolist(),
        "ledger": store.ledger().as_dict(),
    }
