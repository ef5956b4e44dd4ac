"""Sixteen float32 at once on every instruction set, of which only the first may count.

LLVM makes as many registers of them as the machine needs. Sums over lanes are a tree of fixed shape and
products are never fused with sums, so that all instruction sets give the same bits.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types

from vecstore.kernels.simd import (
    ADDRESS,
    FLOAT,
    INDEX,
    WORD,
    Builder,
    Value,
    Vector,
    emit_call,
    emit_shuffle,
    emit_splat,
    instruction,
)

LANES = 16
SIXTEEN = Vector(FLOAT, LANES)
_BYTE, _HALF = ir.IntType(8), ir.IntType(16)
_BYTES = ir.VectorType(_BYTE, LANES)


def _first(builder: Builder, count: Value, lanes: int = LANES) -> Value:
    """Which of the lanes are among the first `count`."""
    kind = ir.VectorType(INDEX, lanes)
    places = ir.Constant(kind, list(range(lanes)))
    return builder.icmp_signed("<", places, emit_splat(builder, builder.trunc(count, INDEX), kind))


def _load(
    builder: Builder, at: Value, count: Value, element: ir.Type, name: str, lanes: int = LANES
) -> Value:
    """The first `count` elements from an address, zeros behind them; only they are read."""
    kind = ir.VectorType(element, lanes)
    place = builder.inttoptr(at, kind.as_pointer())
    zeros = ir.Constant(kind, [0] * lanes)
    how = [place, ir.Constant(INDEX, 1), _first(builder, count, lanes), zeros]
    return emit_call(builder, f"llvm.masked.load.v{lanes}{name}.p0", kind, how)


def _store(builder: Builder, at: Value, value: Value, count: Value, name: str, lanes: int = LANES) -> None:
    """The first `count` elements to an address; only they are written."""
    place = builder.inttoptr(at, value.type.as_pointer())
    how = [value, place, ir.Constant(INDEX, 1), _first(builder, count, lanes)]
    emit_call(builder, f"llvm.masked.store.v{lanes}{name}.p0", ir.VoidType(), how)


@instruction(SIXTEEN)
def zeros(builder: Builder) -> Value:
    """Sixteen zeros."""
    return ir.Constant(SIXTEEN.llvm, [0.0] * LANES)


@instruction(SIXTEEN, types.float32)
def all_of(builder: Builder, value: Value) -> Value:
    """The same float32 in every lane."""
    return emit_splat(builder, value, SIXTEEN.llvm)


@instruction(SIXTEEN, ADDRESS, types.int64)
def load_floats(builder: Builder, at: Value, count: Value) -> Value:
    """The first `count` float32 from an address (all from 16 on), zeros behind them."""
    return _load(builder, at, count, FLOAT, "f32")


@instruction(SIXTEEN, ADDRESS, types.int64)
def load_eight(builder: Builder, at: Value, count: Value) -> Value:
    """`load_floats` of up to eight. A load of sixteen that goes on in the next line of the cache, where no
    lane is wanted, waits for that line all the same."""
    low = _load(builder, at, count, FLOAT, "f32", LANES // 2)
    nothing = ir.Constant(low.type, [0.0] * (LANES // 2))
    return emit_shuffle(builder, low, nothing, range(LANES))


@instruction(types.void, ADDRESS, SIXTEEN, types.int64)
def store_eight(builder: Builder, at: Value, value: Value, count: Value) -> None:
    """`store_floats` of up to eight, as `load_eight`."""
    _store(builder, at, emit_shuffle(builder, value, value, range(LANES // 2)), count, "f32", LANES // 2)


@instruction(types.void, ADDRESS, SIXTEEN, types.int64)
def store_floats(builder: Builder, at: Value, value: Value, count: Value) -> None:
    """The first `count` lanes (all from 16 on) to an address."""
    _store(builder, at, value, count, "f32")


@instruction(SIXTEEN, ADDRESS)
def load_all(builder: Builder, at: Value) -> Value:
    """Sixteen float32 from an address. What `store_all` has just put there comes at once, unlike after
    `store_floats`."""
    return builder.load(builder.inttoptr(at, SIXTEEN.llvm.as_pointer()), align=4)


@instruction(types.void, ADDRESS, SIXTEEN)
def store_all(builder: Builder, at: Value, value: Value) -> None:
    """Sixteen lanes to an address."""
    builder.store(value, builder.inttoptr(at, SIXTEEN.llvm.as_pointer()), align=4)


@instruction(SIXTEEN, ADDRESS, types.int64)
def load_bytes(builder: Builder, at: Value, count: Value) -> Value:
    """The first `count` signed bytes from an address as numbers."""
    return builder.sitofp(_load(builder, at, count, _BYTE, "i8"), SIXTEEN.llvm)


@instruction(SIXTEEN, ADDRESS, types.int64)
def load_shorts(builder: Builder, at: Value, count: Value) -> Value:
    """The first `count` signed 16-bit integers from an address as numbers."""
    return builder.sitofp(_load(builder, at, count, _HALF, "i16"), SIXTEEN.llvm)


@instruction(SIXTEEN, ADDRESS, types.int64)
def load_halves(builder: Builder, at: Value, count: Value) -> Value:
    """The first `count` float16 from an address."""
    halves = builder.bitcast(_load(builder, at, count, _HALF, "i16"), ir.VectorType(ir.HalfType(), LANES))
    return builder.fpext(halves, SIXTEEN.llvm)


@instruction(SIXTEEN, ADDRESS, types.int64)
def load_nibbles(builder: Builder, at: Value, count: Value) -> Value:
    """The first `count` numbers -8..7 from an address: two in a byte, plus 8, the lower nibble first."""
    half = ir.VectorType(_BYTE, LANES // 2)
    size = builder.lshr(builder.add(count, ir.Constant(count.type, 1)), ir.Constant(count.type, 1))
    pairs = _load(builder, at, size, _BYTE, "i8", LANES // 2)
    low = builder.and_(pairs, ir.Constant(half, [15] * 8))
    high = builder.lshr(pairs, ir.Constant(half, [4] * 8))
    both = emit_shuffle(builder, low, high, [lane // 2 + lane % 2 * 8 for lane in range(LANES)])
    eight = ir.Constant(both.type, [8] * LANES)
    numbers = builder.sitofp(builder.sub(both, eight), SIXTEEN.llvm)
    nothing = ir.Constant(SIXTEEN.llvm, [0.0] * LANES)
    return builder.select(_first(builder, count), numbers, nothing)


@instruction(SIXTEEN, SIXTEEN, SIXTEEN)
def plus(builder: Builder, a: Value, b: Value) -> Value:
    """a + b in each lane."""
    return builder.fadd(a, b)


@instruction(SIXTEEN, SIXTEEN, SIXTEEN)
def minus(builder: Builder, a: Value, b: Value) -> Value:
    """a - b in each lane."""
    return builder.fsub(a, b)


@instruction(SIXTEEN, SIXTEEN, SIXTEEN)
def times(builder: Builder, a: Value, b: Value) -> Value:
    """a * b in each lane."""
    return builder.fmul(a, b)


@instruction(SIXTEEN, SIXTEEN, SIXTEEN)
def over(builder: Builder, a: Value, b: Value) -> Value:
    """a / b in each lane."""
    return builder.fdiv(a, b)


@instruction(SIXTEEN, SIXTEEN)
def root(builder: Builder, a: Value) -> Value:
    """The square root of each lane."""
    return emit_call(builder, "llvm.sqrt.v16f32", SIXTEEN.llvm, [a])


@instruction(types.float32, SIXTEEN)
def total(builder: Builder, a: Value) -> Value:
    """The sum of the lanes: halves are added to each other until one is left."""
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        low = emit_shuffle(builder, a, a, range(lanes))
        a = builder.fadd(low, emit_shuffle(builder, a, a, range(lanes, 2 * lanes)))
    return builder.extract_element(a, ir.Constant(INDEX, 0))


@instruction(types.float32, SIXTEEN)
def largest_of(builder: Builder, a: Value) -> Value:
    """The largest magnitude of the lanes, none of which is NaN."""
    a = emit_call(builder, "llvm.fabs.v16f32", SIXTEEN.llvm, [a])
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        low, high = (
            emit_shuffle(builder, a, a, range(lanes)),
            emit_shuffle(builder, a, a, range(lanes, 2 * lanes)),
        )
        a = builder.select(builder.fcmp_ordered("<", low, high), high, low)
    return builder.extract_element(a, ir.Constant(INDEX, 0))


@instruction(SIXTEEN, SIXTEEN)
def floor(builder: Builder, a: Value) -> Value:
    """The largest whole number that is not above each lane."""
    return emit_call(builder, "llvm.floor.v16f32", SIXTEEN.llvm, [a])


@instruction(SIXTEEN, SIXTEEN, types.float32)
def within(builder: Builder, a: Value, top: Value) -> Value:
    """Each lane cut off at -top and top."""
    high = emit_splat(builder, top, SIXTEEN.llvm)
    low = builder.fneg(high)
    a = builder.select(builder.fcmp_ordered("<", a, high), a, high)
    return builder.select(builder.fcmp_ordered(">", a, low), a, low)


@instruction(SIXTEEN, types.int64, types.int64)
def chances(builder: Builder, key: Value, first: Value) -> Value:
    """Numbers first to first + 16 of a row's stream, as `rowformats.chance` has them."""
    kind = ir.VectorType(INDEX, LANES)

    def constant(value: int) -> Value:
        return ir.Constant(kind, [value] * LANES)

    places = builder.add(
        emit_splat(builder, builder.trunc(first, INDEX), kind), ir.Constant(kind, list(range(LANES)))
    )
    x = builder.add(
        emit_splat(builder, builder.trunc(key, INDEX), kind), builder.mul(places, constant(0x9E3779B9))
    )
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = builder.mul(builder.xor(x, builder.lshr(x, constant(shift))), constant(factor))
    x = builder.lshr(builder.xor(x, builder.lshr(x, constant(16))), constant(8))
    return builder.fmul(builder.sitofp(x, SIXTEEN.llvm), ir.Constant(SIXTEEN.llvm, [2.0**-24] * LANES))


