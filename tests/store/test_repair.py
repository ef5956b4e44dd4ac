"""Repair mends what can be mended, says what cannot, and gives nothing up unasked."""

import json
import os
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import some_rows

import vecstore as vs
from vecstore.cli.main import main
from vecstore.store import Store, index, layout, versions

ROWS = 40_000  # five batches


def files_of(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def store(make, tmp_path):
    """Three versions: rows, some of them replaced, some deleted; a tag on the first."""
    store = make(codec="sq:bits=8", keep="f16", metric="l2")
    store.put(np.arange(ROWS), some_rows(ROWS), columns={"n": np.arange(ROWS)})
    store.tag("first")
    store.put(np.arange(100), some_rows(100, seed=1), columns={"n": np.arange(100)})
    store.delete([200, 201])
    return store


def only(store, folder, largest=True):
    files = sorted((os.path.join(store.path, folder, name) for name in os.listdir(f"{store.path}/{folder}")),
                   key=os.path.getsize)  # fmt: skip
    return files[-1 if largest else 0]


def bend(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 4]))


def test_a_sound_store_stays_as_it_is(store, tmp_path):
    before = files_of(tmp_path)
    found = vs.repair(store.path, yes=True)
    assert found.sound and found.damage == found.done == found.possible == [] and found.version == 3
    assert files_of(tmp_path) == before


def test_what_is_derived_is_made_again(store):
    os.unlink(f"{store.path}/FORMAT")
    with open(f"{store.path}/segments/{'0' * 32}.arrow", "wb"):
        pass
    empty = Store.create(f"{store.path}.2", dim=8, codec="f16")
    shutil.rmtree(f"{empty.path}/deletes")
    for path in (store.path, empty.path):
        found = vs.repair(path)
        assert found.sound and found.damage and not found.possible
        assert vs.check(path) == [] and vs.repair(path).damage == []
    assert (
        not os.path.exists(f"{store.path}/segments/{'0' * 32}.arrow")
        and len(Store.open(store.path)) == ROWS - 2
    )
    with open(f"{store.path}/FORMAT", "wb") as file:
        file.write(b"{}")
    assert vs.repair(store.path).sound and vs.check(store.path) == []


