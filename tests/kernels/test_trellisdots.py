"""Products looked up in registers against windows cut out one by one."""

import numpy as np
import pytest

from vecstore.kernels import trellisdots
from vecstore.kernels.trellisdots import BLOCK

pytestmark = pytest.mark.skipif(
    not trellisdots.usable(64), reason="this machine has no AVX-512 with VBMI and VNNI"
)


def window(word, size, first, bits):
    ring = [(word >> i) & 1 for i in range(8 * size)]
    return sum(ring[(first + i) % len(ring)] << i for i in range(bits))


@pytest.mark.parametrize("states", trellisdots.STATES)
@pytest.mark.parametrize("sizes", [[8], [8, 5], [1], [2, 3, 7], [6, 4]])
def test_sums_are_those_of_windows_and_tables(states, sizes):
    rng = np.random.default_rng(sum(sizes) + states)
    n = 3 * BLOCK - 7
    codes = rng.integers(0, 256, (n, sum(sizes))).astype(np.uint8)
    tables = rng.integers(0, 256, (3, states)).astype(np.uint8)
    starts = [(w, rng.integers(0, 8 * size, 8)) for w, size in enumerate(sizes) for _ in range(2)]
    groups = np.array([(w, rng.integers(3)) for w, _ in starts], np.int64)
    weights = rng.integers(-127, 128, (len(starts), 8)).astype(np.int8)
    controls = np.array([int.from_bytes(bytes(first.tolist()), "little") for _, first in starts], np.uint64)
    packed = np.stack([controls, weights.view(np.uint64)[:, 0]], axis=1)
    blocks = trellisdots.lay_out(codes, np.array(sizes, np.int64))
    out = np.empty(2 * BLOCK, np.float32)
    scaled = np.array([0.5, 3], np.float32)
    trellisdots.dots(blocks, 1, groups, tables, (packed, scaled), out)
    ends = np.cumsum([0, *sizes])
    for i in (0, 1, 17, BLOCK, n - BLOCK - 1):
        total = 0
        for (w, first), (_, table), own in zip(starts, groups, weights, strict=True):
            word = int.from_bytes(bytes(codes[BLOCK + i, ends[w] : ends[w + 1]]), "little")
            for b in range(8):
                at = window(word, sizes[w], int(first[b]), states.bit_length() - 1)
                total += int(own[b]) * int(tables[table, at])
        assert out[i] == np.float32(total) * np.float32(0.5) + np.float32(3)


def test_rows_that_fill_no_block_are_zeros_behind():
    blocks = trellisdots.lay_out(np.full((3, 2), 255, np.uint8), np.array([2], np.int64))
    assert blocks.shape == (1, 1, BLOCK)
    assert (blocks[0, 0, :3] == np.uint64(2**64 - 1)).all() and not blocks[0, 0, 3:].any()
