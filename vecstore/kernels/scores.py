"""Inner products, squared lengths and exact scores of float32 rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.isa import ISA, LANES
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    FLOAT,
    FLOATS,
    INDEX,
    Builder,
    Instruction,
    Value,
    Vector,
    address,
    emit_fma,
    emit_load,
    emit_shuffle,
    emit_store,
    emit_tile,
    emit_vectors,
    fma,
    instruction,
    tile_of,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
ROWS = 4
QUERIES = 2 if ISA == "avx2" else 4  # ROWS x QUERIES sums, and what they are made of, fit the registers
_PLAIN = LANES < ROWS
LESS_ONE = 3  # of `exact`
_PARTS = 8  # chains of a float64 sum
_WIDE = Vector(ir.DoubleType(), _PARTS)


def pack(queries: F32) -> F32:
    """Queries (q, d) as `dots` reads them: whole vectors, the last of which ends with the row.

    That last vector overlaps the one before it, and is zero where it does.
    """
    count, dim = queries.shape
    tail = dim % LANES
    if _PLAIN or dim < LANES or not tail:
        return np.ascontiguousarray(queries)
    packed = np.zeros((count, dim + LANES - tail), np.float32)
    packed[:, : dim - tail] = queries[:, : dim - tail]
    packed[:, -tail:] = queries[:, dim - tail :]
    return packed


def dots(rows: F32, packed: F32, out: F32) -> None:
    """out[j, i] = <rows[i], query j>, in float32.

    rows (n, d), C-contiguous; packed from `pack`; out (q, n), written. The order of a sum depends on d and
    the instruction set, not on n, q or the other rows.
    """
    (_dots_plain if _PLAIN or rows.shape[1] < LANES else _dots_vectors)(rows, packed, out)


@kernel
def _dots_plain(rows: F32, packed: F32, out: F32) -> None:
    """`dots` by plain loops."""
    for i in range(rows.shape[0]):
        for j in range(packed.shape[0]):
            total = np.float32(0)
            for t in range(rows.shape[1]):
                total = fma(rows[i, t], packed[j, t], total)
            out[j, i] = total


def emit_fold(builder: Builder, vectors: Sequence[Value]) -> Value:
    """The sum of each vector's lanes, as one vector; neighbours are added first, then pairs, and so on."""
    level = list(vectors)
    while len(level) > 1 or level[0].type.count > len(vectors):
        pairs = zip(level[::2], level[1::2], strict=True) if len(level) > 1 else [(level[0], level[0])]
        count = level[0].type.count
        lanes = range(2 * count if len(level) > 1 else count)
        level = [
            builder.fadd(emit_shuffle(builder, a, b, lanes[::2]), emit_shuffle(builder, a, b, lanes[1::2]))
            for a, b in pairs
        ]
    return level[0]


def _tile(rows: int, queries: int) -> tuple[Instruction, Instruction, Instruction]:
    """Instructions on rows x queries sums: (none, add one vector's products, fold and store)."""
    count = rows * queries
    kind = tile_of(count)

    @instruction(kind)
    def start(builder: Builder) -> Value:
        return emit_tile(builder, [ir.Constant(FLOATS.llvm, [0.0] * LANES)] * count)

    @instruction(kind, kind, ADDRESS, types.int64, ADDRESS, types.int64)
    def add(builder: Builder, tile: Value, row: Value, step: Value, query: Value, stride: Value) -> Value:
        sums = emit_vectors(builder, tile)
        values = []
        for _ in range(rows):
            values.append(emit_load(builder, row, FLOATS.llvm))
            row = builder.add(row, step)
        for j in range(queries):
            weights = emit_load(builder, query, FLOATS.llvm)
            for r in range(rows):
                sums[j * rows + r] = emit_fma(builder, values[r], weights, sums[j * rows + r])
            query = builder.add(query, stride)
        return emit_tile(builder, sums)

    @instruction(types.void, kind, ADDRESS, types.int64)
    def save(builder: Builder, tile: Value, at: Value, stride: Value) -> None:
        sums = emit_vectors(builder, tile)
        for j in range(queries):
            folded = emit_fold(builder, sums[j * rows : (j + 1) * rows])
            emit_store(builder, at, builder.bitcast(folded, ir.VectorType(FLOAT, rows)))
            at = builder.add(at, stride)

    return start, add, save


_start_many, _add_many, _save_many = _tile(ROWS if not _PLAIN else 1, QUERIES)
_start_few, _add_few, _save_few = _tile(ROWS if not _PLAIN else 1, 1)
_start_one, _add_one, _save_one = _tile(1, 1)


