import numpy as np
import pyarrow as pa

from vecstore.stream.unique import UniqueIds


def test_repeated_integers_are_found_across_calls():
    rng = np.random.default_rng(0)
    ids = rng.integers(-(2**63), 2**63 - 1, 50_000, dtype=np.int64)
    ids[40_000] = ids[7]
    ids[100], ids[101] = 0, -1
    unique = UniqueIds(pa.int64())
    found = np.concatenate([unique.add(pa.array(part)) for part in np.array_split(ids, 13)])
    seen, want = set(), []
    for value in ids.tolist():
        want.append(value in seen)
        seen.add(value)
    assert found.tolist() == want and sum(want) >= 1


def test_repeated_strings_are_found_and_prefixes_are_not_repeats():
    words = ["", "a", "aa", "aaaaaaaa", "aaaaaaaaa", "a\0", "ä", "b" * 100, "a", "", "b" * 99]
    unique = UniqueIds(pa.string())
    assert unique.add(pa.array(words)).tolist() == [False] * 8 + [True, True, False]
    assert unique.add(pa.array(words).slice(2, 3)).tolist() == [True] * 3


def test_no_ids_are_no_repeats():
    unique = UniqueIds(pa.string())
    assert unique.add(pa.array([], pa.string())).tolist() == []
