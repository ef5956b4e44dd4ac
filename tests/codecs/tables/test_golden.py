"""Tables that earlier versions saved give the rows that they gave then."""

import json
from pathlib import Path

import numpy as np
import pytest

import vecstore as vs
from vecstore.archive import Archive
from vecstore.codecs.tables.presets import PRESETS

GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "tables1").glob("*.npz"))


def rows_of(table):
    found = table.lookup({"user": np.arange(40), "item": np.arange(9)})
    return np.concatenate([found["user"], found["item"]])


def test_every_method_has_a_golden_table():
    assert {path.stem for path in GOLDEN} >= {*PRESETS, "unified_int8", "hash_int4", "plain_f16"}


@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
def test_a_golden_table_gives_its_rows_and_goes_on(path):
    facts = json.loads(path.with_suffix(".json").read_text())
    expected = list(np.load(path).values())
    first = vs.table_open(path.with_suffix(".table"))
    ledger = first.ledger().as_dict()
    assert first.setup.method == facts["method"] and ledger == {**dict.fromkeys(ledger, 0), **facts["ledger"]}
    table = vs.table_open(path.with_suffix(".table"), path.with_suffix(".delta"))
    # Products of matrices sum floats, whose order may differ between machines.
    assert np.allclose(rows_of(table), expected[0], rtol=1e-5, atol=1e-6)
    assert table.updates == first.updates + 3
    table.update({"user": np.ones((40, 8))}, lr=0.1)
    if len(expected) > 1:
        finished = vs.table_open(path.with_name(f"{path.stem}_finished.table"))
        assert finished.finished and np.allclose(rows_of(finished), expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "version"), [("served", 1), ("served_in_pieces", 3)])
def test_a_golden_archive_of_parameters_gives_its_rows(name, version):
    path = GOLDEN[0].with_name(f"{name}.arrow")
    with Archive(path) as archive:
        assert archive.check() == [] and archive.format_version == version
        assert np.array_equal(archive.get(np.arange(40)), np.load(path.with_suffix(".npy")))
