"""Cards and fingerprints: rows of another space are refused, those of the same are not."""

import json
import re

import numpy as np
import pyarrow as pa
import pytest
import xxhash

import vecstore as vs
from vecstore.archive import ArchiveWriter
from vecstore.errors import CorruptError, ShapeError, SpaceMismatchError
from vecstore.formats.base import Batch
from vecstore.space.fingerprint import FEWEST, Fingerprint

DIM = 32


def space(n, seed=0, topic=None, dim=DIM):
    """Rows whose energy falls from axis to axis; a topic moves them along the leading ones."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim)) * np.exp(-np.arange(dim) / (dim / 6))
    if topic is not None:
        rows[:, : dim // 4] *= 0.5
        rows += np.random.default_rng(topic).standard_normal(dim) * np.exp(-np.arange(dim) / (dim / 6))
    return rows.astype(np.float32)


def turned(rows, seed=9):
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((rows.shape[1], rows.shape[1])))[0]
    return (rows @ turn).astype(np.float32)


@pytest.fixture
def store(tmp_path):
    with vs.Store.create(tmp_path / "x", dim=DIM, codec="f16", keep=None, model="m", revision="1") as store:
        store.put(range(2000), space(2000))
        yield store


def test_rows_of_another_space_are_refused_and_nothing_changes(store):
    version, foreign = store.version, turned(space(300, 1))
    with pytest.raises(
        SpaceMismatchError, match=r"rows lie in other directions.*model 'm'.*check_space=False"
    ):
        store.put(range(300), foreign)
    with pytest.raises(SpaceMismatchError, match="queries lie in other directions"):
        store.search(foreign)
    assert store.version == version
    assert store.search(foreign, check_space=False)[0].shape == (300, 10)
    store.put(range(300), foreign, check_space=False)
    assert store.version == version + 1


@pytest.mark.parametrize("n", [1, FEWEST - 1, FEWEST, 5000])
def test_rows_of_the_space_are_taken_whatever_they_are_about(store, n):
    for topic in (None, 1, 2, 3):
        store.put(range(n), space(n, 5, topic))
        store.search(space(min(n, 200), 6, topic))


def test_few_rows_cannot_be_judged(store):
    store.put(range(FEWEST - 1), turned(space(FEWEST - 1, 1)))


def test_rows_that_are_all_but_the_same_cannot_be_judged(store):
    rows = np.repeat(space(1, 3), 200, axis=0)
    store.put(range(200), rows + np.random.default_rng(0).standard_normal(rows.shape) * 1e-4)


def test_names_settle_it(store):
    foreign = turned(space(300, 1))
    for told, message in (({"model": "n"}, "model 'm'.*model 'n'"), ({"revision": "2"}, "revision '1'.*'2'")):
        with pytest.raises(SpaceMismatchError, match=message):
            store.put([1], space(1), **told)
        with pytest.raises(SpaceMismatchError, match=message):
            store.search(space(1), **told)
    store.put(range(300), foreign, model="m", revision="1")
    store.search(foreign, model="m")
    with pytest.raises(vs.errors.SpecError, match="model is 7"):
        store.search(foreign, model=7)


def test_another_width_is_another_space_and_a_matter_of_shape(store):
    wide = np.ones((1, DIM + 1), np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(wide[0]), DIM + 1)
    for call in (
        lambda: store.search(wide),
        lambda: store.put([1], wide),
        lambda: store.writer("s").write(pa.record_batch({"id": [1], "vector": vectors}), offset=1),
        lambda: vs.ingest(store.path, pa.table({"id": [1], "vector": vectors})),
        lambda: store.search(wide[:, :3]),
    ):
        for kind in (SpaceMismatchError, ShapeError):
            with pytest.raises(kind):
                call()
    for flat in (wide[0], wide[None]):
        with pytest.raises(ShapeError) as found:
            store.search(flat)
        assert not isinstance(found.value, SpaceMismatchError)


def test_rows_that_were_divided_by_their_length_stay_so(tmp_path):
    rows = space(2000) / np.linalg.norm(space(2000), axis=1, keepdims=True)
    for metric in ("ip", "l2", "cosine"):
        store = vs.Store.create(tmp_path / metric, dim=DIM, codec="f16", metric=metric, keep=None)
        store.put(range(2000), rows)
        assert store.card["fingerprint"]["unit"] is True
        store.put(range(100), rows[:100].astype(np.float16))
        if metric == "cosine":
            store.put(range(100), 3 * rows[:100])
        else:
            with pytest.raises(SpaceMismatchError, match=r"length of 3; .* have length 1"):
                store.put(range(100), 3 * rows[:100])
        if metric != "l2":
            store.search(3 * rows[:100])


def test_a_codec_that_learns_nothing_gets_its_fingerprint_when_there_are_rows_enough(tmp_path, monkeypatch):
    monkeypatch.setattr("vecstore.store.writing.FIT_ROWS", 1000)
    store = vs.Store.create(tmp_path / "x", dim=DIM, codec="f32", keep=None)
    store.put([0], space(1))
    assert "axes" not in store.card["fingerprint"]
    store.put(range(1000), space(1000))
    assert store.card["fingerprint"]["rows"] == 1001 and "axes" in store.card["fingerprint"]


def test_rows_without_shape_are_not_judged():
    noise = np.random.default_rng(0).standard_normal((4000, DIM))
    known = Fingerprint.of(noise)
    assert known.axes is None and known.nearness(space(1000)) is None
    assert Fingerprint.of(space(100)).axes is None  # too few
    assert Fingerprint.of(space(1000)[:, :8]).axes is None  # too narrow
    assert Fingerprint.of(np.zeros((1000, DIM))) is None
    assert Fingerprint.of(np.full((1000, DIM), np.nan)) is None
    assert Fingerprint.of(np.ones((1000, DIM))).axes is None
    assert Fingerprint.of(np.tile(space(100), (20, 1))).axes is None  # too few that differ


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float64])
def test_rows_of_any_type_have_a_fingerprint(dtype):
    rows = np.abs(space(4000) * 40).clip(0, 255).astype(dtype)
    known = Fingerprint.of(rows)
    assert known.axes is not None and not known.is_foreign(rows[:500])
    huge = space(4000) * np.float32(1e30)
    assert Fingerprint.of(huge).quiet == Fingerprint.of(space(4000)).quiet


def test_a_fingerprint_is_small_and_comes_back():
    known = Fingerprint.of(space(6000, dim=1024))
    text = json.dumps(known.as_dict())
    assert len(text) < 3000
    back = Fingerprint.from_dict(json.loads(text), 1024)
    assert back.as_dict() == known.as_dict() and not back.is_foreign(space(500, 1, dim=1024))


GOOD = Fingerprint.of(space(2000)).as_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"axes": GOOD["axes"][:-4]},
        {"axes": GOOD["axes"][:-1] + "!"},
        {"axes": "A" * len(GOOD["axes"])},
        {"axes": 7},
        {"quiet": float("nan")},
        {"quiet": 0},
        {"quiet": -1},
        {"loud": 1e300},
        {"loud": "1"},
        {"quiet": 1.0, "loud": 1.0},
        {"mean": float("inf")},
        {"mean": True},
        {"rows": -1},
        {"rows": 1.5},
        {"unit": 1},
        {"spectrum": None},
        {"spectrum": [0.5] * 1000},
        {"spectrum": [float("nan")]},
        None,
        [],
    ],
)
def test_a_card_that_is_damaged_under_a_good_checksum_is_named(tmp_path, change):
    vs.Store.create(tmp_path / "x", dim=DIM, codec="f16").close()
    path = tmp_path / "x" / "versions" / f"{0:020d}.json"
    facts = json.loads(path.read_bytes().splitlines()[0])
    facts["card"]["fingerprint"] = {**GOOD, **change} if isinstance(change, dict) else change
    body = json.dumps(facts).encode() + b"\n"
    path.write_bytes(body + f"vecstore-sum xxh3_128 {xxhash.xxh3_128_hexdigest(body)}\n".encode())
    with pytest.raises(CorruptError, match=re.escape(str(path))):
        vs.Store.open(tmp_path / "x")


def test_an_archive_with_a_model_has_a_card_too(tmp_path):
    rows = space(3000)
    vs.compress(rows, tmp_path / "plain", "f16")
    vs.compress(rows, tmp_path / "a", "f16", model="m", revision="1")
    with vs.open(tmp_path / "plain") as archive:
        assert set(archive.card) == {"metric", "source_dtype", "dim"}
        archive.search(turned(rows[:100]))
    with vs.open(tmp_path / "a") as archive:
        assert archive.card["model"] == "m" and archive.card["revision"] == "1"
        archive.search(space(100, 1))
        with pytest.raises(SpaceMismatchError, match="queries lie in other directions"):
            archive.search(turned(rows[:100]))
        archive.search(turned(rows[:100]), check_space=False)
        with pytest.raises(SpaceMismatchError, match="model 'n'"):
            archive.search(rows[:1], model="n")
    before = (tmp_path / "a").read_bytes()
    for bad in ({"model": "n"}, {"model": "m", "revision": "2"}):
        with pytest.raises(SpaceMismatchError):
            vs.compress(rows, tmp_path / "a", append=True, ids=np.arange(3000, 6000), **bad)
    with pytest.raises(SpaceMismatchError, match="rows lie"):
        vs.compress(turned(rows), tmp_path / "a", append=True, ids=np.arange(3000, 6000))
    assert (tmp_path / "a").read_bytes() == before
    vs.compress(space(500, 4), tmp_path / "a", append=True, ids=np.arange(3000, 3500))
    with vs.open(tmp_path / "a") as archive:
        assert len(archive) == 3500


@pytest.mark.parametrize(
    "change", [{"fingerprint": {**GOOD, "quiet": 0}}, {"fingerprint": 1}, {"model": 7}, {"revision": ["x"]}]
)
def test_an_archive_with_a_damaged_card_is_named(tmp_path, change):
    codec = vs.fit("f16", space(100))
    with ArchiveWriter(tmp_path / "a", codec, card={"metric": "ip", **change}) as writer:
        writer.write(Batch(space(10), None, None, "here", 0))
    with pytest.raises(CorruptError, match=r"space card of .* cannot be read"):
        vs.open(tmp_path / "a")
    assert "space card" in vs.check(tmp_path / "a")[0]
