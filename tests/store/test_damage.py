"""Damage to any file of a store is noticed, or harms nothing."""

import pytest
from store_trials import damage

TRIALS = {"flip": 60, "zeroed sector": 25, "cut": 25, "swapped": 25, "missing": 20, "longer": 15}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("damage"))


@pytest.mark.parametrize("kind", damage.KINDS)
def test_it_is_noticed_and_never_given_out(folder, kind):
    found = damage.run(folder, kind, TRIALS[kind])
    assert found["wrong"] == [] and set(found["outcomes"]) <= {"detected", "harmless"}
    # Arrow's own framing in a file of a codec has bytes that say nothing; the file of ids, which is the
    # longest, is made anew when it is missing.
    assert found["outcomes"]["detected"] >= (0.4 if kind == "missing" else 0.9) * TRIALS[kind]


def test_the_trial_sees_wrong_rows(folder):
    damage.run(folder, "cut", 1)
    truth = damage.truth_of(f"{folder}/whole.store")
    assert damage.outcome(f"{folder}/whole.store", truth) == ("harmless", [])
    assert damage.outcome(f"{folder}/whole.store", truth | {"count": -1})[1] == ["count"]
