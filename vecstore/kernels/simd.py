"""Vectors of float32 as values inside kernels, for whichever instruction set was chosen.

LLVM's vector operations (load, store, fma, compare, select, shuffle by a constant) are the same on every
instruction set; only the number of lanes differs. Shuffling bytes by a variable is not, and has one
intrinsic per set. Addresses are integers, because numba has no pointer arithmetic: `address` gives that
of an array, and whoever calls the kernel keeps the array alive. No lane is ever summed with another, so
that a lane's result is the one that a plain loop over the same values gives.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba.core import config, types
from numba.extending import intrinsic, models, register_model
from numpy.typing import NDArray

from vecstore.kernels.isa import ISA, LANES

REGISTER_BYTES = {"scalar": 16, "neon": 16, "avx2": 32, "avx512": 64}[ISA]
FLOAT = ir.FloatType()
BYTE = ir.IntType(8)
INDEX = ir.IntType(32)
WORD = ir.IntType(64)
ADDRESS = types.int64
Instruction = Callable[..., Any]
Builder: TypeAlias = ir.IRBuilder
Value: TypeAlias = ir.Value


class Vector(types.Type):
    """Equal elements that fill one register, or several where the machine's are narrower."""

    def __init__(self, element: ir.Type, count: int) -> None:
        self.llvm = ir.VectorType(element, count)
        super().__init__(name=f"Vector({element}, {count})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: object, kind: Vector) -> None:
        super().__init__(manager, kind, kind.llvm)  # type: ignore[no-untyped-call]


FLOATS = Vector(FLOAT, LANES)
BYTES = Vector(BYTE, REGISTER_BYTES)


def tile_of(count: int) -> types.UniTuple:
    """The numba type of `count` vectors; a tuple, which LLVM keeps in registers."""
    return types.UniTuple(FLOATS, count)  # type: ignore[no-untyped-call]


def instruction(result: types.Type, *takes: types.Type) -> Callable[[Callable[..., Value]], Instruction]:
    """Makes an emitter (builder, *values) -> value callable in kernels as (*takes) -> result."""

    def wrap(emit: Callable[..., Value]) -> Instruction:
        def typer(_context: object, *_arguments: types.Type) -> tuple[Any, Callable[..., Value]]:
            def generate(
                context: Any, builder: Builder, _signature: object, values: Sequence[Value]
            ) -> Value:
                made = emit(builder, *values)
                return context.get_dummy_value() if made is None else made

            return result(*takes), generate

        typer.__name__ = emit.__name__
        typer.__doc__ = emit.__doc__
        typer.__signature__ = inspect.signature(emit)  # type: ignore[attr-defined]  # numba counts by it
        made: Instruction = intrinsic(typer)
        return made

    return wrap


# Emitters: Python functions that write LLVM code; instructions are made of them.


def emit_load(builder: Builder, at: Value, kind: ir.Type, offset: int = 0) -> Value:
    """One value of an LLVM type from address `at` + `offset` bytes; alignment is that of float32."""
    place = builder.add(at, ir.Constant(WORD, offset)) if offset else at
    return builder.load(builder.inttoptr(place, kind.as_pointer()), align=1 if kind == BYTES.llvm else 4)


def emit_loads(builder: Builder, at: Value, kind: ir.Type, count: int) -> list[Value]:
    """`count` registers that lie one behind the other, read in this order.

    LLVM would choose another one, by which the machine does not see that it may read ahead.
    """
    found, size = [], kind.count * kind.element.width // 8
    for place in range(count):
        found.append(emit_load(builder, at, kind, size * place))
        builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)
    return found


def emit_prefetch(builder: Builder, at: Value, level: int = 2) -> None:
    """Asks for the line of the cache at an address, which may lie beyond an array, in a level of it."""
    place = builder.inttoptr(at, BYTE.as_pointer())
    how = [ir.Constant(INDEX, value) for value in (0, 4 - level, 1)]  # to read, locality, data
    emit_call(builder, "llvm.prefetch.p0", ir.VoidType(), [place, *how])


def emit_store(builder: Builder, at: Value, value: Value, offset: int = 0) -> None:
    """`value` to address `at` + `offset` bytes; alignment is that of float32."""
    place = builder.add(at, ir.Constant(WORD, offset)) if offset else at
    align = 1 if value.type == BYTES.llvm else 4
    builder.store(value, builder.inttoptr(place, value.type.as_pointer()), align=align)


def emit_shuffle(builder: Builder, first: Value, second: Value, lanes: Sequence[int]) -> Value:
    """The lanes of first and second, counted through, in the order that `lanes` names."""
    mask = ir.Constant(ir.VectorType(INDEX, len(lanes)), list(lanes))
    return builder.shuffle_vector(first, second, mask)


def emit_splat(builder: Builder, value: Value, kind: ir.VectorType) -> Value:
    """`value` in every lane."""
    empty = ir.Constant(kind, ir.Undefined)
    single = builder.insert_element(empty, value, ir.Constant(INDEX, 0))
    return emit_shuffle(builder, single, empty, [0] * kind.count)


