"""Every codec and chain, over shapes, dtypes and seeds: a codec is tested the moment it is listed."""

import importlib
import json
import math
import pathlib

import ml_dtypes
import numpy as np
import pytest
from cases import SPECS, make_rows

import vecstore as vs
from vecstore import registry
from vecstore.codecs.base import BlockCodec, Codec, Transform

BF16 = ml_dtypes.bfloat16
TRANSFORM_BOUNDS = {"f32": 0.0, "f16": 1e-6, "bf16": 1e-4, "sq": 1e-3, "sq:bits=6": 0.01, "sq:bits=4": 0.06}


def roundtrip(codec, rows):
    if isinstance(codec, BlockCodec):
        return codec.decode_block(codec.encode_block(rows))
    return codec.decode(codec.encode(rows))


def test_every_listed_codec_and_transform_is_tested():
    used = {step.name for text in SPECS for step in registry.parse(text).steps}
    assert used >= {*registry.CODECS, *registry.TRANSFORMS}


def test_every_class_in_the_folder_is_listed():
    folder = pathlib.Path(registry.__file__).parent / "codecs"
    for path in folder.rglob("*.py"):
        if not {"base", "parts", "chain"} & {path.stem}:
            importlib.import_module(
                ".".join(("vecstore", *path.relative_to(folder.parent).with_suffix("").parts)).removesuffix(
                    ".__init__"
                )
            )
    found, classes = set(), [Codec, BlockCodec, Transform]
    while classes:
        part = classes.pop()
        classes += part.__subclasses__()
        if part.__module__.startswith("vecstore.") and "name" in vars(part):
            found.add(part.name)
    assert found - {"chain"} == {*registry.CODECS, *registry.TRANSFORMS, *registry.MADE}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("dim", [7, 64])
def test_codes_have_the_stated_width_for_any_number_of_rows(spec, dim):
    codec = vs.fit(spec, make_rows(300, dim))
    assert codec.dim == dim
    for n in (0, 1, 7, 1025):
        rows = make_rows(n, dim, seed=n)
        back = roundtrip(codec, rows)
        assert back.shape == (n, dim) and back.dtype == np.float32
        if not isinstance(codec, BlockCodec):
            codes = codec.encode(rows)
            assert codes.shape == (n, codec.code_bytes) and codes.dtype == np.uint8


@pytest.mark.parametrize("spec", SPECS)
def test_a_code_depends_on_its_row_alone(spec):
    codec = vs.fit(spec, make_rows(300, 21))
    if isinstance(codec, BlockCodec):
        pytest.skip("a block is coded as a whole")
    rows = make_rows(3001, 21, seed=5)
    codes = codec.encode(rows)
    for start, stop in ((0, 1), (17, 18), (5, 22), (1000, 3001)):
        assert np.array_equal(codec.encode(rows[start:stop]), codes[start:stop])
    assert np.array_equal(codec.encode(rows[::-1]), codes[::-1])


@pytest.mark.parametrize("spec", SPECS)
def test_threads_do_not_change_a_bit(spec):
    rows = make_rows(20_000, 33, seed=6)
    results = []
    for threads in (1, 2, 3):
        vs.set_threads(threads)
        codec = vs.fit(spec, rows[:300])
        results.append(roundtrip(codec, rows))
    vs.set_threads(0)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


@pytest.mark.parametrize("spec", [spec for spec in SPECS if registry.learns(spec)])
def test_a_codec_that_says_so_is_another_one_on_other_rows(spec):
    one, other = (vs.fit(spec, make_rows(16, 6, seed=seed)) for seed in (1, 2))
    assert one.identity != other.identity


@pytest.mark.parametrize("spec", SPECS)
def test_the_same_sample_and_seed_give_the_same_bytes(spec):
    sample = make_rows(400, 12)
    one, two = vs.fit(spec, sample, seed=3), vs.fit(spec, sample.copy(), seed=3)
    assert vs.dumps(one) == vs.dumps(two)
    assert one.identity == two.identity


@pytest.mark.parametrize("spec", SPECS)
def test_a_codec_survives_storage(spec):
    codec = vs.fit(spec, make_rows(400, 12))
    again = vs.loads(vs.dumps(codec))
    assert again.identity == codec.identity and again.spec == codec.spec
    rows = make_rows(50, 12, seed=9)
    assert np.array_equal(roundtrip(codec, rows), roundtrip(again, rows))
    if not isinstance(codec, BlockCodec):
        assert np.array_equal(codec.encode(rows), again.encode(rows))
    json.dumps([step.config() for step in codec.steps], allow_nan=False)


