"""Trellis words against the obvious: windows of a circle of bits, and all circles tried one by one."""

import itertools

import numba
import numpy as np
import pytest

from vecstore.codecs.tcq.allocation import lay_out
from vecstore.kernels import trellis, viterbi

compiled = pytest.mark.skipif(
    numba.config.DISABLE_JIT, reason="vector instructions exist only in compiled code"
)


def make(groups, states, seed=0):
    rng = np.random.default_rng(seed)
    kinds = sorted({(bits, width) for _, bits, width in groups})
    cells, words = lay_out(np.array(groups, np.int32), kinds)
    dims = int(cells[:, 3].sum())
    tables = rng.standard_normal((len(kinds), 2, states)).astype(np.float32)
    return cells, words, tables, rng.uniform(0.2, 2, dims).astype(np.float32), rng


def decoded(code, scales, tables, cells, words):
    """One row from its bytes, bit by bit."""
    states = tables.shape[2]
    out = np.zeros(len(scales), np.float32)
    at = 0
    for first, last, size in words:
        word = int.from_bytes(bytes(code[at : at + size]), "little")
        at += size
        ring = [(word >> i) & 1 for i in range(8 * size)]
        for _, table, dim, width, place in cells[first:last]:
            bits = [ring[(place + i) % len(ring)] for i in range(states.bit_length() - 1)]
            window = sum(bit << i for i, bit in enumerate(bits))
            for j in range(width):
                out[dim + j] = scales[dim + j] * tables[table, j, window]
    return out


def exact_fma(a, b, c):
    """a * b + c for float32, rounded once but for ties that float64 cannot see."""
    return np.float32(np.float64(a) * np.float64(b) + np.float64(c))


def twin(row, scales, tables, cells, word):
    """The encoder's two rounds for one row and one word, state by state."""
    first, last, size = word
    states = tables.shape[2]
    bits = states.bit_length() - 1
    eighth = (last - first) // 8
    before, behind = (8, 6) if size <= 4 else (4, 4) if states < 256 else (5, 4)

    def forward(cost, order):
        came = []
        for c in order:
            k, table, dim, width, _ = cells[c]
            before = np.arange(states)
            sources = (before >> k)[:, None] | (np.arange(1 << k) << (bits - k))[None, :]
            which = cost[sources].argmin(axis=1)
            new = cost[sources[before, which]]
            for j in range(width):
                error = exact_fma(-scales[dim + j], tables[table, j], row[dim + j])
                new = exact_fma(error, error, new)
            cost = new
            came.append(which)
        return cost, came

    def back(state, order, came):
        word = 0
        for c, which in zip(reversed(order), reversed(came), strict=True):
            k, place = int(cells[c, 0]), int(cells[c, 4])
            word |= (state & ((1 << k) - 1)) << place
            state = (state >> k) | int(which[state]) << (bits - k)
        return state, word

    cost, _ = forward(np.zeros(states, np.float32), range(last - before * eighth, last))
    order = list(range(first, first + behind * eighth))
    cost, came = forward(cost, order)
    state, _ = back(int(cost.argmin()), order, came)
    start = np.full(states, 1e30, np.float32)
    start[state] = 0
    order = list(range(first, last))
    _, came = forward(start, order)
    return back(state, order, came)[1]


PATTERNS = [
    [(0, 1, 1)], [(0, 2, 1), (0, 1, 2)], [(0, 8, 1)], [(0, 3, 1), (0, 3, 1), (0, 2, 1)],
    [(0, 5, 1), (0, 3, 1), (1, 4, 1), (1, 1, 2), (1, 1, 1)], [(0, 1, 1)] * 8, [(0, 7, 1), (0, 1, 1)],
]  # fmt: skip