def emit_call(builder: Builder, name: str, result: ir.Type, values: Sequence[Value]) -> Value:
    """A call of an LLVM intrinsic."""
    function = builder.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(result, [value.type for value in values])
        function = ir.Function(builder.module, kind, name)
    return builder.call(function, values)


def emit_fma(builder: Builder, a: Value, b: Value, c: Value) -> Value:
    """a * b + c, rounded once."""
    suffix = f"v{c.type.count}f32" if isinstance(c.type, ir.VectorType) else "f32"
    return emit_call(builder, f"llvm.fma.{suffix}", c.type, [a, b, c])


def emit_transpose(builder: Builder, quads: Sequence[Value]) -> list[Value]:
    """Four vectors whose lane r is element 0, 1, 2, 3 of quads[r]; len(quads) is a multiple of 4."""
    lanes = len(quads)
    columns = []
    for first in range(4):  # rows first, first + 4, ...: one quad in each 128-bit part
        parts = list(quads[first::4])
        while len(parts) > 1:
            count = 2 * parts[0].type.count
            parts = [
                emit_shuffle(builder, parts[i], parts[i + 1], range(count)) for i in range(0, len(parts), 2)
            ]
        columns.append(parts[0])
    low = [base + step for base in range(0, lanes, 4) for step in (0, lanes, 1, lanes + 1)]
    high = [base + step for base in range(0, lanes, 4) for step in (2, lanes + 2, 3, lanes + 3)]
    left = [base + step for base in range(0, lanes, 4) for step in (0, 1, lanes, lanes + 1)]
    right = [base + step for base in range(0, lanes, 4) for step in (2, 3, lanes + 2, lanes + 3)]
    out = []
    for half in (low, high):
        even = emit_shuffle(builder, columns[0], columns[1], half)
        odd = emit_shuffle(builder, columns[2], columns[3], half)
        out += [emit_shuffle(builder, even, odd, left), emit_shuffle(builder, even, odd, right)]
    return out


def emit_shuffle_bytes(builder: Builder, table: Value, index: Value) -> Value:
    """out[i] = table[16 * (i // 16) + index[i]], every index in 0..15: one instruction where there is one."""
    name = {
        "avx512": "llvm.x86.avx512.pshuf.b.512",
        "avx2": "llvm.x86.avx2.pshuf.b",
        "neon": "llvm.aarch64.neon.tbl1.v16i8",
    }.get(ISA)
    if name:
        return emit_call(builder, name, table.type, [table, index])
    out = ir.Constant(table.type, ir.Undefined)
    for lane in range(table.type.count):
        wanted = builder.extract_element(index, ir.Constant(INDEX, lane))
        wanted = builder.add(builder.zext(wanted, INDEX), ir.Constant(INDEX, lane // 16 * 16))
        out = builder.insert_element(out, builder.extract_element(table, wanted), ir.Constant(INDEX, lane))
    return out


def emit_tile(builder: Builder, vectors: Sequence[Value]) -> Value:
    """Vectors as one tuple."""
    tile = ir.Constant(ir.ArrayType(vectors[0].type, len(vectors)), ir.Undefined)
    for place, vector in enumerate(vectors):
        tile = builder.insert_value(tile, vector, place)
    return tile


def emit_vectors(builder: Builder, tile: Value) -> list[Value]:
    """The vectors of a tuple."""
    return [builder.extract_value(tile, place) for place in range(tile.type.count)]


# Instructions: what kernels call.


def _address(_context: Any, array: types.Array) -> tuple[Any, Callable[..., Value]]:
    """Address of an array's first element."""

    def generate(context: Any, builder: Builder, signature: Any, values: Sequence[Value]) -> Value:
        held = context.make_array(signature.args[0])(context, builder, values[0])
        return builder.ptrtoint(held.data, WORD)

    return ADDRESS(array), generate


address: Instruction = intrinsic(_address)


@instruction(FLOATS, ADDRESS)
def load(builder: Builder, at: Value) -> Value:
    """LANES float32 from an address."""
    return emit_load(builder, at, FLOATS.llvm)


@instruction(types.void, ADDRESS, FLOATS)
def store(builder: Builder, at: Value, vector: Value) -> None:
    """LANES float32 to an address."""
    emit_store(builder, at, vector)


@instruction(FLOATS, types.float32)
def splat(builder: Builder, value: Value) -> Value:
    """The same float32 in every lane."""
    return emit_splat(builder, value, FLOATS.llvm)


@instruction(FLOATS, FLOATS, FLOATS, FLOATS)
def fma_lanes(builder: Builder, a: Value, b: Value, c: Value) -> Value:
    """a * b + c in each lane, rounded once."""
    return emit_fma(builder, a, b, c)


@instruction(FLOATS, FLOATS, FLOATS)
def add_lanes(builder: Builder, a: Value, b: Value) -> Value:
    """a + b in each lane."""
    return builder.fadd(a, b)


@instruction(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS)
def where_less(builder: Builder, a: Value, b: Value, then: Value, otherwise: Value) -> Value:
    """`then` in each lane where a < b, else `otherwise`."""
    return builder.select(builder.fcmp_ordered("<", a, b), then, otherwise)


@instruction(types.int64, types.int64)
def lowest_bit(builder: Builder, bits: Value) -> Value:
    """The place of the lowest bit that is set; there is one."""
    return emit_call(builder, "llvm.cttz.i64", WORD, [bits, ir.Constant(ir.IntType(1), 1)])


def copier(count: int) -> Instruction:
    """An instruction (source, target) that copies `count` float32 from address to address."""

    def copy(builder: Builder, source: Value, target: Value) -> None:
        emit_store(builder, target, emit_load(builder, source, ir.VectorType(FLOAT, count)))

    return instruction(types.void, ADDRESS, ADDRESS)(copy)


@instruction(types.void, ADDRESS, ADDRESS)
def copy_past(builder: Builder, source: Value, target: Value) -> None:
    """4 float32 from address to address, which is a multiple of 16: past the cache, for what is more than it
    holds. `order` comes after the last of them."""
    kind = ir.VectorType(FLOAT, 4)
    stored = builder.store(
        emit_load(builder, source, kind), builder.inttoptr(target, kind.as_pointer()), align=16
    )
    stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(INDEX, 1)]))


