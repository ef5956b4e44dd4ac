"""Beam search over codebooks whose chosen centroids are added up.

The squared distance of a row x to a sum of centroids is |x|^2 plus, for each stage, |c|^2 - 2 <c, x> + 2 sum
of <c, c_t> over the stages t before it. Halved and without |x|^2 that is the error here, and a stage costs
additions from tables in place of products with every beam's residual. All sums are in one order, value by
value, so that codes depend neither on the other rows nor on the instruction set.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel
from vecstore.kernels.matmul import matmul
from vecstore.kernels.simd import (
    ADDRESS,
    FLOAT,
    Builder,
    Value,
    address,
    emit_load,
    emit_splat,
    instruction,
)

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
RUN = 32  # errors that are compared with the worst of a beam at once


def half_lengths(centroids: F32) -> F32:
    """|c|^2 / 2 of centroids (k, d), summed dimension by dimension in float64."""
    out = np.empty(len(centroids), np.float32)
    _half_lengths(centroids, out)
    return out


@kernel
def _half_lengths(centroids: F32, out: F32) -> None:
    """`half_lengths`."""
    for c in range(centroids.shape[0]):
        total = np.float64(0)
        for t in range(centroids.shape[1]):
            total += np.float64(centroids[c, t]) * np.float64(centroids[c, t])
        out[c] = total / 2


def cross(books: F32) -> F32:
    """Inner products (s * (s - 1) / 2, k, k) of the centroids of books (s, k, d): those of stage u with
    an earlier one t are [u * (u - 1) / 2 + t, centroid of t, centroid of u]."""
    stages, k, dim = books.shape
    out = np.empty((stages * (stages - 1) // 2, k, k), np.float32)
    for u in range(1, stages):
        before = out[u * (u - 1) // 2 : u * (u + 1) // 2].reshape(u * k, k)
        matmul(books[:u].reshape(u * k, dim), np.ascontiguousarray(books[u].T), before)
    return out


def search(costs: F32, errors: F32, crossed: F32, beam: int) -> tuple[U8, I32, F32]:
    """The best `beam` choices of a centroid in each stage: codes (n, b, s), origins (n, b), errors (n, b).

    costs (n, o, s, k): |c|^2 / 2 - <c, x>, x the row less what origin o of it has already; errors (n, o): of
    the origins; crossed: from `cross`; o <= beam. The least error comes first, of equal ones that of the
    earlier origin, then of the smaller code. b is beam, or the number of choices where there are fewer.
    """
    n, origins, stages, k = costs.shape
    count = origins
    for _ in range(stages):
        count = min(beam, count * k)
    codes = np.empty((n, count, stages), np.uint8)
    found = np.empty((n, count), np.int32)
    left = np.empty((n, count), np.float32)
    scratch = np.full(-(-k // RUN) * RUN, np.inf, np.float32)
    _search(costs, errors, crossed, scratch, np.empty((2, beam, stages + 1), np.int32), (codes, found, left))
    return codes, found, left


@kernel
def _search(costs: F32, errors: F32, crossed: F32, totals: F32, paths: I32, out: tuple[U8, I32, F32]) -> None:
    """`search`; totals (k, and infinity up to a whole run) and paths (2, beam, s + 1), the origin first, are
    scratch."""
    n, origins, stages, k = costs.shape
    beam = paths.shape[1]
    codes, found, left = out
    keys, kept = np.empty(beam, np.float32), np.empty(beam, np.float32)
    parents, chosen = np.empty(beam, np.int64), np.empty(beam, np.int64)
    for i in range(n):
        here, count = 0, origins
        for b in range(origins):
            kept[b] = errors[i, b]
            paths[0, b, 0] = b
        for s in range(stages):
            keys[:] = np.inf
            parents[:] = 0
            chosen[:] = 0
            size = min(beam, count * k)
            for b in range(count):
                _add_up(costs[i, paths[here, b, 0], s], crossed, paths[here, b], s, kept[b], totals)
                _insert(totals, b, keys[:size], parents, chosen)
            for b in range(size):
                paths[1 - here, b, : s + 1] = paths[here, parents[b], : s + 1]
                paths[1 - here, b, s + 1] = chosen[b]
                kept[b] = keys[b]
            here, count = 1 - here, size
        for b in range(count):
            found[i, b] = paths[here, b, 0]
            left[i, b] = kept[b]
            for s in range(stages):
                codes[i, b, s] = paths[here, b, s + 1]


@kernel
def _add_up(costs: F32, crossed: F32, path: I32, stage: int, error: np.float32, totals: F32) -> None:
    """totals[c] = error + costs[c] + products with the centroids of the path (origin, then codes)."""
    for c in range(costs.size):
        totals[c] = error + costs[c]
    first = stage * (stage - 1) // 2
    for t in range(0, stage - 3, 4):  # four at a time: the totals are loaded and stored less often
        p, q = crossed[first + t, path[t + 1]], crossed[first + t + 1, path[t + 2]]
        r, s = crossed[first + t + 2, path[t + 3]], crossed[first + t + 3, path[t + 4]]
        for c in range(costs.size):
            totals[c] += (p[c] + q[c]) + (r[c] + s[c])
    for t in range(stage - stage % 4, stage):
        p = crossed[first + t, path[t + 1]]
        for c in range(costs.size):
            totals[c] += p[c]


@instruction(types.boolean, ADDRESS, types.float32)
def _any_less(builder: Builder, at: Value, limit: Value) -> Value:
    """Whether any of RUN float32 from an address is less than the limit."""
    run = ir.VectorType(FLOAT, RUN)
    less = builder.fcmp_ordered("<", emit_load(builder, at, run), emit_splat(builder, limit, run))
    bits = ir.IntType(RUN)
    return builder.icmp_unsigned("!=", builder.bitcast(less, bits), ir.Constant(bits, 0))


@kernel
def _insert(totals: F32, parent: int, keys: F32, parents: I64, chosen: I64) -> None:
    """Puts totals that are less than the last of the ascending keys among them, behind those equal to it."""
    last = keys.size - 1
    for at in range(0, totals.size, RUN):
        if not _any_less(address(totals) + 4 * at, keys[last]):
            continue
        for c in range(at, at + RUN):
            total = totals[c]
            if total < keys[last]:
                place = last
                while place > 0 and total < keys[place - 1]:
                    keys[place], parents[place] = keys[place - 1], parents[place - 1]
                    chosen[place] = chosen[place - 1]
                    place -= 1
                keys[place], parents[place], chosen[place] = total, parent, c


@kernel
def add_up(codes: U8, books: F32, starts: I64, out: F32) -> None:
    """out[i, starts[j]:starts[j + 1]] = the sum over t of books[t, codes[i, t * b + j], same], t ascending.

    codes (n, m), a byte for each stage t of each of b blocks j, fewer in the last stage; books (s, 256, d),
    so that any byte is inside; starts (b + 1,); out (n, d), written.
    """
    blocks = starts.size - 1
    for i in range(codes.shape[0]):
        for j in range(blocks):
            begin, end = starts[j], starts[j + 1]
            out[i, begin:end] = books[0, codes[i, j], begin:end]
        for place in range(blocks, codes.shape[1]):
            t, j = place // blocks, place % blocks
            begin, end = starts[j], starts[j + 1]
            centroid = books[t, codes[i, place], begin:end]
            target = out[i, begin:end]
            for at in range(target.size):
                target[at] += centroid[at]
