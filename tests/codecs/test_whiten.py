import numpy as np
import pytest

import vecstore as vs

NO_SIDE = np.empty((0, 0), np.uint8)


def correlated(n, dim, seed=0):
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.random.default_rng(99).standard_normal((dim, dim)))[0]
    return (rng.standard_normal((n, dim)) * np.arange(1, dim + 1) ** -1.0 @ turn + 2).astype(np.float32)


def whitener(rows, **options):
    text = ",".join(f"{key}={value}" for key, value in options.items())
    return vs.fit(f"whiten{':' if text else ''}{text}+f32", rows).transforms[0]


def test_whitened_rows_have_unit_covariance():
    rows = correlated(20_000, 12)
    inside = whitener(rows).apply(rows, NO_SIDE)
    assert np.allclose(inside.mean(axis=0), 0, atol=1e-3)
    assert np.allclose(np.cov(inside, rowvar=False), np.eye(12), atol=1e-3)


def test_whitened_rows_are_those_of_the_definition():
    """PCA whitening, Kessy, Lewin, Strimmer 2018, section 2: z = Lambda^(-1/2) U' (x - mean)."""
    rows, unseen = correlated(2000, 12), correlated(300, 12, seed=1)
    transform = whitener(rows)
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False, bias=True, dtype=np.float64))
    wanted = (unseen - rows.mean(0, dtype=np.float64)) @ vectors[:, ::-1] / np.sqrt(values[::-1])
    found = transform.apply(unseen, NO_SIDE)
    signs = np.sign((found * wanted).sum(0))  # of an eigenvector the sign is arbitrary
    assert np.allclose(found, wanted * signs, atol=1e-4)


def test_an_axis_below_the_floor_is_scaled_as_if_it_were_at_it():
    rows = correlated(20_000, 12)
    values = np.linalg.eigvalsh(np.cov(rows, rowvar=False))[::-1]
    inside = whitener(rows, floor=0.1).apply(rows, NO_SIDE)
    assert np.allclose(inside.var(axis=0), np.minimum(1, values / (0.1 * values[0])), atol=2e-3)


def test_the_inverse_is_exact_also_for_rows_outside_what_the_sample_spans():
    few = correlated(5, 12)
    transform = whitener(few)
    unseen = correlated(100, 12, seed=4)
    back = transform.invert(transform.apply(unseen, NO_SIDE), NO_SIDE)
    assert np.abs(back - unseen).max() < 1e-4


@pytest.mark.parametrize("rows", [np.full((50, 6), 7.5), np.full((50, 6), 0.1), np.full((9, 6), 1e-16)])
def test_rows_that_are_all_equal_are_only_centred(rows):
    transform = whitener(rows.astype(np.float32))
    inside = transform.apply(rows.astype(np.float32) + np.float32(1), NO_SIDE)
    assert np.abs(inside).max() < 4


def test_rows_that_overflow_when_scaled_are_refused_whatever_codec_follows():
    rows = correlated(500, 6) * np.float32(1e-15)
    codec = vs.fit("whiten+f32", rows)
    with pytest.raises(vs.InputError, match="row 1 "):
        codec.encode(np.stack([rows[0], np.full(6, 1e16, np.float32)]))


def test_a_stored_scale_of_zero_is_refused():
    transform = whitener(correlated(50, 3))
    arrays = transform.arrays() | {"scales": np.zeros(3, np.float32)}
    with pytest.raises(vs.CorruptError, match="whiten has scales"):
        type(transform).from_parts(transform.config(), arrays)
