"""tcq: how near to the limit, whatever the size; allocation against all allocations; hostile state."""

import dataclasses
import itertools

import numpy as np
import pytest

import vecstore as vs
from vecstore.bench.limit import gap_db
from vecstore.bench.quality import relative_mse
from vecstore.codecs.scan import JoinedScan, Scan
from vecstore.codecs.tcq import scanning, stages
from vecstore.codecs.tcq.allocation import GROUP, LONGEST, Rates, allocate
from vecstore.codecs.tcq.tables import improve, normal_table, rates
from vecstore.kernels import trellisdots
from vecstore.search import METRICS, Searcher, searcher

CELLS = Rates((1.0, 0.3, 0.085, 0.024, 0.007, 0.002), 0.54)


def spectrum_rows(n, dim, power=1.0, seed=0):
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((dim, dim)))[0]
    scale = np.arange(1, dim + 1) ** (-power / 2)
    return ((rng.standard_normal((n, dim)) * scale) @ turn).astype(np.float32)


@pytest.mark.parametrize(
    ("states", "bits", "most"), [(64, 1, 0.302), (64, 2, 0.089), (256, 2, 0.0825), (256, 4, 0.0068)]
)
def test_cells_come_as_near_to_the_limit_as_published(states, bits, most):
    """D(R) = 4**-bits. Tseng et al. 2024; Marcellin, Fischer 1990: .30, .088, .083."""
    error = normal_table(states, bits, 1)[1]
    assert 4.0**-bits < error < most


def test_a_bit_for_two_lies_between_none_and_a_bit_each():
    assert rates(64).errors[1] < rates(64).half < 0.56
    assert rates(64).half > 0.5  # the limit, 4**-.5


# Short circles and, towards 8 bits in every dimension, cells without memory are farther away.
@pytest.mark.parametrize(
    ("size", "most"), [(3, 3), (6, 2), (9, 2), (12, 2), (24, 2), (40, 2.8), (48, 3.2), (91, 6.5)]
)
def test_error_stays_near_the_limit(size, most):
    rows, base = spectrum_rows(6000, 96), spectrum_rows(3000, 96, seed=1)
    codec = vs.fit(f"tcq:bytes={size},stages=0", rows)
    assert codec.code_bytes == size == codec.encode(base[:1]).shape[1]
    loss = relative_mse(base, codec.decode(codec.encode(base)))
    gap = gap_db(np.linalg.eigvalsh(np.cov(base.T)), loss, 8 * size)
    assert gap is not None and 0 < gap < most


def test_more_bytes_and_more_states_err_less():
    rows, base = spectrum_rows(3000, 40), spectrum_rows(1500, 40, seed=1)

    def loss(spec):
        codec = vs.fit(spec, rows)
        return relative_mse(base, codec.decode(codec.encode(base)))

    by_size = [loss(f"tcq:bytes={size},states=64,stages=0") for size in range(1, 31)]
    assert all(a > b for a, b in itertools.pairwise(by_size))
    assert loss("tcq:bytes=12,states=64,stages=0") > loss("tcq:bytes=12,states=256,stages=0")


