"""rq and prq against the sums that they stand for."""

import itertools

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.residual import Prq, Rq, choose_m
from vecstore.codecs.residual.coding import Search


def make_rows(n, dim, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, dim)) / np.sqrt(1 + np.arange(dim)) + 2).astype(np.float32)


def errors(codec, rows, codes=None):
    back = codec.decode(codec.encode(rows) if codes is None else codes)
    return np.square(rows - back, dtype=np.float64).sum(axis=1)


def test_one_stage_is_the_nearest_centroid_up_to_rounding():
    rows = make_rows(900, 10)
    codec = vs.fit("rq:m=1", rows)
    distances = np.square(rows[:, None] - codec.books[0][None], dtype=np.float64).sum(2)
    chosen = distances[np.arange(900), codec.encode(rows)[:, 0]]
    assert (chosen <= 1.02 * distances.min(1) + 1e-5).all() and (chosen == distances.min(1)).mean() > 0.98


def plain_beam(row, books, beam):
    """Babenko and Lempitsky 2014, section 3: the best `beam` sums go on to the next codebook, all its
    centroids added to each."""
    paths = [((), np.zeros(len(row)))]
    for book in books.astype(np.float64):
        longer = [((*codes, c), sum_ + book[c]) for codes, sum_ in paths for c in range(len(book))]
        paths = sorted(longer, key=lambda path: np.square(row - path[1]).sum())[:beam]
    return paths[0]


@pytest.mark.parametrize("beam", [1, 3])
def test_codes_are_those_of_the_papers_search_up_to_rounding(beam):
    rows = make_rows(800, 10)
    codec = vs.fit(f"rq:m=3,beam={beam}", rows)
    codes = codec.encode(rows[:100])
    wanted = [plain_beam(row.astype(np.float64), codec.books, beam) for row in rows[:100]]
    # Products of centroids are rounded to whole numbers, which now and then decides what a beam keeps.
    assert (codes == [path for path, _ in wanted]).all(axis=1).mean() > (0.98 if beam == 1 else 0.88)
    least = np.square(rows[:100] - [sum_ for _, sum_ in wanted]).sum(1)
    assert errors(codec, rows[:100]).sum() <= 1.02 * least.sum()
    sums = sum(codec.books[t, codes[:, t]].astype(np.float64) for t in range(3))
    assert np.allclose(codec.decode(codes), sums, atol=1e-5)


def test_a_beam_as_wide_as_all_choices_finds_the_best_sum():
    books = np.random.default_rng(0).standard_normal((3, 4, 6)).astype(np.float32)
    rows = make_rows(60, 6)
    codec = Rq(dim=6, m=3, beam=16, books=books)
    sums = np.array(
        [sum(books[s, c] for s, c in enumerate(choice)) for choice in itertools.product(range(4), repeat=3)]
    )
    best = np.square(rows[:, None] - sums[None], dtype=np.float64).sum(2).min(1)
    assert np.allclose(errors(codec, rows), best, rtol=1e-4)


def test_wider_beams_and_more_stages_lose_less():
    rows = make_rows(1500, 24)
    unseen = make_rows(500, 24, seed=1)
    narrow, wide = (vs.fit(f"rq:m=4,beam={beam}", rows) for beam in (1, 8))
    again = Rq(dim=24, m=4, beam=1, books=wide.books)
    assert errors(wide, unseen).sum() < errors(again, unseen).sum()
    assert errors(wide, unseen).sum() < errors(narrow, unseen).sum()
    assert errors(wide, unseen).sum() < errors(wide.prefix(2), unseen).sum()


@pytest.mark.parametrize(("spec", "size"), [("rq:m=4", 2), ("prq:m=7,splits=2", 6), ("prq:m=6,splits=3", 3)])
def test_the_first_bytes_are_a_coarser_code(spec, size):
    rows = make_rows(800, 12)
    codec = vs.fit(spec, rows)
    coarse = codec.prefix(size)
    codes = np.ascontiguousarray(codec.encode(rows)[:, : coarse.code_bytes])
    spread = np.square(rows - rows.mean(0), dtype=np.float64).sum()
    assert errors(coarse, rows, codes).sum() < 0.6 * spread
    with pytest.raises(vs.SpecError, match="9 were asked for"):
        codec.prefix(9)


