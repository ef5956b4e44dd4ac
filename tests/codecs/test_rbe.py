"""rbe against BEBR's formulas in plain numpy, and its training against finite differences."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.rbe import Rbe, fit_compatible, levels, train


def make_rows(n=2000, dim=20, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, dim)) * np.linspace(1, 3, dim) + 1).astype(np.float32)


def clustered(n=3000, dim=32, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(5).standard_normal((150, dim)) * np.arange(1, dim + 1) ** -0.5
    rows = centres[rng.integers(len(centres), size=n)] + 0.3 * rng.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def plain_planes(values, cuts):
    """b_1 = sign(v - c); then the sign of what is left when a_t b_t is taken away, plane by plane."""
    rest, planes = values - cuts[0], []
    for t in range(len(cuts)):
        plane = np.where(rest > 0, 1, -1)
        planes.append(plane)
        if t + 1 < len(cuts):
            rest = rest - np.where(plane > 0, cuts[t + 1], -cuts[t + 1])
    return planes


def unpacked(codes, planes, m):
    width = (m + 7) // 8
    parts = [codes[:, t * width : (t + 1) * width] for t in range(planes)]
    return [2 * np.unpackbits(p, axis=1, count=m, bitorder="little").astype(int) - 1 for p in parts]


def nearest(scores, k=10):
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def share(found, true):
    return np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, true, strict=True)])


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
@pytest.mark.parametrize("rotate", [True, False])
def test_planes_are_signs_of_what_those_before_left(bits, rotate):
    rows = make_rows()
    codec = vs.fit(f"rbe:bits={bits},rotate={str(rotate).lower()}", rows)
    codes = codec.encode(rows)
    assert codec.code_bytes == codes.shape[1] == bits * 3
    values = codec.values(rows)
    planes = plain_planes(values, codec.cuts)
    for found, wanted in zip(unpacked(codes, bits, 20), planes, strict=True):
        assert np.array_equal(found, wanted)
    read_by = levels.of_planes(codec.levels, bits)
    back = read_by[0] + sum(a * plane for a, plane in zip(read_by[1:], planes, strict=True))
    if rotate:
        turn = codec._turned(np.eye(20, dtype=np.float32), codec.axes)
        back = back @ turn.T
    assert np.allclose(codec.decode(codes), back + codec.mean, atol=1e-4)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_levels_leave_nothing_that_a_plane_could_explain(bits):
    rows = make_rows()
    codec = vs.fit(f"rbe:bits={bits},rotate=false", rows)
    for planes in range(1, bits + 1):
        front = codec.prefix(3 * planes)
        codes = front.encode(rows)
        left = (rows - front.decode(codes)).astype(np.float64)
        size = np.abs(rows - rows.mean(0)).mean()
        assert np.abs(left.mean(0)).max() < 0.01 * size
        for plane in unpacked(codes, planes, 20):
            assert np.abs((left * plane).mean(0)).max() < 0.01 * size


def test_a_prefix_of_the_planes_is_a_coarser_code():
    rows = make_rows()
    codec = vs.fit("rbe:bits=4", rows)
    codes, losses = codec.encode(rows), []
    for planes in (1, 2, 3, 4):
        front = codec.prefix(planes * codec.code_bytes // 4)
        own = np.ascontiguousarray(codes[:, : front.code_bytes])
        assert np.array_equal(front.encode(rows), own)
        assert vs.loads(vs.dumps(front)).identity == front.identity
        losses.append(np.square(rows - front.decode(own)).mean() / rows.var(0).mean())
    assert losses[0] < 0.45 and all(b < 0.45 * a for a, b in pairwise(losses))
    with pytest.raises(vs.SpecError, match=f"a prefix of {codec.code_bytes - 1} bytes"):
        codec.prefix(codec.code_bytes - 1)


@pytest.mark.parametrize(("bits", "best"), [(1, 0.3634), (2, 0.1175), (3, 0.03454), (4, 0.009497)])
def test_normal_values_lose_little_more_than_by_the_best_levels_there_are(bits, best):
    rows = np.random.default_rng(0).standard_normal((8000, 16)).astype(np.float32)
    codec = vs.fit(f"rbe:bits={bits},rotate=false", rows[:4000])
    loss = np.square(rows[4000:] - codec.decode(codec.encode(rows[4000:]))).mean()
    assert loss < (1.03 if bits < 3 else 1.25) * best


@pytest.mark.parametrize("spec", ["rbe:bits=1", "rbe:bits=3", "rbe:bits=2,rotate=true"])
def test_symmetric_scores_are_inner_products_of_codes_over_the_row_s_length(spec):
    rows = make_rows(300)
    codec = vs.fit(spec, rows)
    codes = codec.encode(rows)
    read_by = levels.of_planes(codec.levels, codec.bits)
    planes = unpacked(codes, codec.bits, 20)
    values = read_by[0] + sum(a * plane for a, plane in zip(read_by[1:], planes, strict=True))
    wanted = values[:5] @ values.T / np.linalg.norm(values, axis=1)
    scan = codec.scan_symmetric(codes)
    for prepared in (scan.prepare(rows[:5]), scan.prepare_codes(codes[:5])):
        out = np.empty((5, 300), np.float32)
        scan.dots(prepared, 0, 300, out)
        assert np.abs(out - wanted).max() < 0.02 * np.linalg.norm(values[:5], axis=1).max()


def test_integer_codes_compare_as_in_the_papers_table():
    """Two bits and two dimensions to a nibble: the table of all pairs is 2 <a, b> + 9, from 0 to 18."""
    base = vs.fit("rbe:bits=2,rotate=false", make_rows(50, 2))
    steps = np.array([[0, 0], [1, 1]], np.float32)
    all_levels = np.array([[0, 0], [1, 1], [0, 0], [1, 1], [0.5, 0.5]], np.float32)
    codec = replace(base, mean=np.zeros(2, np.float32), cuts=steps, levels=all_levels)
    grid = np.array([-1.5, -0.5, 0.5, 1.5], np.float32)
    rows = np.stack(np.meshgrid(grid, grid), axis=2).reshape(-1, 2)
    codes = codec.encode(rows)
    assert np.array_equal(codec.decode(codes), rows)
    scan = codec.scan_symmetric(codes)
    out = np.empty((16, 16), np.float32)
    scan.dots(scan.prepare(rows), 0, 16, out)
    table = 2 * out * np.linalg.norm(rows, axis=1) + 9
    assert np.allclose(table, 2 * rows @ rows.T + 9, atol=0.06)
    assert np.rint(table).min() == 0 and np.rint(table).max() == 18


def test_rows_are_turned_where_that_finds_more_neighbours():
    rng = np.random.default_rng(0)
    spiky = (rng.gamma(0.15, size=(3000, 64)) ** 2).astype(np.float32)
    measured, plain, turned = (
        vs.fit(spec, spiky) for spec in ("rbe:bits=1", "rbe:bits=1,rotate=false", "rbe:bits=1,rotate=true")
    )
    assert measured.identity in (plain.identity, turned.identity)
    assert not vs.fit("rbe:bits=4", make_rows(3000)).rotate


def test_the_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    anchors, keys = (train._unit(rng.standard_normal((n, 6)))[0] for n in (4, 9))
    banned = rng.random((4, 9)) < 0.2

    def loss(anchors, keys):
        scores = anchors @ keys.T / train._TEMPERATURE
        allowed = ~banned
        allowed[np.arange(4), np.arange(4)] = True
        own = scores[np.arange(4), np.arange(4)]
        return (np.log((np.exp(scores) * allowed).sum(1)) - own).mean()

    by_anchor, by_partner = train._contrast(anchors, keys, banned)
    for array, gradient in ((anchors, by_anchor), (keys, by_partner)):
        for at in ((0, 0), (2, 3), (3, 5)):
            moved = array.copy()
            moved[at] += 1e-6
            pair = (moved, keys) if array is anchors else (anchors, moved)
            assert abs((loss(*pair) - loss(anchors, keys)) / 1e-6 - gradient[at]) < 1e-3


@pytest.mark.parametrize("onto_old", [False, True])
def test_the_gradient_goes_past_the_signs_and_through_the_length(onto_old):
    """Straight through: a code moves as its value does where that is inside the grid, and else not."""
    rng = np.random.default_rng(1)
    rows, axes = rng.standard_normal((10, 7)), rng.standard_normal((7, 4))
    queue, old = (train._unit(rng.standard_normal((n, 4)))[0] for n in (6, 11))
    banned = rng.random((5, 11)) < 0.2
    read_by = np.array([[0.2] * 4, [1.5] * 4, [0.7] * 4])
    at = rows @ axes
    found, inside = train._nearest(at, read_by)
    assert 0.1 < inside.mean() < 0.9

    def info_nce(anchors, keys):
        scores = anchors @ keys.T / train._TEMPERATURE
        allowed = ~banned
        allowed[np.arange(5), np.arange(5)] = True
        return (np.log((np.exp(scores) * allowed).sum(1)) - scores[np.arange(5), np.arange(5)]).mean()

    def loss(axes):
        codes = found + inside * (rows @ axes - at)
        codes = codes / np.linalg.norm(codes, axis=1, keepdims=True)
        new = info_nce(codes[:5], np.concatenate([codes[5:], queue]))
        return new + (info_nce(codes[:5], old) if onto_old else 0)

    against = queue, old if onto_old else None, banned
    slope, codes = train._slope(rows, axes, lambda values: train._nearest(values, read_by), against)
    assert np.allclose(codes, found[5:] / np.linalg.norm(found[5:], axis=1, keepdims=True))
    for place in np.ndindex(axes.shape):
        moved = axes.copy()
        moved[place] += 1e-6
        assert abs((loss(moved) - loss(axes)) / 1e-6 - slope[place]) < 1e-3 * np.abs(slope).max()


def test_the_straight_through_grid_is_that_of_the_codes():
    read_by = np.array([[0.5, 0], [2, 1], [1, 0.5]], np.float32)
    values = np.random.default_rng(0).standard_normal((100, 2)).astype(np.float32) * 3
    found, inside = train._nearest(values, read_by)
    planes = plain_planes(values, read_by[:2])
    assert np.allclose(found, read_by[0] + read_by[1] * planes[0] + read_by[2] * planes[1])
    assert np.array_equal(inside, np.abs(values - read_by[0]) <= np.array([4, 2]))


def stretched(n, seed, dim=64):
    """Clusters whose variances fall, turned: what a rotation that is learned can gain on."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(5)
    scale = np.arange(1, dim + 1) ** -0.5
    centres = fixed.standard_normal((150, dim)) * scale
    rows = centres[rng.integers(150, size=n)] + 0.6 * rng.standard_normal((n, dim)) * scale
    rows = rows @ np.linalg.qr(fixed.standard_normal((dim, dim)))[0]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_trained_maps_are_orthonormal_and_bring_neighbours_codes_together():
    rows, fresh, queries = stretched(3000, 0), stretched(3000, 1), stretched(300, 2)
    partners = nearest(queries @ fresh.T, 1)[:, 0]
    losses = []
    for training in ("false", "true"):
        codec = vs.fit(f"rbe:bits=1,rotate=false,train={training}", rows)
        codes, keys = (
            train._unit(levels.read(codec.encode(part), levels.pairs(levels.of_planes(codec.levels, 1))))[0]
            for part in (queries, fresh)
        )
        scores = codes @ keys.T / train._TEMPERATURE
        losses.append((np.log(np.exp(scores).sum(1)) - scores[np.arange(300), partners]).mean())
    assert losses[1] < losses[0] - 0.05
    assert np.allclose(codec.axes.T @ codec.axes, np.eye(64), atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dim", [32, 40, 24])
def test_a_new_model_s_codes_find_the_old_one_s(dim, training):
    rng = np.random.default_rng(3)
    old_rows, fresh, queries = clustered(), clustered(seed=1), clustered(200, seed=2)
    turn = np.linalg.qr(rng.standard_normal((max(dim, 32), max(dim, 32))))[0][:32, :dim]
    if dim > 32:
        turn = np.linalg.qr(rng.standard_normal((dim, 32)))[0].T
    old = vs.fit("rbe:bits=2", old_rows)
    new = fit_compatible((3 * old_rows @ turn + 0.5).astype(np.float32), old, old_rows, train=training)
    assert isinstance(new, Rbe) and new.code_bytes == old.code_bytes
    assert vs.loads(vs.dumps(new)).identity == new.identity
    moved = (3 * queries @ turn + 0.5).astype(np.float32)
    true = nearest(queries @ fresh.T)
    scan = old.scan_symmetric(old.encode(fresh))
    out = np.empty((200, 3000), np.float32)
    scan.dots(scan.prepare(queries), 0, 3000, out)
    own = share(nearest(out), true)
    scan.dots(scan.prepare_codes(new.encode(moved)), 0, 3000, out)
    assert share(nearest(out), true) > (0.9 if dim >= 32 else 0.6) * own
    error = np.square(moved - new.decode(new.encode(moved))).sum()
    assert error < (0.35 if dim >= 32 else 0.5) * np.square(moved - moved.mean(0)).sum()


def test_training_onto_an_old_codec_is_repeatable_and_asks_for_pairs():
    rows = clustered(600)
    old = vs.fit("rbe:bits=1", rows)
    one, two = (fit_compatible(part, old, seed=2, train=True) for part in (rows, rows.copy()))
    assert one.identity == two.identity != fit_compatible(rows, old, seed=2).identity
    with pytest.raises(vs.ShapeError, match="expected pairs"):
        fit_compatible(rows[:10], old, rows[:9])
    with pytest.raises(vs.ShapeError):
        fit_compatible(rows, old, rows[:, :5])
    bad = rows.copy()
    bad[7, 3] = np.nan
    with pytest.raises(vs.InputError, match="row 7"):
        fit_compatible(bad, old)


@pytest.mark.parametrize("rows", [make_rows(1), make_rows(3), np.full((700, 20), 2.5, np.float32)])
def test_few_and_equal_rows_can_be_trained_on(rows):
    codec = vs.fit("rbe:bits=2,train=true", rows)
    assert np.allclose(codec.decode(codec.encode(rows)), rows, atol=0.6 * np.abs(rows).max())
    for training in (False, True):
        assert np.isfinite(fit_compatible(rows, codec, train=training).axes).all()


def test_bytes_says_how_many_planes():
    rows = make_rows(200, 20)
    assert vs.fit("rbe:bytes=9", rows).bits == 3
    for spec in ("rbe:bytes=4", "rbe:bytes=27", "rbe:bytes=9,bits=2"):
        with pytest.raises(vs.SpecError, match="it makes 3 for each"):
            vs.fit(spec, rows)
    with pytest.raises(vs.SpecError, match="expected 1 to 8"):
        vs.fit("rbe:bits=9", rows)
