from itertools import pairwise

import numpy as np
import pytest

from vecstore.kernels import lookup
from vecstore.kernels.bitsums import BLOCK, add_bits, lay_out, layout, sections, sums_of_bits


def plain_tables(weights, starts):
    """All 16 sums of each four weights, less the least one, in steps of a 255th of a section's widest."""
    fours = weights.reshape(len(weights), -1, 2, 4).astype(np.float64)
    bits = np.arange(16)[:, None] >> np.arange(4) & 1
    sums = fours @ bits.T
    least = sums.min(axis=3)
    tables, steps = np.empty(sums.shape), []
    for begin, end in pairwise(starts):
        part = sums[:, begin:end] - least[:, begin:end, :, None]
        step = part.max(axis=(1, 2, 3)) / 255
        tables[:, begin:end] = part / np.where(step > 0, step, 1)[:, None, None, None]
        steps.append(step)
    return tables, np.array(steps).T, least.sum(axis=(1, 2))


def make_tables(weights, starts):
    """Tables of the sums of four weights."""
    values = np.empty((len(weights), weights.shape[1] // 4, 16), np.float32)
    sums_of_bits(weights, np.zeros(len(weights)), values)
    return lookup.make_tables(values, 2 * starts, layout(values.shape[1] // 2))


def plain_sums(codes, starts, tables):
    """The definition of `add_bits`."""
    book, steps, offsets = (part.astype(np.float64) for part in tables)
    places = np.arange(codes.shape[1])
    entries = book[:, places, 0, codes & 15] + book[:, places, 1, codes >> 4]
    ends = pairwise(starts)
    sums = [steps[:, s, None] * entries[:, :, b:e].sum(2) for s, (b, e) in enumerate(ends)]
    return offsets[:, None] + np.sum(sums, axis=0)


def test_sections_end_with_their_parts_and_stay_short():
    assert sections([48]).tolist() == [0, 48]
    assert sections([48, 48]).tolist() == [0, 48, 96]
    assert sections([48, 300], 300).tolist() == [0, 48, 348]
    assert sections([300, 128, 1]).tolist() == [0, 128, 256, 300, 428, 429]


@pytest.mark.parametrize("parts", [[1], [5], [48, 48], [128], [129], [300, 7]])
def test_tables_are_the_rounded_sums_of_four_weights(parts):
    starts = sections(parts)
    weights = np.random.default_rng(0).standard_normal((3, 8 * sum(parts))).astype(np.float32)
    weights[1] = 0
    tables, steps, offsets = make_tables(weights, starts)
    want, want_steps, want_offsets = plain_tables(weights, starts)
    assert np.abs(tables - want).max() <= 0.51
    assert np.allclose(steps, want_steps) and np.allclose(offsets, want_offsets, atol=1e-4)


@pytest.mark.parametrize("parts", [[1], [5], [48, 48], [128], [129], [300, 7]])
def test_sums_are_those_of_single_nibbles(parts):
    starts = sections(parts)
    rng = np.random.default_rng(1)
    width = sum(parts)
    for n in (1, 63, 64, 65, 200):
        codes = rng.integers(0, 256, (n, width), dtype=np.uint8)
        codes[0] = 255
        tables = make_tables(rng.standard_normal((3, 8 * width)).astype(np.float32), starts)
        tables[0][0] = 255  # the largest sums there can be
        want = plain_sums(codes, starts, tables)
        blocks = lay_out(codes)
        for start, stop in ((0, n), (n // 2 // BLOCK * BLOCK, n)):
            out = np.full((3, stop - start), np.nan, np.float32)
            add_bits(blocks, start // BLOCK, starts, tables, out)
            assert np.allclose(out, want[:, start:stop], rtol=1e-6, atol=1e-4)


def test_scores_are_near_the_sums_of_the_weights():
    rng = np.random.default_rng(2)
    weights = rng.standard_normal((4, 384)).astype(np.float32)
    codes = rng.integers(0, 256, (500, 48), dtype=np.uint8)
    starts = sections([48])
    out = np.empty((4, 500), np.float32)
    add_bits(lay_out(codes), 0, starts, make_tables(weights, starts), out)
    want = weights @ np.unpackbits(codes, axis=1, bitorder="little").T
    assert np.abs(out - want).std() < 0.02 * want.std()
