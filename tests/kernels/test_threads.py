import os
import threading
import time

import numpy as np
import pytest

from vecstore.errors import SpecError
from vecstore.kernels.threads import get_threads, set_threads, spread
from vecstore.kernels.waiting import await_flags


@pytest.fixture(params=[1, 3])
def threads(request):
    set_threads(request.param)
    yield request.param
    set_threads(0)


def test_every_block_is_worked_on_once(threads):
    for rows in (0, 1, 7, 8, 9, 100):
        blocks = []
        spread(rows, 8, lambda start, stop: blocks.append((start, stop)))  # noqa: B023
        assert sorted(blocks) == [(at, min(at + 8, rows)) for at in range(0, rows, 8)]


def test_the_error_of_the_first_block_is_raised_after_all_blocks_that_can_are_done(threads):
    done = []

    def work(start, _stop):
        time.sleep(0.001 * (5 - start))
        if start in (2, 4):
            raise ValueError(f"block {start}")
        done.append(start)

    with pytest.raises(ValueError, match="block 2"):
        spread(6, 1, work)
    assert set(done) >= {0, 1}
    spread(6, 1, lambda start, _stop: None)


def test_work_that_spreads_again_goes_on_in_its_thread(threads):
    seen = []

    def work(start, _stop):
        me = threading.get_ident()
        spread(3, 1, lambda inner, _stop: seen.append((start, inner, threading.get_ident() == me)))

    spread(4, 1, work)
    assert sorted(seen) == [(outer, inner, True) for outer in range(4) for inner in range(3)]


def test_several_threads_take_part():
    set_threads(3)
    met = threading.Barrier(3, timeout=20)
    spread(3, 1, lambda _start, _stop: met.wait())
    set_threads(0)


def test_a_number_of_threads_is_not_negative():
    with pytest.raises(SpecError, match="-1"):
        set_threads(-1)
    assert 1 <= get_threads() <= (os.cpu_count() or 1)


def test_flags_of_other_threads_are_waited_for_a_while():
    await_flags(np.zeros(0, np.int64))
    await_flags(np.zeros(2, np.int64))  # in vain, but not for ever
    flags = np.zeros(2, np.int64)
    other = threading.Thread(target=lambda: flags.fill(1))
    other.start()
    while not flags.all():
        await_flags(flags)
    other.join()