def test_blocks_are_residual_codecs_of_their_own():
    rows = make_rows(700, 11)
    codec = vs.fit("prq:m=5,splits=2", rows)
    assert codec.starts.tolist() == [0, 6, 11] and codec.books.shape[0] == 3
    codes = codec.encode(rows)
    for j, stages in ((0, 3), (1, 2)):
        part = slice(codec.starts[j], codec.starts[j + 1])
        books = np.ascontiguousarray(codec.books[:stages, :, part])
        alone = Rq(dim=books.shape[2], m=stages, beam=5, books=books)
        assert np.array_equal(alone.encode(rows[:, part]), codes[:, j::2])
        assert np.array_equal(alone.decode(codes[:, j::2]), codec.decode(codes)[:, part])


def test_chapters_of_stages_go_on_where_the_last_one_ended(monkeypatch):
    books = np.random.default_rng(1).standard_normal((6, 20, 8)).astype(np.float32)
    books *= np.float32(0.7) ** np.arange(6, dtype=np.float32)[:, None, None]
    rows, whole, parts = make_rows(100, 8), np.empty((100, 6), np.uint8), np.empty((100, 6), np.uint8)
    Search(books, 4).encode(rows, whole)
    monkeypatch.setattr("vecstore.kernels.beams.STAGES", 4)
    Search(books, 4).encode(rows, parts)
    codec = Rq(dim=8, m=6, beam=4, books=books)
    one, two = (errors(codec, rows, codes).sum() for codes in (whole, parts))
    # Rounding may decide between sums that are as near.
    assert (whole == parts).all(axis=1).mean() > 0.9 and abs(one - two) < 0.01 * one


def test_rows_far_from_zero_are_coded_as_those_near_to_it():
    rows = make_rows(1200, 16)
    near, far = vs.fit("rq:m=3", rows), vs.fit("rq:m=3", rows + 1000)
    assert errors(far, rows + 1000).sum() < 1.1 * errors(near, rows).sum()


@pytest.mark.parametrize(
    ("m", "dim", "splits"), [(16, 128, 2), (17, 128, 2), (3, 128, 1), (40, 3, 3), (32, 64, 4)]
)
def test_splits_are_chosen_for_any_m_and_dim(m, dim, splits):
    codec = vs.fit(f"prq:m={m}", make_rows(20, dim))
    assert (codec.splits, codec.code_bytes) == (splits, m)


@pytest.mark.parametrize("spec", ["rq:m=3", "prq:m=5,splits=2"])
@pytest.mark.parametrize("dim", [3, 150])
def test_odd_widths_constant_dimensions_and_repeated_rows(spec, dim):
    rows = make_rows(300, dim)
    rows[:, 1] = 4
    rows[100:] = rows[:200]
    codec = vs.fit(spec, rows)
    assert np.isfinite(codec.decode(codec.encode(rows))).all()


@pytest.mark.parametrize(
    ("spec", "message"), [("rq:m=0", "m=0"), ("rq:m=300", "1 to 256"), ("rq:m=2,bytes=3", "do not agree"),
                          ("rq:beam=0", "beam=0"), ("rq:beam=99", "1 to 64"), ("prq:m=2,splits=3", "1 to 2")]
)  # fmt: skip
def test_impossible_options_are_refused(spec, message):
    with pytest.raises(vs.SpecError, match=message):
        vs.fit(spec, make_rows(30, 8))


def test_forged_state_is_refused():
    books = np.zeros((2, 4, 6), np.float32)
    for change in ({"m": 3}, {"m": 0}, {"beam": 0}, {"beam": 999}, {"books": books[:, :0]}, {"dim": 5}):
        with pytest.raises(ValueError):
            Rq(**{"dim": 6, "m": 2, "beam": 5, "books": books} | change)
    for splits in (0, 3, 7):
        with pytest.raises(ValueError):
            Prq(dim=6, m=2, beam=5, books=books, splits=splits)


@pytest.mark.parametrize(
    ("dim", "most", "m"), [(13_000, 256, 256), (13_000, 16, 16), (100, 256, 2), (3, 16, 1)]
)
def test_rows_of_any_width_get_codebooks_without_saying_how_many(dim, most, m):
    assert choose_m("rq", np.zeros((2, dim), np.float32), (None, None), 5, most) == m
