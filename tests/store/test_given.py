"""What is put, on any number of threads."""

import os

import numpy as np
import pyarrow as pa
import pytest
from conftest import some_rows

from vecstore.errors import InputError
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


def test_ids_may_come_as_arrow_has_them(make):
    store = make()
    store.put(pa.array(["a", "b"]), some_rows(2))
    store.put(pa.chunked_array([["c"], ["d"]]), some_rows(2))
    with pytest.raises(InputError, match="NoneType"):
        store.put(pa.array(["e", None]), some_rows(2))
    assert store.get(pa.array(["a", "x", "d"]).slice(2)).shape == (1, 8) and len(store) == 4


def test_work_beside_gives_its_result_and_its_error(threads):
    assert beside(lambda: threads)() == threads
    with pytest.raises(ZeroDivisionError):
        beside(lambda: 1 // 0)()
