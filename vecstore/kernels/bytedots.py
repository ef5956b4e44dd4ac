"""Inner products of codes that are small whole numbers, a byte or a nibble each, with rounded weights.

Codes lie in blocks of BLOCK rows: the first four bytes of all of them, then the next four, so that a register
holds four bytes of several rows and one instruction adds four products to each row's sum. A weight is a pair
of signed bytes, 256 upper + lower, with sums of their own. The lower ones are zero, and not added, where no
weight is far larger than the others: then eight bits lose little, and what they lose in the middle of the
codes' range is put into the offset. Sums are whole numbers, so that all instruction sets give equal scores.
"""

from __future__ import annotations

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.isa import FEATURES, ISA
from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import (
    ADDRESS,
    BYTES,
    FLOAT,
    INDEX,
    REGISTER_BYTES,
    Builder,
    Instruction,
    Value,
    Vector,
    address,
    emit_call,
    emit_fma,
    emit_load,
    emit_shuffle,
    emit_splat,
    emit_store,
    emit_tile,
    emit_vectors,
    fma,
    instruction,
    zeros_in_lines,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I8 = NDArray[np.int8]
# (q, groups, halves, 2, 4), scales (q,), offsets (q,), whether lower bytes are zero (q,)
Weights = tuple[I8, F32, F32, NDArray[np.bool_]]
BLOCK = 64
MOST_DIMS = 65_000  # so that sums of 255 * 128 each fit 32 bits
_LEVELS, _UPPER = np.float32(32_639), np.float32(127)  # the largest weight, of both bytes and of the upper
EVEN = 5.0  # times the root of the mean square: weights up to it are rounded to the upper byte
_LANES = REGISTER_BYTES // 4  # rows of a register
_REGISTERS = 2 if ISA == "avx2" else 4  # of rows, summed at a time
_PART = _LANES * _REGISTERS
QUERIES = 1 if ISA in ("avx2", "scalar") else 4  # that share what is read of a block, where registers suffice
_INTS = Vector(INDEX, _LANES)
_SHORT = ir.IntType(16)
_NEW_SIGNATURE = llvm.llvm_version_info >= (21, 0, 0)


def lay_out(codes: U8) -> U8:
    """Codes (n, width) in blocks, (ceil(n / BLOCK), ceil(width / 4), BLOCK, 4); what is missing is zeros."""
    count, width = codes.shape
    groups, full = -(-width // 4), count // BLOCK
    blocks = zeros_in_lines((-(-count // BLOCK), groups, BLOCK, 4), np.uint8)
    if width % 4 or count % BLOCK:
        for block in range(len(blocks)):
            part = np.zeros((BLOCK, groups * 4), np.uint8)
            rows = codes[block * BLOCK : (block + 1) * BLOCK]
            part[: len(rows), :width] = rows
            blocks[block] = part.reshape(BLOCK, groups, 4).transpose(1, 0, 2)
        return blocks
    fours = np.ascontiguousarray(codes).view(np.uint32).reshape(full, BLOCK, groups)
    blocks.view(np.uint32)[..., 0] = fours.transpose(0, 2, 1)
    return blocks


def fold(weights: F32, offsets: F64, halves: int, largest: int, even: float = EVEN) -> Weights:
    """weights (q, dim) as `dots` reads them; offsets (q,) are what it adds.

    halves: 1 for codes of a byte, 2 for nibbles, of which the lower one of a byte comes first. largest: the
    largest code. even: times the root of their mean square, up to which weights are rounded to a byte.
    """
    count, dim = weights.shape
    made = np.zeros((count, -(-dim // (4 * halves)), halves, 2, 4), np.int8)
    scales, sums = np.empty(count, np.float32), np.empty(count, np.float32)
    coarse = np.empty(count, np.bool_)
    fold_into(weights, offsets, (largest / 2, even), made, (scales, sums, coarse))
    return made, scales, sums, coarse


@kernel
def fold_into(
    weights: F32, offsets: F64, given: tuple[float, float], made: I8, out: tuple[F32, F32, NDArray[np.bool_]]
) -> None:
    """256 made[j, g, h, 0, b] + made[j, g, h, 1, b] = weights[j, (4 g + b) halves + h] / scale, rounded.

    given: the middle of the codes' range, and `even`. out: scales; offsets and what rounding loses where all
    codes are in the middle; whether lower bytes are zero.
    """
    middle, most = given
    scales, sums, coarse = out
    halves = made.shape[2]
    for j in range(weights.shape[0]):
        largest, square = np.float32(0), 0.0
        for t in range(weights.shape[1]):
            largest = max(largest, abs(weights[j, t]))
            square += np.float64(weights[j, t]) * np.float64(weights[j, t])
        even = np.float64(largest) <= most * np.sqrt(square / weights.shape[1])
        levels = _UPPER if even else _LEVELS
        scale = largest / levels
        inverse = np.float32(1) / scale if scale > np.float32(0) else np.float32(0)
        if not np.isfinite(inverse):
            scale, inverse = np.float32(0), np.float32(0)
        lost = 0.0
        for t in range(weights.shape[1]):
            level = np.rint(weights[j, t] * inverse)
            level = min(max(level, -levels), levels)
            lost += np.float64(weights[j, t]) - np.float64(level) * np.float64(scale)
            at, whole = t // halves, np.int32(level)
            upper = whole if even else (whole + 128) >> 8
            made[j, at // 4, t % halves, 0, at % 4] = np.int8(upper)
            made[j, at // 4, t % halves, 1, at % 4] = np.int8(0 if even else whole - 256 * upper)
        scales[j] = scale / np.float32(256) if even else scale
        sums[j] = np.float32(offsets[j] + middle * lost)
        coarse[j] = even


def dots(blocks: U8, first: int, weights: Weights, out: F32) -> None:
    """out[j, i] = offset + scale * sum of weight * code of row i, the rows those of blocks first, ...

    blocks from `lay_out`; weights from `fold`; out (q, n), written.
    """
    halves = weights[0].shape[2]
    if ISA == "scalar":
        _dots_plain(blocks, first, weights, out)
    elif halves == 1:
        _dots_bytes(blocks, first, weights, out, np.empty(BLOCK, np.float32))
    else:
        _dots_nibbles(blocks, first, weights, out, np.empty(BLOCK, np.float32))


@kernel
def _dots_plain(blocks: U8, first: int, weights: Weights, out: F32) -> None:
    """`dots` by plain loops."""
    made, scales, offsets, _ = weights
    halves = made.shape[2]
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            upper, lower = np.int64(0), np.int64(0)
            for g in range(blocks.shape[1]):
                for b in range(4):
                    byte = np.int64(blocks[first + i // BLOCK, g, i % BLOCK, b])
                    for half in range(halves):
                        code = byte if halves == 1 else (byte >> 4 if half else byte & 15)
                        upper += code * np.int64(made[j, g, half, 0, b])
                        lower += code * np.int64(made[j, g, half, 1, b])
            total = fma(np.float32(upper), np.float32(256), np.float32(lower))
            out[j, i] = fma(total, scales[j], offsets[j])


def emit_dot(builder: Builder, sums: Value, codes: Value, weights: Value) -> Value:
    """sums[i] + the four codes[4 i], ... times their weights: unsigned bytes by signed ones."""
    if "vnni" in FEATURES:
        operands = [codes, weights]
        if not _NEW_SIGNATURE:
            operands = [builder.bitcast(value, sums.type) for value in operands]
        return emit_call(builder, "llvm.x86.avx512.vpdpbusd.512", sums.type, [sums, *operands])
    pair = {"avx512": "llvm.x86.avx512.pmaddw.d.512", "avx2": "llvm.x86.avx2.pmadd.wd"}.get(ISA)
    if pair:
        shorts = ir.VectorType(_SHORT, REGISTER_BYTES // 2)
        eight = ir.Constant(shorts, [8] * shorts.count)
        values, factors = builder.bitcast(codes, shorts), builder.bitcast(weights, shorts)
        low = builder.and_(values, ir.Constant(shorts, [255] * shorts.count))
        low_weights = builder.ashr(builder.shl(factors, eight), eight)
        for a, b in ((low, low_weights), (builder.lshr(values, eight), builder.ashr(factors, eight))):
            sums = builder.add(sums, emit_call(builder, pair, sums.type, [a, b]))
        return sums
    shorts = ir.VectorType(_SHORT, REGISTER_BYTES)
    level = builder.mul(builder.zext(codes, shorts), builder.sext(weights, shorts))
    level = builder.sext(level, ir.VectorType(INDEX, REGISTER_BYTES))
    for _ in range(2):
        lanes = range(level.type.count)
        level = builder.add(
            emit_shuffle(builder, level, level, lanes[::2]), emit_shuffle(builder, level, level, lanes[1::2])
        )
    return builder.add(sums, level)


def _tile(halves: int, bytes_: int) -> tuple[Instruction, Instruction, Instruction]:
    """Instructions on sums of _PART rows, by half and byte of a weight: (none, add four bytes, store)."""
    count = bytes_ * halves * _REGISTERS
    kind = types.UniTuple(_INTS, count)  # type: ignore[no-untyped-call]

    @instruction(kind)
    def start(builder: Builder) -> Value:
        return emit_tile(builder, [ir.Constant(_INTS.llvm, [0] * _LANES)] * count)

    @instruction(kind, kind, ADDRESS, ADDRESS)
    def add(builder: Builder, tile: Value, codes: Value, weights: Value) -> Value:
        sums = emit_vectors(builder, tile)
        factors = [
            emit_splat(builder, emit_load(builder, weights, INDEX, 8 * half + 4 * byte), _INTS.llvm)
            for half in range(halves)
            for byte in range(bytes_)
        ]
        factors = [builder.bitcast(factor, BYTES.llvm) for factor in factors]
        for part in range(_REGISTERS):
            held = emit_load(builder, codes, BYTES.llvm, part * REGISTER_BYTES)
            values = [held]
            if halves == 2:  # The upper nibble stays where it is: its sums are 16 times as large.
                values = [
                    builder.and_(held, ir.Constant(BYTES.llvm, [mask] * REGISTER_BYTES)) for mask in (15, 240)
                ]
            for at, factor in enumerate(factors):
                place = part * bytes_ * halves + at
                sums[place] = emit_dot(builder, sums[place], values[at // bytes_], factor)
        return emit_tile(builder, sums)

    @instruction(types.void, kind, types.float32, types.float32, ADDRESS)
    def save(builder: Builder, tile: Value, scale: Value, offset: Value, at: Value) -> None:
        sums = emit_vectors(builder, tile)
        wide = ir.VectorType(FLOAT, _LANES)
        four = ir.Constant(_INTS.llvm, [4] * _LANES)
        for part in range(_REGISTERS):
            own = sums[part * bytes_ * halves : (part + 1) * bytes_ * halves]
            if halves == 2:
                own = [builder.add(own[b], builder.ashr(own[bytes_ + b], four)) for b in range(bytes_)]
            upper, *lower = (builder.sitofp(value, wide) for value in own)
            zero = ir.Constant(wide, [0.0] * _LANES)
            total = emit_fma(builder, upper, ir.Constant(wide, [256.0] * _LANES), lower[0] if lower else zero)
            found = emit_fma(
                builder, total, emit_splat(builder, scale, wide), emit_splat(builder, offset, wide)
            )
            emit_store(builder, at, found, 4 * _LANES * part)

    return start, add, save


def _tile_many(halves: int) -> tuple[Instruction, Instruction, Instruction]:
    """Instructions on the sums of _PART / halves rows for QUERIES, whose lower bytes are zero."""
    registers = _REGISTERS // halves
    kind = types.UniTuple(_INTS, QUERIES * halves * registers)  # type: ignore[no-untyped-call]

    @instruction(kind)
    def start(builder: Builder) -> Value:
        return emit_tile(builder, [ir.Constant(_INTS.llvm, [0] * _LANES)] * kind.count)

    @instruction(kind, kind, ADDRESS, ADDRESS, types.int64)
    def add(builder: Builder, tile: Value, codes: Value, weights: Value, stride: Value) -> Value:
        sums = emit_vectors(builder, tile)
        values = []
        for part in range(registers):
            held = emit_load(builder, codes, BYTES.llvm, part * REGISTER_BYTES)
            masks = (15, 240) if halves == 2 else (255,)
            values += [builder.and_(held, ir.Constant(BYTES.llvm, [mask] * REGISTER_BYTES)) for mask in masks]
        for j in range(QUERIES):
            for half in range(halves):
                factor = emit_splat(builder, emit_load(builder, weights, INDEX, 8 * half), _INTS.llvm)
                factor = builder.bitcast(factor, BYTES.llvm)
                for part in range(registers):
                    place = (j * registers + part) * halves + half
                    sums[place] = emit_dot(builder, sums[place], values[part * halves + half], factor)
            weights = builder.add(weights, stride)
        return emit_tile(builder, sums)

    @instruction(types.void, kind, ADDRESS, ADDRESS, ADDRESS, types.int64)
    def save(builder: Builder, tile: Value, scales: Value, offsets: Value, at: Value, across: Value) -> None:
        sums = emit_vectors(builder, tile)
        wide = ir.VectorType(FLOAT, _LANES)
        for j in range(QUERIES):
            scale, offset = (emit_load(builder, held, FLOAT, 4 * j) for held in (scales, offsets))
            for part in range(registers):
                own = sums[(j * registers + part) * halves : (j * registers + part + 1) * halves]
                whole = own[0]
                if halves == 2:
                    whole = builder.add(whole, builder.ashr(own[1], ir.Constant(_INTS.llvm, [4] * _LANES)))
                total = builder.fmul(builder.sitofp(whole, wide), ir.Constant(wide, [256.0] * _LANES))
                found = emit_fma(
                    builder, total, emit_splat(builder, scale, wide), emit_splat(builder, offset, wide)
                )
                emit_store(builder, at, found, 4 * _LANES * part)
            at = builder.add(at, across)

    return start, add, save


_start_bytes, _add_bytes, _save_bytes = _tile(1, 2)
_start_nibbles, _add_nibbles, _save_nibbles = _tile(2, 2)
_start_bytes1, _add_bytes1, _save_bytes1 = _tile(1, 1)
_start_nibbles1, _add_nibbles1, _save_nibbles1 = _tile(2, 1)


_start_many_bytes, _add_many_bytes, _save_many_bytes = _tile_many(1)
_start_many_nibbles, _add_many_nibbles, _save_many_nibbles = _tile_many(2)


@kernel
def _many(
    codes: int, weights: tuple[int, int, int], target: int, groups: int, halves: int, across: int
) -> None:
    """`dots` of a whole block with QUERIES. weights: addresses of what `fold` made of the first of them;
    across: bytes from one query's scores to the next one's."""
    made, scales, offsets = weights
    stride = groups * halves * 8
    for part in range(0, BLOCK, _PART // halves):
        at, to = codes + part * 4, target + part * 4
        if halves == 1:
            tile = _start_many_bytes()
            for g in range(groups):
                tile = _add_many_bytes(tile, at + g * (BLOCK * 4), made + g * 8, stride)
            _save_many_bytes(tile, scales, offsets, to, across)
        else:
            pairs = _start_many_nibbles()
            for g in range(groups):
                pairs = _add_many_nibbles(pairs, at + g * (BLOCK * 4), made + g * 16, stride)
            _save_many_nibbles(pairs, scales, offsets, to, across)


@kernel
def _dots_bytes(blocks: U8, first: int, weights: Weights, out: F32, found: F32) -> None:
    """`dots` of bytes; found (BLOCK,) is scratch for the last block."""
    size = blocks.shape[1] * BLOCK * 4
    for i in range(0, out.shape[1], BLOCK):
        dots_block(address(blocks) + (first + i // BLOCK) * size, weights, i, out, found)


@kernel
def dots_block(block: int, weights: Weights, i: int, out: F32, found: F32) -> None:
    """`dots` of one block of bytes at an address, the rows of which are i, i + 1, ... of out (q, n).

    found (BLOCK,) is scratch for a block that reaches beyond out.
    """
    made, scales, offsets, coarse = weights
    groups, count = made.shape[1], out.shape[1]
    j = 0
    while j < out.shape[0]:
        factors = address(made) + j * groups * 8
        target = address(out) + (j * count + i) * 4 if i + BLOCK <= count else address(found)
        if QUERIES > 1 and i + BLOCK <= count and coarse[j : j + QUERIES].sum() == QUERIES:
            held = factors, address(scales) + j * 4, address(offsets) + j * 4
            _many(block, held, target, groups, 1, count * 4)
            j += QUERIES
            continue
        for part in range(0, BLOCK, _PART):
            codes = block + part * 4
            if coarse[j]:
                upper = _start_bytes1()
                for g in range(groups):
                    upper = _add_bytes1(upper, codes + g * (BLOCK * 4), factors + g * 8)
                _save_bytes1(upper, scales[j], offsets[j], target + part * 4)
                continue
            tile = _start_bytes()
            for g in range(groups):
                tile = _add_bytes(tile, codes + g * (BLOCK * 4), factors + g * 8)
            _save_bytes(tile, scales[j], offsets[j], target + part * 4)
        if i + BLOCK > count:
            for r in range(count - i):
                out[j, i + r] = found[r]
        j += 1


@kernel
def _dots_nibbles(blocks: U8, first: int, weights: Weights, out: F32, found: F32) -> None:
    """`dots` of nibbles; found (BLOCK,) is scratch for the last block."""
    made, scales, offsets, coarse = weights
    groups, count = blocks.shape[1], out.shape[1]
    for i in range(0, count, BLOCK):
        j = 0
        while j < out.shape[0]:
            factors = address(made) + j * groups * 16
            target = address(out) + (j * count + i) * 4 if i + BLOCK <= count else address(found)
            if QUERIES > 1 and i + BLOCK <= count and coarse[j : j + QUERIES].sum() == QUERIES:
                block = address(blocks) + (first + i // BLOCK) * groups * BLOCK * 4
                held = factors, address(scales) + j * 4, address(offsets) + j * 4
                _many(block, held, target, groups, 2, count * 4)
                j += QUERIES
                continue
            for part in range(0, BLOCK, _PART):
                codes = address(blocks) + ((first + i // BLOCK) * groups * BLOCK + part) * 4
                if coarse[j]:
                    upper = _start_nibbles1()
                    for g in range(groups):
                        upper = _add_nibbles1(upper, codes + g * (BLOCK * 4), factors + g * 16)
                    _save_nibbles1(upper, scales[j], offsets[j], target + part * 4)
                    continue
                tile = _start_nibbles()
                for g in range(groups):
                    tile = _add_nibbles(tile, codes + g * (BLOCK * 4), factors + g * 16)
                _save_nibbles(tile, scales[j], offsets[j], target + part * 4)
            if i + BLOCK > count:
                for r in range(count - i):
                    out[j, i + r] = found[r]
            j += 1
