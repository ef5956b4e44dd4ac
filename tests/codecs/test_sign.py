"""sign against its definition in plain numpy, and what it chooses for itself."""

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.sign import levels
from vecstore.codecs.trial import Trial


def make_rows(n=3000, dim=48, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, dim)) * (1 + np.arange(dim) / 8) + 2).astype(np.float32)


def skewed_rows(n=3000, dim=48, seed=0):
    return np.random.default_rng(seed).gamma(0.3, size=(n, dim)).astype(np.float32)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("make", [make_rows, skewed_rows])
def test_decoded_values_are_the_means_of_either_side(make, center):
    rows = make()
    codec = vs.fit(f"sign:center={str(center).lower()},scale=false", rows)
    above = rows > codec.thresholds
    back = codec.decode(codec.encode(rows))
    for j in range(rows.shape[1]):
        for side in (above[:, j], ~above[:, j]):
            if side.any():
                assert abs(back[side, j] - rows[side, j].mean()).max() <= 0.05 * rows[:, j].std()


def test_bits_are_in_order_from_the_lowest():
    rows = make_rows(dim=21)
    codec = vs.fit("sign:center=false,scale=false", rows)
    bits = np.unpackbits(codec.encode(rows), axis=1, bitorder="little")
    assert np.array_equal(bits[:, :21], rows > 0) and not bits[:, 21:].any()


def test_centred_bits_lose_least_and_each_value_takes_the_nearer_level():
    rows = skewed_rows()
    codec = vs.fit("sign:center=true,scale=false", rows)
    back = codec.decode(codec.encode(rows))
    gaps = np.abs(rows[None] - codec.levels[:, None]).min(0)
    assert np.allclose(np.abs(rows - back), gaps, atol=1e-6)
    mean = rows.mean(0)
    above = rows > mean
    plain = np.where(above, (rows * above).sum(0) / above.sum(0), (rows * ~above).sum(0) / (~above).sum(0))
    assert np.square(rows - back).sum() < 0.9 * np.square(rows - plain).sum()


def test_levels_and_thresholds_alternate_as_in_the_paper():
    """Lloyd 1982, method I, for two levels: means of the cells, thresholds halfway between them, in turn."""
    rows = make_rows()
    codec = vs.fit("sign:center=true,scale=false", rows)
    wide, threshold, levels = rows.astype(np.float64), rows.mean(0, dtype=np.float64), None
    while True:
        before, above = levels, wide > threshold
        levels = np.array([(wide * side).sum(0) / side.sum(0) for side in (~above, above)])
        threshold = levels.mean(0)
        if before is not None and np.array_equal(before, levels):
            break
    assert np.allclose(codec.levels, levels, rtol=1e-5)
    bits = np.unpackbits(codec.encode(rows), axis=1, bitorder="little")
    sure = np.abs(wide - threshold) > 1e-5
    assert sure.mean() > 0.999 and np.array_equal(bits[sure], above[sure])


def test_the_error_of_normal_values_is_that_of_the_best_two_levels():
    rows = np.random.default_rng(0).standard_normal((8000, 32)).astype(np.float32)
    codec = vs.fit("sign", rows[:4000])
    error = np.square(rows[4000:] - codec.decode(codec.encode(rows[4000:]))).mean()
    assert abs(error - (1 - 2 / np.pi)) < 0.004


def test_rows_of_one_length_get_no_scale_and_rows_of_many_lengths_do():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 128))[rng.integers(40, size=4000)] + rng.standard_normal((4000, 128))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    assert not vs.fit("sign:scale=auto", rows).scale
    rows *= rng.lognormal(sigma=0.5, size=(4000, 1)).astype(np.float32)
    assert not vs.fit("sign", rows).scale
    codec = vs.fit("sign:scale=auto", rows)
    assert codec.scale and codec.code_bytes == 16 + 2 and codec.side_bytes == 2


