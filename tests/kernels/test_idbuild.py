import numpy as np
import pytest

from vecstore.kernels import idbuild, idfile

FREE = 2**64 - 1
MASK = 2**64 - 1


def unmix(x):
    """The number that `mix` makes x of."""

    def unshift(x, bits):
        found = x
        for _ in range(64 // bits + 1):
            found = x ^ (found >> bits)
        return found

    x = unshift(x, 31) * pow(0x94D049BB133111EB, -1, 1 << 64) & MASK
    x = unshift(x, 27) * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) & MASK
    return unshift(x, 30)


def home(key, slots):
    """Where the search for a key begins."""
    x = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return (((x ^ (x >> 31)) >> 32) * (slots // 4) >> 32) * 4


def keys_at(homes, slots, width):
    """Keys whose searches begin there."""
    buckets = slots // 4
    upper = [-(-(start // 4 << 32) // buckets) for start in homes]
    keys = np.zeros((len(homes), width), np.uint64)
    keys[:, 0] = [unmix((half << 32) | number) for number, half in enumerate(upper)]
    keys[:, -1] += np.uint64(5) * np.uint64(width > 1)
    assert [home(key, slots) for key in keys[:, 0].tolist()] == list(homes)
    return keys


def sorted_into(keys, slots, bits, most):
    width = keys.shape[1]
    bins = np.zeros((-(-slots >> bits), most, width + 1), np.uint64)
    counts = np.zeros(len(bins), np.uint64)
    if not idbuild.scatter_for[width](keys, slots, bits, bins, counts):
        return None
    return [part[:count].tolist() for part, count in zip(bins, counts.astype(int), strict=True)]


@pytest.mark.parametrize("width", [1, 2])
def test_keys_come_to_the_part_where_they_are_looked_for(width):
    keys = np.random.default_rng(0).integers(0, 1 << 63, (700, width)).astype(np.uint64)
    slots, bits = 1200, 8
    twin = [[] for _ in range(5)]
    for row, key in enumerate(keys.tolist()):
        twin[home(key[0], slots) >> bits].append([*key, row])
    assert sorted_into(keys, slots, bits, 200) == twin
    most = max(map(len, twin))
    assert sorted_into(keys, slots, bits, most) == twin
    assert sorted_into(keys, slots, bits, most - 1) is None


def slow_insert(first, words, entries, slots):
    """One slot after the other, in Python's own numbers."""
    repeats, left = 0, []
    for *key, row in entries:
        at = max(home(key[0], slots) - first, 0)
        repeated = False
        while at < len(words) and words[at][-1] != FREE:
            repeated |= words[at][:-1] == key
            at += 1
        repeats += repeated
        if at < len(words):
            words[at] = [*key, row]
        else:
            left.append([*key, row])
    return repeats, left


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("full", [0.3, 0.7, 1.3])
def test_entries_are_put_where_a_slow_twin_puts_them(width, full):
    rng = np.random.default_rng(1)
    slots, first, size = 4000, 2560, 512
    homes = rng.integers(first // 4, (first + size) // 4, round(size * full)) * 4
    keys = keys_at(homes.tolist(), slots, width)
    keys[7], keys[20] = keys[3], keys[3]  # the same key, thrice
    if width == 2:
        keys[21] = keys[4] + np.array([0, 1], np.uint64)  # the same first word alone
    entries = np.column_stack([keys, np.arange(len(keys), dtype=np.uint64)])
    entries[2] = [FREE] * width + [2]  # as in a free slot
    assert first <= home(FREE, slots) < first + size
    words = np.full((size, width + 1), FREE, np.uint64)
    slow = words.tolist()
    repeats, left = slow_insert(first, slow, entries.tolist(), slots)
    found, count = idbuild.insert_for[width](first, words, entries, slots)
    assert (found, count) == (repeats, len(left)) and repeats >= 2
    assert entries[:count].tolist() == left and words.tolist() == slow
    assert bool(left) == (full > 1)
    assert idbuild.insert_for[width](first, words, entries[:0], slots) == (0, 0)


def test_it_says_the_same_of_repeats_as_the_kernel_that_fills_all_slots_at_once():
    keys = np.random.default_rng(0).integers(0, 300, (400, 1)).astype(np.uint64)
    entries = np.column_stack([keys, np.arange(400, dtype=np.uint64)])
    words = np.full((1000, 2), FREE, np.uint64)
    repeats, _ = idbuild.insert_for[1](0, words, entries, 1000)
    assert repeats == 400 - len(np.unique(keys))


def test_slots_are_as_many_as_rows_need():
    assert idfile.slots_for(0, 1) == (64, 2) and idfile.slots_for(600, 2) == (1004, 3)
    assert idfile.free_slots(600, 2).shape == (1004, 3)
