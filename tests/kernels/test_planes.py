"""The kernels of lossless against their numpy definitions."""

import numpy as np
import pytest

from vecstore.kernels.planes import (
    count_symbols,
    find_repeats,
    find_values,
    get_bits,
    join_planes,
    map_symbols,
    nearest_tables,
    place_columns,
    put_bits,
    rename,
    split_planes,
    survey,
    transpose,
)


def plain_planes(bits):
    """The definition: the bytes of every value after rotation left by one, plane by plane."""
    turned = (bits << np.uint32(1)) | (bits >> np.uint32(31))
    return np.ascontiguousarray(turned.astype("<u4").view(np.uint8).reshape(-1, 4).T)


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 63, 1000])
def test_planes_are_the_bytes_of_the_rotated_value_and_join_gives_them_back(count):
    bits = np.random.default_rng(count).integers(0, 2**32, count, dtype=np.uint32)
    planes = np.empty((4, count), np.uint8)
    split_planes(bits, planes)
    np.testing.assert_array_equal(planes, plain_planes(bits))
    back = np.empty(count, np.uint32)
    join_planes(planes[0], planes[1], planes[2], planes[3], back)
    np.testing.assert_array_equal(back, bits)


def test_the_exponent_fills_the_highest_plane():
    bits = np.array([1.0, -2.0, 0.0, np.inf], np.float32).view(np.uint32)
    planes = np.empty((4, 4), np.uint8)
    split_planes(bits, planes)
    np.testing.assert_array_equal(planes[3], [127, 128, 0, 255])
    np.testing.assert_array_equal(planes[0] & 1, [0, 1, 0, 0])


def test_transpose_is_numpys():
    matrix = np.random.default_rng(0).integers(0, 2**32, (37, 19), dtype=np.uint32)
    turned = np.empty((19, 37), np.uint32)
    transpose(matrix, turned)
    np.testing.assert_array_equal(turned, matrix.T)
    back = np.zeros((37, 21), np.uint32)
    place_columns(turned, 2, back)
    np.testing.assert_array_equal(back[:, 2:], matrix)
    assert not back[:, :2].any()


def test_repeats_point_to_the_first_equal_row():
    rows = np.random.default_rng(0).integers(0, 2**32, (50, 9), dtype=np.uint32)
    rows[[7, 30, 49]] = rows[3]
    rows[20] = rows[19]
    slots, sources = np.full(128, -1, np.int32), np.empty(50, np.int32)
    for multipliers in (np.arange(1, 19, 2, dtype=np.uint64), np.zeros(9, np.uint64)):
        slots[:] = -1
        find_repeats(rows, multipliers, slots, sources)
        expected = np.arange(50)
        if multipliers.any():  # With a hash that is always 0 nothing but row 0 is ever compared.
            expected[[7, 30, 49]], expected[20] = 3, 19
        np.testing.assert_array_equal(sources, expected)


@pytest.mark.parametrize(("cut", "flag"), [(23, 0), (20, 13), (16, 16)])
def test_survey_and_symbols_follow_the_key(cut, flag):
    columns = np.random.default_rng(cut).standard_normal((3, 400)).astype(np.float16).astype(np.float32)
    values = columns.view(np.uint32)
    keys = (values.astype(np.int64) >> cut) * 2 + ((values & ((1 << flag) - 1)) != 0)
    counts = np.zeros(2 << (32 - cut), np.int64)
    unions = np.zeros(counts.size, np.uint32)
    survey(values.reshape(-1), cut, flag, counts, unions)
    np.testing.assert_array_equal(counts, np.bincount(keys.reshape(-1), minlength=counts.size))
    some = keys[0, 0]
    assert unions[some] == np.bitwise_or.reduce(values[keys == some])
    symbol_of = np.arange(counts.size).astype(np.uint16)
    symbols = np.empty(columns.shape, np.uint16)
    map_symbols(values, cut, flag, symbol_of, symbols)
    np.testing.assert_array_equal(symbols, keys.astype(np.uint16))


