import numpy as np
import pytest

import vecstore as vs

NO_SIDE = np.empty((0, 0), np.uint8)


def make_rows(n, dim, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32) + np.float32(0.3)


def relative(rows, anchors, seed=0):
    return vs.fit(f"relative:anchors={anchors}+f32", rows, seed=seed).transforms[0]


def cosines(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T


def test_a_row_becomes_its_cosines_with_rows_of_the_sample():
    rows = make_rows(200, 16)
    transform = relative(rows, 10)
    places = [int(np.argmax(cosines(anchor[None], rows))) for anchor in transform.anchors]
    assert len(set(places)) == 10
    unseen = make_rows(30, 16, seed=5)
    assert np.allclose(transform.apply(unseen, NO_SIDE), cosines(unseen, rows[places]), atol=1e-6)


def test_the_seed_chooses_the_anchors():
    rows = make_rows(200, 16)
    assert np.array_equal(relative(rows, 10, 1).anchors, relative(rows, 10, 1).anchors)
    assert not np.array_equal(relative(rows, 10, 1).anchors, relative(rows, 10, 2).anchors)


def test_turned_and_stretched_spaces_have_the_same_relative_rows():
    rows = make_rows(300, 12)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((12, 12)))[0]
    turned = (rows @ turn * 5).astype(np.float32)
    one, two = relative(rows, 40), relative(turned, 40)
    assert np.allclose(one.apply(rows, NO_SIDE), two.apply(turned, NO_SIDE), atol=1e-5)


def test_enough_anchors_give_every_direction_back_at_the_mean_length():
    rows = make_rows(300, 12)
    transform = relative(rows, 24)
    back = transform.invert(transform.apply(rows, NO_SIDE), NO_SIDE)
    assert np.diag(cosines(back, rows)).min() > 1 - 1e-5
    assert np.allclose(np.linalg.norm(back, axis=1), np.linalg.norm(rows, axis=1).mean(), rtol=1e-4)


def test_few_anchors_give_the_projection_onto_their_span():
    rows = make_rows(300, 12)
    transform = relative(rows, 5)
    basis = np.linalg.qr(transform.anchors.T.astype(np.float64))[0]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    wanted = unit @ basis @ basis.T * np.linalg.norm(rows, axis=1).mean()
    assert np.allclose(transform.invert(transform.apply(rows, NO_SIDE), NO_SIDE), wanted, atol=1e-4)


def test_normalize_in_front_keeps_each_length():
    rows = make_rows(300, 12) * np.random.default_rng(1).uniform(0.1, 9, (300, 1)).astype(np.float32)
    codec = vs.fit("normalize+relative:anchors=40+f32", rows)
    back = codec.decode(codec.encode(rows))
    assert np.allclose(back, rows, rtol=2e-3, atol=2e-3)


def test_repeated_and_zero_rows_are_no_anchors_twice():
    rows = np.concatenate([np.zeros((5, 4)), np.repeat(np.eye(4)[:3], 20, axis=0)]).astype(np.float32)
    assert len(relative(rows, 9).anchors) == 3
    assert not relative(np.zeros((5, 4), np.float32), 3).anchors.any()


def test_a_stored_state_that_does_not_fit_is_refused():
    transform = relative(make_rows(50, 3), 4)
    with pytest.raises(vs.CorruptError, match="relative"):
        type(transform).from_parts(transform.config() | {"wanted": 3}, transform.arrays())
