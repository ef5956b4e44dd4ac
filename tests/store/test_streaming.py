"""Streams: rows and offset are committed together, so that a restart loses nothing and doubles nothing."""

import numpy as np
import pyarrow as pa
import pytest
from conftest import some_rows

import vecstore as vs
from vecstore.store import Store


def batch(ids, seed=0):
    rows = some_rows(len(ids), seed=seed)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), 8)
    return pa.record_batch({"id": pa.array(ids, pa.int64()), "vector": vectors, "lang": ["en"] * len(ids)})


def test_a_restarted_producer_goes_on_behind_the_last_offset(make):
    store = make()
    with pytest.raises(RuntimeError), store.writer(source="clicks") as writer:
        assert writer.last_offset is None
        writer.write(batch([1, 2]), offset=10)
        writer.write(batch([2, 3], seed=1), offset=20)
        writer.commit()
        writer.write(batch([9]), offset=30)
        raise RuntimeError
    with Store.open(store.path) as again, again.writer(source="clicks") as writer:
        assert writer.last_offset == 20 and len(again) == 3
        assert not writer.write(batch([2, 3]), offset=20)
        assert writer.write(batch([9]), offset=30)
    found = Store.open(store.path)
    assert len(found) == 4
    assert np.allclose(found.get([2, 3]), some_rows(2, seed=1), atol=1e-3)
    assert found.writer(source="clicks").last_offset == 30
    assert found.writer(source="others").last_offset is None


def test_offsets_rise_and_batches_have_ids(make):
    writer = make().writer(source="clicks")
    writer.write(batch([1]), offset=5)
    with pytest.raises(vs.InputError, match="offsets must rise"):
        writer.write(batch([2]), offset=5)
    with pytest.raises(vs.InputError, match="no id column"):
        writer.write(batch([2]).select(["vector", "lang"]), offset=6)
    with pytest.raises(vs.SpecError, match="whole number"):
        writer.write(batch([2]), offset="7")
    with pytest.raises(vs.SpecError, match="name of a stream"):
        make("y.store").writer(source="")


@pytest.mark.parametrize("codec", ["f32", "pq:m=2"])
def test_batches_without_rows_move_the_offset(make, codec):
    store = make(codec=codec)
    writer = store.writer(source="clicks")
    for number, ids in enumerate(([], [1], [], [2, 3])):
        writer.write(batch(ids), offset=number)
        writer.commit()
        assert writer.last_offset == number and store.version == number + 1
    assert np.allclose(store.get([1, 2]), some_rows(2)[[0, 0]]) and len(store) == 3 and store.check() == []


@pytest.mark.parametrize("codec", ["sq:bits=8", "f16"])
@pytest.mark.parametrize("filled", [False, True])
def test_a_batch_that_the_store_does_not_take_is_refused_at_once_and_the_stream_goes_on(make, codec, filled):
    store = make(codec=codec)
    if filled:
        store.put(range(9000), some_rows(9000), {"lang": ["de"] * 9000})
    writer = store.writer(source="clicks")
    writer.write(batch([1, 2]), offset=1)
    good = batch([3])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1.0] * 7 + [np.nan], pa.float32()), 8)
    wide = pa.FixedSizeListArray.from_arrays(pa.array([1.0] * 9, pa.float32()), 9)
    for wrong, error, message in (
        (good.set_column(0, "id", pa.array(["x"])), vs.InputError, "whole numbers"),
        (good.set_column(1, "vector", vectors), vs.InputError, "row 0 holds nan"),
        (good.set_column(1, "vector", wide), vs.ShapeError, "9 dimensions"),
        (good.set_column(2, "lang", pa.array([[5]])), vs.InputError, "'lang' cannot be taken"),
        (good.select(["id", "vector"]), vs.InputError, "columns"),
        (pa.Table.from_batches([good]), vs.InputError, "RecordBatch"),
    ):
        with pytest.raises(error, match=message):
            writer.write(wrong, offset=2)
    writer.write(good.set_column(2, "lang", good["lang"].dictionary_encode()), offset=2)
    writer.commit()
    assert writer.last_offset == 2 and len(store) == (9000 if filled else 3)
    assert np.allclose(store.get([3]), some_rows(1), atol=0.05) and store.check() == []


def test_of_two_producers_of_a_stream_one_is_told(make):
    store = make()
    other = Store.open(store.path)
    first, second = store.writer(source="s"), other.writer(source="s")
    for writer in (first, second):
        writer.write(batch([1, 2]), offset=1)
    first.commit()
    with pytest.raises(vs.ConflictError, match="up to offset 1"):
        second.commit()
    assert len(Store.open(store.path)) == 2


def test_a_stream_says_what_embedded_its_rows(make):
    store = make(model="a", revision="1")
    with pytest.raises(vs.SpaceMismatchError, match="model 'a'; rows of model 'b'"):
        store.writer("clicks", model="b")
    with pytest.raises(vs.SpaceMismatchError, match="revision"):
        vs.ingest(store.path, pa.Table.from_batches([batch([1])]), model="a", revision="2")
    with store.writer("clicks", model="a", revision="1") as writer:
        writer.write(batch([1]), offset=0)
    assert vs.ingest(store.path, pa.Table.from_batches([batch([2])]), model="a").rows == 1
    assert len(Store.open(store.path)) == 2


def test_a_stream_from_another_space_is_refused_unless_that_is_not_looked_at(make):
    rows = some_rows(9000)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    store = make(codec="f32")
    store.put(np.arange(9000), rows)
    other = 3 * rows[:2000]  # of another length
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(other.reshape(-1)), 8)
    strange = pa.record_batch({"id": pa.array(np.arange(2000) + 10_000), "vector": vectors})
    with pytest.raises(vs.SpaceMismatchError), store.writer("clicks") as writer:
        writer.write(strange, offset=0)
    with store.writer("clicks", check_space=False) as writer:
        writer.write(strange, offset=0)
    assert len(store) == 11_000
