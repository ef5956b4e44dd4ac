"""Products looked up in registers against windows cut out one by one."""

from itertools import pairwise

import numpy as np
import pytest

from vecstore.kernels import bytedots, trellisdots
from vecstore.kernels.trellisdots import BLOCK

pytestmark = pytest.mark.skipif(
    not trellisdots.usable(64), reason="this machine has no AVX-512 with VBMI and VNNI"
)


def window(word, size, first, bits):
    ring = [(word >> i) & 1 for i in range(8 * size)]
    return sum(ring[(first + i) % len(ring)] << i for i in range(bits))


def make(states, sizes, queries):
    """Codes of random bytes, and what the kernels take for them."""
    rng = np.random.default_rng(sum(sizes) + states)
    codes = rng.integers(0, 256, (3 * BLOCK - 7, sum(sizes))).astype(np.uint8)
    tables = rng.integers(0, 256, (3, states)).astype(np.uint8)
    places = [
        (w, firsts)
        for w, size in enumerate(sizes)
        for firsts in (
            *rng.integers(0, 8 * size, (2, 8)),
            *((8 * np.arange(8) + first) % (8 * size) for first in (0, 1, 2, 3)),
        )
    ]
    places += places[-1:]  # the same windows once more, in the next table
    groups = np.array([(w, rng.integers(3)) for w, _ in places], np.int64)
    groups[-2:, 1] = 1, 2
    controls = np.array([int.from_bytes(bytes(first.tolist()), "little") for _, first in places], np.uint64)
    weights = rng.integers(-127, 128, (queries, len(places), 8))
    weights[:, 0, 0] = 127
    return codes, tables, (places, groups, controls), weights


def values_of(row, sizes, tables, places, groups):
    """The tables' values (g, 8) for a row's windows."""
    ends = np.cumsum([0, *sizes])
    bits = tables.shape[1].bit_length() - 1
    words = [int.from_bytes(bytes(row[a:b]), "little") for a, b in pairwise(ends)]
    return np.array(
        [
            [tables[table, window(words[w], sizes[w], int(at), bits)] for at in first]
            for (w, first), (_, table) in zip(places, groups, strict=True)
        ]
    ).astype(np.int64)


@pytest.mark.parametrize("states", trellisdots.STATES)
@pytest.mark.parametrize("sizes", [[8], [8, 5], [1], [2, 3, 7], [6, 4]])
@pytest.mark.parametrize("queries", [1, 3, 9])
def test_sums_are_those_of_windows_and_tables(states, sizes, queries):
    codes, tables, (places, groups, controls), weights = make(states, sizes, queries)
    offsets = np.arange(queries) + 0.5
    count = weights[0].size
    folded = bytedots.fold(weights.reshape(queries, -1).astype(np.float32), offsets, 1, 256, count)
    blocks = trellisdots.lay_out(codes, np.array(sizes, np.int64))
    out = np.empty((queries, 2 * BLOCK - 7), np.float32)
    trellisdots.dots(blocks, 1, trellisdots.plan(groups, controls, tables), folded, out)
    for i in (0, 1, 17, BLOCK, 2 * BLOCK - 8):
        values = values_of(codes[BLOCK + i], sizes, tables, places, groups)
        whole = (weights * values).sum(axis=(1, 2))
        assert np.array_equal(out[:, i], (whole + offsets).astype(np.float32))


@pytest.mark.parametrize("queries", [1, 4])
@pytest.mark.parametrize("bits", [0, 3, 6, 7])
def test_sums_are_the_same_where_tables_repeat_themselves(bits, queries):
    codes, tables, (places, groups, controls), weights = make(256, [8, 5], queries)
    tables[0] = np.tile(tables[0, : 1 << bits], 256 >> bits)
    folded = bytedots.fold(
        weights.reshape(queries, -1).astype(np.float32), np.zeros(queries), 1, 256, weights[0].size
    )
    out = np.empty((queries, BLOCK), np.float32)
    blocks, plan = trellisdots.lay_out(codes, np.array([8, 5])), trellisdots.plan(groups, controls, tables)
    assert set(plan[0][plan[0][:, 1] == 0, 3]) <= {max(64, 1 << bits), 256}
    trellisdots.dots(blocks, 0, plan, folded, out)
    for i in (0, 17, BLOCK - 1):
        values = values_of(codes[i], [8, 5], tables, places, groups)
        assert np.array_equal(out[:, i], (weights * values).sum(axis=(1, 2)).astype(np.float32))


@pytest.mark.parametrize("states", trellisdots.STATES)
def test_a_score_does_not_depend_on_the_other_queries(states):
    codes, tables, (_, groups, controls), weights = make(states, [8, 5], 7)
    weights = (weights * np.random.default_rng(0).random(weights.shape)).reshape(7, -1).astype(np.float32)
    blocks = trellisdots.lay_out(codes, np.array([8, 5], np.int64))
    windows = trellisdots.plan(groups, controls, tables)
    found = []
    for first, last in ((0, 7), (0, 1), (1, 5), (5, 7)):
        out = np.empty((last - first, len(codes)), np.float32)
        folded = bytedots.fold(weights[first:last], np.zeros(last - first), 1, 256, weights.shape[1])
        trellisdots.dots(blocks, 0, windows, folded, out)
        found.append(out)
    assert np.array_equal(found[0], np.concatenate(found[1:]))


@pytest.mark.parametrize("states", [64, 1024])
@pytest.mark.parametrize("sizes", [[8, 5], [1], [2, 3, 7]])
def test_picked_sums_are_those_of_windows_and_tables(states, sizes):
    codes, tables, (places, groups, controls), weights = make(states, sizes, 2)
    blocks = trellisdots.lay_out(codes, np.array(sizes, np.int64))
    numbers = np.array([[0, 5, 64], [184, 127, 0]])
    out = np.empty((2, 3))
    trellisdots.pick(
        (blocks, np.empty((0, 0), np.uint64)),
        numbers,
        (groups, controls, tables.astype(np.float64)),
        weights.astype(np.float64),
        out,
    )
    for j, i in np.ndindex(2, 3):
        values = values_of(codes[numbers[j, i]], sizes, tables, places, groups)
        assert out[j, i] == (weights[j] * values).sum()


def test_rows_that_fill_no_block_are_zeros_behind():
    blocks = trellisdots.lay_out(np.full((3, 2), 255, np.uint8), np.array([2], np.int64))
    assert blocks.shape == (1, 1, BLOCK)
    assert (blocks[0, 0, :3] == np.uint64(2**64 - 1)).all() and not blocks[0, 0, 3:].any()