def test_files_of_ids_are_made_again(make, monkeypatch):
    monkeypatch.setattr(index, "LEAST_ROWS", 20)
    store = make()
    store.put(np.arange(300), some_rows(300))
    path = only(store, "index")
    bend(path, os.path.getsize(path) // 2)
    assert vs.check(store.path) != []
    found = vs.repair(store.path)
    assert found.sound and found.damage and found.possible == []
    assert os.listdir(f"{store.path}/index") and vs.check(store.path) == []
    assert np.allclose(Store.open(store.path).get([299]), some_rows(300)[299], atol=1e-3)


def test_what_an_interrupted_creation_left_is_removed(make, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(versions, "publish", lambda *arguments: os._exit(1))
        if not (child := os.fork()):
            make("half.store")
        os.waitpid(child, 0)
    assert (tmp_path / "half.store" / "versions").exists()
    with pytest.raises(vs.ConflictError):
        make("half.store")
    found = vs.repair(tmp_path / "half.store")
    assert found.sound and "interrupted creation" in found.damage[0]
    make("half.store")


def test_what_never_was_a_store_is_let_alone(tmp_path):
    (tmp_path / "project" / "versions").mkdir(parents=True)
    (tmp_path / "project" / "versions" / "a.txt").write_text("mine")
    (tmp_path / "other" / "tags").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for name in ("project", "other"):
        with pytest.raises(vs.InputError, match="no store"):
            vs.repair(tmp_path / name, yes=True)
    with pytest.raises(vs.NotFoundError):
        vs.repair(tmp_path / "none")
    assert sorted(tmp_path.rglob("*")) == before


def test_going_back_takes_a_number_and_consent(store, tmp_path):
    newest = versions.path_of(store.path, 3)
    bend(newest, 40)
    before = files_of(tmp_path)
    found = vs.repair(store.path)
    assert not found.sound and found.version is None
    assert found.possible == [text for text in found.possible if "--to-version 2 --yes" in text] != []
    assert "40000 rows" in found.possible[0]
    assert not vs.repair(store.path, to_version=2).sound
    assert files_of(tmp_path) == before
    with pytest.raises(vs.CorruptError):
        Store.open(store.path)
    found = vs.repair(store.path, to_version=2, yes=True)
    assert found.sound and found.version == 4
    with Store.open(store.path) as again:
        assert len(again) == ROWS and again.view.manifest.note == "went back to version 2"
        assert np.allclose(again.get([5]), some_rows(100, seed=1)[5], atol=0.05)
        again.put([1], some_rows(1), columns={"n": [1]})
        assert again.view.manifest.note is None
        again.gc()
        assert again.versions() == [1, 5] and again.check() == []
    with pytest.raises(vs.NotFoundError, match="no version 9"):
        vs.repair(store.path, to_version=9, yes=True)


@pytest.mark.parametrize("folder", ["segments", "fine"])
def test_rows_of_sound_batches_are_salvaged(store, folder):
    truth = {int(i): row for ids, rows in store.scan() for i, row in zip(ids, rows, strict=True)}
    store.close()
    path = only(store, folder)
    bend(path, os.path.getsize(path) // 2)
    found = vs.repair(store.path)
    assert not found.sound and found.version == 3 and "--salvage --yes" in " ".join(found.possible)
    lost, before = found.lost_rows, len(truth)
    assert (0 < lost < before / 2) if folder == "segments" else lost == 0
    found = vs.repair(store.path, salvage=True, yes=True)
    assert found.sound and (found.lost_rows, found.version) == (lost, 4)
    assert all("segments" in text for text in found.lost)
    with Store.open(store.path) as again:
        assert again.check() == [] and len(again) == before - lost and again.columns.names == ["n"]
        held = {int(i): row for ids, rows in again.scan() for i, row in zip(ids, rows, strict=True)}
        assert all(np.array_equal(held[i], truth[i]) for i in held)
        assert again.view.manifest.note == f"salvaged version 3: {lost} rows are lost"
        assert again.search(some_rows(100, seed=1)[:3], k=1)[0][:, 0].tolist() == [0, 1, 2]
        again.compact()
        again.gc()
        assert len(again) == before - lost
    with pytest.raises(vs.CorruptError, match="is damaged, too"):
        vs.repair(store.path, to_version="first", yes=True)


def test_without_its_codec_rows_come_from_the_finer_ones(store):
    store.close()
    with Store.open(store.path) as opened:
        os.unlink(layout.codec_path(store.path, opened.view.manifest.codec))
    found = vs.repair(store.path, salvage=True, yes=True)
    assert found.sound and found.lost_rows == 0
    with Store.open(store.path) as again:
        assert np.allclose(again.get([300]), some_rows(ROWS)[300], atol=1e-3)
        again.put([1], some_rows(1), columns={"n": [1]})
        assert again.check() == [] and len(again) == ROWS - 2


def test_without_a_list_of_deleted_rows_newer_ones_stand(store):
    for name in os.listdir(f"{store.path}/deletes"):
        os.unlink(f"{store.path}/deletes/{name}")
    found = vs.repair(store.path, salvage=True, yes=True)
    assert found.sound and found.lost_rows == 0 and "may be there again" in found.lost[0]
    with Store.open(store.path) as again:
        assert len(again) == ROWS and again.check() == []
        assert np.allclose(again.get([5]), some_rows(100, seed=1)[5], atol=0.05)


def test_a_missing_segment_is_lost_whole(store):
    os.unlink(only(store, "segments"))
    found = vs.repair(store.path, salvage=True, yes=True)
    assert found.sound and found.lost_rows == ROWS - 102
    assert len(Store.open(store.path)) == 100


def test_a_damaged_tag_is_removed_with_consent(store):
    bend(layout.tag_path(store.path, "first"), 50)
    found = vs.repair(store.path)
    assert not found.sound and found.version == 3 and "(--yes)" in found.possible[0]
    found = vs.repair(store.path, yes=True)
    assert found.sound and Store.open(store.path).tags() == {} and vs.check(store.path) == []


def test_the_command_says_what_it_did_and_what_it_could(store):
    def call(*options):
        return CliRunner().invoke(main, ["repair", store.path, *options])

    assert call().output == "sound\n"
    bend(versions.path_of(store.path, 3), 40)
    done = call()
    assert done.exit_code == 4 and "possible: go back to version 2" in done.output
    done = call("--to-version", "first", "--yes", "--json")
    assert done.exit_code == 0 and json.loads(done.output)["version"] == 4
    assert call("--salvage", "--to-version", "1").exit_code == 2
    with Store.open(store.path)._commit():
        assert call().exit_code == 5
