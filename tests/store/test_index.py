"""Ids are found in a file beside the store: the same rows as without it, whatever is done to the file."""

import os
import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import some_rows

import vecstore as vs
from vecstore.formats.idkeys import key_of, keys_of
from vecstore.kernels.threads import set_threads
from vecstore.store import Store, hashfile, index, places
from vecstore.store.hashfile import HashFile


@pytest.fixture
def often(monkeypatch):
    """A file is written at each put."""
    monkeypatch.setattr(index, "LEAST_ROWS", 0)
    monkeypatch.setattr(index, "SHARE", 1 << 60)


def name(i, text):
    return f"name {i}" if text else i * 7 - 100


def filled(make, text=False, **options):
    """A store of three segments with deleted and replaced rows, and what is in it."""
    store = make(**options)
    rows = some_rows(400)
    held = {}
    for first in (0, 100, 50):
        ids = [name(i, text) for i in range(first, first + 120)]
        store.put(ids, rows[:120] + first)
        held |= dict(zip(ids, rows[:120] + first, strict=True))
    gone = [name(i, text) for i in range(60, 220, 3)]
    store.delete(gone)
    return store, {key: row for key, row in held.items() if key not in set(gone)}, gone


def check(store, held, gone):
    ids = list(held)
    assert np.allclose(store.get(ids), np.stack(list(held.values())), atol=0.1, rtol=1e-3)
    assert np.allclose(store.get(ids[7]), held[ids[7]], atol=0.1, rtol=1e-3)
    for missing in (gone[0], gone[-1]):
        with pytest.raises(vs.NotFoundError, match=f"no id {missing!r}"):
            store.get([ids[0], missing])
        with pytest.raises(vs.NotFoundError, match=f"no id {missing!r}"):
            store.get(missing)


@pytest.mark.parametrize("text", [False, True])
def test_a_file_of_ids_finds_what_a_map_in_memory_finds(make, often, text):
    store, held, gone = filled(make, text)
    assert len(hashfile.paths(store.path)) == 1
    with Store.open(store.path) as again:
        check(again, held, gone)
        known = again.view.ids.known
        assert known.file is not None and len(known.later) == 0
    check(store, held, gone)
    assert store.check() == []
    store.compact()
    check(store, held, gone)
    with Store.open(store.path, version=3) as old:
        assert len(old.get([name(60, text), name(1, text)])) == 2  # deleted since


def test_it_serves_later_versions_and_what_came_since_is_read(make, often, monkeypatch):
    store, _held, gone = filled(make)
    monkeypatch.setattr(index, "SHARE", 1)
    monkeypatch.setattr(index, "LEAST_ROWS", 1 << 30)
    before = hashfile.paths(store.path)
    store.put([gone[0], 5555], np.full((2, 8), 3.0))
    store.delete([name(1, False)])
    assert hashfile.paths(store.path) == before
    with Store.open(store.path) as again:
        assert np.array_equal(again.get([gone[0], 5555]), np.full((2, 8), 3.0))
        assert again.view.ids.known.file is not None
        with pytest.raises(vs.NotFoundError):
            again.get(name(1, False))
        assert again.check() == []


def test_it_is_written_when_enough_rows_are_in_none(make, monkeypatch):
    monkeypatch.setattr(index, "LEAST_ROWS", 100)
    store = make(codec="f32")
    found = []
    for first in range(0, 1000, 50):
        store.put(np.arange(first, first + 50), some_rows(50))
        found.append([int(Path(path).stem) for path in hashfile.paths(store.path)])
    versions = [each[0] for each in found if each]
    assert found[1] == [] and found[2] == [3] and all(len(each) < 2 for each in found)
    assert len(set(versions)) < len(versions) / 2
    store.compact()
    assert [int(Path(path).stem) for path in hashfile.paths(store.path)] == [store.version]


@pytest.mark.parametrize("text", [False, True])
def test_nothing_that_is_done_to_it_gives_a_wrong_row(make, often, text):
    store, held, gone = filled(make, text)
    (path,) = hashfile.paths(store.path)
    store.close()
    whole = Path(path).read_bytes()
    rng = np.random.default_rng(0)
    body = int.from_bytes(whole[40:48], "little")
    for trial in range(60):
        data = bytearray(whole)
        kind = trial % 4
        if kind == 0:
            at = int(rng.integers(body, len(data))) if trial % 8 else int(rng.integers(0, 400))
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data = data[: int(rng.integers(len(data)))]
        elif kind == 2:
            at = int(rng.integers(len(data) - 512))
            data[at : at + 512] = bytes(512)
        else:
            at = int(rng.integers(body, len(data) - 512))
            data[at : at + 512] = rng.bytes(512)
        Path(path).write_bytes(data)
        with Store.open(store.path) as again:
            check(again, held, gone)
            assert bool(again.check()) == (bytes(data) != whole)


