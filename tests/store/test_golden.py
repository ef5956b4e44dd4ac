"""Stores written by earlier versions give what they gave then."""

import json
from pathlib import Path

import numpy as np
import pytest
from golden_stores import STORES, facts

import vecstore as vs

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("store*/*.store"))


def test_golden_stores_exist():
    assert {path.stem for path in GOLDEN} >= set(STORES)


@pytest.mark.parametrize("path", GOLDEN, ids=[f"{path.parent.name}/{path.stem}" for path in GOLDEN])
def test_a_golden_store_gives_what_it_gave(path):
    files = sorted(file for file in path.rglob("*"))
    then, now = json.loads(path.with_suffix(".json").read_text()), facts(str(path))
    for name in ("newest", *then["tags"]):
        # Transforms sum floats, whose order may differ between machines.
        assert np.allclose(now[name].pop("rows"), then[name].pop("rows"), rtol=1e-4, atol=2e-4)
    assert now == then and vs.check(path) == []
    assert sorted(file for file in path.rglob("*")) == files
