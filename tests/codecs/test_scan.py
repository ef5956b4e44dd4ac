"""Every codec's scan against the plain twin: decode, then inner products in float64."""

import cases
import numpy as np
import pytest

import vecstore as vs
from vecstore import registry
from vecstore.codecs.scan import JoinedScan

SPECS = [text for text in cases.SPECS if not text.startswith("lossless")]
ROUNDED = 0.02  # of |query| |row|, where a scan rounds the query to integers


def products(scan, queries):
    """What a scan says of all rows."""
    prepared = scan.prepare(queries)
    if scan.bounds:
        return scan.rescore(prepared, np.tile(np.arange(scan.rows), (len(queries), 1)))
    found = np.empty((len(queries), scan.rows), np.float32)
    scan.dots(prepared, 0, scan.rows, found)
    return found


@pytest.mark.parametrize("dim", [1, 7, 24])
@pytest.mark.parametrize("spec", SPECS)
def test_scan_gives_inner_products_with_decoded_rows(spec, dim):
    try:
        codec = vs.fit(spec, cases.make_rows(400, dim))
    except vs.SpecError:
        pytest.skip(f"{spec} needs more dimensions")
    queries = np.random.default_rng(5).standard_normal((3, dim)).astype(np.float32)
    for n in (0, 1, 63, 331):
        codes = codec.encode(cases.make_rows(n, dim, seed=1))
        scan = codec.scan(codes)
        assert (scan.rows, scan.nbytes >= 0) == (n, True)
        found = products(scan, queries)
        rows = codec.decode(codes).astype(np.float64)
        wanted = queries.astype(np.float64) @ rows.T
        sizes = np.linalg.norm(queries, axis=1)[:, None] * (np.linalg.norm(rows, axis=1) + 1)
        assert (np.abs(found - wanted) <= (1e-4 if scan.exact else ROUNDED) * sizes).all()


@pytest.mark.parametrize("dim", [24, 200])
@pytest.mark.parametrize("spec", ["hadamard:bits=3", "rabitq", "rabitq:bits=2", "rabitq:bits=4"])
def test_bounds_are_above_the_inner_products(spec, dim):
    rng = np.random.default_rng(dim)
    rows = rng.standard_normal((3000, dim)).astype(np.float32) + 0.2
    rows[0] = 0
    codec = vs.fit(spec, rows)
    scan = codec.scan(codec.encode(rows))
    queries = rows[5:9] + rng.standard_normal((4, dim)).astype(np.float32)
    dots = products(scan, queries)
    found = np.empty((4, 3000), np.float32)
    scan.dots(scan.prepare(queries), 0, 3000, found)
    assert scan.bounds and (found >= dots).mean() > 0.998
    gaps = (found - dots) / np.linalg.norm(queries, axis=1)[:, None]
    assert gaps.mean() < 3 * np.linalg.norm(rows, axis=1).mean() / dim**0.5


@pytest.mark.parametrize("spec", SPECS)
def test_a_score_depends_on_its_row_and_its_query_alone(spec):
    codec = vs.fit(spec, cases.make_rows(400, 24))
    scan = codec.scan(codec.encode(cases.make_rows(331, 24, seed=1)))
    queries = np.random.default_rng(5).standard_normal((9, 24)).astype(np.float32)
    whole = np.empty((9, 331), np.float32)
    scan.dots(scan.prepare(queries), 0, 331, whole)
    for start in range(0, 331, max(scan.step, 50 // scan.step * scan.step)):
        stop = min(331, start + max(scan.step, 50 // scan.step * scan.step))
        for first, last in ((0, 9), (4, 5), (2, 8)):
            part = np.empty((last - first, stop - start), np.float32)
            scan.dots(scan.prepare(queries[first:last]), start, stop, part)
            assert np.array_equal(part, whole[first:last, start:stop])


@pytest.mark.parametrize("spec", SPECS)
def test_codes_compared_with_codes_are_nearest_to_themselves(spec):
    codec = vs.fit(spec, cases.make_rows(400, 24))
    rows = cases.make_rows(331, 24, seed=1)
    scan = codec.scan_symmetric(codec.encode(rows))
    if scan is None:
        pytest.skip("compares no codes")
    whole = np.empty((331, 331), np.float32)
    scan.dots(scan.prepare(rows), 0, 331, whole)
    assert np.isfinite(whole).all() and scan.rows == 331 and scan.nbytes >= 0
    own = np.diag(whole)
    ahead = (whole > own[:, None] * (1 + ROUNDED) + 1e-3).mean()
    assert ahead == 0
    start = scan.step * (100 // scan.step)
    part = np.empty((2, 231), np.float32)
    scan.dots(scan.prepare(rows[3:5]), start, start + 231, part)
    assert np.array_equal(part, whole[3:5, start : start + 231])


def test_every_shipped_codec_is_scanned_here():
    names = {step.name for text in SPECS for step in registry.parse(text).steps}
    assert names >= {*registry.CODECS} - {"lossless"}


@pytest.mark.parametrize("spec", SPECS)
def test_queries_that_are_prepared_for_one_scan_serve_all_that_are_alike(spec):
    try:
        codec = vs.fit(spec, cases.make_rows(400, 24))
    except vs.SpecError:
        pytest.skip(f"{spec} needs more dimensions")
    codes, queries = codec.encode(cases.make_rows(300, 24, seed=1)), cases.make_rows(5, 24, seed=2)
    pairs = [(codec.scan(codes[:7]), codec.scan(codes[64:]))]
    if (one := codec.scan_symmetric(codes[:7])) is not None:
        pairs.append((one, codec.scan_symmetric(codes[64:])))
    for one, other in pairs:
        assert one.alike == other.alike and (one.alike or one.bounds)
        leader = one.leader([one, other])
        assert (leader is one) if one.alike else (leader is not None)
        if one.alike:
            found, wanted = np.empty((2, 5, other.rows), np.float32)
            other.dots(one.prepare(queries), 0, other.rows, found)
            other.dots(other.prepare(queries), 0, other.rows, wanted)
            assert np.array_equal(found, wanted)


@pytest.mark.parametrize("spec", ["rabitq:bits=2", "normalize+hadamard:bits=4", "sq", "center+pq:m=4,bits=4"])
def test_scans_behind_each_other_prepare_a_query_once(spec):
    codec = vs.fit(spec, cases.make_rows(400, 24))
    codes, queries = codec.encode(cases.make_rows(500, 24, seed=1)), cases.make_rows(5, 24, seed=2)
    parts = [codec.scan(codes[first:last]) for first, last in ((0, 130), (130, 140), (140, 500))]
    joined = JoinedScan([parts[0], JoinedScan(parts[1:])])
    prepared = joined.prepare(queries)
    assert not isinstance(prepared, list)
    found = np.empty((5, joined.rows), np.float32)
    joined.dots(prepared, 0, joined.rows, found)
    inner = joined.parts[1].starts
    for part, start in zip(parts, [0, *(joined.starts[1] + inner)], strict=True):
        own, numbers = np.empty((5, part.rows), np.float32), np.arange(part.rows)[None].repeat(5, axis=0)
        part.dots(part.prepare(queries), 0, part.rows, own)
        whole, some = joined.rescore(prepared, numbers + start), part.rescore(part.prepare(queries), numbers)
        assert np.array_equal(whole, some) if some is not None else whole is None
        mine = found[:, start : start + part.rows]
        if part.bounds:  # by the widest bound, which still is one
            assert (mine >= some - 1e-4 * np.abs(some).max()).mean() > 0.99
        else:
            assert np.array_equal(mine, own)
