import numpy as np

from vecstore.kernels.tablehash import first_outside, hash_elements, hash_rows, sequence, split_digits

MASK = (1 << 64) - 1


def plain_mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def plain_row(key, salt, rows):
    return (plain_mix((key + salt) & MASK) >> 32) * rows >> 32


KEYS = np.array([0, 1, 2, 1 << 40, MASK], np.uint64)


def test_a_sequence_is_splitmix64_whose_published_start_it_has():
    out = np.empty(3, np.uint64)
    sequence(np.uint64(0), out)
    assert [hex(value) for value in out] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f"]


def test_rows_are_the_upper_half_of_the_hash_times_rows():
    salts = np.array([[1, 2], [3, MASK]], np.uint64)
    out = np.empty((5, 2, 2), np.int64)
    hash_rows(KEYS, salts, 10, 1000, out)
    for i, key in enumerate(KEYS):
        for c in range(2):
            for p in range(2):
                assert out[i, c, p] == 10 + plain_row(int(key), int(salts[c, p]), 1000)


def test_elements_of_a_block_lie_side_by_side_and_go_on_at_the_front():
    salts = np.array([5, 6], np.uint64)
    out = np.empty((5, 7, 1), np.int64)
    hash_elements(KEYS, salts, 4, True, 11, out)
    for i, key in enumerate(KEYS):
        for c in range(7):
            hashed = plain_mix(int(key) + int(salts[c // 4]) & MASK)
            element = ((hashed >> 32) * 11 // (1 << 32) + c % 4) % 11
            assert out[i, c, 0] == (-1 - element if hashed >> c % 4 & 1 else element)


def test_digits_are_those_of_the_number_system():
    out = np.empty((3, 3), np.int64)
    split_digits(np.array([0, 7, 59]), np.array([0, 3, 7]), np.array([3, 4, 5]), out)
    assert out.tolist() == [[0, 3, 7], [1, 3 + 2, 7], [2, 3 + 3, 7 + 4]]


def test_the_first_id_that_is_outside_is_found():
    assert first_outside(np.array([0, 4, 5, -1]), 5) == 2
    assert first_outside(np.array([0, -4, 5]), 5) == 1
    assert first_outside(np.array([0, 4]), 5) == -1