@instruction(types.void)
def order(builder: Builder) -> None:
    """Other threads see what was written past the cache before they see what is written from here on."""
    builder.fence("seq_cst")


@instruction(types.void, ADDRESS, types.int64, ADDRESS)
def transpose_quads(builder: Builder, rows: Value, stride: Value, out: Value) -> None:
    """out[t, r] = rows[r, t] for 4 columns t and LANES rows r that lie `stride` bytes apart."""
    quads = []
    for _ in range(max(LANES, 4)):
        quads.append(emit_load(builder, rows, ir.VectorType(FLOAT, 4)))
        rows = builder.add(rows, stride)
    for t, column in enumerate(emit_transpose(builder, quads)):
        emit_store(builder, out, column, 4 * max(LANES, 4) * t)


@instruction(BYTES, ADDRESS)
def load_bytes(builder: Builder, at: Value) -> Value:
    """REGISTER_BYTES bytes from an address."""
    return emit_load(builder, at, BYTES.llvm)


@instruction(types.void, ADDRESS, BYTES)
def store_bytes(builder: Builder, at: Value, vector: Value) -> None:
    """REGISTER_BYTES bytes to an address."""
    emit_store(builder, at, vector)


@instruction(BYTES, BYTES, BYTES)
def shuffle_bytes(builder: Builder, table: Value, index: Value) -> Value:
    """out[i] = table[16 * (i // 16) + index[i]], every index in 0..15."""
    return emit_shuffle_bytes(builder, table, index)


@instruction(types.float32, types.float32, types.float32, types.float32)
def _fma_compiled(builder: Builder, a: Value, b: Value, c: Value) -> Value:
    return emit_fma(builder, a, b, c)


def _fma_exact(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    """a * b + c rounded once, in float64: the sum is rounded to odd, so that rounding it again is exact.

    Boldo, Melquiond 2008, "Emulation of FMA and correctly rounded sums", section 3.
    """
    product, addend = float(a) * float(b), float(c)  # the product of two float32 fits a float64
    total = product + addend
    if not math.isfinite(total):
        return np.float32(total)
    back = total - product
    error = (product - (total - back)) + (addend - back)
    if error and not np.float64(total).view(np.int64) & 1:
        total = math.nextafter(total, math.copysign(math.inf, error))
    with np.errstate(over="ignore"):
        return np.float32(total)


# One float32; plain loops call it, so that they round as the vector code does.
fma: Callable[[np.float32, np.float32, np.float32], np.float32]
fma = _fma_exact if config.DISABLE_JIT else _fma_compiled  # type: ignore[attr-defined]


def empty_floats(count: int) -> NDArray[np.float32]:
    """`count` float32, not set, that begin on a cache line (64 bytes)."""
    return _on_a_line(np.empty(count + 16, np.float32), count)


def zero_floats(count: int) -> NDArray[np.float32]:
    """As `empty_floats`, zeros; memory that nobody writes to is not taken."""
    return _on_a_line(np.zeros(count + 16, np.float32), count)


def _on_a_line(held: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    skip = -held.ctypes.data % 64 // 4
    return held[skip : skip + count]


def zeros_in_lines(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros that begin on a cache line: registers that are read from there lie in one line each."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    held = np.zeros(size + 64, np.uint8)
    skip = -held.ctypes.data % 64
    found: NDArray[Any] = held[skip : skip + size].view(dtype).reshape(shape)
    return found
