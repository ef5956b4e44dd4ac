"""LIMIT-bits: the free vectors are what they should be, and fewer bits keep fewer sets."""

import numpy as np
import pytest

from vecstore.bench import capacity
from vecstore.errors import SpecError


def test_pairs_are_different_sets_of_two_documents():
    found = capacity.pairs()
    assert found.shape == (capacity.SETS, 2) and (found[:, 0] < found[:, 1]).all()
    assert len(np.unique(found, axis=0)) == capacity.SETS and found.max() == capacity.DOCUMENTS - 1


def test_from_sixteen_dimensions_on_free_vectors_find_all_sets():
    documents, queries = capacity.free_vectors(16)
    assert np.allclose(np.linalg.norm(documents, axis=1), 1, atol=1e-5)
    best = np.sort(np.argsort(-(queries @ documents.T), axis=1)[:, :2], axis=1)
    assert (best == capacity.pairs()).all()
    few = capacity.capacity("f32", 8)
    assert few.sets == few.of < capacity.SETS and few.share == 1


def test_fewer_bits_and_fewer_dimensions_keep_fewer_sets():
    found = [capacity.capacity(spec, 16) for spec in ("f32", "sq:bits=8", "sq:bits=4", "sign")]
    assert found[0].sets == found[0].of == capacity.SETS
    assert [each.code_bytes for each in found] == [64, 16, 8, 2]
    sets = [each.sets for each in found]
    assert sets == sorted(sets, reverse=True) and sets[3] < 0.9 * capacity.SETS
    assert found[3].sets / capacity.SETS <= found[3].recall_at_2 < 1
    assert capacity.capacity("sign", 64).sets > 0.99 * capacity.SETS


def test_the_same_seed_gives_the_same_number():
    once = capacity.capacity("pq:m=4", 16, seed=3)
    capacity.free_vectors.cache_clear()
    assert capacity.capacity("pq:m=4", 16, seed=3) == once


def test_a_codec_of_blocks_has_no_number():
    with pytest.raises(SpecError, match="by blocks of rows"):
        capacity.capacity("lossless", 16)