@instruction(types.float32, ADDRESS)
def load_float(builder: Builder, at: Value) -> Value:
    """One float32 from any address."""
    return builder.load(builder.inttoptr(at, FLOAT.as_pointer()), align=1)


@instruction(types.void, ADDRESS, types.float32)
def store_float(builder: Builder, at: Value, value: Value) -> None:
    """One float32 to any address."""
    builder.store(value, builder.inttoptr(at, FLOAT.as_pointer()), align=1)


@instruction(types.float32, ADDRESS)
def load_short_float(builder: Builder, at: Value) -> Value:
    """One float32 whose upper 16 bits (bfloat16) are at any address."""
    short = builder.load(builder.inttoptr(at, _HALF.as_pointer()), align=1)
    return builder.bitcast(builder.shl(builder.zext(short, INDEX), ir.Constant(INDEX, 16)), FLOAT)


@instruction(types.float32, ADDRESS, types.float32)
def store_short_float(builder: Builder, at: Value, value: Value) -> Value:
    """The least bfloat16 that is no less than a value >= 0, to any address; gives it as float32."""
    bits = builder.add(builder.bitcast(value, INDEX), ir.Constant(INDEX, 0xFFFF))
    short = builder.trunc(builder.lshr(bits, ir.Constant(INDEX, 16)), _HALF)
    builder.store(short, builder.inttoptr(at, _HALF.as_pointer()), align=1)
    return builder.bitcast(builder.and_(bits, ir.Constant(INDEX, -65536)), FLOAT)


