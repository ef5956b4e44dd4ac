"""A full disk and failing devices: the call fails, the store is as before, and the next call works."""

import pytest
from store_trials import faults

from vecstore import atomic
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