@pytest.mark.parametrize("dim", [1, 8, 20, 64])
def test_every_size_up_to_the_most_is_allocated_to_the_byte(dim):
    variances = np.arange(1, dim + 1) ** -1.5
    count = -(-dim // GROUP)
    for size in range(1, count * CELLS.most + 1):
        words = allocate(variances, size, CELLS)
        sizes = [sum(group.bits for group in word) for word in words]
        assert sum(sizes) == size and max(sizes) <= LONGEST
        taken = [group.first + i for word in words for group in word for i in range(GROUP * group.width)]
        assert len(set(taken)) == len(taken) and set(taken) >= set(range(min(dim, max(taken) + 1)))
    with pytest.raises(vs.SpecError, match=f"expected at most {count * CELLS.most}"):
        allocate(variances, count * CELLS.most + 1, CELLS)


@pytest.mark.parametrize("power", [0.3, 1.0, 2.5])
def test_no_other_allocation_of_whole_bits_errs_less(power):
    spread = (np.arange(1, 33) ** -power).reshape(4, GROUP).sum(axis=1)
    for size in range(1, 16):
        found = allocate(np.arange(1, 33) ** -power, size, Rates(CELLS.errors, 1.0))
        bits = np.zeros(4, int)
        for group in (group for word in found for group in word):
            bits[group.first // GROUP] = group.bits
        error = (spread * np.array(CELLS.errors)[bits]).sum()
        others = [b for b in itertools.product(range(6), repeat=4) if sum(b) == size]
        assert error <= min((spread * np.array(CELLS.errors)[list(b)]).sum() for b in others) + 1e-9


@pytest.mark.parametrize("half", [0.53, 0.6, 0.7])
@pytest.mark.parametrize("power", [0.3, 1.0, 2.5])
def test_as_many_groups_share_a_bit_as_errs_least(power, half):
    variances, errors = np.arange(1.0, 65) ** -power, np.array(CELLS.errors)
    spread = variances.reshape(8, GROUP).sum(axis=1)

    def allocated(size, rate):
        return [group for word in allocate(variances, size, Rates(CELLS.errors, rate)) for group in word]

    for size in range(1, 30):
        bits = sorted((group.bits for group in allocated(size, 1.0)), reverse=True)
        ends, bits = len(bits), np.array(bits + [0] * (8 - len(bits)))
        options = [(errors[bits] * spread).sum()]
        for j in range(1, min((bits == 1).sum(), 8 - ends) + 1):
            front, both = slice(0, ends - j), slice(ends - j, ends + j)
            whole = (errors[bits[front]] * spread[front]).sum()
            options.append(whole + half * spread[both].sum() + spread[ends + j :].sum())
        left = np.ones(64)
        for group in allocated(size, half):
            share = half if group.width == 2 else errors[group.bits]
            left[group.first : group.first + GROUP * group.width] = share
        assert np.isclose((left * variances).sum(), min(options))


def laplace_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.laplace(size=(n, 24)) * np.arange(1, 25) ** -0.5).astype(np.float32)


@pytest.mark.parametrize(("size", "most"), [(3, 0.93), (9, 0.8)])
def test_tables_fit_the_rows_better_than_those_of_normal_values(size, most):
    unseen = laplace_rows(1000, seed=1)
    codec = vs.fit(f"tcq:bytes={size},states=64,stages=0", laplace_rows(2000))
    plain = dataclasses.replace(codec, tables=normal_tables(codec))
    errors = [np.square(unseen - one.decode(one.encode(unseen))).sum() for one in (codec, plain)]
    assert errors[0] < most * errors[1]


def normal_tables(codec):
    return np.stack([normal_table(64, int(bits), int(width))[0] for bits, width in codec.kinds])


def test_refitted_tables_are_those_of_least_squares_for_the_paths():
    rows = laplace_rows(2000)
    codec = vs.fit("tcq:bytes=5,states=64,stages=0", rows)
    turned, before = ((rows - codec.mean) @ codec.axes).astype(np.float32), normal_tables(codec)
    words = dataclasses.replace(codec, tables=before).words_of(turned)
    better, _ = improve(turned, codec.scales, before, codec._layout)

    def error(tables):
        return np.square(turned - dataclasses.replace(codec, tables=tables)._cells(words), dtype=float).sum()

    least, rng = error(better), np.random.default_rng(0)
    assert least < 0.96 * error(before)
    for step in (0.02, -0.02):
        for _ in range(60):
            moved = better.copy()
            moved[tuple(rng.integers(n) for n in better.shape)] += step
            assert error(moved) >= least * (1 - 1e-7)


def test_the_second_stage_is_learned_from_what_the_first_one_leaves():
    rows = spectrum_rows(1500, 12)
    first, second = np.split(stages.train(rows, 2, 0), 2)
    left = rows - first[np.square(rows[:, None] - first).sum(2).argmin(1)]
    gaps = np.square(left[:, None] - second).sum(2)
    assert gaps.min(1).mean() < 0.5 * np.square(left).sum(1).mean()


def test_clustered_rows_get_stages_and_noise_gets_none():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((200, 32)) * 3
    clustered = (centres[rng.integers(200, size=6000)] + rng.standard_normal((6000, 32)) * 0.3).astype(
        np.float32
    )
    assert vs.fit("tcq:bytes=8,states=64", clustered).stages > 0
    noise = rng.standard_normal((6000, 32)).astype(np.float32)
    assert vs.fit("tcq:bytes=8,states=64", noise).stages == 0


def test_unit_rows_come_back_as_unit_rows_and_others_do_not():
    rows = spectrum_rows(2000, 24)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for given, kept in ((unit, True), (rows, False)):
        codec = vs.fit("tcq:bytes=6,states=64", given)
        assert codec.renormalize is kept
        lengths = np.linalg.norm(codec.decode(codec.encode(given)), axis=1)
        assert np.allclose(lengths, 1, atol=1e-5) is kept
    bare = dataclasses.replace(vs.fit("tcq:bytes=6,states=64", unit), renormalize=False)
    codes = bare.encode(unit)
    plain = bare.decode(codes)
    wanted = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    assert np.allclose(vs.fit("tcq:bytes=6,states=64", unit).decode(codes), wanted, atol=1e-5)


def test_rows_far_outside_the_sample_saturate():
    codec = vs.fit("tcq:bytes=12,states=64", spectrum_rows(500, 24))
    back = codec.decode(codec.encode(spectrum_rows(50, 24, seed=2) * 1e6))
    assert np.isfinite(back).all() and np.abs(back).max() < 100


@pytest.mark.parametrize("size", [41, 100])
def test_more_bits_than_cells_take_are_refused(size):
    with pytest.raises(vs.SpecError, match="expected at most"):
        vs.fit(f"tcq:bytes={size},states=64,stages=0", spectrum_rows(100, 48))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("groups", lambda a: a[:-1]), ("groups", lambda a: a * 0), ("groups", lambda a: a + 40),
        ("groups", lambda a: a.astype(np.int64)), ("kinds", lambda a: a + 8), ("scales", lambda a: a[:-1]),
        ("scales", lambda a: a * np.nan), ("axes", lambda a: a[:, :-1]), ("tables", lambda a: a[:, :, :-1]),
        ("books", lambda a: a[:-1]), ("mean", lambda a: a[:-1]), ("bytes", lambda a: a + 1),
        ("states", lambda a: 32), ("stages", lambda a: 3),
    ],
)  # fmt: skip
def test_state_that_does_not_fit_together_is_refused(field, change):
    codec = vs.fit("tcq:bytes=9,states=64,stages=2", spectrum_rows(300, 20))
    with pytest.raises(ValueError):
        dataclasses.replace(codec, **{field: change(getattr(codec, field))})