@instruction(types.void, ADDRESS, SIXTEEN, types.int64)
def store_bytes(builder: Builder, at: Value, value: Value, count: Value) -> None:
    """The first `count` lanes, whole numbers, as signed bytes to an address."""
    _store(builder, at, builder.trunc(_whole(builder, value), _BYTES), count, "i8")


@instruction(types.void, ADDRESS, SIXTEEN, types.int64)
def store_shorts(builder: Builder, at: Value, value: Value, count: Value) -> None:
    """The first `count` lanes, whole numbers, as signed 16-bit integers to an address."""
    _store(builder, at, builder.trunc(_whole(builder, value), ir.VectorType(_HALF, LANES)), count, "i16")


@instruction(types.void, ADDRESS, SIXTEEN, types.int64)
def store_nibbles(builder: Builder, at: Value, value: Value, count: Value) -> None:
    """The first `count` lanes, whole numbers -8..7, to an address, as `load_nibbles` takes them; the half of
    a byte that is left over is 0."""
    whole = builder.trunc(_whole(builder, value), _BYTES)
    whole = builder.add(whole, ir.Constant(_BYTES, [8] * LANES))
    whole = builder.select(_first(builder, count), whole, ir.Constant(_BYTES, [0] * LANES))
    low = emit_shuffle(builder, whole, whole, range(0, LANES, 2))
    high = emit_shuffle(builder, whole, whole, range(1, LANES, 2))
    pairs = builder.or_(low, builder.shl(high, ir.Constant(high.type, [4] * (LANES // 2))))
    one = ir.Constant(count.type, 1)
    _store(builder, at, pairs, builder.lshr(builder.add(count, one), one), "i8", LANES // 2)


def _whole(builder: Builder, value: Value) -> Value:
    return builder.fptosi(value, ir.VectorType(INDEX, LANES))


@instruction(types.void, ADDRESS, types.int64)
def store_short(builder: Builder, at: Value, value: Value) -> None:
    """The lower 16 bits of an integer to any address."""
    builder.store(builder.trunc(value, _HALF), builder.inttoptr(at, _HALF.as_pointer()), align=1)


@instruction(types.int64, ADDRESS)
def load_word(builder: Builder, at: Value) -> Value:
    """One 64-bit integer from an address that it is aligned at."""
    return builder.load(builder.inttoptr(at, WORD.as_pointer()), align=8)


@instruction(types.void, ADDRESS)
def prefetch(builder: Builder, at: Value) -> None:
    """Asks for the line of the cache at an address."""
    place = builder.inttoptr(at, _BYTE.as_pointer())
    how = [ir.Constant(INDEX, value) for value in (0, 3, 1)]  # to read, to keep, data
    emit_call(builder, "llvm.prefetch.p0", ir.VoidType(), [place, *how])
