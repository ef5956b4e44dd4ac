"""Byte planes against their numpy definition."""

import numpy as np
import pytest

from vecstore.kernels.planes import join_planes, split_planes


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
