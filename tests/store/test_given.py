"""What is put, on any number of threads."""

import os

import numpy as np
import pyarrow as pa
import pytest
from conftest import some_rows

from vecstore.errors import InputError, SpecError
from vecstore.kernels.threads import beside, set_threads


@pytest.fixture(params=[1, 2])
def threads(request):
    set_threads(request.param)
    yield request.param
    set_threads(0)


@pytest.mark.parametrize("text", [False, True])
def test_an_id_that_repeats_far_behind_is_named_and_no_segment_is_left(make, threads, text):
    store, n = make(), 40_000
    numbers = np.arange(n)
    numbers[-1] = 7
    ids = [f"id {i}" for i in numbers] if text else numbers
    with pytest.raises(InputError, match=rf"row {n - 1} repeats the id {'.id 7.' if text else '7'};"):
        store.put(ids, some_rows(n))
    assert store.version == 0 and not os.listdir(store.path + "/segments")


def test_a_row_that_is_refused_has_its_number_among_all(make, threads):
    rows = some_rows(300_000)
    rows[280_001, 3] = np.nan
    with pytest.raises(InputError, match="row 280001 holds nan in dimension 3"):
        make().put(np.arange(len(rows)), rows, check_space=False)


def test_text_that_is_no_unicode_is_no_id(make):
    store = make()
    store.put(["a"], some_rows(1))
    for wrong in (["\ud800"], np.array(["\ud800"], object)):
        with pytest.raises(InputError, match="not proper Unicode"):
            store.put(wrong, some_rows(1))
        with pytest.raises(InputError, match="not proper Unicode"):
            store.get(wrong)


def test_a_zero_within_text_of_numpy_does_not_end_it(make):
    store = make(codec="f32")
    store.put(np.array(["a\0b", "a", "\0c"]), some_rows(3))
    assert [i for ids, _ in store.scan() for i in ids] == ["a\0b", "a", "\0c"]
    assert np.array_equal(store.get(np.array(["\0c", "a\0b"])), some_rows(3)[[2, 0]])


def test_ids_may_come_as_arrow_has_them(make):
    store = make()
    store.put(pa.array(["a", "b"]), some_rows(2))
    store.put(pa.chunked_array([["c"], ["d"]]), some_rows(2))
    with pytest.raises(InputError, match="NoneType"):
        store.put(pa.array(["e", None]), some_rows(2))
    assert store.get(pa.array(["a", "x", "d"]).slice(2)).shape == (1, 8) and len(store) == 4


@pytest.mark.parametrize(
    ("codec", "keep", "value"),
    [("sq:bits=8", None, np.nan), ("pca:dim=4+pq:m=2", "f32", np.inf), ("sq:bits=4", "f16", 1e6)],
)
def test_a_row_that_its_codec_will_not_take_does_not_wait_for_it(make, codec, keep, value):
    """Else no codec could be fitted as long as it is there, and nothing be put."""
    store, rows = make(codec=codec, keep=keep), some_rows(9000)
    bad = rows[:10].copy()
    bad[3, 2] = value
    with pytest.raises(InputError, match=r"row 3 holds .* in dimension 2"):
        store.put(range(10), bad)
    store.put(range(10), rows[:10])
    with pytest.raises(InputError, match=r"row 3 holds .* in dimension 2"):
        store.put(range(10, 9010), np.concatenate([bad, rows[10:]]))
    store.put(range(9000), rows)
    assert len(store) == 9000 and store.codec is not None and store.check() == []


def test_a_number_that_float32_has_not_is_no_infinity(make):
    store = make(codec="f32")
    with pytest.raises(InputError, match="row 1 is float64, too large for float32"):
        store.put([1, 2], np.diag([1.0, 1e300] + [0.0] * 6)[:2])
    store.put([1], np.full((1, 8), np.inf))
    assert np.isinf(store.get(1)).all()


@pytest.mark.parametrize("spec", [{"codec": ""}, {"codec": None}, {"keep": ""}])
def test_a_spec_that_is_none_is_refused_before_there_is_a_store(make, tmp_path, spec):
    with pytest.raises(SpecError):
        make(**spec)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": "xy"}, "'a' is one str"),
        ({"a": [1, 2**63]}, "'a' cannot be taken"),
        ({"a": ["x", "\ud800"]}, "'a' cannot be taken"),
        ({5: [1, 2]}, "named by text; 5 is none"),
        ({"\ud800": [1, 2]}, "named by text"),
        ([1, 2], "columns is a list"),
        ({"a": pa.RunEndEncodedArray.from_arrays([2], [1])}, "run_end_encoded"),
        ({"a": pa.array([["x"], []], pa.list_(pa.string_view()))}, ", or a view"),
    ],
)
def test_columns_that_cannot_be_carried_are_refused(make, columns, message):
    store = make()
    with pytest.raises(InputError, match=message):
        store.put([1, 2], some_rows(2), columns)
    assert store.version == 0


def test_views_of_text_are_carried_as_text(make):
    """Arrow cannot pick rows of views, so they could not be written anew without the deleted ones."""
    store = make()
    views = {
        "a": pa.array(["x", None, "y"], pa.string_view()),
        "b": pa.array([b"1", b"2", b"3"], pa.binary_view()),
    }
    store.put([1, 2, 3], some_rows(3), views)
    store.delete([1])
    store.compact()
    assert store.columns.types == [pa.string(), pa.binary()]
    assert [batch.columns.to_pydict() for batch in store.batches()] == [{"a": [None, "y"], "b": [b"2", b"3"]}]
    assert store.search(some_rows(1), where="a = 'y'")[0].tolist() == [[3]]


def test_work_beside_gives_its_result_and_its_error(threads):
    assert beside(lambda: threads)() == threads
    with pytest.raises(ZeroDivisionError):
        beside(lambda: 1 // 0)()
