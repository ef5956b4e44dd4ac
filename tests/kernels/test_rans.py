"""rANS kernels against a plain single-step reading of the paper."""

import os
import subprocess
import sys

import numpy as np
import pytest

from vecstore.kernels.isa import available
from vecstore.kernels.rans import LANES, SHARES, SPARE, fill_slots, quantize_shares, rans_decode, rans_encode


def plain_encode(symbols, tables, shares):
    """The definition: x -> (x // f) << 12 | x % f + begin, words put out while x would grow too large."""
    states, words = [1 << 16] * LANES, []
    for c in range(len(symbols) - 1, -1, -1):
        table = shares[tables[c]]
        for r in range(symbols.shape[1] - 1, -1, -1):
            s, x = int(symbols[c, r]), states[r % LANES]
            f, begin = int(table[s]), int(table[:s].sum())
            if x >= f << 20:
                words.append(x & 0xFFFF)
                x >>= 16
            states[r % LANES] = ((x // f) << 12) + x % f + begin
    head = [half for x in states for half in (x & 0xFFFF, x >> 16)]
    return np.array(head + words[::-1], np.uint16)


def shares_of(weights):
    shares = np.zeros(len(weights), np.int64)
    quantize_shares(np.asarray(weights, np.int64), shares)
    return shares


def case(seed, d, n):
    draw = np.random.default_rng(seed)
    shares = [shares_of([9, 1, 0, 500, 20]), shares_of([0, 7]), shares_of(draw.integers(1, 99, 300))]
    tables = draw.integers(0, 3, d)
    symbols = np.empty((d, n), np.uint16)
    for c in range(d):
        table = shares[tables[c]]
        symbols[c] = draw.choice(len(table), n, p=table / SHARES)
    return symbols, tables, shares


def coded(symbols, tables, shares):
    starts = np.cumsum([0, *[len(t) for t in shares[:-1]]], dtype=np.int64)
    words = np.empty(symbols.size + 2 * LANES, np.uint16)
    return words[rans_encode(symbols, tables, starts, np.concatenate(shares), words) :]


def decoded(words, shape, tables, shares):
    slots = np.empty((len(shares), SHARES), np.uint16), np.empty((len(shares), SHARES), np.uint32)
    for t, table in enumerate(shares):
        fill_slots(table, slots[0][t], slots[1][t])
    states = np.zeros(LANES + 1, np.uint64)
    states[:LANES] = np.ascontiguousarray(words[: 2 * LANES]).view("<u4")
    stream = np.concatenate([words[2 * LANES :], np.zeros(SPARE, np.uint16)])
    symbols = np.empty(shape, np.uint16)
    return rans_decode(stream, states, tables, *slots, symbols), symbols, states


@pytest.mark.parametrize(("d", "n"), [(1, 1), (3, 2), (5, 3), (4, 4), (7, 101), (2, 1000)])
def test_words_are_those_of_the_definition_and_give_the_symbols_back(d, n):
    symbols, tables, shares = case(d, d, n)
    words = coded(symbols, tables, shares)
    np.testing.assert_array_equal(words, plain_encode(symbols, tables, shares))
    whole, back, states = decoded(words, symbols.shape, tables, shares)
    assert whole
    np.testing.assert_array_equal(back, symbols)
    assert states.tolist() == [1 << 16] * LANES + [len(words) - 2 * LANES]


def test_a_stream_that_is_too_short_is_noticed():
    symbols, tables, shares = case(0, 6, 500)
    words = coded(symbols, tables, shares)
    assert not decoded(words[: len(words) // 2], symbols.shape, tables, shares)[0]


def test_random_words_decode_to_symbols_of_their_tables():
    symbols, tables, shares = case(1, 6, 500)
    words = np.random.default_rng(1).integers(0, 1 << 16, 4000, dtype=np.uint16)
    _, back, _ = decoded(words, symbols.shape, tables, shares)
    for c in range(2):
        assert back[c].max() < len(shares[tables[c]])


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, 10**9], [3] * 4096, [5, 0, 0, 1, 2], list(range(2000))])
def test_shares_sum_to_the_whole_and_leave_nothing_out(weights):
    shares = shares_of(weights)
    assert shares.sum() == SHARES
    np.testing.assert_array_equal(shares > 0, np.asarray(weights) > 0)


BLOCK = """
import hashlib, numpy as np
from vecstore.codecs.lossless import Lossless
draw = np.random.default_rng(0)
rows = draw.standard_normal((700, 19)).astype(np.float32)
rows[::3] = np.rint(rows[::3] * 9)
rows[5] = rows[0]
codec = Lossless(dim=19)
block = codec.encode_block(rows)
assert codec.decode_block(block).tobytes() == rows.tobytes()
print(hashlib.sha256(block).hexdigest())
"""


def test_every_instruction_set_writes_the_same_block():
    digests = set()
    for isa in available():
        run = subprocess.run(
            [sys.executable, "-c", BLOCK],
            env={**os.environ, "VECSTORE_ISA": isa},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(run.stdout)
    assert len(digests) == 1
