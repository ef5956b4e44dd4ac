"""What a search finds by the depth to which rows are scored again, and by how codes and finer rows are mixed.

    python scripts/tune_trial.py DATA_DIR > docs/reliability/tune.jsonl
    python scripts/tune_trial.py --table docs/reliability/tune.jsonl      # as it is in docs/store.md

One JSON object a line, what `Store.tune` returns for a store of that codec that keeps such finer rows.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from vecstore.store import Store

PAIRS = (
    ("sign", "f16"), ("rabitq:bits=1", "f16"), ("pq:m=48", "f16"), ("pq:m=96", "f16"),
    ("pq:m=96", "sq:bits=8"), ("pq:m=96", "sq:bits=4"), ("pq:m=96", "tcq:bits=2"),
    ("rabitq:bits=4", "sq:bits=4"),
)  # fmt: skip
DEPTHS = (10, 20, 40, 80, 160)


def table(path: Path) -> None:
    """Prints the records."""
    print(
        "| codec | kept | "
        + " | ".join(f"{depth} rows" for depth in DEPTHS)
        + " | best mix | recall with it |"
    )
    print("|---|---|" + "---|" * (len(DEPTHS) + 2))
    for line in path.read_text().splitlines():
        found = json.loads(line)
        plain = {t["rerank"]: t["recall"] for t in found["tried"] if not t["mix"]}
        best = max(found["tried"], key=lambda t: (round(t["recall"], 3), -t["mix"], -t["rerank"]))
        shown = " | ".join(f"{plain[depth]:.3f}" for depth in DEPTHS)
        print(f"| {found['codec']} | {found['keep']} | {shown} | {best['mix']:g} | {best['recall']:.3f} |")


def main() -> None:
    """Runs all trials."""
    if sys.argv[1] == "--table":
        return table(Path(sys.argv[2]))
    folder = Path(sys.argv[1]) / "retrieval/classic3_minilm"
    rows, queries = np.load(folder / "corpus.npy"), np.load(folder / "queries.npy")
    truth = np.load(folder / "neighbors100.npy")[:, :10]
    for codec, keep in PAIRS:
        with tempfile.TemporaryDirectory() as place:
            store = Store.create(f"{place}/x", dim=rows.shape[1], codec=codec, metric="cosine", keep=keep)
            store.put(range(len(rows)), rows)
            found = store.tune(queries, truth=truth)
            print(json.dumps({"codec": codec, "keep": keep, **found.as_dict()}), flush=True)


if __name__ == "__main__":
    main()
