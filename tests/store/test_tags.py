"""Tags hold versions, whatever is collected; what no version and no tag holds is gone to the last byte."""

import datetime
import itertools
import os

import numpy as np
import pytest
from conftest import some_rows

import vecstore as vs
from vecstore.store import Store, index, versions, writing


def ids_of(store):
    return sorted(i for ids, _ in store.scan() for i in ids)


def test_a_tagged_version_can_be_opened_whatever_is_collected(make):
    store = make(keep="f32")
    store.put([1, 2, 3], some_rows(3))
    store.tag("first")
    store.delete([1])
    store.tag("second.try", version=2)
    store.tag("zero", version=0)
    store.compact()
    store.gc()
    assert store.tags() == {"first": 1, "second.try": 2, "zero": 0} and store.versions() == [0, 1, 2, 3]
    with Store.open(store.path, version="first") as old, Store.open(store.path, version=1) as same:
        assert ids_of(old) == ids_of(same) == [1, 2, 3] and old.read_only and old.check() == []
        assert np.array_equal(old.search(some_rows(3), k=2)[0], same.search(some_rows(3), k=2)[0])
    assert store.check() == []
    for name in store.tags():
        store.untag(name)
    assert store.gc() and store.versions() == [3]
    with pytest.raises(vs.NotFoundError, match="no tag 'first'; its tags: none"):
        Store.open(store.path, version="first")
    with pytest.raises(vs.NotFoundError, match="no version 1"):
        Store.open(store.path, version=1)


def test_a_name_stands_for_one_version(make):
    store = make()
    store.tag("a")
    store.tag("a")
    store.put([1], some_rows(1))
    with pytest.raises(vs.ConflictError, match=r"has a tag 'a' \(version 0\)"):
        store.tag("a")
    store.untag("a")
    store.tag("a")
    store.tag("b", version="a")
    assert store.tags() == {"a": 1, "b": 1} and store.version == 1
    with pytest.raises(vs.NotFoundError, match="no tag"):
        store.untag("c")
    with pytest.raises(vs.NotFoundError, match="no version 7"):
        store.tag("c", version=7)
    with Store.open(store.path, read_only=True) as reader, pytest.raises(vs.ConflictError):
        reader.tag("d")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", ".a", "-a", "7", "a" * 101, "a\0", "ä", 7, None]
)
def test_names_that_lead_elsewhere_are_refused(make, name):
    store = make()
    with pytest.raises(vs.SpecError, match="cannot be named"):
        store.tag(name)
    with pytest.raises(vs.SpecError, match="cannot be named"):
        store.untag(name)
    if isinstance(name, str):
        with pytest.raises(vs.SpecError, match="cannot be named"):
            Store.open(store.path, version=name)


def test_damaged_tags_are_reported_and_nothing_is_collected(make):
    store = make()
    store.put([1], some_rows(1))
    store.tag("one")
    store.put([2], some_rows(1))
    store.tag("two")
    one, two = (f"{store.path}/tags/{name}.json" for name in ("one", "two"))
    os.rename(one, f"{one}.x")
    os.rename(two, one)
    os.rename(f"{one}.x", two)
    assert len(store.check()) == 2
    for read in (store.tags, store.gc, lambda: Store.open(store.path, version="one")):
        with pytest.raises(vs.CorruptError, match="another tag"):
            read()
    assert versions.numbers(store.path) == [0, 1, 2]
    store.untag("one")
    store.untag("two")
    store.gc()
    assert store.versions() == [2]


def test_what_was_the_newest_within_the_age_stays(make, monkeypatch):
    store = make()
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=10)
    hours = itertools.count()
    monkeypatch.setattr(
        writing, "now", lambda: (start + datetime.timedelta(hours=next(hours))).isoformat(timespec="seconds")
    )
    for number in range(8):  # versions 1 to 8, made 10 to 3 hours ago
        store.put([number], some_rows(1))
    store.gc(older_than=5.5 * 3600)
    assert store.versions() == [5, 6, 7, 8]  # 5 was the newest from six hours to five hours ago
    store.gc(keep=2, older_than=0)
    assert store.versions() == [7, 8]
    for wrong in (-1, float("nan"), "7d"):
        with pytest.raises(vs.SpecError, match="older_than"):
            store.gc(older_than=wrong)
    before = store.versions()
    for ages in (1e300, float("inf"), 10**9 * 86_400):
        store.gc(older_than=ages)
    assert store.versions() == before


@pytest.mark.parametrize("text", [True, False])
def test_a_deleted_row_is_gone_with_the_last_version_and_tag(make, monkeypatch, tmp_path, text):
    monkeypatch.setattr(writing, "FIT_ROWS", 20)
    monkeypatch.setattr(index, "LEAST_ROWS", 20)
    store = make(codec="sq:bits=8", keep="f32", metric="l2")
    rows = some_rows(60)
    ids = [f"name-{i:02}" if text else 123_456_789_000 + i for i in range(60)]
    store.put(ids, rows, columns={"text": [f"secret-{i:02}" for i in range(60)]})
    assert os.listdir(f"{store.path}/index")
    trace = b"name-07" if text else int(ids[7]).to_bytes(8, "little")
    code = store.codec.encode(rows[7:8])
    store.tag("before")
    traces = {"id": trace, "carried": b"secret-07", "fine": rows[7].tobytes(), "code": code.tobytes()}

    def found():
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        return {what for what, trace in traces.items() if any(trace in data for data in files)}

    assert found() == set(traces)
    store.delete([ids[7]])
    store.compact()
    store.gc()
    assert found() == set(traces)  # by the tag
    store.untag("before")
    store.gc()
    assert found() == set()
    assert len(store) == 59 and store.check() == []


def test_commits_and_refreshes_do_not_list_the_versions(make, monkeypatch):
    store = make()
    reader = Store.open(store.path, read_only=True)
    with monkeypatch.context() as patched:
        patched.setattr(versions, "numbers", None)
        for number in range(5):
            store.put([number], some_rows(1))
        reader.refresh()
        assert len(reader) == 5
    store.gc()
    reader.refresh()
    assert reader.version == 5
    for number in range(5, 8):
        store.put([number], some_rows(1))
    store.gc()  # the reader's version is gone
    reader.refresh()
    assert reader.version == 8 and len(reader) == 8


@pytest.mark.parametrize("version", [1.5, True, b"a", (1,)])
def test_a_version_is_a_number_or_a_tag(make, version):
    with pytest.raises(vs.SpecError, match="expected a number or a tag"):
        Store.open(make().path, version=version)
