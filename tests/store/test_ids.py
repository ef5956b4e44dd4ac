import numpy as np
import pyarrow as pa
import pytest

from vecstore.formats.idkeys import keys_of
from vecstore.store.ids import NONE, IdMap, place_of, segment_of


@pytest.mark.parametrize("text", [False, True])
def test_a_map_does_what_a_dictionary_does(text):
    rng = np.random.default_rng(0)
    found, twin = IdMap(), {}
    for step in range(60):
        numbers = np.unique(rng.integers(-50, 200, 40)) * (1 << 40 if step % 2 else 1)
        names = [f"id {n}" for n in numbers] if text else numbers.tolist()
        ids = keys_of(pa.array(names))
        before = [twin.get(name, NONE) for name in names]
        if step % 3 == 2:
            assert found.remove(ids).tolist() == before
            twin = {key: value for key, value in twin.items() if key not in set(names)}
        else:
            places = rng.integers(0, 1 << 60, len(names))
            assert found.find(ids).tolist() == before
            assert found.put(ids, places).tolist() == before
            twin |= dict(zip(names, places.tolist(), strict=True))
    everything = keys_of(pa.array(list(twin)))
    assert found.find(everything).tolist() == list(twin.values())


def test_an_empty_map_has_nothing():
    ids = keys_of(pa.array([1, 2]))
    assert IdMap().find(ids).tolist() == IdMap().remove(ids).tolist() == [NONE, NONE]
    assert IdMap().find(keys_of(pa.array([], pa.int64()))).tolist() == []


def test_places_are_numbers_of_segments_and_rows():
    places = place_of(7, np.array([0, 5, (1 << 40) - 1]))
    numbers, rows = segment_of(places)
    assert numbers.tolist() == [7] * 3 and rows.tolist() == [0, 5, (1 << 40) - 1]
