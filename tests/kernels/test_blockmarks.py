import numpy as np

from vecstore.kernels.blockmarks import mark_blocks
from vecstore.kernels.ids import mix


def plain_mark(words):
    total = 0
    for j, word in enumerate(words.tolist()):
        total += int(mix(np.uint64((word + (j + 1) * 0x9E3779B97F4A7C15) % 2**64)))
    return total % 2**64


def test_a_mark_is_the_sum_of_its_mixed_words():
    words = np.random.default_rng(0).integers(0, 1 << 63, 75).astype(np.uint64)
    out = np.empty(3, np.uint64)
    mark_blocks(words, 32, out)
    assert out.tolist() == [plain_mark(words[at : at + 32]) for at in (0, 32, 64)]


def test_a_change_of_one_bit_changes_the_mark_of_its_block_alone():
    words = np.zeros(96, np.uint64)
    before, after = np.empty(3, np.uint64), np.empty(3, np.uint64)
    mark_blocks(words, 32, before)
    words[40] = 1
    mark_blocks(words, 32, after)
    assert (before != after).tolist() == [False, True, False]
