"""What is put, on any number of threads."""

import os

import numpy as np
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


def test_work_beside_gives_its_result_and_its_error(threads):
    assert beside(lambda: threads)() == threads
    with pytest.raises(ZeroDivisionError):
        beside(lambda: 1 // 0)()