@pytest.mark.parametrize(
    "spec",
    ["stages=0", "stages=1", "stages=2", "stages=1,scale=mse", "stages=2,scale=length,renormalize=true"],
)
@pytest.mark.parametrize("metric", METRICS)
def test_a_search_finds_what_all_words_of_all_rows_find(spec, metric, monkeypatch):
    rows, queries = spectrum_rows(5000, 96, 1.5), spectrum_rows(7, 96, 1.5, seed=1)
    rows[2000:2100] = rows[:100]
    codec = vs.fit(f"tcq:bytes=26,states=64,{spec}", rows[:1500])
    codes = codec.encode(rows)
    scan, joined = codec.scan(codes), JoinedScan([codec.scan(codes[:1984]), codec.scan(codes[1984:])])
    assert not trellisdots.usable(64) or getattr(scan, "inner", scan)._held is not None

    def search(scan, queries, k, where):
        found = Searcher(scan, lambda numbers: codec.decode(codes[numbers]), 96)
        return np.stack(found.search(queries, k, metric=metric, where=where))

    for k, where in ((1, None), (50, rows[:, 0] > 0), (6000, None)):
        with monkeypatch.context() as whole:
            whole.setattr(scanning.RegisterScan, "push", Scan.push)
            wanted = search(scan, queries, k, where)
        assert np.array_equal(search(joined, queries, k, where), wanted)
        assert np.array_equal(search(scan, queries[1:2], k, where), wanted[:, 1:2])
        with monkeypatch.context() as threads:
            threads.setattr(searcher, "_ALONE", 0)
            threads.setattr(searcher, "get_threads", lambda: 3)
            assert np.array_equal(search(scan, queries, k, where), wanted)
