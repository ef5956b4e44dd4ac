"""Whatever a power cut leaves, every acknowledged commit is there, and nothing that was never committed."""

import numpy as np
import pytest
from powercut import Recorder, after_a_cut

from vecstore.errors import VecstoreError
from vecstore.store import Store

STATES = 1000


def work(root, recorder):
    """A store's life; gives what it held after each acknowledged commit, {id: first value}."""
    held = [None]
    rows = np.arange(400, dtype=np.float32).reshape(50, 8)
    store = Store.create(root, dim=8, codec="f16", keep="f32")
    state = {}

    def done():
        held.append(dict(state))
        recorder.mark()

    done()
    store.put([1, 2, 3], rows[:3])
    state |= {1: 0.0, 2: 8.0, 3: 16.0}
    done()
    store.put([2, 4], rows[10:12])
    state |= {2: 80.0, 4: 88.0}
    done()
    store.delete([1])
    del state[1]
    done()
    store.compact()
    done()
    store.gc()
    done()
    store.put([5], rows[20:21])
    state |= {5: 160.0}
    done()
    return held


def contents(store):
    return {int(i): float(row[0]) for ids, rows in store.scan() for i, row in zip(ids, rows, strict=True)}


def cuts(tmp_path, monkeypatch, states, skip=None):
    """(how many states, what is wrong in them)."""
    root = tmp_path / "x.store"
    recorder = Recorder(root, skip)
    with recorder.watching(monkeypatch):
        held = work(root, recorder)
    rng = np.random.default_rng(0)
    samples = -(-states // len(recorder.states))
    wrong = []
    for at, (disk, marks) in enumerate(recorder.states):
        for _ in range(samples):
            target = tmp_path / "after.store"
            after_a_cut(disk, root, target, rng)
            try:
                with Store.open(target) as store:
                    found, findings = contents(store), store.check()
                # The commit that was under way may have come through.
                if found not in held[marks : marks + 2] or findings:
                    wrong.append((at, marks, found, findings))
            except VecstoreError as error:
                if marks:
                    wrong.append((at, marks, error))
    return len(recorder.states) * samples, wrong


def test_no_acknowledged_commit_is_lost(tmp_path, monkeypatch):
    count, wrong = cuts(tmp_path, monkeypatch, STATES)
    assert count >= STATES and wrong == []


@pytest.mark.parametrize("skip", ["files", "folders"])
def test_without_an_fsync_commits_are_lost(tmp_path, monkeypatch, skip):
    _, wrong = cuts(tmp_path, monkeypatch, STATES // 5, skip)
    assert wrong
