"""Archives written by earlier versions give the rows that they gave then."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vecstore.archive import Archive

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("v*/*.arrow"))


def test_golden_files_exist():
    assert {path.stem for path in GOLDEN} >= {
        "f32",
        "f16",
        "sq8",
        "sq4",
        "pq8",
        "lossless",
        "normalize",
        "tiers",
    }


@pytest.mark.parametrize("path", GOLDEN, ids=[f"{path.parent.name}/{path.stem}" for path in GOLDEN])
def test_a_golden_archive_gives_its_rows(path):
    rows = np.load(path.with_suffix(".npy"))
    facts = json.loads(path.with_suffix(".json").read_text())
    with Archive(path) as archive:
        assert archive.check() == []
        assert str(archive.spec) == facts["spec"] and archive.codec.identity == facts["identity"]
        assert archive.ledger().as_dict() == facts["ledger"]
        card = {key: value for key, value in archive.card.items() if key != "tiers"}
        assert card == {"metric": "cosine", "model": "none", "dim": 8}
        assert archive.format_version == int(path.parent.name[1:]) == 1 + bool(archive.tiers)
        n = len(archive)
        ids = [f"item {i}" for i in range(n)] if archive.id_type == pa.string() else list(range(n))
        # Transforms sum floats, whose order may differ between machines.
        assert np.allclose(archive.get(ids), rows, rtol=1e-5, atol=1e-5)
        for part in archive.tiers:
            with Archive(path, part) as small:
                assert np.array_equal(
                    small.get(ids), small.codec.decode(archive.get_codes(ids)[:, : archive.tiers[part]])
                )
        columns = pa.Table.from_batches([batch.columns for batch in archive.batches()])
        assert columns["year"].to_pylist() == [None if i % 5 == 0 else i % 30 for i in range(n)]
