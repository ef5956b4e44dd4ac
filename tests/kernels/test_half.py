import numpy as np

from vecstore.kernels.half import from_float16, to_float16


def check(rows):
    out = np.empty(rows.shape, np.float16)
    to_float16(rows, out)
    with np.errstate(over="ignore"):
        assert np.array_equal(out.view(np.uint16), rows.astype(np.float16).view(np.uint16))


def test_every_float16_and_the_points_between_round_as_numpy_rounds():
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = (halves[:-1] + halves[1:]) / 2
    values = np.concatenate(
        [halves, between, np.nextafter(between, np.float32(0)), np.nextafter(between, np.float32(9e9))]
    )
    check(np.concatenate([values, -values]).reshape(1, -1))


def test_random_bit_patterns_round_as_numpy_rounds():
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    values = bits.view(np.float32)
    check(values[~np.isnan(values)].reshape(1, -1))


def test_the_edges_round_as_numpy_rounds():
    check(
        np.array(
            [[65504, 65519.996, 65520, 65536, 1e30, np.inf, -np.inf, 0, -0.0, 2**-24, 2**-25, 2**-26]],
            np.float32,
        )
    )


def test_no_rows_are_fine():
    check(np.empty((0, 4), np.float32))


def test_every_float16_comes_back_as_numpy_widens_it():
    halves = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(np.float16).reshape(64, -1)
    out = np.empty(halves.shape, np.float32)
    from_float16(halves, out)
    wanted = halves.astype(np.float32)
    whole = ~np.isnan(wanted)
    assert np.array_equal(out.view(np.uint32)[whole], wanted.view(np.uint32)[whole])
    assert np.isnan(out[~whole]).all()
