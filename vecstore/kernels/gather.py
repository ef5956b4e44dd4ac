"""Codes of rows that lie in batches all over many files: addresses from a table, then copies."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    BYTE,
    WORD,
    Builder,
    Value,
    address,
    emit_call,
    emit_prefetch,
    instruction,
)

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

ROW_BITS = 40  # of a place, which is a part's number and a row in it
PAGE_BITS = 16  # of a page that has one checksum
_AHEAD = 64  # rows that are asked for before those ahead of them are copied; a power of two

# The columns of a table of parts (p, 5) int64. Of a part that is not open, BATCHES is 0.
BATCHES = (
    0  # address of (batches, 2) int64: the address of a batch's first code, 0 if unknown; its file offset
)
SHIFT = 1  # a batch has 1 << SHIFT rows
VERIFIED = 2  # address of one byte a page, 0 if it is not verified; 0 if all are
ROWS = 3
LIVE = 4  # address of one byte a row, 0 if it is deleted; 0 if none is, -1 if that is not known yet
FACTS = 5

_LARGE, _SMALL = ir.VectorType(BYTE, 64), ir.VectorType(BYTE, 16)


@instruction(types.int64, ADDRESS)
def load_word(builder: Builder, at: Value) -> Value:
    """The int64 at an address, which is a multiple of 8."""
    return builder.load(builder.inttoptr(at, WORD.as_pointer()), align=8)


@instruction(types.uint8, ADDRESS)
def load_byte(builder: Builder, at: Value) -> Value:
    """The byte at an address."""
    return builder.load(builder.inttoptr(at, BYTE.as_pointer()), align=1)


@instruction(types.void, ADDRESS, ADDRESS)
def _copy_16(builder: Builder, target: Value, source: Value) -> None:
    """16 bytes from address to address."""
    found = builder.load(builder.inttoptr(source, _SMALL.as_pointer()), align=1)
    builder.store(found, builder.inttoptr(target, _SMALL.as_pointer()), align=1)


@instruction(types.void, ADDRESS, ADDRESS)
def _copy_64(builder: Builder, target: Value, source: Value) -> None:
    """64 bytes from address to address."""
    found = builder.load(builder.inttoptr(source, _LARGE.as_pointer()), align=1)
    builder.store(found, builder.inttoptr(target, _LARGE.as_pointer()), align=1)


@instruction(types.void, ADDRESS, ADDRESS, types.int64)
def _copy(builder: Builder, target: Value, source: Value, size: Value) -> None:
    """`size` bytes from address to address."""
    places = [builder.inttoptr(at, BYTE.as_pointer()) for at in (target, source)]
    fixed = ir.Constant(ir.IntType(1), 0)
    emit_call(builder, "llvm.memcpy.p0.p0.i64", ir.VoidType(), [*places, size, fixed])


@instruction(types.void, ADDRESS)
def prefetch(builder: Builder, at: Value) -> None:
    """Asks for the line of the cache at an address."""
    emit_prefetch(builder, at)


@kernel
def _source(place: int, table: I64, width: int) -> int:
    """The address of the code at a place, 0 if it is not open, not known or not verified yet."""
    part, row = place >> ROW_BITS, place & ((1 << ROW_BITS) - 1)
    if part < 0 or part >= table.shape[0] or row >= table[part, ROWS] or table[part, BATCHES] == 0:
        return 0
    shift = table[part, SHIFT]
    batch = table[part, BATCHES] + ((row >> shift) << 4)
    first = load_word(batch)
    if first == 0:
        return 0
    within = (row & ((1 << shift) - 1)) * width
    verified = table[part, VERIFIED]
    if verified != 0:
        start = load_word(batch + 8) + within
        stop = start + width - 1
        for page in range(start >> PAGE_BITS, (stop >> PAGE_BITS) + 1):
            if load_byte(verified + page) == 0:
                return 0
    return int(first + within)


@kernel
def _copy_code(target: int, source: int, width: int) -> None:
    """`width` bytes from address to address, 64 or 16 at a time; the last ones may be copied twice."""
    if width >= 64:
        for at in range(0, width - 63, 64):
            _copy_64(target + at, source + at)
        _copy_64(target + width - 64, source + width - 64)
    elif width >= 16:
        for at in range(0, width - 15, 16):
            _copy_16(target + at, source + at)
        _copy_16(target + width - 16, source + width - 16)
    else:
        _copy(target, source, width)


@kernel
def mark(places: I64, marks: NDArray[np.bool_]) -> None:
    """marks[part] = True for the part (p,) of each place (n,), none of which is negative."""
    for i in range(places.shape[0]):
        marks[places[i] >> ROW_BITS] = True


@kernel
def gather(places: I64, table: I64, out: U8, todo: I64) -> int:
    """out[i] = the code at places[i]; gives how many could not be read, whose i are in todo.

    places (n,); table (p, FACTS), whose addresses hold; out (n, width), written; todo (n,), written.
    """
    count, width = places.shape[0], out.shape[1]
    sources = np.empty(2 * _AHEAD, np.int64)
    target = address(out)
    missing = 0
    for first in range(0, count + _AHEAD, _AHEAD):
        for i in range(first, min(first + _AHEAD, count)):
            source = _source(places[i], table, width)
            sources[i & (2 * _AHEAD - 1)] = source
            if source != 0:
                for line in range(0, width, 64):
                    prefetch(source + line)
                prefetch(source + width - 1)
        for i in range(max(first - _AHEAD, 0), min(first, count)):
            source = sources[i & (2 * _AHEAD - 1)]
            if source == 0:
                todo[missing] = i
                missing += 1
            else:
                _copy_code(target, source, width)
            target += width
    return missing
