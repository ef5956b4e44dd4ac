"""A store does what a dictionary does, whatever is done to it in whatever order."""

import shutil
import tempfile

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vecstore.errors import NotFoundError
from vecstore.store import Store, index, writing

IDS = st.lists(st.integers(0, 30), unique=True, max_size=12)


class StoreMachine(RuleBasedStateMachine):
    """Rows are multiples of their id and a count of writes, so that each is known by its values."""

    @initialize(
        keep=st.sampled_from([None, "f32"]),
        fit=st.sampled_from([1, 20]),
        small=st.sampled_from([2, 64]),
        rows=st.sampled_from([0, 10, 1000]),
    )
    def begin(self, keep, fit, small, rows):
        self.folder = tempfile.mkdtemp()
        self.before = writing.FIT_ROWS, writing._MOST_SMALL, index.LEAST_ROWS
        writing.FIT_ROWS, writing._MOST_SMALL, index.LEAST_ROWS = fit, small, rows
        self.store = Store.create(f"{self.folder}/x.store", dim=3, codec="center+f32", keep=keep)
        self.rows, self.writes, self.history = {}, 0, {0: {}}

    def done(self):
        self.history[self.store.version] = dict(self.rows)

    @rule(ids=IDS)
    def put(self, ids):
        self.writes += 1
        new = {i: float(1000 * self.writes + i) for i in ids}
        self.store.put(
            np.array(ids, np.int64), np.array([[new[i], 1, i] for i in ids], np.float32).reshape(-1, 3)
        )
        self.rows |= new
        self.done()

    @rule(ids=IDS)
    def delete(self, ids):
        missing = [i for i in ids if i not in self.rows]
        try:
            self.store.delete(np.array(ids, np.int64))
            assert not missing
        except NotFoundError:
            assert missing
        else:
            for i in ids:
                del self.rows[i]
        self.done()

    @rule()
    def compact(self):
        self.store.compact()
        self.done()

    @precondition(lambda self: self.rows)
    @rule()
    def refit(self):
        self.store.refit()
        self.done()

    @rule(keep=st.integers(1, 3))
    def collect(self, keep):
        self.store.gc(keep)
        self.history = {version: self.history[version] for version in self.store.versions()}

    @rule()
    def reopen(self):
        self.store.close()
        self.store = Store.open(f"{self.folder}/x.store")

    @rule(choice=st.randoms(use_true_random=False))
    def travel(self, choice):
        version = choice.choice(sorted(self.history))
        with Store.open(self.store.path, version=version) as old:
            assert held(old) == self.history[version]

    @rule(i=st.integers(0, 30))
    def search(self, i):
        wanted = sorted(self.rows.items(), key=lambda item: -item[1])[:3]
        ids, scores = self.store.search(np.array([[1, 0, 0]], np.float32), k=3)
        assert ids[0].tolist() == [item[0] for item in wanted]
        assert np.allclose(scores[0], [item[1] for item in wanted], rtol=1e-5)

    @invariant()
    def agrees(self):
        assert len(self.store) == len(self.rows) and held(self.store) == self.rows
        if self.rows:
            some = sorted(self.rows)
            assert self.store.get(some)[:, 0].round().tolist() == [self.rows[i] for i in some]

    def teardown(self):
        if hasattr(self, "store"):
            assert self.store.check() == []
            self.store.close()
            writing.FIT_ROWS, writing._MOST_SMALL, index.LEAST_ROWS = self.before
            shutil.rmtree(self.folder)


def held(store):
    return {
        int(i): float(row[0].round()) for ids, rows in store.scan() for i, row in zip(ids, rows, strict=True)
    }


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
