"""lossless: bit-exact whatever the bits, small whatever the data, CorruptError whatever the block."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from ml_dtypes import bfloat16

from vecstore.codecs.lossless import Lossless
from vecstore.codecs.lossless.models import cluster
from vecstore.errors import CorruptError, ShapeError, SpecError

DATA = Path(os.environ.get("VECSTORE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
SPECIAL = np.array(
    [0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFFFFFFF, 1, 0x807FFFFF],
    np.uint32,
)
RUNS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MODES = pytest.mark.parametrize("mode", ["best", "plain"])
rng = np.random.default_rng


def bits(rows):
    return np.ascontiguousarray(rows, np.float32).view(np.uint32)


def assert_exact(rows, mode="best"):
    """Encodes, decodes, compares the bits; returns the block."""
    codec = Lossless.fit(rows, mode=mode)
    block = codec.encode_block(rows)
    back = codec.decode_block(block)
    assert back.dtype == np.float32 and back.shape == rows.shape and back.flags.writeable
    np.testing.assert_array_equal(bits(back), bits(rows))
    assert block == codec.encode_block(rows)
    assert len(block) <= 4 * rows.size + 1
    return block


@MODES
@RUNS
@given(patterns=arrays(np.uint32, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_any_bits_come_back(mode, patterns):
    assert_exact(patterns.view(np.float32), mode)


@MODES
@RUNS
@given(seed=st.integers(0, 1000), n=st.integers(0, 300), dim=st.integers(1, 40))
def test_special_values_among_ordinary_ones_come_back(mode, seed, n, dim):
    draw = rng(seed)
    rows = draw.standard_normal((n, dim)).astype(np.float32)
    where = draw.random((n, dim)) < 0.1
    bits(rows)[where] = draw.choice(SPECIAL, int(where.sum()))
    assert_exact(rows, mode)


@MODES
@pytest.mark.parametrize("dtype", [np.float16, bfloat16, np.uint8, np.int8, np.float64, np.int32])
def test_other_dtypes_are_taken_as_the_float32_of_their_values(mode, dtype):
    values = rng(0).standard_normal((501, 33)) * 20 + 60
    rows = values.astype(dtype)
    codec = Lossless.fit(values.astype(np.float32), mode=mode)
    back = codec.decode_block(codec.encode_block(rows))
    np.testing.assert_array_equal(back, rows.astype(np.float32))


@MODES
@pytest.mark.parametrize(("n", "dim"), [(0, 5), (1, 1), (1, 700), (3, 1), (5001, 1), (7, 9), (2, 2000)])
def test_every_shape_comes_back(mode, n, dim):
    assert_exact(rng(n).standard_normal((n, dim)).astype(np.float32), mode)


def cases():
    draw = rng(1)
    normal = draw.standard_normal((6000, 48)).astype(np.float32)
    scale = draw.uniform(0.5, 2, 48).astype(np.float32) / 40
    runs = np.repeat(draw.standard_normal((30, 48)), 200, axis=0).astype(np.float32)
    return {
        "zeros": (np.zeros((6000, 48), np.float32), 0.0005),
        "a constant": (np.full((6000, 48), np.float32(0.1)), 0.0005),
        "constant columns": (np.tile(normal[:1], (6000, 1)), 0.001),
        "repeated rows": (runs, 0.02),
        "normal": (normal, 0.835),
        "float16": (normal.astype(np.float16).astype(np.float32), 0.425),
        "bfloat16": (normal.astype(bfloat16).astype(np.float32), 0.335),
        "small integers": (np.rint(normal * 8), 0.17),
        "large integers": (np.rint(normal * 3000), 0.45),
        "one grid": (np.rint(normal * 20) * np.float32(0.037), 0.21),
        "a grid per column": (np.rint(normal / scale) * scale, 0.32),
        "seldom not zero": (np.where(normal > 2, normal, 0), 0.03),
    }


@pytest.mark.parametrize("name", cases())
def test_what_is_simple_costs_little(name):
    rows, share = cases()[name]
    block = assert_exact(rows.astype(np.float32))
    assert len(block) <= share * rows.size * 4
    assert len(block) <= 1.002 * len(assert_exact(rows.astype(np.float32), "plain"))


def test_more_distinct_columns_than_tables_come_back():
    rows = np.rint(rng(3).standard_normal((3000, 1100)) * 5).astype(np.float32)
    assert_exact(rows * rng(4).uniform(1, 2, 1100).astype(np.float32))


def test_clusters_of_columns_share_a_table():
    counts = np.repeat(np.array([[9000, 900, 100], [100, 900, 9000]]), 20, axis=0)
    tables, nearest = cluster(counts, 64)
    assert len(tables) == 2 and all(table.sum() == 4096 for table in tables)
    assert len(set(nearest[:20])) == len(set(nearest[20:])) == 1


def blocks():
    draw = rng(2)
    rows = draw.standard_normal((200, 12)).astype(np.float32)
    rows[50:60] = rows[0]
    grid = np.rint(rows * 5).astype(np.float32)
    noise = draw.integers(0, 2**32, (4, 12), dtype=np.uint32).view(np.float32)
    periodic = np.tile(draw.standard_normal(12 * 7).astype(np.float32), 3000)[: 12 * 20000].reshape(-1, 12)
    best, plain = Lossless(dim=12), Lossless(dim=12, mode="plain")
    return [best.encode_block(rows), best.encode_block(grid), plain.encode_block(rows),
            best.encode_block(noise), best.encode_block(periodic)]  # fmt: skip


def refuse_or_decode(block):
    """CorruptError or rows; nothing else may come out of bytes that nobody wrote."""
    try:
        rows = Lossless(dim=12).decode_block(block)
    except CorruptError:
        return False
    assert rows.dtype == np.float32 and rows.shape[1] == 12
    return True


@RUNS
@given(body=st.binary(max_size=300), kind=st.integers(0, 5))
def test_random_bytes_are_refused_or_decoded(body, kind):
    refuse_or_decode(bytes([kind]) + body)
    refuse_or_decode(body)


@pytest.mark.parametrize("number", range(5))
def test_a_cut_block_is_refused(number):
    block = blocks()[number]
    cuts = {*range(min(len(block), 200)), *range(0, len(block), max(1, len(block) // 100)), len(block) - 1}
    for length in sorted(cuts - {len(block)}):
        if block[0] == 0 and length % 48 == 1:
            continue  # Whole rows as they are: the archive's checksum tells.
        assert not refuse_or_decode(block[:length])


@pytest.mark.parametrize("number", range(5))
def test_a_flipped_or_overwritten_block_never_breaks_the_reader(number):
    block = blocks()[number]
    draw = rng(number)
    for trial in range(600):
        broken = bytearray(block)
        at = int(draw.integers(min(len(block), 400 if trial % 2 else len(block))))
        broken[at] ^= 1 << int(draw.integers(8)) if trial % 3 else int(draw.integers(1, 256))
        if number != 4 or at >= 5:  # A forged count of rows of format 3 is allowed to cost its memory.
            refuse_or_decode(bytes(broken))


def test_a_forged_row_count_is_refused_before_memory_is_taken():
    for kind in (1, 2, 3):
        with pytest.raises(CorruptError):
            Lossless(dim=12).decode_block(bytes([kind]) + b"\xff" * 400)


def test_blocks_may_be_views_of_larger_buffers():
    block = blocks()[0]
    view = memoryview(b"x" + block + b"y")[1:-1]
    np.testing.assert_array_equal(Lossless(dim=12).decode_block(view), Lossless(dim=12).decode_block(block))


def test_wrong_options_and_shapes_are_refused():
    rows = np.zeros((3, 4), np.float32)
    with pytest.raises(SpecError, match="mode"):
        Lossless.fit(rows, mode="fast")
    with pytest.raises(SpecError, match="level"):
        Lossless.fit(rows, level=50)
    with pytest.raises(ShapeError):
        Lossless.fit(rows).encode_block(np.zeros((3, 5), np.float32))


def real(name):
    if not DATA.exists():
        pytest.skip(f"no data at {DATA}; VECSTORE_DATA names the folder")
    if name == "sift":
        raw = np.fromfile(DATA / "vectors/sift_sceaux/base.bvecs", np.uint8).reshape(-1, 132)
        return np.ascontiguousarray(raw[:8192, 4:]).astype(np.float32)
    path = {
        "minilm": "retrieval/classic3_minilm/corpus.npy",
        "word2vec": "vectors/word2vec_googlenews_8k/vectors.npy",
        "limit": "retrieval/limit_small_minilm/queries.npy",
    }[name]
    return np.load(DATA / path)[:4096].astype(np.float32)


def peers(rows):
    """Bytes that others need for the same rows."""
    blosc2 = pytest.importorskip("blosc2")
    pcodec = pytest.importorskip("pcodec")
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zstandard

    flat = rows.reshape(-1)
    sink = io.BytesIO()
    options = {"compression": "zstd", "use_dictionary": False, "use_byte_stream_split": True}
    pq.write_table(pa.table({"v": flat}), sink, **options)
    yield "parquet", sink.getbuffer().nbytes
    yield "zstd", len(zstandard.ZstdCompressor(level=3).compress(flat.data))
    for shuffle in (blosc2.Filter.SHUFFLE, blosc2.Filter.BITSHUFFLE):
        packed = blosc2.compress2(flat, codec=blosc2.Codec.ZSTD, clevel=9, filters=[shuffle], typesize=4)
        yield str(shuffle), len(packed)
    for level in (8, 12):
        config = pcodec.ChunkConfig(compression_level=level)
        yield f"pcodec {level}", len(pcodec.standalone.simple_compress(flat, config))


@pytest.mark.parametrize("name", ["minilm", "word2vec", "sift", "limit"])
def test_real_sets_take_fewer_bytes_than_any_peer_needs(name):
    rows = real(name)
    size = len(assert_exact(rows))
    for peer, bytes_of_peer in peers(rows):
        assert size < bytes_of_peer, peer


def test_single_rows_have_no_codes_and_the_error_says_what_has() -> None:
    codec = Lossless.fit(np.zeros((3, 4), np.float32))
    with pytest.raises(SpecError, match="encode_block"):
        codec.encode(np.zeros((3, 4), np.float32))
    with pytest.raises(SpecError, match="decode_block"):
        codec.decode(np.zeros((3, 4), np.uint8))