def test_a_file_of_another_store_or_version_is_of_no_use(make, often):
    store, held, gone = filled(make)
    other, _, _ = filled(make, name="other.store")
    texts, _, _ = filled(make, text=True, name="texts.store")
    (path,) = hashfile.paths(store.path)
    for foreign in (other, texts):
        shutil.copy(hashfile.paths(foreign.path)[0], path)
        with Store.open(store.path) as again:
            check(again, held, gone)
    Path(path).write_bytes(b"VECHASH\0" + b"\2" + bytes(100_000))
    with Store.open(store.path) as again:
        check(again, held, gone)
        again.reindex()
        assert again.check() == []


def test_one_that_is_cut_while_it_is_open_is_left_alone(make, often):
    store, held, gone = filled(make)
    (path,) = hashfile.paths(store.path)
    with Store.open(store.path) as again:
        again.get(next(iter(held)))
        os.truncate(path, 70_000)
        check(again, held, gone)


def test_a_segment_that_is_cut_while_it_is_open_is_an_error(make):
    store = make(codec="f32")
    store.put(np.arange(5000), some_rows(5000))
    store.get([1, 2])
    path = next(Path(store.path).glob("segments/*"))
    os.truncate(path, 4096)
    with pytest.raises(vs.CorruptError, match="bytes"):
        store.get([1, 2])


def keys_in(path):
    file = HashFile(path)
    return {tuple(words[:-1]) for words in file.words.tolist() if words[-1] != 2**64 - 1}


@pytest.mark.parametrize("keep", [1, 2])
def test_after_gc_it_holds_no_id_that_no_version_has(make, often, keep):
    store, held, gone = filled(make)
    store.delete([name(2, False)])
    dead = {(int(key_of(i)[0, 0]),) for i in gone}
    last = (int(key_of(name(2, False))[0, 0]),)
    assert keys_in(hashfile.paths(store.path)[0]) > dead
    store.gc(keep)
    kept = keys_in(hashfile.paths(store.path)[0])
    assert not kept & dead and (last in kept) == (keep == 2)
    held.pop(name(2, False))
    check(store, held, gone)
    with Store.open(store.path) as again:
        check(again, held, gone)
        assert again.check() == []
    if keep == 2:
        with Store.open(store.path, version=4) as old:
            assert len(old.get(name(2, False))) == 1
    store.compact()
    store.gc()
    assert keys_in(hashfile.paths(store.path)[0]) == {
        tuple(key) for key in keys_of(pa.array(list(held))).tolist()
    }


def test_gc_removes_what_is_left_of_one_that_was_being_written(make, often):
    store, _, _ = filled(make)
    (path,) = hashfile.paths(store.path)
    left = f"{os.path.dirname(path)}/.vecstore-0123456789abcdef.tmp"
    shutil.copy(path, left)  # with ids of deleted rows
    assert left in store.gc() and not os.path.exists(left)


def test_a_commit_stands_when_the_file_cannot_be_written(make, often, monkeypatch):
    def full(*_):
        raise vs.StorageError("no space left on device")

    monkeypatch.setattr(index, "Draft", full)
    store, held, gone = filled(make)
    check(store, held, gone)
    assert hashfile.paths(store.path) == []
    with Store.open(store.path) as again:
        check(again, held, gone)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("rows", [1, 3000, 20_000])
def test_a_file_that_is_made_part_by_part_finds_every_row(make, often, text, rows):
    store = make(codec="f32", keep=None)
    ids = [name(i, text) for i in np.random.default_rng(0).permutation(rows).tolist()]
    store.put(ids, some_rows(rows))
    for threads in (1, 2):
        set_threads(threads)
        with Store.open(store.path) as again:
            assert np.array_equal(again.get(ids), some_rows(rows)) and again.check() == []
            assert again.view.ids.known.file is not None
    set_threads(0)


def unmixed(x):
    """Ids whose hashes are these."""

    def unshift(x, bits):
        found = x
        for _ in range(64 // bits + 1):
            found = x ^ (found >> bits)
        return found

    x = unshift(x, 31) * pow(0x94D049BB133111EB, -1, 1 << 64) % (1 << 64)
    x = unshift(x, 27) * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) % (1 << 64)
    return unshift(x, 30)


@pytest.mark.parametrize("where", ["first", "last"])
@pytest.mark.parametrize("rows", [3000, 50_000])
def test_ids_that_are_chosen_to_fall_together_are_found(make, often, where, rows):
    hashes = [(((1 << 32) - 1) << 32 if where == "last" else 0) + i * 5 for i in range(200)]
    ids = np.array([unmixed(x) for x in hashes], np.uint64).view(np.int64)
    ids = np.concatenate([ids, np.setdiff1d(np.arange(rows), ids)])
    store = make(codec="f32", keep=None)
    store.put(ids, some_rows(len(ids)))
    with Store.open(store.path) as again:
        assert np.array_equal(again.get(ids), some_rows(len(ids))) and again.check() == []
        assert again.view.ids.known.file is not None


