"""The scale of a row: its definition in plain numpy, where it pays, and what happens outside of its range."""

import dataclasses

import numpy as np
import pytest

import vecstore as vs
from vecstore.bench.quality import relative_mse

SPECS = [
    "tcq:bytes=9,stages=1,states=64,scale=",
    "tcq:bytes=7,stages=0,states=64,scale=",
    "klt:bytes=9,scale=",
]


def mixed_rows(n, dim, spread, seed=0):
    """Normal rows with variances that fall as 1/i, each times a lognormal scale of this deviation."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim)) * np.arange(1, dim + 1) ** -0.5
    return (rows * np.exp(spread * rng.standard_normal((n, 1)))).astype(np.float32)


def loss(spec, spread):
    codec = vs.fit(spec, mixed_rows(3000, 32, spread))
    rows = mixed_rows(2000, 32, spread, seed=1)
    return relative_mse(rows, codec.decode(codec.encode(rows)))


def bare(codec):
    """The same cells for rows that have no scale."""
    fields = {"scale": "none", "gains": np.empty(0, np.float32), "bytes": codec.bytes - 1}
    return dataclasses.replace(codec, **fields)


@pytest.mark.parametrize("way", ["mse", "length"])
@pytest.mark.parametrize("spec", SPECS)
def test_codes_and_rows_are_those_of_the_definition(spec, way):
    codec = vs.fit(spec + way, mixed_rows(900, 24, 0.6))
    rows = mixed_rows(300, 24, 0.6, seed=1)
    codes = codec.encode(rows)
    common = np.tile(codec.mean, (len(rows), 1))
    if codec.stages:
        common += codec.books[codes[:, 0]]
    rest = ((rows - common) @ codec.axes).astype(np.float64)
    size = np.sqrt(np.square(rest / codec.scales).mean(axis=1))
    near = np.abs(codec.gains[1:] - size[:, None]).argmin(axis=1) + 1
    plain = bare(codec)
    even = (common + (rows - common) / codec.gains[near][:, None]).astype(np.float32)
    cells = plain.turned(codes[:, [*range(codec.stages), *range(codec.stages + 1, codec.bytes)]])
    if not codec.stages:  # A row that is divided may have another centroid.
        assert (plain.encode(even) == codes[:, 1:]).mean() > 0.99
    products, squares = (rest * cells).sum(axis=1), np.square(cells).sum(axis=1)
    wanted = products / squares if way == "mse" else np.sqrt(np.square(rest).sum(axis=1) / squares)
    assert np.array_equal(codes[:, codec.stages], np.abs(codec.gains - wanted[:, None]).argmin(axis=1))
    back = common + (codec.gains[codes[:, codec.stages]][:, None] * cells) @ codec.axes.T
    assert np.allclose(codec.decode(codes), back, atol=1e-4)


@pytest.mark.parametrize("spec", ["tcq:bytes=12,states=64,stages=0", "klt:bytes=12"])
def test_rows_of_many_sizes_err_less_and_more_so_the_more_they_differ(spec):
    shares = [
        loss(spec + ",scale=mse", spread) / loss(spec + ",scale=none", spread) for spread in (0, 0.5, 1)
    ]
    assert 1 < shares[0] < 1.4 and shares[1] < 0.9 and shares[2] < 0.4


def test_of_the_same_words_mse_errs_least_and_length_keeps_the_length():
    rows = mixed_rows(900, 24, 0.6)
    found = {}
    for way in ("mse", "length"):
        codec = vs.fit(f"tcq:bytes=7,states=64,stages=0,scale={way}", rows)
        codes = codec.encode(rows)
        found[way] = relative_mse(rows, codec.decode(codes))
        lengths = np.linalg.norm(codec.turned(codes), axis=1)
        wanted = np.linalg.norm((rows - codec.mean) @ codec.axes, axis=1)
        assert np.allclose(lengths, wanted, rtol=0.03) is (way == "length")
    assert found["mse"] < found["length"]


@pytest.mark.parametrize("name", ["tcq", "klt"])
def test_the_trial_gives_a_scale_to_rows_of_many_sizes_alone(name):
    rng = np.random.default_rng(0)
    even = rng.standard_normal((4000, 48)).astype(np.float32)
    even /= np.linalg.norm(even, axis=1, keepdims=True) / 5
    assert vs.fit(f"{name}:bytes=12", even).scale == "none"
    codec = vs.fit(f"{name}:bytes=12", mixed_rows(4000, 48, 0.6))
    assert codec.scale != "none" and codec.code_bytes == 12 and codec.ledger(10).side == 10
    assert vs.fit(f"{name}:bytes=12", mixed_rows(500, 48, 0.6)).scale == "none"  # too few to try on


def test_given_stages_are_without_a_scale_unless_it_is_asked_for():
    rows = mixed_rows(4000, 24, 0.8)
    assert vs.fit("tcq:bytes=6,states=64,stages=0", rows).scale == "none"
    assert vs.fit("tcq:bytes=6,states=64,stages=0,scale=auto", rows).scale != "none"
    assert vs.fit("tcq:bytes=6,states=64,scale=none", rows).scale == "none"


@pytest.mark.parametrize("name", ["tcq", "klt"])
def test_rows_outside_the_range_are_clamped(name):
    rows = mixed_rows(500, 16, 0.5)
    codec = vs.fit(f"{name}:bytes=6,scale=mse", rows)
    twice = codec.decode(codec.encode(rows * 2))
    assert relative_mse(rows * 2, twice) < 0.3  # up to twice the largest are coded as well as others
    far = codec.decode(codec.encode(np.concatenate([rows * 1e12, rows * 0, rows * 1e-30])))
    assert np.isfinite(far).all() and np.abs(far).max() < 1e3 * np.abs(rows).max()
    assert np.allclose(far[500:], codec.mean, atol=0.02 * np.abs(rows).max())


def test_a_codec_without_scales_is_stored_as_before_there_were_any():
    codec = vs.fit("tcq:bytes=6,states=64,stages=0", mixed_rows(300, 16, 0.5))
    assert not {"scale", "gains"} & {*codec.config(), *codec.arrays()}
    scaled = vs.fit("klt:bytes=6,scale=mse", mixed_rows(300, 16, 0.5))
    assert scaled.config()["scale"] == "mse" and "scale=mse" in str(scaled.spec)
    with pytest.raises(vs.CorruptError, match="do not fit"):
        type(scaled).from_parts(scaled.config(), {k: a for k, a in scaled.arrays().items() if k != "gains"})


@pytest.mark.parametrize(
    "change",
    [
        {"gains": lambda a: a[:-1]}, {"gains": lambda a: a * np.nan}, {"gains": lambda a: a[::-1].copy()},
        {"gains": lambda a: a + 1}, {"scale": lambda a: "none"}, {"scale": lambda a: "auto"},
        {"bytes": lambda a: a + 1},
    ],
)  # fmt: skip
def test_state_that_does_not_fit_together_is_refused(change):
    codec = vs.fit("tcq:bytes=6,states=64,stages=1,scale=mse", mixed_rows(300, 16, 0.5))
    with pytest.raises(ValueError):
        dataclasses.replace(codec, **{key: f(getattr(codec, key)) for key, f in change.items()})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tcq:scale=yes", "expected one of none, mse, length, auto"), ("klt:scale=true", "no str"),
        ("klt:bytes=1,scale=mse", "none for cells"), ("tcq:bytes=2,stages=1,scale=mse", "none for cells"),
        ("tcq:bytes=1,stages=1", "none for cells"), ("tcq:bytes=1,stages=2", "none for cells"),
        ("tcq:stages=3", "expected 0, 1 or 2"),
        *((f"{name}:bits={bits}", "expected 0.25 to 8") for name in ("tcq", "klt")
          for bits in ("0", "-1", "0.1", "8.5", "nan", "1e400", "-inf")),
    ],
)  # fmt: skip
def test_impossible_options_say_what_is_wrong(spec, message):
    with pytest.raises(vs.SpecError, match=message):
        vs.fit(spec, mixed_rows(300, 16, 0.5))
