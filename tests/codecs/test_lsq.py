"""lsq against the sums that it stands for, and against rq."""

import itertools
import os

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.lsq import Lsq, draw_moves, training
from vecstore.codecs.lsq.search import LocalSearch
from vecstore.codecs.residual import Rq
from vecstore.codecs.residual.coding import Search


def make_rows(n, dim, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, dim)) / np.sqrt(1 + np.arange(dim)) + 2).astype(np.float32)


def errors(codec, rows):
    return np.square(rows - codec.decode(codec.encode(rows)), dtype=np.float64).sum(axis=1)


def make_codec(books, beam=4, iters=8):
    m, k, dim = books.shape
    moves = draw_moves(iters, m, k, (0,))
    return Lsq(dim=dim, m=m, beam=beam, books=books, iters=iters, moves=moves)


def test_a_long_search_finds_the_best_sum_of_few_centroids():
    books = np.random.default_rng(0).standard_normal((3, 4, 6)).astype(np.float32)
    rows = make_rows(60, 6)
    choices = itertools.product(range(4), repeat=3)
    sums = np.array([sum(books[s, c] for s, c in enumerate(choice)) for choice in choices])
    best = np.square(rows[:, None] - sums[None], dtype=np.float64).sum(2).min(1)
    assert np.allclose(errors(make_codec(books, beam=1, iters=64), rows), best, rtol=1e-4)


def test_no_row_is_farther_from_its_sum_than_the_beam_leaves_it():
    books = np.random.default_rng(1).standard_normal((6, 30, 9)).astype(np.float32)
    rows = make_rows(400, 9)
    beam = Rq(dim=9, m=6, beam=3, books=books)
    before, after = errors(beam, rows), errors(make_codec(books, beam=3), rows)
    assert (after <= before * (1 + 1e-6)).all() and after.sum() < 0.97 * before.sum()


def test_steps_that_are_too_coarse_for_most_centroids_do_no_harm():
    books = np.random.default_rng(2).standard_normal((4, 30, 9)).astype(np.float32)
    books[:, 0] *= 1e6
    rows, found, begun = make_rows(200, 9), np.empty((200, 4), np.uint8), np.empty((200, 4), np.uint8)
    LocalSearch(books, 3, draw_moves(8, 4, 30, (0,))).encode(rows, found)
    Search(books, 3).encode(rows, begun)
    lost = [np.square(rows - training.add_up(books, c), dtype=np.float64).sum(1) for c in (begun, found)]
    assert (lost[1] <= lost[0] * 1.01).all()


def test_it_loses_less_than_rq_on_rows_that_it_was_not_fitted_on():
    rows, unseen = make_rows(3000, 24), make_rows(1500, 24, seed=1)
    rq, lsq = vs.fit("rq:m=4", rows), vs.fit("lsq:m=4", rows)
    assert errors(lsq, unseen).sum() < 0.97 * errors(rq, unseen).sum()


