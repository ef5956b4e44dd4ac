"""Beam search over codebooks whose chosen centroids are added up.

The squared distance of a row x to a sum of centroids is |x|^2 plus, for each stage, |c|^2 - 2 <c, x> + 2 sum
of <c, c_t> over the stages t before it. Halved and without |x|^2 that is the error here. <c, x> comes once
for all of a row's sums, from whole numbers (`levels`); <c, c_t> are tables of two bytes, whose sums are whole
numbers too. Both are of the centroid c as it was rounded, so that what rounding loses is in proportion to
what the stages before have left. Codes depend neither on the other rows nor on the instruction set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels import bytedots, levels
from vecstore.kernels.jit import kernel
from vecstore.kernels.matmul import matmul
from vecstore.kernels.simd import (
    ADDRESS,
    FLOAT,
    INDEX,
    WORD,
    Builder,
    Value,
    Vector,
    address,
    copier,
    emit_fma,
    emit_load,
    emit_shuffle,
    emit_splat,
    emit_store,
    instruction,
    lowest_bit,
)

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I16 = NDArray[np.int16]
I64 = NDArray[np.int64]
Sums = tuple[U8, F32]  # paths (n, beam, PATH), each the origin and then the codes, and errors (n, beam)
PATH = 32  # bytes that are copied at once
STAGES = 16  # that share tables: 15 MiB
RUN = bytedots.BLOCK  # totals at once
GROUPS = 16  # of totals: the least ones of each tell how small the best must be
_MOST = 32_767
_ENTRIES = Vector(ir.IntType(16), RUN)
_TOTALS = ir.VectorType(FLOAT, RUN)
_LEAST = Vector(FLOAT, GROUPS)
_copy_path = copier(PATH // 4)


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


def begin(errors: F32, beam: int) -> Sums:
    """What is extended first: nothing but the origins of rows, o <= beam, whose errors (n, o) are given."""
    n = len(errors)
    paths, found = np.zeros((n, beam, PATH), np.uint8), np.zeros((n, beam), np.float32)
    paths[:, :, 0] = np.arange(beam)
    found[:, : errors.shape[1]] = errors
    return paths, found


@dataclass(frozen=True)
class Stage:
    """A codebook made ready to follow others; whole runs of its k centroids, the last ones never chosen."""

    k: int
    blocks: U8  # from `levels.of_centroids`
    terms: F32  # (3, runs of k): |c|^2 / 2, the step of <c, x>, the step of `tables`
    tables: I16  # (t, k, runs of k): <c, c_t> of each stage t before

    @classmethod
    def after(cls, books: F32, centroids: F32) -> Stage:
        """Centroids (k, d) behind those of books (t, k, d), t < STAGES; k <= 256."""
        (t, k, dim), width = books.shape, -(-len(centroids) // RUN) * RUN
        blocks, steps, rounded = levels.of_centroids(centroids)
        crossed = np.empty((t * k, k), np.float32)
        matmul(np.ascontiguousarray(books).reshape(-1, dim), np.ascontiguousarray(rounded.T), crossed)
        # No sum of an entry from each table leaves 16 bits, though each may be rounded up.
        scales = np.abs(crossed).reshape(t, k, k).max(axis=1).sum(axis=0) / np.float32(_MOST - t)
        terms, tables = np.zeros((3, width), np.float32), np.zeros((t, k, width), np.int16)
        terms[0] = np.inf
        terms[:, :k] = half_lengths(centroids), steps, scales
        entries = np.rint(crossed / np.where(scales > 0, scales, np.float32(np.inf)))
        tables[:, :, :k] = entries.reshape(t, k, k)
        return cls(k, blocks, terms, tables)


def extend(products: F32, stage: Stage, sums: Sums, count: int) -> int:
    """Each row's best `count` sums become its best sums with a centroid more; returns how many: the beam,
    or fewer where there are not so many.

    products (n, o, runs of k): of `bytedots.dots`, of the rows less each of o origins with stage.blocks; sums
    (n, ...), of as many stages as stage.tables has. The least error comes first, of equal ones that of the
    earlier sum, then of the smaller code.
    """
    paths, errors = sums
    size: int = min(errors.shape[1], count * stage.k)
    scratch = np.empty((products.shape[1] + count, products.shape[2]), np.float32)
    _extend(products, (stage.terms, stage.tables), sums, paths[0].copy(), scratch, size)
    return size


def products(weights: bytedots.Weights, stage: Stage, start: int, stop: int) -> F32:
    """For `extend` and `nearest`, (stop - start, runs of k), of rows start to stop of `levels.of_rows`."""
    made, scales, offsets, coarse = weights
    part = slice(start, stop)
    found = np.empty((len(made[part]), stage.terms.shape[1]), np.float32)
    bytedots.dots(stage.blocks, 0, (made[part], scales[part], offsets[part], coarse[part]), found)
    return found


def nearest(products: F32, stage: Stage, codes: U8) -> None:
    """codes (n, 1) = the nearest centroid, the first of those that are as near; products (n, runs of k)."""
    _nearest(products, stage.terms, np.empty(stage.terms.shape[1], np.float32), codes)


@instruction(_ENTRIES)
def _no_entries(builder: Builder) -> Value:
    """RUN zeros."""
    return ir.Constant(_ENTRIES.llvm, [0] * RUN)


@instruction(_ENTRIES, _ENTRIES, ADDRESS)
def _add_entries(builder: Builder, entries: Value, at: Value) -> Value:
    """entries + those at an address."""
    return builder.add(entries, emit_load(builder, at, _ENTRIES.llvm))


@instruction(types.void, ADDRESS, ADDRESS, types.int64, ADDRESS)
def _base(builder: Builder, products: Value, halves: Value, stride: Value, target: Value) -> None:
    """RUN bases: halves - steps * products; steps lie `stride` bytes behind halves."""
    steps = emit_load(builder, builder.add(halves, stride), _TOTALS)
    found = emit_load(builder, products, _TOTALS)
    found = emit_fma(builder, builder.fneg(steps), found, emit_load(builder, halves, _TOTALS))
    emit_store(builder, target, found)


@instruction(types.void, _ENTRIES, ADDRESS, ADDRESS, types.float32, ADDRESS)
def _total(builder: Builder, entries: Value, base: Value, steps: Value, error: Value, target: Value) -> None:
    """RUN totals: entries * steps + (base + error)."""
    start = builder.fadd(emit_load(builder, base, _TOTALS), emit_splat(builder, error, _TOTALS))
    factors = builder.sitofp(entries, _TOTALS)
    emit_store(builder, target, emit_fma(builder, factors, emit_load(builder, steps, _TOTALS), start))


@instruction(_LEAST)
def _no_totals(builder: Builder) -> Value:
    """GROUPS infinities."""
    return ir.Constant(_LEAST.llvm, [math.inf] * GROUPS)


@instruction(_LEAST, _LEAST, ADDRESS)
def _lower(builder: Builder, least: Value, at: Value) -> Value:
    """The least of each group and of every GROUPS-th of RUN totals."""
    for part in range(0, RUN, GROUPS):
        totals = emit_load(builder, at, _LEAST.llvm, 4 * part)
        least = builder.select(builder.fcmp_ordered("<", totals, least), totals, least)
    return least


def _emit_least(builder: Builder, least: Value) -> Value:
    """The least of GROUPS values, in every lane."""
    reach = GROUPS // 2
    while reach:
        other = emit_shuffle(builder, least, least, [lane ^ reach for lane in range(GROUPS)])
        least = builder.select(builder.fcmp_ordered("<", other, least), other, least)
        reach //= 2
    return least


@instruction(_LEAST, _LEAST)
def _without_least(builder: Builder, least: Value) -> Value:
    """The values, infinity in place of the least ones."""
    lowest = builder.fcmp_ordered("==", least, _emit_least(builder, least))
    return builder.select(lowest, ir.Constant(_LEAST.llvm, [math.inf] * GROUPS), least)


@instruction(types.float32, _LEAST)
def _least_of(builder: Builder, least: Value) -> Value:
    """The least of GROUPS values."""
    return builder.extract_element(_emit_least(builder, least), ir.Constant(INDEX, 0))


@instruction(types.int64, ADDRESS, types.float32)
def _up_to(builder: Builder, at: Value, limit: Value) -> Value:
    """A bit for each of RUN totals that is at most `limit`."""
    found = builder.fcmp_ordered("<=", emit_load(builder, at, _TOTALS), emit_splat(builder, limit, _TOTALS))
    return builder.bitcast(found, WORD)


@kernel
def _extend(products: F32, stage: tuple[F32, I16], sums: Sums, before: U8, scratch: F32, size: int) -> None:
    """`extend` to `size` sums; before (beam, PATH) and scratch (o + count, runs of k) are overwritten."""
    terms, tables = stage
    paths, errors = sums
    stages, k, width = tables.shape
    count = scratch.shape[0] - products.shape[1]
    keys, parents = np.empty(size, np.float32), np.empty(size, np.int64)
    chosen, places = np.empty(size, np.int64), np.empty(STAGES, np.int64)
    bases, totals = scratch[: products.shape[1]], scratch[products.shape[1] :]
    steps = address(terms) + 2 * width * 4
    for i in range(products.shape[0]):
        for o in range(products.shape[1]):
            source = address(products) + (i * products.shape[1] + o) * width * 4
            for c in range(0, width, RUN):
                _base(source + c * 4, address(terms) + c * 4, width * 4, address(bases) + (o * width + c) * 4)
        least = _no_totals()
        for b in range(count):
            for t in range(stages):
                places[t] = address(tables) + (t * k + paths[i, b, 1 + t]) * width * 2
            base, target = address(bases) + paths[i, b, 0] * width * 4, address(totals) + b * width * 4
            for c in range(0, width, RUN):
                entries = _no_entries()
                for t in range(stages):
                    entries = _add_entries(entries, places[t] + c * 2)
                _total(entries, base + c * 4, steps + c * 4, errors[i, b], target + c * 4)
                least = _lower(least, target + c * 4)
        bound = np.float32(np.inf)
        if size <= GROUPS:  # As many totals are no larger: the least ones of as many groups.
            for _ in range(size - 1):
                least = _without_least(least)
            bound = _least_of(least)
        _choose(totals, bound, keys, parents, chosen)
        line = address(paths) + i * paths.shape[1] * PATH
        for b in range(count):
            _copy_path(line + b * PATH, address(before) + b * PATH)
        for b in range(size):
            _copy_path(address(before) + parents[b] * PATH, line + b * PATH)
            paths[i, b, 1 + stages] = chosen[b]
            errors[i, b] = keys[b]


@kernel
def _choose(totals: F32, bound: np.float32, keys: F32, parents: I64, chosen: I64) -> None:
    """The least of totals (count, runs of k), in order, into keys (size,); what is above the bound is not
    among them. Of equal ones the first comes first; parents and chosen are zero where there is none."""
    keys[:] = np.inf
    parents[:] = 0
    chosen[:] = 0
    last = keys.size - 1
    for b in range(totals.shape[0]):
        for at in range(0, totals.shape[1], RUN):
            bits = _up_to(address(totals) + (b * totals.shape[1] + at) * 4, min(bound, keys[last]))
            while bits:
                c = at + lowest_bit(bits)
                bits &= bits - 1
                total, place = totals[b, c], last
                if not total < keys[last]:
                    continue
                while place > 0 and total < keys[place - 1]:
                    keys[place], parents[place] = keys[place - 1], parents[place - 1]
                    chosen[place] = chosen[place - 1]
                    place -= 1
                keys[place], parents[place], chosen[place] = total, b, c


@kernel
def _nearest(products: F32, terms: F32, totals: F32, codes: U8) -> None:
    """`nearest`; totals (runs of k,) is scratch."""
    width = totals.size
    for i in range(products.shape[0]):
        least = _no_totals()
        for c in range(0, width, RUN):
            _base(
                address(products) + (i * width + c) * 4,
                address(terms) + c * 4,
                width * 4,
                address(totals) + c * 4,
            )
            least = _lower(least, address(totals) + c * 4)
        lowest = _least_of(least)
        codes[i, 0] = 0
        for c in range(0, width, RUN):
            bits = _up_to(address(totals) + c * 4, lowest)
            if bits:
                codes[i, 0] = c + lowest_bit(bits)
                break


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
