"""itq against the paper's formulas in plain numpy."""

from itertools import pairwise

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.itq import turn


def make_rows(n=2000, dim=24, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim)) * np.arange(1, dim + 1) ** -0.7 + rng.choice([-1, 1], (n, dim)) * 0.5
    return (rows @ np.linalg.qr(np.random.default_rng(9).standard_normal((dim, dim)))[0] + 1).astype(
        np.float32
    )


def plain_itq(rows, rotation, rounds=50):
    """Gong and Lazebnik's loop, section 2.2: fix R, B = sign(VR); fix B, S O S' = svd(B'V), R = S' S."""
    losses = []
    for _ in range(rounds):
        corners = np.sign(rows @ rotation)
        left, _, right = np.linalg.svd(corners.T @ rows)
        rotation = right.T @ left.T
        losses.append(np.square(corners - rows @ rotation).sum())
    return rotation, losses


def test_the_rotation_is_orthogonal_and_as_near_to_the_corners_as_the_paper_s():
    rows = make_rows().astype(np.float64)
    rows -= rows.mean(0)
    rows = rows.astype(np.float32)
    found = turn(rows, 0)
    assert np.allclose(found @ found.T, np.eye(24), atol=1e-5)
    loss = np.square(np.sign(rows @ found) - rows @ found).sum()
    other = np.linalg.qr(np.random.default_rng(3).standard_normal((24, 24)))[0]
    _, losses = plain_itq(rows.astype(np.float64), other)
    start = np.square(np.sign(rows) - rows).sum()
    assert loss < start and loss < 1.02 * losses[-1]
    assert all(after <= before + 1e-6 for before, after in pairwise(losses))


def test_the_rotation_is_that_of_the_paper_s_alternation():
    rows = make_rows(800, 6).astype(np.float64)
    rows = (rows - rows.mean(0)).astype(np.float32)
    start = np.linalg.qr(np.random.default_rng(4).standard_normal((6, 6)))[0]
    assert np.allclose(turn(rows, 4), plain_itq(rows.astype(np.float64), start)[0], atol=1e-4)


def test_codes_are_signs_along_the_axes_and_decoding_turns_the_means_back():
    rows = make_rows()
    codec = vs.fit("itq:bits=11", rows)
    assert codec.code_bytes == 2
    assert np.allclose(codec.axes.T @ codec.axes, np.eye(11), atol=1e-5)
    values = (rows - codec.mean) @ codec.axes
    codes = codec.encode(rows)
    found = np.unpackbits(codes, axis=1, bitorder="little")
    sure = np.abs(values) > 1e-5
    assert np.array_equal(found[:, :11][sure], (values > 0)[sure]) and not found[:, 11:].any()
    above = values > 0
    high = (values * above).sum(0) / above.sum(0)
    low = (values * ~above).sum(0) / (~above).sum(0)
    back = np.where(above, high, low) @ codec.axes.T + codec.mean
    assert np.allclose(codec.decode(codes), back, atol=1e-3)


def test_the_axes_span_the_first_principal_ones():
    rows = make_rows()
    codec, pca = vs.fit("itq:bits=5", rows), vs.fit("pca:dim=5+f32", rows).transforms[0]
    assert np.allclose(codec.axes @ codec.axes.T, pca.axes @ pca.axes.T, atol=1e-4)


def test_symmetric_scores_count_equal_bits():
    rows = make_rows()
    codec = vs.fit("itq:bits=19", rows)
    codes = codec.encode(rows)
    scan = codec.scan_symmetric(codes)
    out = np.empty((2, len(rows)), np.float32)
    scan.dots(scan.prepare(rows[:2]), 0, len(rows), out)
    bits = np.unpackbits(codes, axis=1, count=19, bitorder="little")
    assert np.array_equal(out, 19 - 2 * (bits[:2, None] != bits[None]).sum(2))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("itq:bits=0", "1 to that"),
        ("itq:bits=25", "24 dimensions"),
        ("itq:bytes=4", "1 to 3 bytes"),
        ("itq:bits=9,bytes=1", "do not agree"),
    ],
)
def test_lengths_that_cannot_be_are_refused(spec, message):
    with pytest.raises(vs.SpecError, match=message):
        vs.fit(spec, make_rows())
