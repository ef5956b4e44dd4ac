"""How large an archive will be is known to the byte before it is written."""

import numpy as np
import pytest

import vecstore as vs
from vecstore.archive.size import archive_bytes


@pytest.mark.parametrize("rows", [1, 1000, 65_536, 65_537, 200_000, 300_001])
@pytest.mark.parametrize("spec", ["sq:bits=8", "pq:m=1,bits=4", "pca:dim=3+f32"])
def test_the_size_that_is_told_is_that_of_the_file(rows, spec, tmp_path):
    values = np.random.default_rng(0).standard_normal((rows, 8), dtype=np.float32)
    codec = vs.fit(spec, values[:500])
    done = vs.compress(values, tmp_path / "a.arrow", codec, metric="cosine")
    card = {"metric": "cosine", "source_dtype": "float32", "dim": 8}
    sizes = codec.code_bytes, codec.ledger(0).shared
    assert archive_bytes(str(codec.spec), sizes, rows, card) == done.bytes
