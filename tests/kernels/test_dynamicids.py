import numpy as np
import pytest

from vecstore.kernels.dynamicids import NOWHERE, find_ids, place_ids, take_rows

MASK = (1 << 64) - 1
WINDOW = 4


def window(key, rows):
    """The rows that an id may have, in order."""
    x = int(key) & MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    first = ((x ^ (x >> 31)) >> 32) * rows >> 32
    return [(first + k) % rows for k in range(WINDOW)]


def plain_take(keys, admitted, ids, lasts, counts, worths, now, since):
    """The definition, one id after the other."""
    fresh = []
    for i, key in enumerate(keys):
        rows = window(key, len(ids))
        used = [row for row in rows if lasts[row]]
        mine = [row for row in used if ids[row] == key]
        free = [row for row in rows if not lasts[row]]
        old = [row for row in used if lasts[row] < since]
        if mine:
            place = mine[0]
        elif not admitted[i] or not (free or old):
            continue
        else:
            place = free[0] if free else min(old, key=lambda row: worths[row])
            fresh.append((i, place, int(not free), ids[place]))
            ids[place], counts[place] = key, 0
        lasts[place] = now
        counts[place] += 1
    return fresh


@pytest.mark.parametrize("patience", [0, 3])
def test_ids_get_rows_as_they_are_defined(patience):
    rng = np.random.default_rng(0)
    kept = np.zeros(17, np.int64), np.zeros(17, np.uint32), np.zeros(17, np.uint32)
    plain = tuple(array.copy() for array in kept)
    given_up = 0
    for now in range(1, 30):
        keys, admitted = rng.integers(-20, 20, 12), rng.random(12) < 0.8
        worths = rng.random(17).astype(np.float32)
        since = max(now - patience, 0)
        expected = plain_take(keys, admitted, *plain, worths, now, since)
        fresh = np.empty((12, 4), np.int64)
        found = take_rows(keys, admitted, (*kept, worths), (now, WINDOW, since), fresh)
        assert [tuple(each) for each in fresh[:found].tolist()] == expected
        given_up += sum(each[2] for each in expected)
        for mine, theirs in zip(kept, plain, strict=True):
            assert np.array_equal(mine, theirs)
        out = np.empty(40, np.int64)
        find_ids(np.arange(-20, 20), *kept[:2], WINDOW, out)
        for key, row in zip(range(-20, 20), out, strict=True):
            there = [r for r in window(key, 17) if kept[1][r] and kept[0][r] == key]
            assert row == (there[0] if there else NOWHERE)
    assert given_up


def test_ids_are_placed_where_they_are_found():
    keys = np.random.default_rng(1).permutation(1 << 20)[:20]
    out, taken = np.empty(20, np.int64), np.zeros(31, np.bool_)
    place_ids(keys, 31, WINDOW, taken, out)
    free = set(range(31))
    for key, row in zip(keys, out, strict=True):
        expected = next((place for place in window(key, 31) if place in free), NOWHERE)
        assert row == expected
        free.discard(expected)
    assert (out == NOWHERE).any() or set(np.flatnonzero(taken)) == set(out)
