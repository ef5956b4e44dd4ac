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
