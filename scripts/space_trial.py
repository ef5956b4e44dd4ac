"""How often the check of spaces is wrong: rows of one space that it refuses, and of another that it takes.

    python scripts/space_trial.py DATA_DIR > docs/reliability/space.jsonl
    python scripts/space_trial.py --table docs/reliability/space.jsonl      # as it stands in docs/space.md

A fingerprint is made from half of a set. Batches of `n` rows are then drawn from the other half (at random,
in the order of the file, from one of 24 clusters that k-means finds, which is a skewed topic), from other
sets of the same model, and from another space: turned by a random rotation, with dimensions in another order,
or made by another model. One JSON object a line: `set`, `batch`, `same` (whether it is the same space), `n`,
`refused` (share of `batches`), `untold` (share that could not be judged). `n` 65536 is all rows there are.
NPL, LISA, CACM and SIFT were looked at when the thresholds were chosen, and word2vec for what is weak; the
queries of LIMIT, and FastRP, were not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from vecstore.bench.fastrp import fastrp
from vecstore.bench.wordgraph import Graph
from vecstore.codecs.base import Rows
from vecstore.kernels import kmeans
from vecstore.space import fingerprint
from vecstore.space.fingerprint import Fingerprint

SIZES = (8, 16, 32, 64, 256, 1024, 65_536)
BATCHES = 200
CLUSTERS = 24
MINILM = ("npl", "lisa", "cacm", "queries", "limit")


def load(folder: Path) -> dict[str, Rows]:
    """All sets by name."""
    texts = np.load(folder / "retrieval/classic3_minilm/corpus.npy")
    limit = folder / "retrieval/limit_small_minilm"
    words = np.load(folder / "vectors/word2vec_googlenews_8k/vectors.npy").astype(np.float32)
    bytes_ = np.fromfile(folder / "vectors/sift_sceaux/base.bvecs", np.uint8)
    network = loadmat(folder / "graph/blogcatalog/blogcatalog.mat")["network"].tocsr()
    graph = Graph(
        [str(node) for node in range(network.shape[0])],
        network.indptr.astype(np.int64),
        network.indices.astype(np.int64),
        network.data.astype(np.float32),
    )
    return {
        "npl": texts[:11_429],
        "lisa": texts[11_429:17_428],
        "cacm": texts[17_428:],
        "queries": np.load(folder / "retrieval/classic3_minilm/queries.npy"),
        "limit": np.load(limit / "queries.npy"),
        "word2vec": words,
        "sift": bytes_.reshape(-1, 132)[:, 4:].astype(np.float32),
        **{f"fastrp_{dim}": fastrp(graph, dim) for dim in (128, 300, 384)},
    }


class Draws:
    """Ways to draw a batch of n rows, by name; those of another space begin with `other`."""

    def __init__(self, sets: dict[str, Rows], name: str, held: Rows) -> None:
        self.rng = np.random.default_rng(1)
        dim = held.shape[1]
        # In the order of the file, as the halves are.
        unit = held / np.maximum(np.linalg.norm(held, axis=1, keepdims=True), 1e-30)
        centroids = kmeans.train(np.ascontiguousarray(unit.astype(np.float32)), CLUSTERS)
        nearest = (unit @ centroids.T - (centroids**2).sum(axis=1) / 2).argmax(axis=1)
        topics = [held[nearest == topic] for topic in range(CLUSTERS)]
        topics = [topic for topic in topics if len(topic) >= fingerprint.FEWEST]
        self.ways: dict[str, Callable[[int], Rows]] = {
            "at random": lambda n: self.some(held, n),
            "in order": lambda n: self.run(held, n),
            "one topic": lambda n: self.some(topics[self.rng.integers(len(topics))], n),
            "other: rotated": lambda n: self.turned(self.some(held, n)),
            "other: dimensions shuffled": lambda n: self.some(held, n)[:, self.rng.permutation(dim)],
        }
        for known, rows in sets.items():
            if known != name and rows.shape[1] == dim:
                way = known if {known, name} <= set(MINILM) else f"other: {known}"
                self.ways[way] = lambda n, rows=rows: self.some(rows, n)

    def some(self, rows: Rows, n: int) -> Rows:
        """n rows at random."""
        return rows[self.rng.permutation(len(rows))[:n]]

    def run(self, rows: Rows, n: int) -> Rows:
        """n rows next to each other."""
        start = self.rng.integers(max(len(rows) - n, 0) + 1)
        return rows[start : start + n]

    def turned(self, rows: Rows) -> Rows:
        """Rows under a random rotation."""
        turn = np.linalg.qr(self.rng.standard_normal((rows.shape[1], rows.shape[1])))[0]
        found: Rows = rows @ turn.astype(np.float32)
        return found


def table(path: Path) -> None:
    """Prints the worst set for each kind of batch."""
    kinds: dict[str, dict[int, list[float]]] = {}
    for line in path.read_text().splitlines():
        found = json.loads(line)
        kind = found["batch"]
        if found["batch"] in MINILM:
            kind = "other texts, same model"
        elif kind.startswith("other: ") and kind.split()[-1] not in ("rotated", "shuffled"):
            kind = "other: another model"
        kinds.setdefault(kind, {}).setdefault(found["n"], []).append(found["refused"])
    print(
        "| batch | worth refusing | " + " | ".join(f"{n:,}" if n < SIZES[-1] else "all" for n in SIZES) + " |"
    )
    print("|---|---|" + "---|" * len(SIZES))
    for kind, sizes in sorted(kinds.items(), key=lambda item: item[0].startswith("other:")):
        foreign = kind.startswith("other:")
        worst = [min(sizes[n]) if foreign else max(sizes[n]) for n in SIZES]
        name, shown = kind.removeprefix("other: "), " | ".join(f"{share:.1%}" for share in worst)
        print(f"| {name} | {'yes' if foreign else 'no'} | {shown} |")


def main() -> None:
    """Runs all trials."""
    if sys.argv[1] == "--table":
        return table(Path(sys.argv[2]))
    sets = load(Path(sys.argv[1]))
    fingerprint.FEWEST = 8  # To show what fewer rows would do.
    for name in ("npl", "lisa", "cacm", "sift", "word2vec", "fastrp_128", "fastrp_300", "fastrp_384"):
        rows = sets[name]
        order = np.random.default_rng(0).permutation(len(rows))
        half = len(rows) // 2
        known = Fingerprint.of(rows[order[:half]])
        assert known is not None
        draws = Draws(sets, name, rows[np.sort(order[half:])])
        for way, draw in draws.ways.items():
            for n in SIZES:
                batches = BATCHES if n < SIZES[-1] else BATCHES // 10
                near = [known.nearness(draw(n)) for _ in range(batches)]
                print(json.dumps({
                    "set": name, "batch": way, "same": not way.startswith("other"), "n": n,
                    "refused": sum(v is not None and v < fingerprint.SPEAKS for v in near) / batches,
                    "untold": sum(v is None for v in near) / batches, "batches": batches,
                }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
