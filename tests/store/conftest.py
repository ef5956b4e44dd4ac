import numpy as np
import pytest

from vecstore.store import Store


@pytest.fixture
def make(tmp_path):
    """Makes a store of eight dimensions."""

    def make(name="x.store", **options):
        return Store.create(tmp_path / name, **({"dim": 8, "codec": "f16", "keep": None} | options))

    return make


def some_rows(n, dim=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
