"""rabitq against the formulas of its papers in plain numpy."""

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.rabitq import _narrow, _widen

DIM = 96
LOST = {1: 0.5708, 2: 0.133, 3: 0.0383, 4: 0.0109, 5: 0.003, 6: 0.00075, 7: 0.00018, 8: 0.000045}  # unbiased


def make_rows(n=2000, dim=DIM, seed=0):
    """Rows of many lengths off the origin, in a few directions mostly."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim)) * 0.97 ** np.arange(dim)
    return (rows * rng.lognormal(sigma=0.4, size=(n, 1)) + rng.standard_normal(dim)).astype(np.float32)


def turned(codec, rows):
    """Rows less the mean, rotated, in float64. A linear map is known by what it makes of the axes."""
    axes = vs.fit("rotate+f32", rows).transforms[0].apply(np.eye(rows.shape[1], dtype=np.float32), None)
    return (rows.astype(np.float64) - codec.mean) @ axes, axes


def test_one_bit_is_the_estimator_of_the_paper():
    rows, queries = make_rows(300), make_rows(20, seed=1)
    codec = vs.fit("rabitq", rows)
    residuals, axes = turned(codec, rows)
    length = np.linalg.norm(residuals, axis=1)
    unit = residuals / length[:, None]
    signs = np.where(unit >= 0, 1, -1) / np.sqrt(DIM)  # the codeword of the paper
    share = (signs * unit).sum(1)  # <codeword, row>
    products = (queries @ axes) @ signs.T / share * length
    bounds = np.sqrt((1 - share**2) / share**2) * 1.9 / np.sqrt(DIM - 1) * length
    codes = codec.encode(rows)
    found = queries @ codec.decode(codes).T.astype(np.float64)
    sizes = np.linalg.norm(queries, axis=1)[:, None]
    assert np.allclose(found, products + (queries @ codec.mean)[:, None], atol=2e-3 * sizes.max())
    stored = codec.error_bounds(codes, queries)
    assert (stored >= bounds * sizes).all() and (stored <= 1.1 * bounds * sizes).all()


@pytest.mark.parametrize("bits", range(1, 9))
def test_inner_products_stay_inside_their_bounds_and_do_not_shrink(bits):
    rows, queries = make_rows(3000), np.random.default_rng(5).standard_normal((60, DIM)).astype(np.float32)
    codec = vs.fit(f"rabitq:bits={bits}", rows)
    codes = codec.encode(rows)
    assert codes.shape[1] == 3 + (bits * DIM + 7) // 8
    wide = queries.astype(np.float64)
    true, found = wide @ rows.T, wide @ codec.decode(codes).T
    for epsilon, share in ((1.9, 0.94), (3.0, 0.997)):
        assert (np.abs(found - true) <= codec.error_bounds(codes, queries, epsilon=epsilon)).mean() > share
    assert abs(np.polyfit(true.ravel(), found.ravel(), 1)[0] - 1) < 0.02


@pytest.mark.parametrize("bits", range(1, 9))
def test_decoded_rows_use_all_bits(bits):
    rows = make_rows(4000)
    codec = vs.fit(f"rabitq:bits={bits}", rows[:2000])
    back = codec.decode(codec.encode(rows[2000:]))
    error = np.square(rows[2000:] - back, dtype=np.float64).sum()
    assert error / np.square(rows[2000:] - codec.mean).sum() < 1.1 * LOST[bits]


@pytest.mark.parametrize("bits", [1, 4])
def test_the_error_is_at_right_angles_to_the_row(bits):
    rows = make_rows(200)
    codec = vs.fit(f"rabitq:bits={bits}", rows)
    centred = rows.astype(np.float64) - codec.mean
    lost = codec.decode(codec.encode(rows)) - rows.astype(np.float64)
    lengths = np.linalg.norm(centred, axis=1) * np.linalg.norm(centred, axis=1)
    assert (np.abs((lost * centred).sum(1)) <= 6e-4 * lengths).all()


def test_a_sine_is_rounded_up_by_little():
    sines = np.concatenate([[0.0, 1.0, 1e-9], np.random.default_rng(0).random(1000) ** 4])
    kept = _widen(_narrow(sines))
    assert (kept >= sines.astype(np.float32)).all() and kept.max() == 1
    assert (kept <= np.maximum(sines * (1 + 1 / 15), 2.0**-15)).all()


def test_bounds_of_rows_far_shorter_than_the_sample_hold():
    rows = make_rows(500)
    codec = vs.fit("rabitq:bits=4,center=false", rows)
    queries = make_rows(40, seed=3)
    for factor in (1e-3, 1e-6, 1e-9, 0):
        short = rows * np.float32(factor)
        codes = codec.encode(short)
        lost = np.abs(queries.astype(np.float64) @ (codec.decode(codes).astype(np.float64) - short).T)
        assert (lost <= codec.error_bounds(codes, queries, epsilon=4)).mean() > 0.999


def test_bounds_hold_behind_affine_transforms_and_are_refused_behind_others():
    rows, queries = make_rows(), make_rows(40, seed=3)
    true = queries.astype(np.float64) @ rows.T
    for spec in ("center+rabitq:bits=2", "pca+rabitq:bits=3,center=false"):
        codec = vs.fit(spec, rows)
        codes = codec.encode(rows)
        off = np.abs(queries.astype(np.float64) @ codec.decode(codes).T - true)
        bounds = codec.error_bounds(codes, queries, epsilon=3)
        assert bounds.shape == off.shape and (off <= bounds).mean() > 0.997 and (2 * off > bounds).any()
    for spec, message in (("normalize+rabitq", "behind normalize"), ("center+sq", "sq has no bounds")):
        codec = vs.fit(spec, rows)
        with pytest.raises(vs.SpecError, match=message):
            codec.error_bounds(codec.encode(rows), queries)


def test_what_does_not_fit_is_refused():
    rows = make_rows(50, 20)
    assert vs.fit("rabitq", rows).bits == 1
    assert vs.fit("rabitq:bytes=23", rows).bits == 8
    with pytest.raises(vs.SpecError, match=r"it makes 6 \(bits=1\), 8 \(bits=2\)"):
        vs.fit("rabitq:bytes=7", rows)
    with pytest.raises(vs.SpecError, match="bits=9; expected 1 to 8"):
        vs.fit("rabitq:bits=9", rows)
    codec = vs.fit("rabitq", rows)
    with pytest.raises(vs.ShapeError, match=r"expected uint8 \(n, 6\)"):
        codec.error_bounds(np.zeros((1, 5), np.uint8), rows)
    with pytest.raises(vs.ShapeError, match=r"expected a real dtype, \(n, 20\)"):
        codec.error_bounds(codec.encode(rows), rows[:, 1:])
    with pytest.raises(vs.SpecError, match="epsilon is 0"):
        codec.error_bounds(codec.encode(rows), rows, epsilon=0)
    with pytest.raises(vs.InputError, match="row 0 holds"):
        codec.encode(rows[:1] * np.float32(1e18))


@pytest.mark.parametrize("dim", [1, 3, 4097])
def test_any_width_and_sample_will_do(dim):
    rng = np.random.default_rng(dim)
    for bits in (1, 5):
        for sample in (rng.standard_normal((1, dim)), np.repeat(rng.standard_normal((1, dim)), 9, axis=0)):
            sample = sample.astype(np.float32)
            codec = vs.fit(f"rabitq:bits={bits}", sample)
            assert np.allclose(codec.decode(codec.encode(sample)), sample, atol=1e-5)
        codes = rng.integers(0, 256, (200, codec.code_bytes), dtype=np.uint8)
        assert np.isfinite(codec.decode(codes)).all()
        assert np.isfinite(codec.error_bounds(codes, sample)).all()
