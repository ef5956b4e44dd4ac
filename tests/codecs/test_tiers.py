import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.plain import F32


def make_rows(n, dim, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, dim)) * np.arange(1, dim + 1) ** -0.5).astype(np.float32)


CASES = [
    ("f32", 7, 28), ("f16", 5, 10), ("bf16", 1, 2), ("sq", 9, 9), ("sq:bits=6", 8, 6), ("sq:bits=4", 6, 3),
    ("pq:m=6", 8, 2), ("pq:m=7", 12, 3), ("pq:m=7", 21, 6), ("pq:m=12,bits=4", 8, 2),
    ("pq:m=24,bits=4", 2, 1),
    ("pca+sq:bits=4", 10, 5), ("normalize+pca+pq:m=6", 12, 5), ("rotate+center+sq", 11, 11),
    ("prefix:dim=20+sq", 11, 11), ("pca:dim=16+f16", 4, 8), ("sign", 16, 2), ("center+sign", 8, 1),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "dims", "size"), CASES)
def test_the_codes_of_a_tier_are_the_first_bytes_of_the_whole_code(spec, dims, size):
    codec = vs.fit(spec, make_rows(500, 24))
    tier = vs.tier(codec, dims)
    assert tier.code_bytes == size and tier.dim == codec.dim
    rows = make_rows(301, 24, seed=5)
    codes = codec.encode(rows)
    assert np.array_equal(tier.encode(rows), codes[:, :size])
    again = vs.loads(vs.dumps(tier))
    assert again.identity == tier.identity
    assert np.array_equal(again.decode(codes[:, :size]), tier.decode(codes[:, :size]))


@pytest.mark.parametrize(("spec", "dims", "size"), CASES[:11])
def test_a_tier_decodes_its_dimensions_as_the_whole_code_does_and_the_others_as_zero(spec, dims, size):
    codec = vs.fit(spec, make_rows(500, 24))
    codes = codec.encode(make_rows(50, 24, seed=5))
    back = vs.tier(codec, dims).decode(codes[:, :size])
    assert np.array_equal(back[:, :dims], codec.decode(codes)[:, :dims])
    assert not back[:, dims:].any()


IN_BYTES = [
    ("tcq:bits=4,stages=1,states=64", (8,)), ("tcq:bits=4,stages=0", (8,)), ("rbe:bits=3", (3, 6)),
    ("klt:bits=6", (7, 13)), ("normalize+klt:bits=4", (10,)), ("rq:m=4", (1, 2, 3)),
    ("prq:m=7,splits=2", (2, 4, 6)), ("tcq:bits=4,stages=1,states=64,scale=mse", (8,)),
    ("klt:bits=6,scale=mse", (7, 13)),
]  # fmt: skip


def loss(rows, back):
    return np.square(rows - back).sum() / np.square(rows - rows.mean(axis=0)).sum()


@pytest.mark.parametrize(("spec", "sizes"), IN_BYTES)
def test_the_first_bytes_of_codes_of_all_dimensions_are_a_coarser_code(spec, sizes):
    codec = vs.fit(spec, make_rows(1500, 24))
    rows = make_rows(301, 24, seed=5)
    codes, losses = codec.encode(rows), [1.0]
    for size in sizes:
        tier = vs.tier(codec, f"{size}B")
        assert tier.code_bytes == size and tier.dim == codec.dim
        own = np.ascontiguousarray(codes[:, :size])
        losses.append(loss(rows, tier.decode(own)))
        again = vs.loads(vs.dumps(tier))
        assert again.identity == tier.identity and np.array_equal(again.decode(own), tier.decode(own))
        if "rq" in spec or "scale" in spec:  # Their search looked ahead to what is cut off.
            assert loss(rows, tier.decode(tier.encode(rows))) <= 1.001 * losses[-1]
        else:
            assert np.array_equal(tier.encode(rows), own)
        queries, scan = make_rows(3, 24, seed=2), tier.scan(own)
        found = np.empty((3, len(rows)), np.float32)
        scan.dots(scan.prepare(queries), 0, len(rows), found)
        assert np.corrcoef(found.ravel(), (queries @ tier.decode(own).T).ravel())[0, 1] > 0.999
    losses.append(loss(rows, codec.decode(codes)))
    assert sorted(losses, reverse=True) == losses and losses[-1] < 0.7 * losses[1] < 0.7
    assert vs.tier(codec, f"{codec.code_bytes}B") is codec


def test_behind_principal_axes_each_tier_loses_less():
    rows = make_rows(2000, 24)
    codec = vs.fit("pca+sq", rows)
    codes = codec.encode(rows)
    errors = []
    for dims in (2, 6, 12, 24):
        tier = vs.tier(codec, dims)
        errors.append(np.square(rows - tier.decode(codes[:, : tier.code_bytes])).sum())
    assert sorted(errors, reverse=True) == errors
    whole = np.square(rows).sum()
    assert errors[0] < 0.7 * whole and errors[-1] < 1e-3 * whole


def test_a_tier_is_scanned_like_any_codec():
    rows = make_rows(300, 24)
    codec = vs.fit("pca+sq", rows)
    tier = vs.tier(codec, 8)
    codes = np.ascontiguousarray(codec.encode(rows)[:, : tier.code_bytes])
    queries = make_rows(3, 24, seed=2)
    scan = tier.scan(codes)
    found = np.empty((3, len(rows)), np.float32)
    scan.dots(scan.prepare(queries), 0, len(rows), found)
    back = tier.decode(codes)
    sizes = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(back, axis=1)
    assert (np.abs(found - queries @ back.T) <= 0.02 * sizes + 1e-5).all()


def test_all_dimensions_are_the_codec_itself():
    codec = vs.fit("pca+sq", make_rows(100, 8))
    assert vs.tier(codec, 8) is codec


@pytest.mark.parametrize(
    ("spec", "dims", "message"),
    [
        ("sq:bits=4", 3, "multiple of 2"),
        ("sq:bits=6", 6, "multiple of 4"),
        ("pq:m=4", 3, "these do: 2, 4, 6, 8"),
        ("pq:m=4,bits=4", 2, "these do: 4, 8"),
        ("sq", 0, "1 to that"),
        ("pca:dim=4+sq", 5, "sq codes 4"),
        ("sign", 4, "multiple of 8"),
        ("sign:scale=true", 4, "a scale for each whole row"),
        ("klt:bits=4", "3B", "do not end with a word of its codes; these do: 4$"),
        ("klt:bits=4", 3, "no dimension has bytes of its own"),
        ("normalize+rq:m=2", "2B", "codes have 4, so 3 to that"),
        ("prq:m=4,splits=2", "3B", "1 to 4 bytes in steps of 2"),
        ("rbe:bits=2", "3B", "so 1 to that"),
        ("hadamard", "2B", "of its codes the first bytes are not of all dimensions"),
        ("sq", "4 bytes", "expected dimensions, as in 64, or bytes, as in 16B"),
    ],
)
def test_dimensions_that_do_not_end_with_a_byte_are_refused(spec, dims, message):
    with pytest.raises(vs.SpecError, match=message):
        vs.tier(vs.fit(spec, make_rows(50, 8)), dims)


def test_a_codec_whose_bytes_are_of_all_dimensions_has_no_tiers():
    class Whole(F32):
        leading = vs.Codec.leading

    with pytest.raises(vs.SpecError, match="no dimension has bytes of its own"):
        vs.tier(Whole(dim=8), 4)