def test_values_are_listed_as_they_come_until_there_are_too_many():
    columns = np.random.default_rng(0).integers(0, 30, (3, 500), dtype=np.uint32) * np.uint32(0x01010101)
    columns[1, :40] = np.arange(40) + 1000
    values, sizes = np.zeros((3, 32), np.uint32), np.zeros(3, np.int64)
    symbols = np.zeros(columns.shape, np.uint16)
    find_values(columns, values, sizes, symbols)
    assert sizes.tolist() == [30, -1, 30]
    for c in (0, 2):
        np.testing.assert_array_equal(values[c][symbols[c]], columns[c])
        _, first = np.unique(columns[c], return_index=True)
        np.testing.assert_array_equal(values[c, :30], columns[c][np.sort(first)])


def test_renaming_and_counting_follow_numpy():
    symbols = np.random.default_rng(0).integers(0, 5, (2, 100)).astype(np.uint16)
    names, starts = np.array([4, 3, 2, 1, 0, 0, 1, 0, 1, 9], np.uint16), np.array([0, 5])
    expected = np.stack([names[:5][symbols[0]], names[5:][symbols[1]]])
    rename(symbols, names, starts)
    np.testing.assert_array_equal(symbols, expected)
    counts = np.zeros((2, 10), np.int64)
    count_symbols(symbols, counts)
    np.testing.assert_array_equal(counts, [np.bincount(row, minlength=10) for row in expected])


def test_the_nearest_table_codes_a_column_shortest():
    draw = np.random.default_rng(0)
    counts, lengths = draw.integers(0, 99, (20, 7)), draw.integers(1, 40, (5, 7))
    nearest, costs = np.zeros(20, np.int64), np.zeros(20, np.int64)
    nearest_tables(counts, lengths, nearest, costs)
    np.testing.assert_array_equal(nearest, (counts @ lengths.T).argmin(axis=1))
    np.testing.assert_array_equal(costs, (counts @ lengths.T).min(axis=1))


def plain_bits(columns, symbols, starts, fields):
    """The definition, as one string of bits, the first bit first."""
    text = ""
    for c in range(len(columns)):
        for value, symbol in zip(columns[c], symbols[c], strict=True):
            width, shift = (int(v) for v in fields[starts[c] + symbol])
            if width:
                text += format((int(value) >> shift) & ((1 << width) - 1), f"0{width}b")[::-1]
    return text


def test_raw_bits_are_those_of_the_definition_and_come_back():
    draw = np.random.default_rng(0)
    alphabet = np.array([[0, 0, 0], [0, 31, 1], [1, 8, 24], [0, 1, 5], [3, 13, 7]], np.uint32)
    symbols, starts = draw.integers(0, 2, (4, 75)).astype(np.uint16), np.array([0, 1, 2, 3])
    named = alphabet[starts[:, None] + symbols]
    columns = draw.integers(0, 2**32, (4, 75), dtype=np.uint32)
    columns &= ((np.uint32(1) << named[..., 1]) - np.uint32(1)) << named[..., 2]
    columns |= named[..., 0]
    text = plain_bits(columns, symbols, starts, alphabet[:, 1:])
    stream = np.zeros(len(text) // 64 + 3, np.uint64)
    assert put_bits(columns, symbols, starts, alphabet[:, 1:].astype(np.uint8), stream) == len(text)
    packed = np.packbits(np.array(list(text)).astype(np.uint8), bitorder="little")
    np.testing.assert_array_equal(stream.view(np.uint8)[: len(packed)], packed)
    back = np.empty(columns.shape, np.uint32)
    assert get_bits(stream, 0, symbols, starts, alphabet, back) == len(text)
    np.testing.assert_array_equal(back, columns)
    assert get_bits(stream[:-2], 0, symbols, starts, alphabet, back) == -1