@pytest.mark.parametrize("spec", SPECS)
def test_the_full_spec_names_the_same_codec(spec):
    sample = make_rows(400, 12)
    codec = vs.fit(spec, sample)
    assert vs.fit(str(codec.spec), sample).identity == codec.identity


@pytest.mark.parametrize("dtype", [np.float16, BF16, np.uint8, np.float64, np.int8, ">f4"])
@pytest.mark.parametrize("spec", SPECS)
def test_narrow_input_gives_the_codes_of_its_float32(spec, dtype):
    rows = make_rows(900, 9, dtype=np.uint8 if dtype == np.int8 else dtype)
    rows = (rows // 2).astype(np.int8) if dtype == np.int8 else rows
    wide = rows.astype(np.float32)
    codec = vs.fit(spec, rows)
    assert codec.identity == vs.fit(spec, wide).identity
    if isinstance(codec, BlockCodec):
        assert np.array_equal(codec.decode_block(codec.encode_block(rows)), wide)
    else:
        assert np.array_equal(codec.encode(rows), codec.encode(wide))


@pytest.mark.parametrize("spec", SPECS)
def test_wrong_shapes_and_dtypes_are_refused(spec):
    codec = vs.fit(spec, make_rows(300, 8))
    encode = codec.encode_block if isinstance(codec, BlockCodec) else codec.encode
    for bad in (make_rows(3, 9), make_rows(3, 8)[0], np.zeros((2, 8), complex), np.zeros((2, 8), "U3")):
        with pytest.raises(vs.ShapeError):
            encode(bad)
    if not isinstance(codec, BlockCodec):
        with pytest.raises(vs.ShapeError):
            codec.decode(np.zeros((2, codec.code_bytes + 1), np.uint8))
        with pytest.raises(vs.ShapeError):
            codec.decode(np.zeros((2, codec.code_bytes), np.int16))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_lossy_codecs_name_the_row_that_is_not_finite_and_others_keep_it(spec, bad):
    codec = vs.fit(spec, make_rows(300, 8))
    rows = make_rows(70_000, 8, seed=4)
    rows[66_123, 5] = bad
    if codec.keeps_nonfinite:
        assert np.array_equal(roundtrip(codec, rows).view(np.uint32), rows.view(np.uint32))
    else:
        with pytest.raises(vs.InputError, match=r"row 66123 .* dimension 5"):
            codec.encode(rows)


@pytest.mark.parametrize("spec", [text for text in SPECS if not text.startswith("lossless")])
def test_any_bytes_decode_to_finite_rows_without_a_crash(spec):
    codec = vs.fit(spec, make_rows(20, 11))
    codes = np.random.default_rng(1).integers(0, 256, (500, codec.code_bytes), dtype=np.uint8)
    assert codec.decode(codes).shape == (500, 11)


@pytest.mark.parametrize("spec", SPECS)
def test_a_sample_of_no_rows_gives_a_codec_or_a_clear_error(spec):
    try:
        codec = vs.fit(spec, np.empty((0, 8), np.float32))
    except vs.InputError as error:
        assert "there are none" in str(error)
    else:
        assert roundtrip(codec, np.ones((2, 8), np.float32)).shape == (2, 8)


@pytest.mark.parametrize("spec", SPECS)
def test_awkward_samples_still_give_a_codec(spec):
    for sample in (make_rows(1, 8), make_rows(2, 8), np.zeros((40, 8), np.float32), np.full((40, 8), 7.5)):
        codec = vs.fit(spec, sample)
        back = roundtrip(codec, sample)
        assert np.isfinite(back).all()
        if not any(
            name in spec for name in ("pca", "prefix", "jl", "keep", "relative", "hadamard", "rabitq")
        ):
            # Few rows and constants cost a lossy codec no more than rounding.
            assert np.abs(back - sample).max() <= 0.03 * np.abs(sample).max() + 1e-6


@pytest.mark.parametrize("spec", [text for text in SPECS if not text.startswith("lossless")])
def test_out_is_written_and_checked(spec):
    codec = vs.fit(spec, make_rows(100, 8))
    rows = make_rows(10, 8, seed=2)
    out = np.empty((10, codec.code_bytes), np.uint8)
    assert codec.encode(rows, out=out) is out
    back = np.empty((10, 8), np.float32)
    assert codec.decode(out, out=back) is back
    assert np.array_equal(back, codec.decode(codec.encode(rows)))
    with pytest.raises(vs.ShapeError):
        codec.decode(out, out=np.empty((9, 8), np.float32))


@pytest.mark.parametrize("spec", SPECS)
def test_the_ledger_counts_every_byte(spec):
    codec = vs.fit(spec, make_rows(300, 8))
    if isinstance(codec, BlockCodec):
        assert codec.code_bytes is None
        return
    ledger = codec.ledger(rows=1000)
    assert ledger.codes + ledger.side == 1000 * codec.code_bytes
    assert (
        ledger.shared
        == len(vs.dumps(codec))
        >= sum(a.nbytes for s in codec.steps for a in s.arrays().values())
    )
    assert ledger.total == ledger.codes + ledger.side + ledger.shared


@pytest.mark.parametrize(("spec", "bound"), TRANSFORM_BOUNDS.items())
def test_the_loss_on_unseen_rows_stays_inside_the_data_sheet(spec, bound):
    rows = np.random.default_rng(0).standard_normal((4000, 16)).astype(np.float32)
    codec = vs.fit(spec, rows[:2000])
    unseen = rows[2000:]
    error = np.square(unseen - codec.decode(codec.encode(unseen)), dtype=np.float64).sum()
    assert error / np.square(unseen - unseen.mean(0), dtype=np.float64).sum() <= bound


@pytest.mark.parametrize(
    "spec",
    [
        "center+f32",
        "pca+f32",
        "rotate+f32",
        "prefix:dim=5+f32",
        "whiten+f32",
        "relative:anchors=9+f32",
        "jl:dim=9+f32",
        "opq:m=5,dim=20+f32",
    ],
)
def test_pulled_queries_score_codes_without_decoding(spec):
    rows = make_rows(500, 24)
    chain = vs.fit(spec, rows)
    transform = chain.transforms[0]
    queries = make_rows(9, 24, seed=8)
    pulled, offsets = transform.pull(queries)
    side = np.empty((len(rows), 0), np.uint8)
    inside = transform.apply(rows, side)
    wanted = queries.astype(np.float64) @ transform.invert(inside, side).astype(np.float64).T
    found = pulled.astype(np.float64) @ inside.astype(np.float64).T + offsets[:, None]
    scale = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)[None]
    assert (np.abs(found - wanted) / scale).max() < 1e-5


