import json

import numpy as np
import pyarrow as pa
import pytest

import vecstore as vs
from vecstore.codecs.grouped import Grouped

LANGS = ["de", "en", "fr"]


def grouped_rows(n, dim=12, seed=0):
    """Rows around a centre for each language, and a few of a rare one."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(5).standard_normal((4, dim)) * 4
    chosen = rng.choice(4, n, p=[0.4, 0.3, 0.29, 0.01])
    rows = centres[chosen] + rng.standard_normal((n, dim))
    return rows.astype(np.float32), [[*LANGS, "rare"][at] for at in chosen]


def fitted(spec="groupcenter:by=lang,least=50+f32", n=2000):
    rows, langs = grouped_rows(n)
    return vs.fit(spec, rows, columns={"lang": langs}), rows, langs


def test_each_frequent_group_has_its_own_mean_and_the_others_share_one():
    codec, rows, langs = fitted()
    assert isinstance(codec, Grouped) and codec.center.names == LANGS
    for number, lang in enumerate(LANGS, 1):
        mean = rows[np.array(langs) == lang].mean(axis=0, dtype=np.float64)
        assert np.allclose(codec.center.means[number], mean, atol=1e-5)
    assert np.allclose(codec.center.means[0], rows[np.array(langs) == "rare"].mean(axis=0), atol=1e-5)
    numbers = codec.center.numbers(["fr", "en", "rare", "never seen", None], 5)
    assert numbers.tolist() == [3, 2, 0, 0, 0]


def test_a_code_is_the_groups_number_and_the_code_of_what_the_mean_leaves():
    codec, rows, langs = fitted("groupcenter:by=lang,least=50+sq")
    codes = codec.encode_by(rows, langs)
    numbers = codec.center.numbers(langs, len(rows))
    assert codec.code_bytes == 13 and codec.side_bytes == 1
    assert np.array_equal(codes[:, 0], numbers)
    assert np.array_equal(codes[:, 1:], codec.codec.encode(rows - codec.center.means[numbers]))


def test_rows_come_back_with_their_groups_known_and_without():
    codec, rows, langs = fitted()
    assert np.allclose(codec.decode(codec.encode_by(rows, langs)), rows, atol=1e-5)
    assert np.allclose(codec.decode(codec.encode(rows)), rows, atol=1e-5)
    assert not codec.encode(rows)[:, 0].any()


def test_group_means_lose_less_than_one_mean():
    rows, langs = grouped_rows(4000)
    one = vs.fit("center+sq:bits=4", rows)
    many = vs.fit("groupcenter:by=lang+sq:bits=4", rows, columns={"lang": langs})
    error = np.square(rows - one.decode(one.encode(rows))).sum()
    assert np.square(rows - many.decode(many.encode_by(rows, langs))).sum() < 0.5 * error


@pytest.mark.parametrize("spec", ["groupcenter:by=lang+sq", "groupcenter:by=lang,least=3+pca:dim=6+pq:m=3"])
def test_it_survives_storage_and_names_itself(spec):
    codec, rows, langs = fitted(spec)
    again = vs.loads(vs.dumps(codec))
    assert again.identity == codec.identity and again.spec == codec.spec
    codes = codec.encode_by(rows, langs)
    assert np.array_equal(again.encode_by(rows, langs), codes)
    assert np.array_equal(again.decode(codes), codec.decode(codes))
    same = vs.fit(str(codec.spec), rows, columns={"lang": langs})
    assert same.identity == codec.identity
    ledger = codec.ledger(rows=10)
    assert ledger.codes + ledger.side == 10 * codec.code_bytes and ledger.shared == len(vs.dumps(codec))


def test_it_is_scanned_without_decoding():
    codec, rows, langs = fitted("groupcenter:by=lang,least=50+sq")
    codes = codec.encode_by(rows, langs)
    queries = grouped_rows(5, seed=3)[0]
    scan = codec.scan(codes)
    found = np.empty((5, len(rows)), np.float32)
    scan.dots(scan.prepare(queries), 0, len(rows), found)
    wanted = queries @ codec.decode(codes).T
    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()


def test_more_than_255_groups_take_two_bytes():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((900, 4)).astype(np.float32)
    keys = pa.array([f"group {i % 300}" for i in range(900)])
    codec = vs.fit("groupcenter:by=key,least=3+sq:bytes=6", rows, columns={"key": keys})
    assert codec.side_bytes == 2 and codec.code_bytes == 6
    codes = codec.encode_by(rows, keys.dictionary_encode())
    assert np.array_equal(codec._read(codes), codec.center.numbers(keys, 900))
    wild = rng.integers(0, 256, (500, 6), dtype=np.uint8)
    assert np.isfinite(codec.decode(wild)).all()


def test_numbers_name_groups_as_text():
    rows, _ = grouped_rows(300)
    years = np.arange(300) % 2 + 2000
    codec = vs.fit("groupcenter:by=year,least=5+f32", rows, columns={"year": years})
    assert codec.center.names == ["2000", "2001"]
    assert codec.center.numbers(["2001", "2000"], 2).tolist() == [2, 1]


def test_rows_too_large_beside_any_mean_are_refused_and_named():
    codec, rows, langs = fitted("groupcenter:by=lang+f16")
    rows[7, 3] = 65_519
    with pytest.raises(vs.InputError, match="row 7 holds 65519 in dimension 3"):
        codec.encode_by(rows, langs)
    with pytest.raises(vs.InputError, match="row 7 "):
        codec.encode(rows)
    rows[7, 3] = np.nan
    with pytest.raises(vs.InputError, match="row 7 holds nan"):
        codec.encode_by(rows, langs)


def test_threads_and_batches_change_nothing():
    codec, _, _ = fitted("groupcenter:by=lang+sq")
    rows, langs = grouped_rows(30_000, seed=2)
    codes = codec.encode_by(rows, langs)
    assert np.array_equal(codec.encode_by(rows[100:105], langs[100:105]), codes[100:105])
    vs.set_threads(1)
    assert np.array_equal(codec.encode_by(rows, langs), codes)
    vs.set_threads(0)


@pytest.mark.parametrize(
    ("spec", "columns", "error", "message"),
    [
        ("groupcenter+sq", {"lang": ["a"] * 40}, vs.SpecError, "needs the name of a column"),
        ("groupcenter:by=lang+sq", None, vs.InputError, "fitted on rows with their column 'lang'"),
        ("groupcenter:by=lang+sq", {"lang": ["a"]}, vs.InputError, "has 1 values for 40 rows"),
        ("groupcenter:by=lang+sq", {"lang": [{"a": 1}] * 40}, vs.InputError, "no names of groups"),
        ("groupcenter:by=lang,least=0+sq", {"lang": ["a"] * 40}, vs.SpecError, "least=0"),
        ("center+groupcenter:by=lang+sq", {"lang": ["a"] * 40}, vs.SpecError, "must come first"),
        ("groupcenter:by=lang", {"lang": ["a"] * 40}, vs.SpecError, "ends in the transform"),
        ("groupcenter:by=lang+lossless", {"lang": ["a"] * 40}, vs.SpecError, "takes no transforms"),
    ],
)
def test_what_cannot_be_says_what_is_wrong(spec, columns, error, message):
    with pytest.raises(error, match=message):
        vs.fit(spec, grouped_rows(40)[0], columns=columns)


def test_a_stored_state_that_does_not_fit_is_refused():
    center = fitted()[0].center
    for labels in ("[", '{"a": 1}', '["b", "a", "c"]', '["a"]', "[" * 100_000):
        with pytest.raises(vs.CorruptError):
            type(center).from_parts(center.config() | {"labels": labels}, center.arrays())


def table(n, seed=0):
    rows, langs = grouped_rows(n, seed=seed)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 12)
    return pa.table({"id": [f"{seed}-{i}" for i in range(n)], "vector": vectors, "lang": langs}), rows


@pytest.mark.parametrize("pipe", [False, True])
def test_an_archive_takes_the_groups_from_its_carried_column(tmp_path, pipe):
    source, rows = table(3000)
    given = source.to_reader(500) if pipe else source
    spec = "groupcenter:by=lang,least=50+sq"
    summary = vs.compress(given, tmp_path / "a.arrow", codec=spec)
    plain = vs.compress(source, tmp_path / "b.arrow", codec="center+sq")
    assert summary.relative_mse < 0.7 * plain.relative_mse
    more, others = table(200, seed=1)
    vs.compress(more, tmp_path / "a.arrow", append=True)
    with vs.open(tmp_path / "a.arrow") as archive:
        assert archive.check() == [] and len(archive) == 3200
        assert archive.codec.center.names == LANGS
        back = np.concatenate([block for _, block in archive.scan()])
        codes = np.concatenate([archive.codec.encode_by(rows, source["lang"])[:1]])
        assert codes[0, 0] == archive.codec.center.numbers(source["lang"].slice(0, 1), 1)[0]
    assert np.square(back - np.concatenate([rows, others])).mean() < 1e-3
    assert json.loads(archive.codec.center.labels) == LANGS


def test_a_source_without_the_column_is_refused(tmp_path):
    source, rows = table(300)
    with pytest.raises(vs.InputError, match="carries no column 'land' to group rows by; it carries lang"):
        vs.compress(source, tmp_path / "a.arrow", codec="groupcenter:by=land+sq")
    codec = vs.fit("groupcenter:by=lang+sq", rows, columns={"lang": source["lang"]})
    with pytest.raises(vs.InputError, match="groups rows by a column 'lang"):
        vs.compress(rows, tmp_path / "b.arrow", codec=codec)
    assert list(tmp_path.iterdir()) == []


def test_the_full_spec_names_the_whole_row():
    rows, keys = grouped_rows(300)
    spec = "groupcenter:by=key,least=5+normalize+tcq:bytes=9,states=64,stages=0"
    codec = vs.fit(spec, rows, columns={"key": keys})
    assert codec.code_bytes == 9
    again = vs.fit(str(codec.spec), rows, columns={"key": keys})
    assert again.identity == codec.identity