def test_a_full_disk_below_the_file_is_no_error_and_leaves_nothing(make, often, monkeypatch):
    def full(*_):
        raise vs.StorageError("no space left on device")

    monkeypatch.setattr(hashfile.Draft, "write", full)
    store = make(codec="f32", keep=None)
    store.put(np.arange(30_000), some_rows(30_000))
    assert os.listdir(os.path.join(store.path, "index")) == []
    assert np.array_equal(store.get(np.arange(30_000)), some_rows(30_000))
    with pytest.raises(vs.InputError, match="row 29999 repeats the id 7"):
        make("other.store").put([*range(29_999), 7], some_rows(30_000))


def test_many_segments_are_read_with_few_open_files(make, often, monkeypatch):
    store = make(codec="f32")
    rows = some_rows(60)
    for i in range(60):
        store.put([i], rows[i : i + 1])
    store.close()
    real = places.Pool.__init__

    def few(self, memory=None):
        real(self, memory)
        self.most, self.held = 4, 0

    monkeypatch.setattr(places.Pool, "__init__", few)
    before = len(os.listdir("/proc/self/fd"))
    with Store.open(store.path) as again:
        assert len(again.view.parts) == 60
        for _ in range(2):
            order = np.random.default_rng(0).permutation(60)
            assert np.array_equal(again.get(order), rows[order])
            assert np.array_equal(again.get(int(order[3])), rows[order[3]][None])
        assert sum(len(ids) for ids, _ in again.scan()) == 60 and again.check() == []
        assert len(os.listdir("/proc/self/fd")) - before < 25
        found, _ = again.search(rows[:3], k=1, metric="l2")
        assert found.ravel().tolist() == [0, 1, 2]
    assert len(os.listdir("/proc/self/fd")) == before


def test_codes_come_as_they_are(make, often):
    store, held, _ = filled(make, codec="f32")
    codes = store.get_codes(list(held))
    assert codes.dtype == np.uint8 and np.array_equal(store.codec.decode(codes), store.get(list(held)))
    store.refit("f16")
    store.put([1_000_001], some_rows(1))
    assert store.get_codes([1_000_001]).shape == (1, 16)
    assert np.allclose(store.get([1_000_001, *held]), [some_rows(1)[0], *held.values()], atol=1e-3)
    with pytest.raises(vs.SpecError, match="f16 and f32"):
        store.get_codes([1_000_001, *held])
    blocks = make("blocks.store", codec="lossless")
    blocks.put([1, 2, 3], some_rows(3))
    assert np.array_equal(blocks.get([3, 1]), some_rows(3)[[2, 0]])
    with pytest.raises(vs.SpecError, match="lossless"):
        blocks.get_codes([1])


def test_ids_at_the_ends_of_their_range_are_found(make, often):
    store = make(codec="f32")
    ids = [-(2**63), -1, 0, 2**63 - 1]
    store.put(ids, some_rows(4))
    with Store.open(store.path) as again:
        assert np.array_equal(again.get(ids), some_rows(4))
        assert all(np.array_equal(again.get(i), some_rows(4)[at][None]) for at, i in enumerate(ids))
        with pytest.raises(vs.NotFoundError):
            again.get(2**63 - 2)
        with pytest.raises(vs.InputError, match="beyond their range"):
            again.get(2**63)
    texts = make("texts.store", codec="f32")
    texts.put(["", "é", "a" * 1000], some_rows(3))
    assert np.array_equal(texts.get(""), some_rows(3)[:1]) and np.array_equal(
        texts.get("é"), some_rows(3)[1:2]
    )
    with pytest.raises(vs.InputError, match="strings"):
        texts.get(1)


def test_a_store_is_read_the_same_with_little_memory(make, often):
    store, held, gone = filled(make, keep="f32", codec="sq:bits=8", name="little.store")
    for memory in (1, "1kB", 1 << 30, "10GB"):
        with Store.open(store.path, memory=memory) as again, vs.open(store.path, memory=memory) as read:
            check(again, held, gone)
            assert np.array_equal(again.get(list(held)), read.get(list(held)))
            assert np.array_equal(again.search(some_rows(2), k=3)[0], store.search(some_rows(2), k=3)[0])
            assert pickle.loads(pickle.dumps(again)).memory == memory
    with pytest.raises(vs.BudgetError, match="5%"):
        Store.open(store.path, memory="5%")


def test_threads_read_while_another_writes(make):
    store = make()
    rows = some_rows(400)
    ids = np.arange(400)
    store.put(ids, rows)
    old, stop, wrong = store.view, threading.Event(), []

    def read():
        rng = np.random.default_rng(0)
        while not stop.is_set():
            some = rng.integers(0, 300, 20)
            try:
                if not np.allclose(store.get(some), rows[some], atol=0.1):
                    wrong.append("other rows")
                if store.search(rows[some[:2]], k=1, metric="l2")[0].ravel().tolist() != some[:2].tolist():
                    wrong.append("others are nearest")
                if not set(range(300)) <= {int(i) for ids, _ in store.scan() for i in ids}:
                    wrong.append("rows are missing")
            except Exception as error:
                wrong.append(repr(error))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(60):
        store.put(ids[turn::7], rows[turn::7])
        store.delete([300 + turn])
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert np.allclose(old.get(ids), rows, atol=0.1), "a version that was passed on has its own ids"