def test_values_beyond_the_format_are_refused_and_not_made_infinite():
    with pytest.raises(vs.InputError, match=r"row 0 holds 1e\+06 in dimension 0, beyond what f16 takes"):
        vs.fit("f16", make_rows(3, 4)).encode(np.full((1, 4), 1e6, np.float32))
    with pytest.raises(vs.InputError, match="beyond what pq:m=2,bits=8 takes"):
        vs.fit("pq:m=2", make_rows(30, 4)).encode(np.full((1, 4), 1e30, np.float32))


def scatter(n, seed):
    """Rows alike in length, and in how far they are from their mean."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, 24)) * np.arange(1, 25) ** -0.5 + 3).astype(np.float32)


@pytest.mark.parametrize("spec", [text for text in SPECS if not text.startswith("lossless")])
def test_rows_far_outside_are_kept_or_marked_and_never_wrap(spec):
    sample = scatter(2000, 0)
    codec, mean = vs.fit(spec, sample), sample.mean(axis=0)
    for usual in (sample, scatter(500, 1)):
        marks = np.ones(len(usual), bool)
        assert np.array_equal(codec.encode(usual, saturated=marks), codec.encode(usual))
        assert not marks.any()
    away = 1000 * (scatter(300, 2) - mean)
    marks = np.zeros(300, bool)
    back = codec.decode(codec.encode(mean + away, saturated=marks)) - mean
    assert np.isfinite(back).all()
    if codec.steps[0].name not in ("normalize", "relative", "jl", "prefix", "pca"):
        # What keeps neither lengths nor all dimensions has nothing that could be far outside of it.
        assert ((back * away).sum(axis=1) > 0).all()
        lost = np.square(back - away).sum(axis=1) / np.square(away).sum(axis=1)
        assert (lost[~marks] < 0.7).all() and (marks.all() or (lost < 0.7).any())


@pytest.mark.parametrize(
    "spec", ["normalize+sq", "pca+normalize+pq:m=3", "normalize+jl:dim=9+normalize+sign"]
)
def test_rows_too_long_for_their_norm_keep_their_direction_and_are_marked(spec):
    rows = scatter(2000, 0)
    codec, far, marks = vs.fit(spec, rows), rows[:50].copy(), np.empty(50, bool)
    far[::2] *= 1e6
    back = codec.decode(codec.encode(far, saturated=marks))
    assert np.array_equal(marks, np.arange(50) % 2 == 0)
    plain, longest = codec.decode(codec.encode(rows[:50])), np.linalg.norm(rows, axis=1).max()
    lengths, usual = np.linalg.norm(back, axis=1), np.linalg.norm(plain, axis=1)
    assert (lengths[::2] > 50 * usual[::2]).all() and (lengths < 1100 * longest).all()
    if spec.startswith("normalize"):
        assert np.allclose(back / lengths[:, None], plain / usual[:, None], atol=1e-3)


@pytest.mark.parametrize("spec", ["sq", "pq:m=6", "klt:bits=2", "tcq:bytes=7,stages=1", "sign", "rq:m=3"])
def test_one_value_far_outside_marks_its_row(spec):
    codec, rows = vs.fit(spec, scatter(2000, 0)), scatter(100, 1)
    rows[17, 3] += 1000
    rows[40, 20] = -1e6
    marks = np.empty(100, bool)
    codec.encode(rows, saturated=marks)
    assert np.flatnonzero(marks).tolist() == [17, 40]


def test_hostile_codec_bytes_are_an_error():
    data = vs.dumps(vs.fit("center+pq:m=2", make_rows(50, 8)))
    rng = np.random.default_rng(0)
    for cut in range(0, len(data), max(1, len(data) // 40)):
        with pytest.raises(vs.VecstoreError):
            vs.loads(data[:cut])
    identity = vs.loads(data).identity
    for _ in range(500):
        bent = bytearray(data)
        bent[rng.integers(len(bent))] ^= 1 << rng.integers(8)
        try:
            assert vs.loads(bytes(bent)).identity == identity  # a flip in padding changes nothing
        except vs.VecstoreError:
            continue
    with pytest.raises(vs.CorruptError, match="behind the codec's end"):
        vs.loads(data + b"x")


def test_registering_a_taken_name_raises_and_a_free_one_works():
    from vecstore.codecs.plain import F32

    with pytest.raises(vs.SpecError, match="taken"):
        registry.register(F32)

    class Mine(F32):
        name = "mine"

    registry.register(Mine)
    try:
        assert vs.fit("mine", make_rows(3, 4)).name == "mine"
        assert "mine" in vs.list_codecs()
    finally:
        registry._registered.clear()


def test_a_codec_that_is_not_installed_is_named():
    from vecstore.codecs.plain import F32

    class Gone(F32):
        name = "gone"

    registry.register(Gone)
    data = vs.dumps(vs.fit("gone", make_rows(3, 4)))
    registry._registered.clear()
    with pytest.raises(vs.FormatError, match="'gone', which is not installed"):
        vs.loads(data)


def test_relative_bound_of_rotate_keeps_lengths():
    rows = make_rows(200, 100)
    chain = vs.fit("rotate+f32", rows)
    inside = chain.transforms[0].apply(rows, np.empty((200, 0), np.uint8))
    assert np.allclose(np.linalg.norm(inside, axis=1), np.linalg.norm(rows, axis=1), rtol=1e-5)
    assert math.isclose(float(np.abs(chain.decode(chain.encode(rows)) - rows).max()), 0, abs_tol=1e-3)


@pytest.mark.parametrize("dim", [64, 96, 100, 127, 384])
def test_rotate_spreads_every_axis_over_all_dimensions(dim):
    """As a normal vector of length one would be: fourth powers add up to about 3 / dim, of an axis to one."""
    chain = vs.fit("rotate+f32", make_rows(2, dim))
    turned = chain.transforms[0].apply(np.eye(dim, dtype=np.float32), np.empty((dim, 0), np.uint8))
    assert np.abs(turned).max() < 5 / np.sqrt(dim) and (turned**4).sum(axis=1).max() < 8 / dim
