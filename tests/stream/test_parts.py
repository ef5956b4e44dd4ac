import threading
from contextlib import closing

import numpy as np
import pyarrow as pa
import pytest

import vecstore as vs
from vecstore.stream.measure import Loss
from vecstore.stream.memory import id_array
from vecstore.stream.prefetch import prefetch


def test_reading_ahead_keeps_order_and_raises_errors_in_their_place():
    assert list(prefetch(iter(range(50)))) == list(range(50))

    def failing():
        yield 1
        yield 2
        raise ValueError("third")

    seen = []
    with pytest.raises(ValueError, match="third"):
        for item in prefetch(failing()):
            seen.append(item)
    assert seen == [1, 2]


def test_closing_early_ends_the_thread():
    before = threading.active_count()
    with closing(prefetch(iter(range(10**9)))) as items:
        assert next(items) == 0
    assert threading.active_count() == before


def test_relative_mse_is_its_definition_over_any_batches():
    rows = np.random.default_rng(0).standard_normal((3000, 8)).astype(np.float32) + 5
    codec = vs.fit("sq:bits=4", rows)
    loss = Loss(codec)
    for part in np.array_split(rows, 7):
        loss.add(part)
    back = codec.decode(codec.encode(rows)).astype(np.float64)
    want = np.square(rows - back).sum() / np.square(rows - rows.mean(0, dtype=np.float64)).sum()
    assert loss.relative_mse == pytest.approx(want, rel=1e-6) and loss.rows == 3000


@pytest.mark.parametrize("spec", ["sq", "pca+sq:bits=4", "center+klt:bits=3", "groupcenter:by=lang+sq"])
def test_saturated_rows_are_counted(tmp_path, spec):
    rows = np.random.default_rng(0).standard_normal((3000, 8)).astype(np.float32) + 5

    def table(rows):
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), 8)
        return pa.table({"vector": vectors, "lang": ["de", "en"] * (len(rows) // 2)})

    assert vs.compress(table(rows), tmp_path / "a.arrow", spec).saturated == 0
    with vs.open(tmp_path / "a.arrow") as archive:
        codec = archive.codec
    rows[[5, 1700, 2999]] *= 1000
    summary = vs.compress(table(rows), tmp_path / "b.arrow", codec)
    assert summary.saturated == summary.as_dict()["saturated"] == 3
    more = table(rows[:10]).append_column("id", [list(range(3000, 3010))])
    assert vs.compress(more, tmp_path / "b.arrow", append=True).saturated == 1
    assert vs.compress(rows, tmp_path / "c.arrow", "lossless").saturated == 0


@pytest.mark.parametrize("ids", [[1, "a"], [1.5], [None, 1], [2**63], np.array([[1]]), [b"x"]])
def test_ids_of_mixed_or_other_types_are_refused(ids):
    with pytest.raises(vs.ShapeError):
        id_array(ids)


def test_ids_are_int64_or_strings():
    assert id_array(np.array([1, 2], np.uint8)).type == pa.int64()
    assert id_array(["a", "b"]).type == pa.string()
    assert id_array(pa.chunked_array([["a"], ["b"]])).to_pylist() == ["a", "b"]
    assert id_array(5).to_pylist() == [5]


def test_arrays_and_tables_are_compressed_from_memory(tmp_path):
    rows = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    summary = vs.compress(rows, tmp_path / "a.arrow", "f32", ids=[f"k{i}" for i in range(300)])
    assert summary.rows == 300 and summary.bytes == (tmp_path / "a.arrow").stat().st_size
    with vs.open(tmp_path / "a.arrow") as archive:
        assert np.array_equal(archive.get(["k7", "k0"]), rows[[7, 0]])
        ids, back = next(archive.scan(100))
        assert ids.tolist()[:2] == ["k0", "k1"] and np.array_equal(back, rows[:100])
    reader = pa.table({"vector": rows.tolist(), "lang": ["en"] * 300}).to_reader()
    vs.compress(reader, tmp_path / "b.arrow", vs.fit("sq", rows))
    assert vs.open(tmp_path / "b.arrow").columns.names == ["lang"]
    with pytest.raises(vs.ShapeError):
        vs.compress(rows, tmp_path / "c.arrow", "f32", ids=[1, 2])
    with pytest.raises(vs.ShapeError):
        vs.compress(rows, tmp_path / "c.arrow", vs.fit("f32", rows[:, :4]))
    with pytest.raises(vs.SpecError):
        vs.compress(rows, tmp_path / "c.arrow")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.arrow", "b.arrow"]


def test_progress_counts_every_row(tmp_path):
    seen = []
    rows = np.zeros((20_000, 64), np.float32)
    vs.compress(rows, tmp_path / "a.arrow", "f32", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20_000, 20_000) and [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_choosing_tells_how_many_codecs_were_tried_before_the_first_row(tmp_path):
    seen = []
    vs.compress(
        np.random.default_rng(0).standard_normal((1000, 8)).astype(np.float32), tmp_path / "a.arrow",
        budget="60%", progress=lambda *_: seen.append("row"), choosing=lambda *counts: seen.append(counts),
    )  # fmt: skip
    tried = [counts for counts in seen if counts != "row"]
    assert seen[: len(tried)] == tried and len({total for _, total in tried}) == 1
    assert [done for done, _ in tried] == sorted(done for done, _ in tried)
    assert tried[0][0] == 0 and tried[-1][0] == tried[-1][1] > 5
