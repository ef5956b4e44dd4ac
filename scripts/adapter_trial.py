"""What queries of a new model find among old rows through an adapter, and what the adapter said they would.

    python scripts/adapter_trial.py DATA_DIR > docs/reliability/adapter.jsonl
    python scripts/adapter_trial.py --table docs/reliability/adapter.jsonl      # as it is in docs/space.md

Old rows are MiniLM vectors. The new model is made from them: rotated; rotated with noise of a fifth or a half
of a row's length; rotated, and bent by tanh; rotated and cut; or latent semantic indexing of the same texts
(384 dimensions, log counts, inverse document frequency). Truth is the ten nearest rows among all, by the new
model, of 2,000 rows that are no pairs. One JSON object a line: `said` is what the adapter promised.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import svds

from vecstore.codecs.base import Rows
from vecstore.codecs.plain import F32
from vecstore.search import Searcher
from vecstore.space.adapter import Adapter

QUERIES, K = 2000, 10
PAIRS = (800, 2000, 8000)


def unit(rows: Rows) -> Rows:
    """Rows of length 1."""
    found: Rows = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)
    return found


def semantic(path: Path, dim: int) -> Rows:
    """Latent semantic indexing of the texts of a collection."""
    texts = [json.loads(line)["text"].lower() for line in gzip.open(path)]
    counts = [Counter(re.findall("[a-z]{3,}", text)) for text in texts]
    places: dict[str, int] = {}
    for count in counts:
        for word in count:
            places.setdefault(word, len(places))
    rows = np.repeat(np.arange(len(counts)), [len(count) for count in counts])
    columns = np.array([places[word] for count in counts for word in count])
    values = 1 + np.log(np.array([n for count in counts for n in count.values()], np.float64))
    matrix = csr_matrix((values, (rows, columns)), (len(texts), len(places)))
    found_in = np.bincount(columns, minlength=len(places))
    kept = found_in >= 3
    matrix = matrix[:, kept] @ diags(np.log(len(texts) / found_in[kept]))
    left, sizes, _ = svds(matrix, dim, random_state=0)
    return unit(left * sizes)


def nearest(rows: Rows, queries: Rows, own: np.ndarray) -> np.ndarray:
    """The K nearest rows (q, K) but the query's own."""
    codec = F32.fit(rows)
    found = Searcher.of(codec, codec.encode(rows)).search(queries, K + 1, metric="cosine")[0]
    same = found == own[:, None]
    same[~same.any(axis=1), -1] = True
    return found[~same].reshape(len(own), K)


def share(found: np.ndarray, truth: np.ndarray) -> float:
    """Recall of rows of neighbours."""
    return float((found[:, :, None] == truth[:, None, :]).any(axis=2).mean())


def table(path: Path) -> None:
    """Prints the records."""
    print(
        "| new model | pairs | through the adapter | as it said, among its pairs | by the old model | rank |"
    )
    print("|---|---|---|---|---|---|")
    for line in path.read_text().splitlines():
        r = json.loads(line)
        print(
            f"| {r['model']} | {r['pairs']:,} | {r['recall_at_10']:.3f} | {r['said']:.3f} | "
            f"{r['old_recall_at_10']:.3f} | {r['rank']} |"
        )


def main() -> None:
    """Runs all trials."""
    if sys.argv[1] == "--table":
        return table(Path(sys.argv[2]))
    folder = Path(sys.argv[1]) / "retrieval/classic3_minilm"
    old = np.load(folder / "corpus.npy")
    n, dim = old.shape
    rng = np.random.default_rng(0)
    turned = (old @ np.linalg.qr(rng.standard_normal((dim, dim)))[0]).astype(np.float32)
    noise = (rng.standard_normal((n, dim)) / np.sqrt(dim)).astype(np.float32)
    models = {
        "rotated": turned,
        "rotated, noise 0.2": unit(turned + np.float32(0.2) * noise),
        "rotated, noise 0.5": unit(turned + np.float32(0.5) * noise),
        "rotated, tanh": unit(np.tanh(20 * turned)),
        "rotated, first 192 dimensions": unit(turned[:, :192]),
        "latent semantic indexing": semantic(folder / "corpus.jsonl.gz", dim),
    }
    order = rng.permutation(n)
    asked = order[:QUERIES]
    for name, new in models.items():
        truth = nearest(new, new[asked], asked)
        before = share(nearest(old, old[asked], asked), truth)
        for pairs in PAIRS:
            chosen = order[QUERIES : QUERIES + pairs]
            adapter = Adapter.fit(old[chosen], new[chosen], metric="cosine")
            found = share(nearest(old, adapter.apply(new[asked]), asked), truth)
            print(json.dumps({
                "model": name, "pairs": pairs, "recall_at_10": found, "said": adapter.recall_at_10,
                "old_recall_at_10": before, "rank": adapter.rank,
            }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