@kernel
def _dots_vectors(rows: F32, packed: F32, out: F32) -> None:
    """`dots` in tiles of ROWS x QUERIES."""
    n, d = rows.shape
    count, width = packed.shape
    step, stride, across = d * 4, width * 4, n * 4
    last = (d - LANES) * 4
    for i in range(0, n, ROWS):
        if i + ROWS > n:
            for r in range(i, n):
                for j in range(count):
                    row, query = address(rows) + r * step, address(packed) + j * stride
                    one = _start_one()
                    for t in range(0, width * 4, LANES * 4):
                        one = _add_one(one, row + min(t, last), step, query + t, stride)
                    _save_one(one, address(out) + (j * n + r) * 4, across)
            return
        row = address(rows) + i * step
        j = 0
        while j < count:
            query, target = address(packed) + j * stride, address(out) + (j * n + i) * 4
            if j + QUERIES <= count:
                many = _start_many()
                for t in range(0, width * 4, LANES * 4):
                    many = _add_many(many, row + min(t, last), step, query + t, stride)
                _save_many(many, target, across)
                j += QUERIES
            else:
                few = _start_few()
                for t in range(0, width * 4, LANES * 4):
                    few = _add_few(few, row + min(t, last), step, query + t, stride)
                _save_few(few, target, across)
                j += 1


@instruction(_WIDE)
def _nothing(builder: Builder) -> Value:
    """_PARTS float64 zeros."""
    return ir.Constant(_WIDE.llvm, [0.0] * _PARTS)


def _pair(builder: Builder, a: Value, b: Value) -> list[Value]:
    kind = ir.VectorType(FLOAT, _PARTS)
    return [builder.fpext(emit_load(builder, at, kind), _WIDE.llvm) for at in (a, b)]


@instruction(_WIDE, _WIDE, ADDRESS, ADDRESS)
def _add_products(builder: Builder, sums: Value, a: Value, b: Value) -> Value:
    """sums + a * b for _PARTS float32 each."""
    left, right = _pair(builder, a, b)
    return builder.fadd(sums, builder.fmul(left, right))


@instruction(_WIDE, _WIDE, ADDRESS, ADDRESS)
def _add_gaps(builder: Builder, sums: Value, a: Value, b: Value) -> Value:
    """sums + (a - b)^2 for _PARTS float32 each."""
    gap = builder.fsub(*_pair(builder, a, b))
    return builder.fadd(sums, builder.fmul(gap, gap))


@instruction(types.float64, _WIDE)
def _total(builder: Builder, sums: Value) -> Value:
    """Their sum, one after the other."""
    parts = [builder.extract_element(sums, ir.Constant(INDEX, part)) for part in range(_PARTS)]
    total = parts[0]
    for part in parts[1:]:
        total = builder.fadd(total, part)
    return total


@kernel
def _sum(a: F32, b: F32, gaps: bool) -> float:
    """<a, b>, or ||a - b||^2, in float64, in _PARTS chains that are added in order; then what is left."""
    whole = a.size // _PARTS * _PARTS
    total = 0.0
    if _PLAIN:
        sums = np.zeros(_PARTS)
        for t in range(whole):
            left, right = np.float64(a[t]), np.float64(b[t])
            sums[t % _PARTS] += (left - right) * (left - right) if gaps else left * right
        for part in range(_PARTS):
            total += sums[part]
    else:
        at, other, wide = address(a), address(b), _nothing()
        if gaps:
            for t in range(0, whole * 4, _PARTS * 4):
                wide = _add_gaps(wide, at + t, other + t)
        else:
            for t in range(0, whole * 4, _PARTS * 4):
                wide = _add_products(wide, at + t, other + t)
        total = _total(wide)
    for t in range(whole, a.size):
        left, right = np.float64(a[t]), np.float64(b[t])
        total += (left - right) * (left - right) if gaps else left * right
    return total


@kernel
def squares(rows: F32, out: F64) -> None:
    """out[i] = ||rows[i]||^2, in float64; rows (n, d), out (n,), written."""
    for i in range(rows.shape[0]):
        out[i] = _sum(rows[i], rows[i], False)


@kernel
def along(rows: F32, point: F32, out: F64) -> None:
    """out[i] = <rows[i], point>, in float64; rows (n, d), contiguous, point (d,), out (n,), written."""
    for i in range(rows.shape[0]):
        out[i] = _sum(rows[i], point, False)


@kernel
def gaps(rows: F32, point: F32, out: F64) -> None:
    """out[i] = ||rows[i] - point||^2, in float64; rows (n, d), point (d,), out (n,), written."""
    for i in range(rows.shape[0]):
        out[i] = _sum(rows[i], point, True)


@kernel
def exact(rows: F32, queries: F32, metric: int, keys: F32) -> None:
    """keys[j, c] = the score of query j with its candidate c, added up in float64: 0 ip, 1 cosine, 2 squared
    l2, negative, LESS_ONE the cosine less one; NaN as -inf.

    rows (q * c, d), the candidates of one query after the other; queries (q, d); keys (q, c), written. The
    cosine with a row or a query of length zero is 0.
    """
    cosine = metric == 1 or metric == LESS_ONE
    for j in range(keys.shape[0]):
        length = _sum(queries[j], queries[j], False) if cosine else 0.0
        for c in range(keys.shape[1]):
            row = rows[j * keys.shape[1] + c]
            if metric == 2:
                score = -_sum(queries[j], row, True)
            else:
                score = _sum(queries[j], row, False)
                if cosine:
                    both = length * _sum(row, row, False)
                    score = score / np.sqrt(both) if both != 0 else 0.0
                    score -= metric == LESS_ONE
            if not score >= -np.inf:
                score = -np.inf
            keys[j, c] = np.float32(score)
