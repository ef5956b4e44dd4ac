import numpy as np
import pytest

from vecstore.kernels.radix import NONE, pack, sort_keys

NO_OFFSETS = np.empty(0, np.int64)


@pytest.mark.parametrize("bits", [1, 11, 12, 20, 23, 32])
def test_keys_are_sorted_by_row_and_equal_ones_stay_in_order(bits):
    rng = np.random.default_rng(bits)
    rows = rng.integers(0, 1 << bits, 3000, dtype=np.uint64) >> rng.integers(0, bits, 3000).astype(np.uint64)
    keys = rows << np.uint64(32) | np.arange(3000, dtype=np.uint64)
    spare = np.empty_like(keys)
    expected = np.sort(keys)
    swapped = sort_keys(keys, spare, np.empty((2, 2048), np.int64), bits)
    assert np.array_equal(spare if swapped else keys, expected)


def plain_pack(addresses, offsets, first, part, parts):
    found = []
    for b in range(len(offsets) - 1):
        for i in range(offsets[b], offsets[b + 1]):
            for c in range(addresses.shape[1]):
                for row in addresses[i, c]:
                    if row != NONE:
                        piece = first + b * addresses.shape[1] + c
                        minus = row < 0
                        row = -1 - row if minus else row
                        if (row // 16 * 0x9E3779B1 % (1 << 32)) * parts >> 32 == part:
                            found.append(int(row) << 32 | minus << 31 | piece)
    return np.array(found, np.uint64)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(("chunks", "probes"), [(1, 1), (2, 3), (2, 1), (3, 1)])
@pytest.mark.parametrize("bagged", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_addresses_are_packed_with_the_piece_of_their_gradient(chunks, probes, parts, bagged, signed):
    rng = np.random.default_rng(0)
    addresses = rng.integers(-200 if signed else 0, 200, (30, chunks, probes))
    if signed:
        addresses[rng.random(addresses.shape) < 0.1] = NONE
    offsets = np.array([0, 4, 5, 5, 30]) if bagged else NO_OFFSETS
    plain = offsets if bagged else np.arange(31)
    for part in range(parts):
        keys = np.empty(3 + addresses.size + 1, np.uint64)
        end = pack(addresses, offsets, 7, (part, parts), keys, 3)
        assert np.array_equal(keys[3:end], plain_pack(addresses, plain, 7, part, parts))
