"""One step of an optimizer on the rows of a table: the gradients of a row are summed first."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel
from vecstore.kernels.radix import pack, sort_keys
from vecstore.kernels.rowformats import (
    F32,
    I4,
    I8,
    L8,
    L16,
    encode,
    inverse_of,
    key_of,
    rescaled,
    rounded,
    scale_of,
    values_at,
)
from vecstore.kernels.simd import address
from vecstore.kernels.sixteen import (
    all_of,
    largest_of,
    load_all,
    load_bytes,
    load_eight,
    load_float,
    load_floats,
    load_short_float,
    load_word,
    minus,
    over,
    plus,
    prefetch,
    root,
    store_all,
    store_bytes,
    store_eight,
    store_float,
    store_floats,
    times,
    total,
    within,
    zeros,
)

F32s = NDArray[np.float32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

Source: TypeAlias = tuple[int, int, int, int, int, int]  # keys, end, as `_places`, values of a piece, sums
Places: TypeAlias = tuple[int, int, int, int]  # rows, bytes of one, states, bytes of one

SGD, ROWWISE, ADAGRAD, ADAM = range(4)
_AHEAD = 32  # gradients between asking for a row and stepping it
_PIECE, _MINUS = (1 << 31) - 1, 1 << 31


class Rule(NamedTuple):
    """What a step does, fixed over its rows."""

    optimizer: int  # SGD, ROWWISE, ADAGRAD, ADAM
    kind: int  # of rows
    rate: np.float32  # for ADAM with the correction of both means
    eps: np.float32
    beta1: np.float32
    beta2: np.float32
    step_rate: np.float32  # of learned steps
    seed: np.uint64  # of this step's rounding
    width: int  # of rows


def scratch_width(width: int) -> int:
    """float32 that a step puts a row's `width` values into: whole vectors, and four of them from 17 on."""
    return 16 if width <= 16 else -(-width // 64) * 64


@kernel
def step_rows(
    data: NDArray[np.uint8], state: F32s, keys: U64, pieces: I64, scratch: F32s, rule: Rule
) -> None:
    """Each row in keys takes one step by the sum of its gradients.

    data (rows, row bytes), written; state (rows, s), written: none for SGD, one mean square for ROWWISE
    (Duchi et al. 2011 with one rate a row, as in torchrec), w squares for ADAGRAD, two times w means for
    ADAM (Kingma and Ba 2015, of touched rows alone). keys (k,) as of `pack`, sorted. pieces: the address of
    each piece of gradients, w float32; or (1,), where the first of them is if they lie one behind the other.
    scratch (2, scratch_width(w)).
    """
    # Addresses alone are handed on: numba counts references of an array at each call.
    source = (address(keys), address(keys) + 8 * keys.size, *_places(pieces), rule.width, address(scratch))
    places = (address(data), data.shape[1], address(state), 4 * state.shape[1])
    if rule.width <= 16:
        _step_narrow(source, places, rule)
    elif rule.width <= 64:
        _step_wide(source, places, rule)
    else:
        _step_any(source, places, rule)


@kernel
def step_part(
    job: tuple[I64, I64, int, tuple[int, int]],
    room: tuple[U64, U64, I64, int, int],
    rows: tuple[NDArray[np.uint8], F32s, I64, F32s],
    rule: Rule,
) -> None:
    """`pack`, `sort_keys` and `step_rows` as one, without a thread's being asked for the interpreter between.

    job: addresses, offsets, first, share as of `pack`; room: keys, spare, counts, where the job's keys go
    behind those of others, bits; rows: data, state, pieces, scratch.
    """
    keys, spare, counts, at, bits = room
    end = pack(job[0], job[1], job[2], job[3], keys, at)
    swapped = sort_keys(keys[:end], spare[:end], counts, bits)
    step_rows(rows[0], rows[1], (spare if swapped else keys)[:end], rows[2], rows[3], rule)


@kernel
def _step_narrow(source: Source, places: Places, rule: Rule) -> None:
    """Steps of rows of up to 16 values, whose gradients stay in a register."""
    base, row_bytes, states, state_bytes = places
    at, end, _, _, width, sums = source
    last = end - 8
    while at < end:
        key = load_word(at)
        row = key >> 32
        whole = zeros()
        while key >> 32 == row:
            piece = _piece_at(key, source)
            part = load_eight(piece, width) if width <= 8 else load_floats(piece, width)
            whole = minus(whole, part) if key & _MINUS else plus(whole, part)
            later = load_word(min(at + 8 * _AHEAD, last)) >> 32
            prefetch(base + later * row_bytes)
            prefetch(base + later * row_bytes + row_bytes - 1)
            prefetch(states + later * state_bytes)
            prefetch(states + later * state_bytes + state_bytes - 1)
            at += 8
            if at == end:
                break
            key = load_word(at)
        there, where = base + row * row_bytes, states + row * state_bytes
        rate = _rate(times(whole, whole), where, rule)
        if rule.kind == F32 and rule.optimizer <= ROWWISE and width <= 8:
            store_eight(there, minus(load_eight(there, width), times(all_of(rate), whole)), width)
        elif rule.kind == F32 and rule.optimizer <= ROWWISE:
            store_floats(there, minus(load_floats(there, width), times(all_of(rate), whole)), width)
        elif rule.kind == I8 and rule.optimizer <= ROWWISE:
            scale = load_short_float(there + width)
            before = times(load_bytes(there, width), all_of(scale))
            whole = minus(before, times(all_of(rate), whole))
            scale = rescaled(there + width, largest_of(whole) / np.float32(127), scale)
            _put_bytes(whole, there, row, (0, width), inverse_of(scale), rule)
        else:
            store_all(sums, whole)
            _move(there, row, sums, where, rate, rule)


@kernel
def _step_wide(source: Source, places: Places, rule: Rule) -> None:
    """Steps of rows of up to 64 values, as `_step_narrow`."""
    base, row_bytes, states, state_bytes = places
    at, end, _, _, width, sums = source
    last = end - 8
    while at < end:
        key = load_word(at)
        row = key >> 32
        a, b, c, d = zeros(), zeros(), zeros(), zeros()
        while key >> 32 == row:
            piece = _piece_at(key, source)
            sign = all_of(np.float32(-1) if key & _MINUS else np.float32(1))
            a = plus(a, times(sign, load_floats(piece, width)))
            b = plus(b, times(sign, load_floats(piece + 64, width - 16)))
            if width > 32:  # a load without any lane waits, too
                c = plus(c, times(sign, load_floats(piece + 128, width - 32)))
                d = plus(d, times(sign, load_floats(piece + 192, width - 48)))
            later = load_word(min(at + 4 * _AHEAD, last)) >> 32
            _ask(base + later * row_bytes, row_bytes)
            _ask(states + later * state_bytes, state_bytes)
            at += 8
            if at == end:
                break
            key = load_word(at)
        there, where = base + row * row_bytes, states + row * state_bytes
        squares = plus(plus(plus(times(a, a), times(b, b)), times(c, c)), times(d, d))
        rate = _rate(squares, where, rule)
        if rule.kind == F32 and rule.optimizer <= ROWWISE:
            by = all_of(rate)
            store_floats(there, minus(load_floats(there, width), times(by, a)), width)
            store_floats(there + 64, minus(load_floats(there + 64, width - 16), times(by, b)), width - 16)
            if width > 32:
                store_floats(
                    there + 128, minus(load_floats(there + 128, width - 32), times(by, c)), width - 32
                )
                store_floats(
                    there + 192, minus(load_floats(there + 192, width - 48), times(by, d)), width - 48
                )
        elif rule.kind == I8 and rule.optimizer <= ROWWISE:
            scale = load_short_float(there + width)
            old, by = all_of(scale), all_of(rate)
            a = minus(times(load_bytes(there, width), old), times(by, a))
            b = minus(times(load_bytes(there + 16, width - 16), old), times(by, b))
            c = minus(times(load_bytes(there + 32, width - 32), old), times(by, c))
            d = minus(times(load_bytes(there + 48, width - 48), old), times(by, d))
            peak = max(max(largest_of(a), largest_of(b)), max(largest_of(c), largest_of(d)))
            inverse = inverse_of(rescaled(there + width, peak / np.float32(127), scale))
            _put_bytes(a, there, row, (0, width), inverse, rule)
            _put_bytes(b, there, row, (16, width), inverse, rule)
            _put_bytes(c, there, row, (32, width), inverse, rule)
            _put_bytes(d, there, row, (48, width), inverse, rule)
        else:
            store_all(sums, a)
            store_all(sums + 64, b)
            store_all(sums + 128, c)
            store_all(sums + 192, d)
            _move(there, row, sums, where, rate, rule)


@kernel
def _put_bytes(values: Any, at: int, row: int, which: tuple[int, int], inverse: Any, rule: Rule) -> None:
    """Sixteen values of a row of bytes, from value j on; which: j and how many values the row has."""
    j, width = which
    whole = rounded(values, inverse, key_of(rule.seed, np.uint64(row)), j)
    store_bytes(at + j, within(whole, np.float32(127)), width - j)


@kernel
def _step_any(source: Source, places: Places, rule: Rule) -> None:
    """Steps of rows of any number of values."""
    base, row_bytes, states, state_bytes = places
    at, end, _, _, width, sums = source
    while at < end:
        row = load_word(at) >> 32
        stop = _sum_run(at, source)
        later = load_word(min(stop, end - 8)) >> 32
        for skip in range(0, row_bytes, 64):
            prefetch(base + later * row_bytes + skip)
        squares = zeros()
        for j in range(0, width, 16):
            summed = load_all(sums + 4 * j)
            squares = plus(squares, times(summed, summed))
        where = states + row * state_bytes
        _move(base + row * row_bytes, row, sums, where, _rate(squares, where, rule), rule)
        at = stop


@kernel
def sum_rows(keys: U64, pieces: I64, rows: I64, sums: F32s, scratch: F32s) -> int:
    """rows[u], sums[u] = each row in keys and the sum of its gradients; gives how many there are.

    keys, pieces, scratch as of `step_rows`; rows (k,), sums (k, w), written.
    """
    width, found = sums.shape[1], 0
    target, summed = address(sums), address(scratch)
    source = (address(keys), address(keys) + 8 * keys.size, *_places(pieces), width, summed)
    at = source[0]
    while at < source[1]:
        rows[found] = load_word(at) >> 32
        at = _sum_run(at, source)
        for j in range(0, width, 16):
            store_floats(target + 4 * (found * width + j), load_all(summed + 4 * j), width - j)
        found += 1
    return found


@kernel
def _places(pieces: I64) -> tuple[int, int]:
    """The address of the first piece where they lie one behind the other, else 0; and that of addresses."""
    return (pieces[0] if pieces.size == 1 else 0), address(pieces)


@kernel
def _piece_at(key: int, source: Source) -> int:
    """The address of the gradients of a key."""
    piece = key & _PIECE
    return source[2] + piece * 4 * source[4] if source[2] else load_word(source[3] + 8 * piece)


@kernel
def _sum_run(at: int, source: Source) -> int:
    """Sums the gradients of the row of the key at an address; gives that of the next row's key."""
    end, width, sums = source[1], source[4], source[5]
    row, stop = load_word(at) >> 32, at
    for j in range(0, width, 16):
        whole, stop = zeros(), at
        while stop < end and load_word(stop) >> 32 == row:
            key = load_word(stop)
            part = load_floats(_piece_at(key, source) + 4 * j, width - j)
            whole = minus(whole, part) if key & _MINUS else plus(whole, part)
            stop += 8
        store_all(sums + 4 * j, whole)
    return stop


@kernel
def _ask(row: int, row_bytes: int) -> None:
    """Asks for a row of up to 256 bytes; a loop would take as long as all else that is done for a key."""
    prefetch(row)
    prefetch(row + row_bytes - 1)
    if row_bytes > 64:
        prefetch(row + 64)
    if row_bytes > 128:
        prefetch(row + 128)


@kernel
def _rate(squares: Any, where: int, rule: Rule) -> np.float32:
    """The rate of a row by the squares of its gradient; notes them in its state."""
    if rule.optimizer != ROWWISE:
        return rule.rate
    mean = load_float(where) + total(squares) / np.float32(rule.width)
    store_float(where, mean)
    rate: np.float32 = rule.rate / (np.sqrt(mean) + rule.eps)
    return rate


@kernel
def _move(at: int, row: int, sums: int, where: int, rate: np.float32, rule: Rule) -> None:
    """The row at an address takes a step by the gradient at `sums`, with the state at `where`."""
    if rule.kind == F32:
        _move_floats(at, sums, where, rate, rule)
    else:
        _move_coded(at, row, sums, where, rate, rule)


@kernel
def _move_floats(at: int, sums: int, where: int, rate: np.float32, rule: Rule) -> None:
    """The float32 at an address take a step by the gradient at `sums`, with the state at `where`."""
    width = rule.width
    for j in range(0, width, 16):
        left, skip = width - j, 4 * j
        slope = load_all(sums + skip)
        if rule.optimizer <= ROWWISE:
            change = times(all_of(rate), slope)
        elif rule.optimizer == ADAGRAD:
            squares = plus(load_floats(where + skip, left), times(slope, slope))
            store_floats(where + skip, squares, left)
            change = over(times(all_of(rate), slope), plus(root(squares), all_of(rule.eps)))
        else:
            one = np.float32(1)
            mean = times(all_of(rule.beta1), load_floats(where + skip, left))
            mean = plus(mean, times(all_of(one - rule.beta1), slope))
            store_floats(where + skip, mean, left)
            second = where + 4 * width + skip
            squares = times(all_of(rule.beta2), load_floats(second, left))
            squares = plus(squares, times(all_of(one - rule.beta2), times(slope, slope)))
            store_floats(second, squares, left)
            change = over(times(all_of(rate), mean), plus(root(squares), all_of(rule.eps)))
        store_floats(at + skip, minus(load_floats(at + skip, left), change), left)


@kernel
def _move_coded(at: int, row: int, sums: int, where: int, rate: np.float32, rule: Rule) -> None:
    """A row that is no float32 is read, takes its step, and is rounded again."""
    width = rule.width
    values = sums + 4 * (16 if width <= 16 else -(-width // 64) * 64)
    scale = scale_of(at, rule.kind, width)
    for j in range(0, width, 16):
        store_all(values + 4 * j, times(values_at(at, j, width - j, rule.kind), all_of(scale)))
    _move_floats(values, sums, where, rate, rule)
    if rule.kind > I4:
        scale = _learn(sums, values, scale, rule)
    encode(values, at, row, (rule.kind, width), rule.seed, scale)


@kernel
def _learn(sums: int, values: int, scale: np.float32, rule: Rule) -> np.float32:
    """The step of a row after its own step down its slope, that of values through rounding.

    sums, values: addresses of the gradient of the row and its new values. Esser et al. 2020,
    arXiv:1902.08153, section 2.1, equation 3: the slope of a value is round(v / s) - v / s, or the largest
    integer where it is cut off.
    """
    top = np.float32(32767 if rule.kind == L16 else 127 if rule.kind == L8 else 7)
    slope = np.float32(0)
    for j in range(rule.width):
        ratio = load_float(values + 4 * j) / max(scale, np.float32(1e-12))
        near = max(-top, min(top, np.rint(ratio)))
        slope += load_float(sums + 4 * j) * (near if abs(ratio) > top else near - ratio)
    return max(scale - rule.step_rate * slope / np.sqrt(np.float32(rule.width) * top), np.float32(1e-8))