def make_words(n, dim, seed=0):
    """Sums of a few of many directions, as unit rows."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(5).standard_normal((300, dim))
    weights = (rng.random((n, 300)) < 0.02) * rng.exponential(size=(n, 300))
    rows = weights @ directions + 0.3 * rng.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_codebooks_that_are_learned_together_lose_less_even_with_the_search_of_rq():
    rows, unseen = make_words(3000, 48), make_words(1500, 48, seed=1)
    rq, lsq = vs.fit("rq:m=4", rows), vs.fit("lsq:m=4,beam=5,iters=0", rows)
    assert errors(lsq, unseen).sum() < 0.97 * errors(rq, unseen).sum()


def test_more_iterations_lose_less():
    rows, unseen = make_rows(1500, 16), make_rows(800, 16, seed=1)
    lost = [errors(vs.fit(f"lsq:m=5,beam=1,iters={iters}", rows), unseen).sum() for iters in (0, 2, 16)]
    assert lost[2] < lost[1] < lost[0]


def test_a_row_s_code_does_not_depend_on_the_rows_around_it():
    rows = make_rows(700, 10)
    codec = vs.fit("lsq:m=4", rows)
    whole = codec.encode(rows)
    apart = np.concatenate([codec.encode(rows[i : i + 1]) for i in range(600, 700)])
    assert np.array_equal(whole[600:], apart)
    assert np.array_equal(codec.encode(rows[::-1])[::-1], whole)


def test_least_squares_are_those_of_the_normal_equations(monkeypatch):
    monkeypatch.setattr(training, "_SWEEPS", 400)
    rng = np.random.default_rng(3)
    rows, codes = make_rows(200, 5) - 2, rng.integers(0, 6, (200, 3)).astype(np.uint8)
    books = rng.standard_normal((3, 6, 5)).astype(np.float32)
    before = books.copy()
    left = training.improve(rows, codes, books, 4)
    share = np.square(rows - training.add_up(before, codes)).sum(0) / np.square(rows).sum(0)
    chosen = np.zeros((200, 18))
    for t in range(3):
        chosen[np.arange(200), 6 * t + codes[:, t]] = 1
    for j in range(5):
        gram = chosen.T @ chosen + 4 * min(share[j], 1) * np.eye(18)
        wanted = np.linalg.solve(gram, chosen.T @ rows[:, j])
        assert np.allclose(books[:, :, j].reshape(18), wanted, atol=1e-3)
        assert np.allclose(left[:, j], rows[:, j] - chosen @ wanted, atol=1e-3)


def test_rows_that_are_sums_already_come_back():
    distinct = make_rows(30, 8)
    for rows in (distinct, np.tile(distinct, (30, 1))):
        codec = vs.fit("lsq:m=3", rows)
        assert np.allclose(codec.decode(codec.encode(rows)), rows, atol=1e-5)


def test_rows_far_from_zero_are_coded_as_those_near_to_it():
    rows = make_rows(1200, 16)
    near, far = vs.fit("lsq:m=3", rows), vs.fit("lsq:m=3", rows + 1000)
    assert errors(far, rows + 1000).sum() < 1.1 * errors(near, rows).sum()


@pytest.mark.parametrize("dim", [3, 150])
def test_odd_widths_constant_dimensions_and_repeated_rows(dim):
    rows = make_rows(900, dim)
    rows[:, 1] = 4
    rows[600:] = rows[:300]
    codec = vs.fit("lsq:m=3", rows)
    assert np.isfinite(codec.decode(codec.encode(rows))).all()


def test_no_first_bytes_are_a_code():
    with pytest.raises(vs.SpecError, match="no tiers"):
        vs.fit("lsq:m=3", make_rows(100, 8)).prefix(2)


def test_the_number_of_codebooks_is_chosen_for_any_width():
    for dim, m in ((3, 1), (100, 2), (1536, 16)):
        assert vs.fit("lsq", make_rows(20, dim)).m == m


@pytest.mark.parametrize(
    ("spec", "message"),
    [("lsq:m=0", "m=0"), ("lsq:m=17", "1 to 16"), ("lsq:m=2,bytes=3", "do not agree"),
     ("lsq:beam=0", "beam=0"), ("lsq:iters=-1", "iters=-1"), ("lsq:iters=300", "0 to 256")],
)  # fmt: skip
def test_impossible_options_are_refused(spec, message):
    with pytest.raises(vs.SpecError, match=message):
        vs.fit(spec, make_rows(30, 8))


def test_forged_state_is_refused():
    books, moves = np.zeros((2, 4, 6), np.float32), np.zeros((3, 1, 2), np.uint8)
    good = {"dim": 6, "m": 2, "beam": 5, "books": books, "iters": 3, "moves": moves}
    Lsq(**good)
    for change in ({"m": 3}, {"beam": 0}, {"iters": 2}, {"iters": -1}, {"moves": moves + np.uint8(2)},
                   {"moves": moves[:, :, :1]}, {"moves": moves.astype(np.int64)}):  # fmt: skip
        with pytest.raises(ValueError):
            Lsq(**good | change)
    last = moves.copy()
    last[..., 1] = 4
    with pytest.raises(ValueError, match="not there"):
        Lsq(**good | {"moves": last})


@pytest.mark.skipif("VECSTORE_DATA" not in os.environ, reason="the SIFT rows are not in the repository")
def test_sift_rows_lose_less_than_with_rq():
    from vecstore.bench import datasets, quality

    data = datasets.load("sift_sceaux", os.environ["VECSTORE_DATA"])
    lost = [
        quality.relative_mse(data.base[:5000], codec.decode(codec.encode(data.base[:5000])))
        for codec in (vs.fit(spec, data.fit) for spec in ("rq:m=8", "lsq:m=8"))
    ]
    assert lost[1] < 0.92 * lost[0]
