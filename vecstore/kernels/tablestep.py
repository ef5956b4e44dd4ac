"""One step of an optimizer on the rows of a table: the gradients of a row are summed first."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel
from vecstore.kernels.radix import MINUS
from vecstore.kernels.rowformats import F32, I4, L8, L16, encode, encode_learned, scale_of, values_at
from vecstore.kernels.simd import address
from vecstore.kernels.sixteen import (
    all_of,
    load_all,
    load_floats,
    minus,
    over,
    plus,
    prefetch,
    root,
    store_all,
    store_floats,
    times,
    total,
    zeros,
)

F32s = NDArray[np.float32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

SGD, ROWWISE, ADAGRAD, ADAM = range(4)
_AHEAD = 16  # gradients between asking for a row and stepping it
_PIECE = np.uint64((1 << 31) - 1)


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


@kernel
def step_rows(
    data: NDArray[np.uint8], state: F32s, keys: U64, pieces: I64, scratch: F32s, rule: Rule
) -> None:
    """Each row in keys takes one step by the sum of its gradients.

    data (rows, row bytes), written; state (rows, s), written: none for SGD, one mean square for ROWWISE
    (Duchi et al. 2011 with one rate a row, as in torchrec), w squares for ADAGRAD, two times w means for
    ADAM (Kingma and Ba 2015, of touched rows alone). keys (k,) as of `pack`, sorted. pieces: the address of
    each piece of gradients, w float32; or (1,), where the first of them is if they lie one behind the other.
    scratch (2, s), s the next multiple of 16 from w on.
    """
    width = rule.width
    base, states, sums = address(data), address(state), address(scratch)
    row_bytes, state_bytes = data.shape[1], 4 * state.shape[1]
    i = 0
    while i < keys.size:
        row = keys[i] >> np.uint64(32)
        stop = i
        while stop < keys.size and keys[stop] >> np.uint64(32) == row:
            stop += 1
            if stop + _AHEAD < keys.size:
                later = keys[stop + _AHEAD]
                line = _piece_at(later, pieces, width)
                there = base + np.int64(later >> np.uint64(32)) * row_bytes
                for skip in range(0, 4 * width, 64):
                    prefetch(line + skip)
                for skip in range(0, row_bytes, 64):
                    prefetch(there + skip)
                there = states + np.int64(later >> np.uint64(32)) * state_bytes
                for skip in range(0, state_bytes, 64):
                    prefetch(there + skip)
        squares = zeros()
        for j in range(0, width, 16):
            summed = _sum_pieces(keys, i, stop, pieces, width, j)
            squares = plus(squares, times(summed, summed))
            store_all(sums + 4 * j, summed)
        at = base + int(row) * row_bytes
        where = states + int(row) * state_bytes
        if rule.optimizer == ROWWISE:
            mean = state[row, 0] + total(squares) / np.float32(width)
            state[row, 0] = mean
            rate = rule.rate / (np.sqrt(mean) + rule.eps)
        else:
            rate = rule.rate
        if rule.kind == F32:
            _move(at, sums, where, width, rate, rule)
        else:
            _move_coded(data, int(row), scratch, where, rate, rule)
        i = stop


@kernel
def sum_rows(keys: U64, pieces: I64, rows: I64, sums: F32s) -> int:
    """rows[u], sums[u] = each row in keys and the sum of its gradients; gives how many there are.

    keys, pieces as of `step_rows`; rows (k,), sums (k, w), written.
    """
    width, target = sums.shape[1], address(sums)
    found = 0
    i = 0
    while i < keys.size:
        row = keys[i] >> np.uint64(32)
        stop = i
        while stop < keys.size and keys[stop] >> np.uint64(32) == row:
            stop += 1
        for j in range(0, width, 16):
            store_floats(
                target + 4 * (found * width + j), _sum_pieces(keys, i, stop, pieces, width, j), width - j
            )
        rows[found] = np.int64(row)
        found += 1
        i = stop
    return found


@kernel
def _sum_pieces(keys: U64, start: int, stop: int, pieces: I64, width: int, j: int) -> Any:
    """The sum of the gradients of keys start to stop, values j to j + 16."""
    summed = zeros()
    for entry in range(start, stop):
        part = load_floats(_piece_at(keys[entry], pieces, width) + 4 * j, width - j)
        summed = minus(summed, part) if keys[entry] & MINUS else plus(summed, part)
    return summed


@kernel
def _piece_at(key: np.uint64, pieces: I64, width: int) -> int:
    """The address of the gradients of a key."""
    piece = np.int64(key & _PIECE)
    return int(pieces[0] + piece * 4 * width if pieces.size == 1 else pieces[piece])


@kernel
def _move(at: int, sums: int, where: int, width: int, rate: np.float32, rule: Rule) -> None:
    """The w float32 at an address take a step by the gradient at `sums`, with the state at `where`."""
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
def _move_coded(
    data: NDArray[np.uint8], row: int, scratch: F32s, where: int, rate: np.float32, rule: Rule
) -> None:
    """A row that is no float32 is read, takes its step, and is rounded again."""
    width = rule.width
    at, values = address(data) + row * data.shape[1], address(scratch) + 4 * scratch.shape[1]
    scale = scale_of(at, rule.kind, width)
    for j in range(0, width, 16):
        left = width - j
        store_floats(values + 4 * j, times(values_at(at, j, left, rule.kind), all_of(scale)), left)
    _move(values, address(scratch), where, width, rate, rule)
    if rule.kind <= I4:
        encode(scratch[1, :width], data, row, rule.kind, rule.seed, scale)
    else:
        encode_learned(scratch[1, :width], data, row, rule.kind, rule.seed, _learn(scratch, scale, rule))


@kernel
def _learn(scratch: F32s, scale: np.float32, rule: Rule) -> np.float32:
    """The step of a row after its own step down its slope, that of values through rounding.

    scratch (2, s): the gradient of the row and its new values. Esser et al. 2020, arXiv:1902.08153, section
    2.1, equation 3: the slope of a value is round(v / s) - v / s, or the largest integer where it is cut off.
    """
    width = rule.width
    top = np.float32(32767 if rule.kind == L16 else 127 if rule.kind == L8 else 7)
    slope = np.float32(0)
    for j in range(width):
        ratio = scratch[1, j] / max(scale, np.float32(1e-12))
        near = max(-top, min(top, np.rint(ratio)))
        slope += scratch[0, j] * (near if abs(ratio) > top else near - ratio)
    return max(scale - rule.step_rate * slope / np.sqrt(np.float32(width) * top), np.float32(1e-8))