@compiled
@pytest.mark.parametrize("states", [64, 256, 1024])
@pytest.mark.parametrize("groups", PATTERNS)
def test_encoder_takes_the_path_of_the_plain_one(groups, states):
    if max(bits for _, bits, _ in groups) > states.bit_length() - 1:
        pytest.skip("a cell cannot take more bits than a state has")
    cells, words, tables, scales, rng = make(groups, states)
    rows = rng.standard_normal((19, len(scales))).astype(np.float32)
    codes = np.empty((19, int(words[:, 2].sum())), np.uint8)
    viterbi.encode(rows, scales, tables, cells, words, codes)
    for row, code in itertools.islice(zip(rows, codes, strict=True), 0, 19, 6):
        at = 0
        for word in words:
            found = int.from_bytes(bytes(code[at : at + word[2]]), "little")
            assert found == twin(row, scales, tables, cells, word)
            at += word[2]


@pytest.mark.parametrize("count", [9, 33])  # few are decoded cell by cell
@pytest.mark.parametrize("states", [64, 256, 1024])
@pytest.mark.parametrize("groups", PATTERNS)
def test_any_bytes_decode_to_the_windows_of_their_circles(groups, states, count):
    cells, words, tables, scales, rng = make(groups, states)
    codes = rng.integers(0, 256, (count, int(words[:, 2].sum()))).astype(np.uint8)
    rows = np.empty((count, len(scales)), np.float32)
    trellis.decode(codes, scales, tables, cells, words, rows)
    for row, code in zip(rows, codes, strict=True):
        assert np.array_equal(row, decoded(code, scales, tables, cells, words))
    seen = np.empty((count, len(cells)), np.uint16)
    trellis.windows(codes, cells, words, states.bit_length() - 1, seen)
    narrow = cells[:, viterbi.WIDTH] == 1
    dims, kinds = cells[narrow, viterbi.DIM], cells[narrow, viterbi.TABLE]
    assert np.array_equal(scales[dims] * tables[kinds, 0, seen[:, narrow]], rows[:, dims])


@compiled
def test_no_circle_of_two_bytes_is_much_nearer():
    cells, words, tables, scales, rng = make([(0, 2, 1)], 64)
    rows = rng.standard_normal((200, 8)).astype(np.float32)
    codes = np.empty((200, 2), np.uint8)
    viterbi.encode(rows, scales, tables, cells, words, codes)
    every = np.arange(1 << 16, dtype="<u2").view(np.uint8).reshape(-1, 2)
    values = np.empty((1 << 16, 8), np.float32)
    trellis.decode(every, scales, tables, cells, words, values)
    best = np.array([np.square(values - row).sum(axis=1).min() for row in rows])
    found = np.empty((200, 8), np.float32)
    trellis.decode(codes, scales, tables, cells, words, found)
    errors = np.square(found - rows).sum(axis=1)
    assert (errors >= best - 1e-4).all()
    assert errors.mean() < 1.1 * best.mean()
    assert (errors <= best + 1e-4).mean() > 0.6


@compiled
@pytest.mark.parametrize("n", [0, 1, 5, 16, 33])
def test_a_row_is_encoded_alike_in_any_company(n):
    cells, words, tables, scales, rng = make([(0, 4, 1), (0, 3, 1), (0, 1, 2)], 64)
    rows = rng.standard_normal((33, len(scales))).astype(np.float32)
    size = int(words[:, 2].sum())
    whole, part = np.empty((33, size), np.uint8), np.empty((n, size), np.uint8)
    viterbi.encode(rows, scales, tables, cells, words, whole)
    viterbi.encode(np.ascontiguousarray(rows[33 - n :]), scales, tables, cells, words, part)
    assert np.array_equal(part, whole[33 - n :])


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_centroids_of_stages_are_added(stages):
    rng = np.random.default_rng(stages)
    rows, mean, books = (
        rng.standard_normal(size).astype(np.float32) for size in ((7, 21), 21, (stages, 5, 21))
    )
    chosen = rng.integers(0, 5, (7, stages))
    wanted = rows + mean
    if stages:
        wanted += sum(book[chosen[:, stage]] for stage, book in enumerate(books))
    trellis.add_centroids(rows, mean, chosen, books.reshape(-1, 21))
    assert np.array_equal(rows, wanted)
