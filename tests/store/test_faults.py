"""A full disk and failing devices: the call fails, the store is as before, and the next call works."""

from pathlib import Path

import numpy as np
import pytest
from store_trials import faults

from vecstore import atomic
from vecstore.atomic import AtomicFile
from vecstore.errors import InputError, ShapeError, SpaceMismatchError, StorageError
from vecstore.store import tags, versions


@pytest.mark.parametrize(("kind", "every"), [("disk full", 9), ("disk stays full", 11), ("unlink fails", 5)])
def test_a_refused_call_changes_nothing(tmp_path, kind, every):
    found = faults.run(str(tmp_path / "x.store"), kind, every)
    assert found["trials"] > 2 and found["wrong"] == []


def test_a_failed_fsync_acknowledges_nothing_and_is_not_tried_again(tmp_path):
    found = faults.run(str(tmp_path / "x.store"), "fsync fails", 3)
    assert found["trials"] > 15 and found["wrong"] == []


def test_the_trial_sees_an_error_that_is_passed_over(tmp_path, monkeypatch):
    def deaf(descriptor):
        try:
            faults.os.fsync(descriptor)
        except OSError:
            pass

    for module in (atomic, versions):
        monkeypatch.setattr(module, "sync_folder", deaf)
    assert "not passed on" in faults.trial(str(tmp_path / "x.store"), "fsync fails", 0)
    assert tags.names(str(tmp_path / "x.store")) == ["second"]


def names(store):
    return sorted(
        str(path.relative_to(store.path))
        for path in Path(store.path).rglob("*")
        if path.is_file() and path.name != "LOCK"
    )


def refusals(rows):
    """Puts that are refused at one point or another: ids, rows, and what is raised."""
    ids, nan = np.arange(len(rows)), rows.copy()
    nan[-1, 0] = np.nan
    strange = np.random.default_rng(9).standard_normal(rows.shape).astype(np.float32)[:, ::-1] @ np.diag(
        np.geomspace(1, 1e-3, rows.shape[1], dtype=np.float32)
    )
    return {
        "an id repeats": (np.append(ids[:-1], 7), rows, InputError),
        "a row is NaN": (ids, nan, InputError),
        "ids are too few": (ids[1:], rows, ShapeError),
        "ids are text": (ids.astype(str), rows, InputError),
        "another space": (ids, strange, SpaceMismatchError),
    }


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("why", refusals(np.ones((2, 32), np.float32)))
def test_a_put_that_is_refused_leaves_no_file(make, filled, why):
    rows = np.random.default_rng(0).standard_normal((9000, 32), dtype=np.float32) * np.geomspace(
        1e-3, 1, 32, dtype=np.float32
    )
    store = make(dim=32, codec="sq:bits=8", keep="f16")
    if filled:
        store.put(np.arange(9000), rows)
    elif why in ("another space", "ids are text"):
        pytest.skip("nothing is known of the first rows")
    before = names(store)
    ids, given, error = refusals(rows)[why]
    with pytest.raises(error):
        store.put(ids, given)
    assert names(store) == before


@pytest.mark.parametrize("folder", ["codecs", "segments", "fine", "deletes"])
def test_a_disk_that_is_full_for_a_while_leaves_no_file(make, monkeypatch, folder):
    rows = np.random.default_rng(0).standard_normal((9000, 8), dtype=np.float32)
    store = make(codec="sq:bits=8", keep="f16")
    if folder == "deletes":
        store.put(np.arange(9000), rows)
    before, real = names(store), AtomicFile.commit

    def commit(file):
        if f"/{folder}/" in file.path:
            raise StorageError("no space left on device")
        real(file)

    monkeypatch.setattr(AtomicFile, "commit", commit)
    with pytest.raises(StorageError, match="no space left"):
        store.put(np.arange(9000), rows)
    assert names(store) == before
    monkeypatch.undo()
    store.put(np.arange(9000), rows)
    assert len(store) == 9000 and store.check() == []
