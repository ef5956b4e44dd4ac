"""FastRP: rows for the nodes of a graph by sparse random projection of its powers.

source      Chen et al. 2019, arXiv:1908.11512, section 3; weights and alpha as in its experiments
departures  columns are standardised at the end, as the authors' program does and the paper does not say
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.bench.wordgraph import Graph
from vecstore.codecs.base import Rows
from vecstore.kernels.sparse import csr_times_rows
from vecstore.kernels.threads import spread

WEIGHTS = (0.0, 1.0, 1.0)  # of the powers 1 to 3
ALPHA = -0.64  # columns are scaled by degree ** ALPHA
_BLOCK_ROWS = 1024


def fastrp(graph: Graph, dim: int, *, weights: tuple[float, ...] = WEIGHTS, seed: int = 0) -> Rows:
    """(n, dim) float32: sum over i of weights[i] * unit rows of M^(i+1) P.

    M is the graph's matrix with rows that sum to 1; P (n, dim) has a share 1 / sqrt(n) of entries
    +-sqrt(sqrt(n) / dim), the rest zero, and its rows are scaled by degree ** ALPHA.
    """
    n = len(graph.names)
    counts = np.diff(graph.starts)
    degree = np.add.reduceat(graph.weights, graph.starts[:-1]) if n else np.zeros(0, np.float32)
    steps = (graph.weights / np.repeat(degree, counts)).astype(np.float32)
    power = _projection(n, dim, seed) * degree[:, None] ** np.float32(ALPHA)
    found = np.zeros((n, dim), np.float32)
    for weight in weights:
        power = _step(graph, steps, power)
        if weight:
            found += np.float32(weight) * _unit(power)
    deviation = found.std(axis=0)
    found -= found.mean(axis=0)
    scaled = np.asarray(found / np.where(deviation > 0, deviation, 1), np.float32)
    return scaled


def _projection(n: int, dim: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    chosen = rng.random((n, dim), np.float32)
    share = 1 / np.sqrt(max(n, 1))
    signs = (chosen < share / 2).astype(np.float32) - (chosen > 1 - share / 2)
    return np.ascontiguousarray(signs * np.sqrt(1 / share / dim), dtype=np.float32)


def _step(graph: Graph, steps: NDArray[np.float32], rows: Rows) -> Rows:
    out = np.empty_like(rows)

    def work(start: int, stop: int) -> None:
        csr_times_rows(graph.starts[start : stop + 1], graph.columns, steps, rows, out[start:stop])

    spread(len(rows), _BLOCK_ROWS, work)
    return out


def _unit(rows: Rows) -> Rows:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, np.where(norms > 0, norms, 1), dtype=np.float32)
