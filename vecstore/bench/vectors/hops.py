"""Graph reconstruction: how well the nearest rows of a node are its neighbours in the graph.

Of each of some nodes all others are ranked; average precision of those that are exactly h edges away, the
mean over nodes that have any (the hop-h reconstruction of RESTORE, arXiv:2308.14659).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.bench.process import Record
from vecstore.bench.quality import nearest
from vecstore.bench.vectors.sets import VectorSet
from vecstore.bench.vectors.stored import Stored
from vecstore.bench.wordgraph import Graph

HOPS = (1, 2)
_NODES = 500
_AT_ONCE = 50

Bools = NDArray[np.bool_]


def applies(data: VectorSet) -> bool:
    """Where rows are of a graph's nodes."""
    return data.graph is not None


def measure(stored: Stored) -> Record:
    """map_hop_1, map_hop_2."""
    graph = stored.data.graph
    assert graph is not None
    rows = stored.rows
    nodes = np.random.default_rng(0).permutation(len(rows))[:_NODES]
    found: dict[int, list[float]] = {hop: [] for hop in HOPS}
    for start in range(0, len(nodes), _AT_ONCE):
        some = nodes[start : start + _AT_ONCE]
        order = nearest(rows, rows[some], stored.data.metric, len(rows))
        for node, ranked in zip(some, order, strict=True):
            others = ranked[ranked != node]
            for hop, there in enumerate(rings(graph, int(node), max(HOPS)), 1):
                if hop in found and there.any():
                    found[hop].append(average_precision(there[others]))
    return {f"map_hop_{hop}": float(np.mean(each)) if each else None for hop, each in found.items()}


def rings(graph: Graph, node: int, count: int) -> list[Bools]:
    """For each number of edges up to count: which nodes (n,) are that far away, by the shortest way."""
    seen = np.zeros(len(graph.names), bool)
    seen[node] = True
    edge, found = np.array([node]), []
    for _ in range(count):
        here = np.zeros(len(seen), bool)
        for each in edge:
            here[graph.columns[graph.starts[each] : graph.starts[each + 1]]] = True
        here &= ~seen
        seen |= here
        found.append(here)
        edge = np.flatnonzero(here)
    return found


def average_precision(relevant: Bools) -> float:
    """The mean, over the relevant ones of a ranking (n,), of the share of relevant ones up to there."""
    places = np.flatnonzero(relevant)
    return float(np.mean(np.arange(1, len(places) + 1) / (places + 1))) if len(places) else 0.0
