import numpy as np
import pytest

from vecstore.kernels.packedints import get_packed, put_packed


@pytest.mark.parametrize("bits", [0, 1, 5, 8, 13, 31, 32])
def test_numbers_lie_bit_by_bit_one_behind_the_other(bits):
    rng = np.random.default_rng(bits)
    numbers = rng.integers(0, 1 << bits, 200)
    words = rng.integers(0, 1 << 63, -(-200 * bits // 64), dtype=np.uint64)  # what was there does not matter
    before = int(words[-1]) >> 200 * bits % 64 if bits and 200 * bits % 64 else 0
    put_packed(words, bits, numbers)
    plain = sum(int(number) << i * bits for i, number in enumerate(numbers))
    found = sum(int(word) << 64 * i for i, word in enumerate(words))
    assert found & (1 << 200 * bits) - 1 == plain
    assert (found >> 200 * bits) == before
    places = rng.integers(0, 200, 50)
    out = np.empty(50, np.int64)
    get_packed(words, bits, places, out)
    assert np.array_equal(out, numbers[places])
