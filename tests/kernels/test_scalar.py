import numpy as np
import pytest

from vecstore.kernels import scalar


def plain_quantize(rows, low, inverse, top):
    return np.clip(np.rint((rows - low) * inverse), 0, top).astype(np.uint8)


@pytest.mark.parametrize("n", [0, 1, 3, 100])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 7, 8, 17, 64])
def test_quantize_and_dequantize_are_their_definition(n, d):
    rng = np.random.default_rng(n * 100 + d)
    rows = (rng.standard_normal((n, d)) * 5).astype(np.float32)
    low, step = rng.standard_normal(d).astype(np.float32), rng.random(d).astype(np.float32)
    inverse = (1 / step).astype(np.float32)
    codes = np.empty((n, d), np.uint8)
    scalar.quantize(rows, low, inverse, np.float32(63), codes)
    assert np.array_equal(codes, plain_quantize(rows, low, inverse, 63))
    back = np.empty((n, d), np.float32)
    scalar.dequantize(codes, low, step, back)
    assert np.array_equal(back, low + codes.astype(np.float32) * step)


@pytest.mark.parametrize("n", [0, 1, 9])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 6, 7, 8, 9, 33])
@pytest.mark.parametrize("bits", [4, 6])
def test_packing_is_little_endian_bits_and_comes_back(n, d, bits):
    codes = np.random.default_rng(d).integers(0, 2**bits, (n, d), dtype=np.uint8)
    packed = np.empty((n, (d * bits + 7) // 8), np.uint8)
    (scalar.pack4 if bits == 4 else scalar.pack6)(codes, packed)
    planes = np.unpackbits(codes[:, :, None], axis=2, bitorder="little")[:, :, :bits].reshape(n, d * bits)
    assert np.array_equal(packed, np.packbits(planes, axis=1, bitorder="little"))
    back = np.empty_like(codes)
    (scalar.unpack4 if bits == 4 else scalar.unpack6)(packed, back)
    assert np.array_equal(back, codes)


@pytest.mark.parametrize("d", [1, 2, 7, 16])
def test_fused_4_bit_decoding_is_unpacking_and_dequantizing(d):
    rng = np.random.default_rng(d)
    packed = rng.integers(0, 256, (11, (d + 1) // 2), dtype=np.uint8)
    low, step = rng.standard_normal(d).astype(np.float32), rng.random(d).astype(np.float32)
    codes, want, found = (
        np.empty((11, d), np.uint8),
        np.empty((11, d), np.float32),
        np.empty((11, d), np.float32),
    )
    scalar.unpack4(packed, codes)
    scalar.dequantize(codes, low, step, want)
    scalar.dequantize4(packed, low, step, found)
    assert np.array_equal(want, found)


def test_infinite_products_are_clipped_and_nan_becomes_zero():
    rows = np.array([[3e38, -3e38, 3e38]], np.float32)
    low = np.array([-3e38, 3e38, -3e38], np.float32)
    codes = np.empty((1, 3), np.uint8)
    scalar.quantize(rows, low, np.array([1, 1, 0], np.float32), np.float32(255), codes)
    assert codes.tolist() == [[255, 0, 0]]


def test_grid_sums_are_their_definition():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 7)).astype(np.float32)
    low, step = np.full(7, -1.5, np.float32), np.full(7, 0.2, np.float32)
    step[3] = 0
    inverse = np.where(step > 0, 1 / np.where(step > 0, step, 1), 0).astype(np.float32)
    weights = rng.random(200)
    sums = np.empty((6, 7))
    scalar.grid_sums(rows, weights, np.stack([low, inverse, step]), np.float32(15), sums)
    codes = plain_quantize(rows, low, inverse, 15).astype(np.float64)
    gap = rows - (low + codes.astype(np.float32) * step).astype(np.float64)
    want = [gap**2, np.ones_like(gap), codes, codes**2, rows, rows * codes]
    assert np.allclose(
        sums, [(np.asarray(part, np.float64) * weights[:, None]).sum(0) for part in want], rtol=1e-6
    )
