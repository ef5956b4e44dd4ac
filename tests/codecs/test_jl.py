"""jl against the definition of a very sparse random projection in plain numpy."""

from dataclasses import replace

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.transforms.jl import Jl


def make_rows(n=400, dim=100, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def no_side(rows):
    return np.empty((len(rows), 0), np.uint8)


@pytest.mark.parametrize(("dim", "density"), [(20, None), (50, 1 / 3), (100, 1.0), (7, 0.02)])
def test_outputs_are_scaled_sums_of_few_signed_dimensions(dim, density):
    rows = make_rows()
    jl = Jl.fit(rows, dim=dim, density=density)
    share = 0.1 if density is None else density
    matrix = jl.dense()
    assert matrix.shape == (dim, 100) and set(np.unique(matrix)) <= {-1, 0, 1}
    assert (np.abs(matrix).sum(1) >= 1).all()
    # Li, Hastie, Church: entries sqrt(s / k) times -1, 0, 1, where s is 1 / density.
    wanted = rows.astype(np.float64) @ matrix.T * np.sqrt(1 / share / dim)
    assert np.allclose(jl.apply(rows, no_side(rows)), wanted, atol=1e-4)


def test_the_share_and_the_signs_of_the_entries_are_as_drawn():
    jl = Jl.fit(make_rows(2, 400), dim=300)
    entries = jl.dense()
    assert abs((entries != 0).mean() - 0.05) < 0.005
    assert abs(entries.sum()) < 4 * np.sqrt((entries != 0).sum())
    assert (
        jl.inputs.dtype == np.uint16 and len(vs.dumps(vs.fit("jl:dim=300+f32", make_rows(2, 400)))) < 20_000
    )


def test_lengths_and_inner_products_are_right_on_average():
    rows = make_rows(60, 256)
    found = np.mean([_products(Jl.fit(rows, dim=64, seed=seed), rows) for seed in range(40)], axis=0)
    wanted = rows @ rows.T
    # Li, Hastie, Church, lemma 1: the variance of a product is about (|a|^2 |b|^2 + <a, b>^2) / k.
    spread = np.sqrt((np.outer(np.diag(wanted), np.diag(wanted)) + wanted**2) / 64 / 40)
    assert np.abs((found - wanted) / spread).mean() < 1.2


def _products(jl, rows):
    inside = jl.apply(rows, no_side(rows))
    return inside @ inside.T


def test_the_inverse_is_that_of_least_squares_with_its_ridge():
    rows = make_rows()
    jl = Jl.fit(rows, dim=40)
    matrix = jl.dense() * jl._scale
    gram = matrix @ matrix.T
    gram += 0.01 * np.trace(gram) / 40 * np.eye(40)
    inside = jl.apply(rows, no_side(rows))
    assert np.allclose(jl.invert(inside, no_side(rows)), inside @ np.linalg.solve(gram, matrix), atol=1e-4)


@pytest.mark.parametrize("dim", [25, 50, 75, 100])
@pytest.mark.parametrize("codec", ["f32", "sq:bits=4"])
def test_the_inverse_loses_less_than_the_scaled_transpose(dim, codec):
    rows = make_rows(1000)
    chain = vs.fit(f"jl:dim={dim}+{codec}", rows)
    jl = chain.transforms[0]
    inside = chain.codec.decode(chain.codec.encode(jl.apply(rows, no_side(rows))))
    plain = inside @ (jl.dense() * jl._scale)
    plain *= (plain * rows).sum() / np.square(plain).sum()
    loss = np.square(rows - chain.decode(chain.encode(rows))).sum()
    assert loss < np.square(rows - plain).sum()
    assert loss / np.square(rows).sum() < 1 - dim / 100 + 0.12


def test_forged_matrices_are_refused():
    jl = Jl.fit(make_rows(2, 20), dim=5)
    for change in (
        {"density": 0.0},
        {"inputs": np.full_like(jl.inputs, 20)},
        {"starts": jl.starts[:-1]},
        {"starts": np.zeros_like(jl.starts)},
        {"starts": jl.starts[::-1].copy()},
        {"signs": jl.signs[:-1]},
    ):
        with pytest.raises(ValueError):
            replace(jl, **change)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("jl+f32", "needs the number"),
        ("jl:dim=0+f32", "1 to that"),
        ("jl:dim=101+f32", "the rows have 100"),
        ("jl:dim=5,density=0.0+f32", "a share beyond 0"),
        ("jl:dim=5,density=1.5+f32", "a share beyond 0"),
    ],
)
def test_impossible_projections_say_why(spec, message):
    with pytest.raises(vs.SpecError, match=message):
        vs.fit(spec, make_rows(3))
