"""hadamard against EDEN and TurboQuant in plain numpy."""

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.hadamard import normal_levels

KNOWN = {1: 0.3634, 2: 0.1175, 3: 0.03455, 4: 0.0095}  # squared error of the best quantizers, Max 1960


def make_rows(n=2000, dim=96, seed=0):
    """Rows of many lengths off the origin, in a few directions mostly: nothing like normal values."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim)) * 0.97 ** np.arange(dim)
    return (rows * rng.lognormal(sigma=0.4, size=(n, 1)) + rng.standard_normal(dim)).astype(np.float32)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_levels_are_the_means_of_their_cells_and_lose_what_is_known(bits):
    levels = np.array(normal_levels(2 ** (bits - 1)))
    places = np.linspace(0, 12, 2_000_001)
    density = np.exp(-(places**2) / 2) * np.sqrt(2 / np.pi) * (places[1] - places[0])
    density[0] /= 2
    cells = np.searchsorted((levels[1:] + levels[:-1]) / 2, places)
    mass = np.bincount(cells, density)
    assert np.allclose(np.bincount(cells, density * places) / mass, levels, atol=1e-4)
    assert abs(density @ (places - levels[cells]) ** 2 / KNOWN[bits] - 1) < 0.002


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("scale", ["unbiased", "mse"])
def test_decoded_rows_are_those_of_the_papers(bits, scale):
    rows = make_rows(300)
    codec = vs.fit(f"hadamard:bits={bits},scale={scale}", rows)
    # A linear map is known by what it makes of the axes.
    turn = vs.fit("rotate+f32", rows).transforms[0].apply(np.eye(96, dtype=np.float32), None)
    turned = (rows.astype(np.float64) - codec.mean) @ turn
    length = np.linalg.norm(turned, axis=1, keepdims=True)
    levels = np.array(normal_levels(2 ** (bits - 1)))
    levels = np.concatenate([-levels[::-1], levels])
    near = levels[np.abs(turned[:, :, None] * np.sqrt(96) / length[:, :, None] - levels).argmin(2)]
    both = (turned * near).sum(1, keepdims=True)
    factor = length**2 / both if scale == "unbiased" else both / np.square(near).sum(1, keepdims=True)
    back = codec.decode(codec.encode(rows))
    assert np.allclose(back, codec.mean + factor * near @ turn.T, rtol=0, atol=2e-3 * np.abs(rows).max())


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_the_loss_is_that_of_a_normal_variable_whatever_the_data(bits):
    rows = make_rows(4000)
    for scale, wanted in (("mse", KNOWN[bits]), ("unbiased", KNOWN[bits] / (1 - KNOWN[bits]))):
        codec = vs.fit(f"hadamard:bits={bits},scale={scale}", rows[:2000])
        left = rows[2000:] - codec.mean
        error = np.square(rows[2000:] - codec.decode(codec.encode(rows[2000:]))).sum()
        assert abs(error / np.square(left).sum() / wanted - 1) < 0.05


def test_inner_products_do_not_shrink_unless_the_error_is_to_be_least():
    rows = make_rows(3000) - make_rows(3000).mean(0)
    queries = rows[:200]
    slopes = {}
    for scale in ("unbiased", "mse"):
        codec = vs.fit(f"hadamard:bits=1,scale={scale}", rows)
        true = (queries @ rows.T).ravel()
        slopes[scale] = np.polyfit(true, (queries @ codec.decode(codec.encode(rows)).T).ravel(), 1)[0]
    assert abs(slopes["unbiased"] - 1) < 0.03
    assert slopes["mse"] < 0.7


def test_taking_the_mean_off_loses_less_where_there_is_one():
    rows = make_rows()
    error = {}
    for center in ("true", "false"):
        codec = vs.fit(f"hadamard:bits=2,center={center}", rows)
        error[center] = np.square(rows - codec.decode(codec.encode(rows))).sum()
    assert error["true"] < 0.8 * error["false"]


@pytest.mark.parametrize("spec", ["hadamard:bits=4,center=false", "rabitq:bits=4,center=false"])
def test_rows_too_long_for_their_scale_keep_their_direction_and_short_ones_come_back(spec):
    rows = make_rows()
    codec = vs.fit(spec, rows)
    for times, saturates in ((100, False), (1e5, True)):
        long, marks = rows[:50] * np.float32(times), np.zeros(50, bool)
        back = codec.decode(codec.encode(long, saturated=marks))
        assert (marks == saturates).all()
        lengths = np.linalg.norm(back, axis=1), np.linalg.norm(long, axis=1)
        assert ((back * long).sum(axis=1) > 0.98 * lengths[0] * lengths[1]).all()
        assert (lengths[0] < 0.5 * lengths[1]).all() if saturates else np.allclose(*lengths, rtol=0.02)
    short = rows[:50] * 1e-3
    back = codec.decode(codec.encode(short))
    assert np.square(back - short).sum() < 0.02 * np.square(short).sum()
    assert not codec.decode(codec.encode(np.zeros((1, 96), np.float32))).any()


def test_bytes_says_how_many_bits_there_are():
    rows = make_rows(50, 20)
    assert vs.fit("hadamard:bytes=5", rows).bits == 1
    assert vs.fit("hadamard:bytes=12", rows).bits == 4
    with pytest.raises(vs.SpecError, match=r"it makes 5 \(bits=1\), 7 \(bits=2\)"):
        vs.fit("hadamard:bytes=6", rows)
    with pytest.raises(vs.SpecError, match="bits=5; expected 1 to 4"):
        vs.fit("hadamard:bits=5", rows)


@pytest.mark.parametrize("dim", [1, 3, 4097])
def test_any_width_and_sample_will_do(dim):
    rng = np.random.default_rng(dim)
    for sample in (rng.standard_normal((1, dim)), np.repeat(rng.standard_normal((1, dim)), 9, axis=0)):
        sample = sample.astype(np.float32)
        codec = vs.fit("hadamard", sample)
        assert np.allclose(codec.decode(codec.encode(sample)), sample, atol=1e-5)
    codes = rng.integers(0, 256, (200, codec.code_bytes), dtype=np.uint8)
    assert np.isfinite(codec.decode(codes)).all()


@pytest.mark.parametrize(
    "spec", [f"hadamard:bits={b}" for b in (1, 2, 3, 4)] + ["rabitq:bits=4", "rabitq:bits=6"]
)
def test_a_scan_reads_codes_without_decoding_them(spec):
    rows, queries = make_rows(500), make_rows(20, seed=1)
    codec = vs.fit(spec, rows)
    codes = codec.encode(rows)
    scan = codec.scan(codes)
    assert scan.nbytes > 0
    found, prepared = np.empty((20, 500), np.float32), scan.prepare(queries)
    if scan.bounds:
        found = scan.rescore(prepared, np.tile(np.arange(500), (20, 1)))
    else:
        scan.dots(prepared, 0, 500, found)
    wanted = queries.astype(np.float64) @ codec.decode(codes).T
    assert np.abs(found - wanted).std() < 0.01 * wanted.std()