def test_a_scale_is_the_best_multiple_of_the_levels():
    rows = make_rows()
    codec = vs.fit("sign:scale=true", rows)
    codes = codec.encode(rows)
    near = np.where(rows > codec.thresholds, codec.levels[1], codec.levels[0]) - codec.mean
    scale = ((rows - codec.mean) * near).sum(1) / np.square(near).sum(1)
    assert np.allclose(codes[:, :2].copy().view("<f2")[:, 0], scale, rtol=1e-3)
    assert np.allclose(codec.decode(codes), codec.mean + near * scale[:, None], rtol=1e-3, atol=1e-2)


def test_signs_are_taken_only_where_they_find_clearly_more_neighbours(monkeypatch):
    rows = make_rows()
    assert vs.fit("sign", rows).center and not vs.fit("sign:center=false", rows).center
    assert not levels.clearly(np.array([0.1, -0.1] * 50), 0.0)
    assert levels.clearly(np.array([0.2, 0.1] * 50), 0.1)
    shares = iter([np.full(100, 0.5), np.full(100, 0.6)])  # of thresholds in the middle, then of signs
    monkeypatch.setattr(Trial, "shares", lambda self, rows: next(shares))
    assert not vs.fit("sign", rows).center


def test_bytes_says_whether_there_is_a_scale():
    rows = make_rows(dim=20)
    assert not vs.fit("sign:bytes=3", rows).scale
    assert vs.fit("sign:bytes=5", rows).scale
    with pytest.raises(vs.SpecError, match="it makes 3, and 5"):
        vs.fit("sign:bytes=4", rows)
    with pytest.raises(vs.SpecError, match="it makes 3, and 5"):
        vs.fit("sign:bytes=5,scale=false", rows)
    with pytest.raises(vs.SpecError, match="true, false or auto"):
        vs.fit("sign:scale=yes", rows)


def test_wild_scales_decode_to_finite_rows():
    codec = vs.fit("sign:scale=true", make_rows(dim=16))
    codes = np.random.default_rng(0).integers(0, 256, (70_000, 4), dtype=np.uint8)
    assert np.isfinite(codec.decode(codes)).all()


@pytest.mark.parametrize("spec", ["sign:scale=false", "sign:scale=true", "rotate+sign:scale=false"])
def test_symmetric_scores_count_equal_bits(spec):
    rows = make_rows(500, 45)
    codec = vs.fit(spec, rows)
    codes = codec.encode(rows)
    scan = codec.scan_symmetric(codes)
    queries = make_rows(3, 45, seed=1)
    out = np.empty((3, 400), np.float32)
    scan.dots(scan.prepare(queries), 64, 464, out)
    side = codec.side_bytes
    bits = np.unpackbits(codes[64:464, side:], axis=1, count=45, bitorder="little")
    wanted = np.unpackbits(codec.encode(queries)[:, side:], axis=1, count=45, bitorder="little")
    assert np.array_equal(out, 45 - 2 * (wanted[:, None] != bits[None]).sum(2))


def test_a_giant_row_takes_no_level_for_itself():
    rows = make_rows()
    rows[5] = 1e15
    codec = vs.fit("sign", rows)
    back = codec.decode(codec.encode(rows[6:]))
    error = np.square(rows[6:] - back).sum() / np.square(rows[6:] - rows[6:].mean(0)).sum()
    assert error < 0.5


@pytest.mark.parametrize("spec", ["sign", "sign:scale=true", "rbe:bits=1,rotate=true", "rbe:bits=2"])
@pytest.mark.parametrize("spread", [0, 1e-3])
def test_many_copies_of_one_row_leave_levels_for_the_others(spec, spread):
    rng = np.random.default_rng(3)
    rows, unseen = make_rows(1000), make_rows(500, seed=1)
    copies = np.tile(rows[0], (2500, 1)) + spread * rng.standard_normal((2500, 48)).astype(np.float32)
    codec = vs.fit(spec, rng.permutation(np.concatenate([rows, copies])))
    marks = np.empty(500, bool)
    error = np.square(unseen - codec.decode(codec.encode(unseen, saturated=marks))).sum()
    assert error < 0.75 * np.square(unseen - unseen.mean(0)).sum() and not marks.any()
