import numpy as np
import pytest
from numba.core import config

from vecstore.kernels import rowformats as formats
from vecstore.kernels.tablepool import pool

pytestmark = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="intrinsics need the compiler")
NO_OFFSETS, NO_WEIGHTS = np.empty(0, np.int64), np.empty(0, np.float32)
CODED = [formats.F16, formats.I16, formats.I8, formats.I4, formats.L16, formats.L8, formats.L4]


def coded(values, kind, seed=0):
    data = np.zeros((len(values), formats.row_bytes(kind, values.shape[1])), np.uint8)
    formats.encode_rows(values, data, np.arange(len(values)), kind, np.uint64(seed))
    return data


def plain_decode(data, kind, width):
    """The definition, in numpy."""
    codes = data[:, : data.shape[1] - formats.SIDE_BYTES[kind]].copy()
    side = data[:, codes.shape[1] :].copy()
    if kind == formats.F16:
        return codes.view(np.float16).astype(np.float32)
    if kind in (formats.I4, formats.L4):
        codes = np.stack([codes & 15, codes >> 4], 2).reshape(len(data), -1)[:, :width].astype(np.float32) - 8
    else:
        codes = codes.view(np.int16 if kind in (formats.I16, formats.L16) else np.int8)
    if kind <= formats.I4:
        side = np.concatenate([np.zeros_like(side), side], 1)
    return codes * side.view(np.float32)


def decoded(data, kind, width):
    out = np.full((len(data), width), np.nan, np.float32)
    every = np.arange(len(data)).reshape(-1, 1, 1)
    pool(data, every, NO_OFFSETS, NO_WEIGHTS, out, (kind, width, 0))
    return out


@pytest.mark.parametrize("kind", CODED)
@pytest.mark.parametrize("width", [1, 2, 7, 16, 17, 30, 64])
def test_rows_of_every_format_are_read_as_they_are_defined(kind, width):
    values = np.random.default_rng(0).standard_normal((20, width)).astype(np.float32)
    data = coded(values, kind)
    out = decoded(data, kind, width)
    assert np.array_equal(out, plain_decode(data, kind, width))
    unit = np.abs(values).max(1, keepdims=True) / (formats.TOP[kind] or 1024)
    assert (np.abs(out - values) <= 1.02 * unit).all()


@pytest.mark.parametrize("kind", CODED)
def test_rounding_has_the_value_as_its_mean(kind):
    values = np.array([[1.0, 0.3, -0.123456, 1e-3, -0.77, 3e-6, 0.0, -1.0]], np.float32)
    mean = np.mean(
        [decoded(coded(values, kind, seed), kind, 8) for seed in range(4000)], axis=0, dtype=np.float64
    )
    spacing = 2.0**-11 if kind == formats.F16 else 1 / formats.TOP[kind]
    assert (np.abs(mean - values) <= 5 * 0.5 * spacing / np.sqrt(4000) + 1e-7 + 0.01 * spacing).all()


@pytest.mark.parametrize("kind", CODED)
def test_zeros_and_the_largest_numbers_are_kept(kind):
    values = np.array([[0, 0, 0], [65504, -65504, 1]], np.float32)
    out = decoded(coded(values, kind), kind, 3)
    assert not out[0].any()
    assert np.allclose(out[1, :2], values[1, :2], rtol=0.01)


def test_float16_that_are_exact_stay_what_they_are():
    values = np.arange(0, 0x7C00, 7, dtype=np.uint16).view(np.float16).astype(np.float32).reshape(1, -1)
    for sign in (values, -values):
        assert np.array_equal(decoded(coded(sign, formats.F16), formats.F16, values.shape[1]), sign)
