"""Tiers that are stored apart: a smaller one is read without the bytes of the larger ones."""

import pickle

import numpy as np
import pyarrow as pa
import pytest

import vecstore as vs
from vecstore.archive import Archive, ArchiveWriter, layout
from vecstore.archive.pages import PageFile
from vecstore.errors import CorruptError, InputError, SpecError
from vecstore.formats.base import Batch
from vecstore.registry import fit

DIM, ROWS = 96, 5000
CASES = [
    ("f32", [8, 32]), ("sq", [16, 17]), ("sq:bits=6", [32]), ("pq:m=24", [16, 48]),
    ("pca+sq:bits=4", [8, 64]), ("normalize+pca+sq", [8]), ("sign", [32]), ("rq:m=5", ["1B", "3B"]),
    ("prq:m=6,splits=2", ["4B"]),
    ("klt:bits=2,scale=none", ["8B", "16B"]), ("klt:bits=2,scale=length", ["9B"]),
    ("tcq:bits=2,stages=1,states=64", ["9B"]), ("rbe:bits=3", ["12B"]),
]  # fmt: skip


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Batches of 2048 rows, which are larger than pages."""
    monkeypatch.setattr(layout, "_MAX_ROWS", 2048)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(3)
    return (rng.standard_normal((ROWS, DIM)) * np.arange(1, DIM + 1) ** -0.7 + 0.1).astype(np.float32)


@pytest.fixture
def make(tmp_path, rows):
    """make(spec, tiers, ids=None, name="a"): the path of an archive of `rows` with a carried column."""

    def make(spec, tiers, ids=None, name="a"):
        text = pa.record_batch({"lang": [f"language {i % 3}" for i in range(ROWS)]})
        card = {"metric": "ip", "tiers": tiers} if tiers else {"metric": "ip"}
        kind = None if ids is None else ids.type
        path = tmp_path / name
        with ArchiveWriter(
            path, fit(spec, rows[:2500]), card=card, id_type=kind, columns=text.schema
        ) as writer:
            writer.write(Batch(rows, ids, text, "memory", 0))
        return path

    return make


@pytest.fixture
def read(monkeypatch):
    """The bytes read of files, as a list of (start, stop) that grows."""
    found = []
    fill = PageFile._fill

    def counting(self, buffer, start):
        found.append((start, start + len(buffer)))
        fill(self, buffer, start)

    monkeypatch.setattr(PageFile, "_fill", counting)
    return found


@pytest.mark.parametrize(("spec", "tiers"), CASES)
@pytest.mark.parametrize("with_ids", [False, True])
def test_an_archive_in_tiers_gives_the_rows_of_one_that_is_not(make, rows, spec, tiers, with_ids):
    ids = pa.array([f"row {i}" for i in range(ROWS)]) if with_ids else None
    with Archive(make(spec, [], ids)) as plain, Archive(make(spec, tiers, ids, "b")) as tiered:
        assert plain.format_version == 1 and tiered.format_version == 2
        assert tiered.check() == [] and list(tiered.tiers) == [str(part) for part in tiers]
        assert tiered.ledger().total == tiered._contents.size
        assert {**tiered.ledger().as_dict(), "format": 0, "total": 0} == {
            **plain.ledger().as_dict(), "format": 0, "total": 0,
        }  # fmt: skip
        some = [f"row {i}" for i in (4999, 7, 2500)] if with_ids else [4999, 7, 2500]
        assert np.array_equal(plain.get_codes(some), tiered.get_codes(some))
        assert np.array_equal(plain.get(some), tiered.get(some))
        for (names, one), (others, two) in zip(plain.scan(900), tiered.scan(900), strict=True):
            assert np.array_equal(names, others) and np.array_equal(one, two)
        for one, two in zip(plain.batches(), tiered.batches(), strict=True):
            assert one.columns.equals(two.columns) and np.array_equal(one.rows, two.rows)
        for one, two in zip(plain.search(rows[:5]), tiered.search(rows[:5]), strict=True):
            assert np.array_equal(one, two)


@pytest.mark.parametrize(("spec", "tiers"), CASES)
def test_every_way_of_reading_gives_the_rows_of_the_tier(make, rows, spec, tiers):
    path = make(spec, tiers)
    for place in (path, make(spec, [], name="plain")):
        with Archive(place) as whole:
            codes, codec = whole.get_codes(np.arange(ROWS)), whole.codec
        for part in tiers:
            coarse = vs.tier(codec, part)
            wanted = coarse.decode(np.ascontiguousarray(codes[:, : coarse.code_bytes]))
            with Archive(place, part) as archive:
                assert archive.codec.identity == coarse.identity and archive.dim == DIM
                assert np.array_equal(archive.get([4999, 0, 2047]), wanted[[4999, 0, 2047]])
                assert np.array_equal(np.concatenate([block for _, block in archive.scan(700)]), wanted)
                assert np.array_equal(np.concatenate([batch.rows for batch in archive.batches()]), wanted)
                assert archive.get_codes([5]).shape == (1, coarse.code_bytes)
                found, scores = archive.search(rows[:20], k=5)
                exact = rows[:20] @ wanted.T
                assert np.allclose(np.take_along_axis(exact, found, 1), scores, rtol=1e-3, atol=1e-3)
                assert (scores[:, 0] >= exact.max(axis=1) - 1e-3).all()
                assert archive.check() == []
                again = pickle.loads(pickle.dumps(archive))
                assert again.tier == part and np.array_equal(again.get([3]), wanted[[3]])


@pytest.mark.parametrize(
    ("spec", "part", "share"),
    [("f32", 8, 1 / 12), ("sq", 16, 1 / 6), ("klt:bits=8,scale=none", "16B", 1 / 6)],
)
def test_a_smaller_tier_reads_fewer_bytes(make, rows, read, spec, part, share):
    path = make(spec, [part])
    with Archive(path) as archive:
        codes, columns = archive.ledger().codes, archive.ledger().carried + archive.ledger().ids
    for use, beside in (
        (lambda archive: archive.search(rows[:3]), 0),
        (lambda archive: list(archive.scan()), columns),
        (lambda archive: archive.get(np.arange(ROWS)), 0),
    ):
        with Archive(path, part) as archive:
            read.clear()
            use(archive)
            pages = 3 * 3  # that parts of three batches begin or end in
            assert 0 < sum(stop - start for start, stop in read) <= share * codes + beside + pages * 65536


@pytest.mark.parametrize("use", ["get", "scan", "batches", "search", "where"])
def test_damage_to_a_larger_tier_does_not_touch_a_smaller_one(make, rows, use):
    path = make("f32", [8])
    with Archive(path) as archive:
        start, stop = archive._contents.code_place(1, "code.1")
        data = bytearray(path.read_bytes())
    data[(start + stop) // 2] ^= 1
    path.write_bytes(data)
    uses = {
        "get": lambda archive: archive.get(np.arange(ROWS)),
        "scan": lambda archive: [block for _, block in archive.scan()],
        "batches": lambda archive: [batch.rows for batch in archive.batches()],
        "search": lambda archive: archive.search(rows[:3]),
        "where": lambda archive: archive.search(rows[:3], where="lang = 'language 1'"),
    }
    with Archive(path, 8) as archive:
        uses[use](archive)
        assert "damaged" in "".join(archive.check())
    with Archive(path) as archive, pytest.raises(CorruptError, match="damaged"):
        uses[use](archive)
    data[start - 2048 * 16] ^= 1  # the middle of the first tier, which ends where the other begins
    path.write_bytes(data)
    with Archive(path, 8) as archive, pytest.raises(CorruptError, match="damaged"):
        uses[use](archive)


def test_rerank_takes_the_best_of_a_tier_whole(make, rows, read):
    path = make("pca+sq", [8])
    with Archive(path) as whole:
        true = whole.search(rows[:50], k=10)
    with Archive(path, 8) as coarse:
        rough = coarse.search(rows[:50], k=10)
        best = coarse.search(rows[:50], k=10, rerank=200)
    recall = [
        np.mean([len(np.intersect1d(*pair)) for pair in zip(true[0], some[0], strict=True)])
        for some in (rough, best)
    ]
    assert recall[1] > max(9.5, recall[0] + 0.5)
    shared = true[0][:, 0] == best[0][:, 0]
    assert shared.mean() > 0.9 and np.allclose(true[1][shared, 0], best[1][shared, 0], rtol=1e-5)


def test_an_archive_in_tiers_can_be_continued_and_streamed(tmp_path, rows):
    whole = tmp_path / "whole.arrow"
    codec = vs.fit("pca+sq:bits=4", rows[:2500])
    vs.compress(rows, whole, codec, tiers=[16, "64"])
    vs.compress(rows[:3000], tmp_path / "a.arrow", codec, tiers=[16, 64])
    vs.compress(rows[3000:], tmp_path / "a.arrow", append=True)
    assert (tmp_path / "a.arrow").read_bytes() == whole.read_bytes()
    with open(tmp_path / "stream", "wb") as file:
        card = {"tiers": [16]}
        with ArchiveWriter(file, codec, card=card) as writer:
            writer.write(Batch(rows, None, None, "memory", 0))
    with Archive(tmp_path / "stream", 16) as archive, vs.open(whole, 16) as other:
        assert np.array_equal(archive.get(np.arange(ROWS)), other.get(np.arange(ROWS)))


def test_other_readers_find_each_tier_in_a_column(make):
    path = make("sq", [16, 48])
    with pa.ipc.open_file(path) as file, Archive(path) as archive:
        table = file.read_all()
        codes = archive.get_codes(np.arange(ROWS))
    assert table.column_names == ["id", "code", "code.1", "code.2", "lang"]
    for name, part in (("code", codes[:, :16]), ("code.1", codes[:, 16:48]), ("code.2", codes[:, 48:])):
        assert b"".join(table.column(name).to_pylist()) == part.tobytes()


@pytest.mark.parametrize(
    ("spec", "tiers", "message"),
    [
        ("sq", [96], "each has to add some"),
        ("sq", [32, 16], "each has to add some"),
        ("sq", [0], "1 to that"),
        ("sq", ["x"], "expected dimensions, as in 64"),
        ("sq", ["16B"], "not of all dimensions"),
        ("hadamard", [8], "no dimension has bytes of its own"),
        ("klt:bits=2,scale=none", ["3B"], "these do: 8, 16, 24"),
        ("rq:m=4", ["9B"], "so 1 to that"),
        ("lossless", [8], "have no tiers"),
    ],
)
def test_tiers_that_cannot_be_are_refused(tmp_path, rows, spec, tiers, message):
    with pytest.raises(SpecError, match=message):
        vs.compress(rows, tmp_path / "a.arrow", spec, tiers=tiers)
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused(make, rows, tmp_path):
    path = make("lossless", [])
    with pytest.raises(SpecError, match="no tiers"):
        Archive(path, 8)
    with pytest.raises(SpecError, match="no tiers to choose"):
        vs.compress(rows, path, append=True, tiers=[8])
    columns = pa.schema([("code.1", pa.int8())])
    with pytest.raises(InputError, match="cannot be carried"):
        ArchiveWriter(tmp_path / "b", fit("sq", rows), card={"tiers": [8]}, columns=columns)
    with ArchiveWriter(tmp_path / "b", fit("sq", rows), card={}, columns=columns) as writer:
        writer.write(Batch(rows[:2], None, pa.record_batch({"code.1": pa.array([1, 2], pa.int8())}), "x", 0))
    with Archive(tmp_path / "b") as archive:
        assert archive.columns.names == ["code.1"] and archive.tiers == {} and archive.check() == []
