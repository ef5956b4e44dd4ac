"""opq against the paper's formulas, and for what only a rotation for pq promises."""

from itertools import pairwise

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.transforms import opq
from vecstore.codecs.transforms.opq import Opq, deal
from vecstore.kernels import kmeans
from vecstore.kernels.product import split


def skewed(n, dim, seed=0):
    """Rows whose variances fall steeply and stand on axes of their own."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.random.default_rng(9).standard_normal((dim, dim)))[0]
    return ((rng.standard_normal((n, dim)) / (1 + np.arange(dim))) @ turn + 2).astype(np.float32)


def error(codec, rows):
    return np.square(rows - codec.decode(codec.encode(rows)), dtype=np.float64).sum()


def test_it_loses_less_than_pq_alone_and_than_principal_axes_in_order():
    rows, unseen = skewed(4000, 32), skewed(1000, 32, seed=1)
    turned = error(vs.fit("opq:m=4+pq:m=4", rows), unseen)
    assert turned < 0.8 * error(vs.fit("pq:m=4", rows), unseen)
    assert turned < 0.8 * error(vs.fit("pca+pq:m=4", rows), unseen)


def test_rounds_lower_the_error_that_the_dealt_axes_begin_with():
    rows = skewed(4000, 32)
    codec = vs.fit("opq:m=4+pq:m=4", rows)
    mean = rows.mean(0)
    values, vectors = np.linalg.eigh(np.cov(rows.T.astype(np.float64)))
    order = deal(values[::-1], 4)
    start = (rows - mean) @ vectors[:, ::-1][:, order].astype(np.float32)
    assert error(codec, rows) < error(vs.fit("pq:m=4", start), start)


def plain_opq(rows, starts, centroids, rounds=20):
    """Codes of the turned rows, the means of each code's rows, and the rotation of Procrustes, in turn."""
    turned, books = rows, centroids.astype(np.float64)
    for _ in range(rounds):
        back = np.empty_like(rows)
        for first, last in pairwise(starts):
            part, book = turned[:, first:last], books[:, first:last]
            near = np.square(part[:, None] - book).sum(2).argmin(1)
            for c in np.unique(near):
                book[c] = part[near == c].mean(0)
            back[:, first:last] = book[near]
        left, _, right = np.linalg.svd(rows.T @ back)
        turned = rows @ (left @ right)
    return left @ right


@pytest.mark.parametrize(("dim", "m"), [(6, 2), (7, 3)])
def test_the_rotation_is_that_of_the_paper_s_alternation(dim, m):
    rows, starts = skewed(500, dim), split(dim, m)
    rows -= rows.mean(0)
    begun = kmeans.train_product(rows, starts, 5, iterations=opq._FIRST, seed=3)
    found = opq._turn(rows, starts, 5, 3)
    wanted = plain_opq(rows.astype(np.float64), starts, begun)
    assert np.allclose(found, wanted, atol=1e-3)
    assert not np.allclose(wanted, plain_opq(rows.astype(np.float64), starts, begun, 10), atol=1e-2)


@pytest.mark.parametrize("spec", ["opq:m=5", "opq:m=3,dim=7", "opq:m=4,bits=4", "opq"])
def test_its_columns_are_orthonormal(spec):
    axes = vs.fit(f"{spec}+f32", skewed(700, 20)).transforms[0].axes
    assert np.allclose(axes.T @ axes, np.eye(axes.shape[1]), atol=1e-5)


def test_fewer_dimensions_are_the_first_principal_ones():
    rows = skewed(2000, 24)
    codec = vs.fit("opq:m=3,dim=6+f32", rows)
    assert codec.transforms[0].dim_out == 6 and str(codec.spec).startswith("opq:m=3,bits=8,dim=6")
    assert np.isclose(error(codec, rows), error(vs.fit("pca:dim=6+f32", rows), rows), rtol=1e-3)


@pytest.mark.parametrize(("dim", "m"), [(8, 2), (13, 4), (5, 5), (9, 1)])
def test_axes_are_dealt_to_the_subspace_of_least_product(dim, m):
    variances = np.sort(np.random.default_rng(dim).random(dim))[::-1] * 100
    widths, members = np.diff(split(dim, m)).tolist(), [[] for _ in range(m)]
    for axis in range(dim):
        open_ = [j for j in range(m) if len(members[j]) < widths[j]]
        least = variances.max() * 1e-9
        j = min(open_, key=lambda j: np.prod([variances[a] / least for a in members[j]]))
        members[j].append(axis)
    assert deal(variances, m).tolist() == [axis for found in members for axis in found]


def test_axes_without_variance_are_still_dealt():
    for variances in (np.zeros(6), np.array([1.0, 0, 0, 0, 0, 0]), np.array([1, 1e-300, 0, 0, -1e-20, 0])):
        assert sorted(deal(variances, 4).tolist()) == list(range(6))


@pytest.mark.parametrize("dim", [1, 3, 130])
def test_odd_widths_and_constant_dimensions(dim):
    rows = skewed(300, dim)
    rows[:, dim // 2] = 4
    codec = vs.fit("opq:m=1+pq:m=1" if dim < 3 else "opq:m=3+pq:m=3", rows)
    assert np.isfinite(codec.decode(codec.encode(rows))).all()


@pytest.mark.parametrize(
    ("spec", "message"), [("opq:m=9", "m=9; it gives 8"), ("opq:m=5,dim=4", "gives 4"),
                          ("opq:dim=9", "have 8"), ("opq:bits=5", "8 or 4"), ("opq:m=0", "m=0")]
)  # fmt: skip
def test_impossible_options_are_refused(spec, message):
    with pytest.raises(vs.SpecError, match=message):
        vs.fit(f"{spec}+pq:m=1", skewed(50, 8))


def test_forged_state_is_refused():
    found = vs.fit("opq:m=2+pq:m=2", skewed(50, 8)).transforms[0]
    for change in ({"m": 0}, {"m": 9}, {"bits": 5}, {"axes": found.axes[:5]}):
        with pytest.raises(ValueError):
            Opq(**{"dim": 8, "mean": found.mean, "axes": found.axes, "m": 2, "bits": 8} | change)
