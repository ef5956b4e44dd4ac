"""Patterns of labels: what they name, and what becomes of those that name nothing."""

from vecstore.bench.chosen import chosen, is_label, strangers

EVERY = ("pq:m=8", "pq:m=16", "sign")


def test_labels_are_named_by_patterns_and_without_any_all_are():
    assert chosen((), EVERY) == list(EVERY)
    assert chosen(("pq*",), EVERY) == ["pq:m=8", "pq:m=16"]
    assert chosen(("sign", "nonsense", "pq:m=1?"), EVERY) == ["pq:m=16", "sign", "nonsense"]
    assert chosen(("zip*",), EVERY) == []


def test_patterns_that_name_nothing_are_known():
    assert strangers(("pq*", "zip*", "rq"), EVERY) == ["zip*", "rq"]
    assert is_label("rq:m=8") and not any(map(is_label, ("zip*", "pq:m=?", "[ab]")))
