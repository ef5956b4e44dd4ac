"""Whatever a power cut leaves, every acknowledged commit is there, and nothing that was never committed."""

from collections import Counter

import pytest
from store_trials import powercut

STATES = 120


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return powercut.run(str(tmp_path_factory.mktemp("cuts")), STATES)


def test_no_acknowledged_commit_tag_or_removal_is_lost(found):
    assert found["trials"] >= STATES and found["wrong"] == []


def test_without_any_one_of_its_fsyncs_one_is(found):
    """But for codecs, one that a commit writes twice, or that is there already, is synced once more; and for
    files of ids, whose names may be lost."""
    needless = Counter(found["fsyncs_not_missed"])
    assert found["fsyncs"] > 85 and set(needless) <= {"codecs", "index"}
    assert needless["codecs"] <= 3 and needless["index"] <= 7


def test_a_codec_that_is_there_is_made_durable_again(make, monkeypatch):
    """Whoever wrote it may have been killed before it was."""
    store = make()
    store.put([1], powercut.np.ones((1, 8)))
    recorder = powercut.Recorder(store.path)
    with recorder.watching():
        store.refit("f16")
    assert "codecs" in " ".join(call[1] for call in recorder.calls if call[0] == "sync folder")
