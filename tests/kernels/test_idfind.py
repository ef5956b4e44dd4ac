import numpy as np
import pytest
from numba.core import config

from vecstore.kernels import gather, idfile, idfind
from vecstore.kernels.idmap import FREE

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="reads addresses")


def place(segment, row):
    return (segment << gather.ROW_BITS) | row


def look(words, keys, parts, table, verified=None):
    """Places, and what has to be done first."""
    verified = np.ones(words.nbytes // 65536 + 1, np.bool_) if verified is None else verified
    answers = np.full((2, len(keys)), FREE)
    count = idfind.find((words, verified, np.array(parts), np.array(table)), keys, answers)
    assert answers[1, :count].all()
    return answers[0].tolist(), sorted(set(answers[1, :count].tolist()))


@pytest.mark.parametrize("width", [1, 2])
def test_a_file_of_ids_finds_what_a_dictionary_finds(width):
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 1 << 63, (20_000, width)).astype(np.uint64)
    keys[1:3] = [[2**64 - 1] * width, [0] * width]  # as in a free slot, and nothing at all
    rows = np.arange(20_000)
    words = np.full((26_000, width + 1), 2**64 - 1, np.uint64)
    assert idfile.fill(words, keys, place(rows % 3, rows), True) == 0
    live = np.ones(20_000, np.bool_)
    live[::7] = False
    table = [[0, 0, 0, 20_000, 0], [0, 0, 0, 20_000, live.ctypes.data]]
    parts = [1, -1, 0]  # the file's segment 1 is not in this version
    found, todo = look(words, keys, parts, table)
    twin = [
        FREE if row % 3 == 1 or (row % 3 == 0 and not live[row]) else place(parts[row % 3], row)
        for row in rows.tolist()
    ]
    assert found == twin and todo == []
    assert look(words, keys, parts, table, np.empty(0, np.bool_)) == (twin, [])
    strange = rng.integers(0, 1 << 63, (500, width)).astype(np.uint64)
    assert look(words, strange, parts, table) == ([FREE] * 500, [])


def test_a_deleted_row_leaves_the_place_to_the_next_of_its_id():
    words = np.full((8, 2), 2**64 - 1, np.uint64)
    keys = np.array([[5], [5], [5]], np.uint64)
    assert idfile.fill(words, keys, np.array([place(0, 1), place(1, 2), place(2, 3)]), True) == 2  # repeat
    dead, live = np.zeros(10, np.bool_), np.ones(10, np.bool_)
    table = [[0, 0, 0, 10, dead.ctypes.data], [0, 0, 0, 10, live.ctypes.data]]
    assert look(words, keys[:1], [0, -1, 1], table) == ([place(1, 3)], [])
    assert look(words, keys[:1], [0, 1, -1], table) == ([place(1, 2)], [])
    assert look(words, keys[:1], [0, -1, -1], table) == ([FREE], [])


@pytest.mark.parametrize("seed", range(20))
def test_a_search_goes_on_from_the_last_slot_to_the_first(seed):
    keys = np.random.default_rng(seed).integers(0, 1 << 63, (47, 1)).astype(np.uint64)
    words = np.full((48, 2), 2**64 - 1, np.uint64)
    idfile.fill(words, keys, np.arange(47), True)
    for verified in (None, np.empty(0, np.bool_)):
        assert look(words, keys, [0], [[0, 0, 0, 47, 0]], verified) == (list(range(47)), [])
        assert look(words, keys + np.uint64(1), [0], [[0, 0, 0, 47, 0]], verified) == ([FREE] * 47, [])


def test_what_is_not_verified_or_read_is_asked_for():
    words = np.full((10_000, 3), 2**64 - 1, np.uint64)
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 1 << 63, (7000, 2)).astype(np.uint64)
    idfile.fill(words, keys, np.arange(7000), True)
    verified = np.zeros(words.nbytes // 65536 + 1, np.bool_)
    found, todo = look(words, keys, [0], [[0, 0, 0, 7000, 0]], verified)
    assert set(found) == {FREE} and todo == list(range(1, len(verified) + 1))
    verified[1] = True
    found, todo = look(words, keys, [0], [[0, 0, 0, 7000, 0]], verified)
    assert sum(place != FREE for place in found) > 500 and 2 not in todo
    found, todo = look(words, keys[:1], [1], [[0, 0, 0, 1, 0], [0, 0, 0, 7000, -1]])
    assert (found, todo) == ([FREE], [-2])


def test_lies_in_a_file_are_not_believed():
    rng = np.random.default_rng(0)
    words = rng.integers(0, 1 << 62, (1000, 2)).astype(np.uint64) * np.uint64(4)  # full, and nonsense
    keys = words[:, :1].copy()
    found, todo = look(words, keys, [0], [[0, 0, 0, 10, 0]])
    assert todo == [] and all(at == FREE or at < 10 for at in found)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 129])
def test_any_number_of_ids_is_found(width, count):
    rng = np.random.default_rng(count)
    keys = rng.integers(0, 1 << 63, (300, width)).astype(np.uint64)
    words = np.full(idfile.slots_for(300, width, full=0.9), np.iinfo(np.uint64).max)
    idfile.fill(words, keys, place(rng.permutation(300) % 2, np.arange(300)), True)
    of_key = {tuple(slot[:-1]): int(slot[-1]) for slot in words.tolist() if slot[-1] != 2**64 - 1}
    asked = np.concatenate(
        [keys[rng.integers(0, 300, count - count // 8)], keys[: count // 8] + np.uint64(1)]
    )
    twin = [of_key.get(tuple(key), FREE) for key in asked.tolist()]
    table = [[0, 0, 0, 300, 0], [0, 0, 0, 300, 0]]
    assert look(words, asked, [0, 1], table, np.empty(0, np.bool_)) == (twin, [])
    assert look(words, asked, [0, 1], table) == (twin, [])
