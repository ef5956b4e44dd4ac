import numpy as np

from vecstore.kernels.hotsketch import NO_SLOT, find_slots, observe


def plain_observe(keys, weights, marks, scores, slots, threshold, free):
    """The definition, one id after the other."""
    free, taken = list(free), []
    for i, key in enumerate(keys):
        bucket, mark = (int(key) >> 32) * len(marks) >> 32, int(key) & 0xFFFFFFFF
        if mark in marks[bucket]:
            cell = list(marks[bucket]).index(mark)
        else:
            cell = int(np.argmin(scores[bucket]))
            marks[bucket, cell] = mark
            if slots[bucket, cell] != NO_SLOT:
                taken.append((i, slots[bucket, cell]))
        scores[bucket, cell] += weights[i]
        if slots[bucket, cell] == NO_SLOT and scores[bucket, cell] >= threshold and free:
            slots[bucket, cell] = free.pop()
            taken.append((i, slots[bucket, cell]))
    return taken


def test_ids_get_cells_and_slots_as_they_are_defined():
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 1 << 63, 60, dtype=np.uint64)
    marks, scores = np.zeros((5, 4), np.uint32), np.zeros((5, 4), np.float32)
    slots = np.full((5, 4), NO_SLOT, np.int32)
    plain = marks.copy(), scores.copy(), slots.copy()
    for _ in range(10):
        keys, weights = rng.choice(ids[:: rng.integers(1, 4)], 50), rng.random(50).astype(np.float32)
        free = np.setdiff1d(np.arange(9), slots).astype(np.int32)
        expected = plain_observe(keys, weights, *plain, 3, free)
        taken = np.empty((50, 2), np.int64)
        found = observe(keys, weights, (marks, scores, slots), np.float32(3), free, taken)
        assert taken[:found].tolist() == [list(each) for each in expected]
        for mine, theirs in zip((marks, scores, slots), plain, strict=True):
            assert np.array_equal(mine, theirs)
    out = np.empty(60, np.int64)
    find_slots(ids, marks, slots, out)
    for key, slot in zip(ids, out, strict=True):
        bucket, mark = (int(key) >> 32) * 5 >> 32, int(key) & 0xFFFFFFFF
        here = np.flatnonzero(marks[bucket] == mark)
        assert slot == (slots[bucket, here[0]] if len(here) else NO_SLOT)
    assert (out >= 0).any()
