"""A store by the command line: made, filled, read, thinned."""

import json

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from vecstore.cli.main import main
from vecstore.store import writing


@pytest.fixture
def call():
    def call(*arguments, code=0):
        done = CliRunner().invoke(main, list(map(str, arguments)))
        assert done.exit_code == code, (done.output, done.exception)
        return done.stdout if code == 0 else done.stderr

    return call


@pytest.fixture
def filled(call, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FIT_ROWS", 100)
    rows = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(rows.reshape(-1), 8)
    table = pa.table({"id": [f"w{i}" for i in range(300)], "vector": vectors, "year": range(300)})
    parquet.write_table(table, tmp_path / "items.parquet")
    store = tmp_path / "items.store"
    call("create", store, "--dim", 8, "--codec", "sq:bits=8", "--metric", "l2")
    assert json.loads(call("put", store, tmp_path / "items.parquet", "--json")) == {"rows": 300, "version": 1}
    np.save(tmp_path / "queries.npy", rows[:3])
    return store, rows


def test_a_store_is_read_as_an_archive_is(filled, call, tmp_path):
    store, rows = filled
    info = json.loads(call("info", store, "--json"))
    assert (info["rows"], info["dim"], info["metric"], info["version"], info["keep"]) == (
        300,
        8,
        "l2",
        1,
        "f16",
    )
    assert info["spec"].startswith("sq:bits=8") and info["columns"] == {"year": "int64"}
    assert "generations" in call("info", store)
    found = json.loads(call("get", store, "w7", "--json"))
    assert np.allclose(found["vectors"], rows[7:8], atol=0.05)
    assert len(call("cat", store, "--limit", 5).splitlines()) == 5
    found = json.loads(
        call("search", store, tmp_path / "queries.npy", "-k", 2, "--where", "year < 200", "--json")
    )
    assert [ids[0] for ids in found["ids"]] == ["w0", "w1", "w2"]
    assert call("check", store).strip() == "sound"
    call("decompress", store, tmp_path / "back.parquet")
    assert parquet.read_table(tmp_path / "back.parquet").num_rows == 300
    call("compress", store, tmp_path / "one.arrow", "--codec", "f16")
    assert json.loads(call("info", tmp_path / "one.arrow", "--json"))["rows"] == 300


def test_rows_are_deleted_compacted_and_collected(filled, call):
    store, _ = filled
    call("delete", store, "w1", "w2")
    assert "no id 'w1'" in call("get", store, "w1", code=3)
    call("compact", store)
    assert any("segments" in line for line in call("gc", store).splitlines())
    info = json.loads(call("info", store, "--json"))
    assert info["rows"] == 298 and info["versions"] == [3] and info["tags"] == {}
    assert "no id 'w1'" in call("delete", store, "w1", code=3)


def test_deleted_rows_are_purged(filled, call):
    store, _ = filled
    call("delete", store, "w1", "w2")
    done = CliRunner().invoke(main, ["gc", str(store)])
    assert "2 deleted rows are still in its files, until `gc --purge`" in done.stderr
    done = CliRunner().invoke(main, ["gc", str(store), "--purge"])
    assert "segments" in done.stdout and done.stderr == ""
    assert json.loads(call("info", store, "--json"))["versions"] == [3]


def test_versions_are_named_and_kept(filled, call):
    store, _ = filled
    call("tag", store, "import")
    call("delete", store, "w1")
    call("tag", store, "empty", "--version", 0)
    call("gc", store)
    assert json.loads(call("tag", store, "--json")) == {"empty": 0, "import": 1}
    assert "0 to 2\ntags             empty (0), import (1)" in call("info", store)
    call("tag", store, "import", "--delete")
    assert call("tag", store) == "empty  0\n"
    assert call("gc", store, "--older-than", "1h") == ""
    assert "expected a number" in call("gc", store, "--older-than", "soon", code=2)
    assert "--delete takes" in call("tag", store, "--delete", code=2)
    assert "no tag" in call("tag", store, "import", "--delete", code=3)


def test_rows_without_ids_get_their_numbers(call, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((4, 3), np.float32))
    call("create", tmp_path / "x.store", "--dim", 3, "--codec", "f32", "--keep", "none")
    call("put", tmp_path / "x.store", tmp_path / "x.npy")
    call("put", tmp_path / "x.store", tmp_path / "x.npy")
    assert json.loads(call("info", tmp_path / "x.store", "--json"))["rows"] == 4
    assert "'w' is none" in call("get", tmp_path / "x.store", "w", code=3)


def test_damage_is_reported(filled, call):
    store, _ = filled
    segment = next((store / "segments").iterdir())
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert "do not match their checksum" in CliRunner().invoke(main, ["check", str(store)]).output
    (store / "versions" / f"{1:020d}.json").write_bytes(b"{}")
    assert "damaged" in call("info", store, code=4)


def test_what_is_there_is_not_made_again(filled, call):
    store, _ = filled
    assert "exists" in call("create", store, "--dim", 8, "--codec", "f16", code=5)
    assert "has no tiers" in call("search", store, store, "--tier", "4", code=2)


def test_the_card_is_kept_and_checked(call, tmp_path):
    rows = np.random.default_rng(0).standard_normal((3000, 32)) * np.exp(-np.arange(32) / 6)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((32, 32)))[0]
    np.save(tmp_path / "rows.npy", rows.astype(np.float32))
    np.save(tmp_path / "foreign.npy", (rows[:100] @ turn).astype(np.float32))
    store = tmp_path / "s"
    call("create", store, "--dim", 32, "--codec", "f16", "--model", "m", "--revision", "2")
    call("put", store, tmp_path / "rows.npy")
    card = json.loads(call("info", store, "--json"))["card"]
    assert card["model"] == "m" and card["revision"] == "2" and card["fingerprint"]["rows"] == 3000
    assert "revision" in call("info", store)
    foreign = tmp_path / "foreign.npy"
    for command in ("put", "search"):
        assert "check_space" in call(command, store, foreign, code=3)
        call(command, store, foreign, "--model", "n", code=3)
        call(command, store, foreign, "--any-space")


def test_an_adapter_is_fitted_and_searched_by(call, tmp_path):
    rows = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))[0].astype(np.float32)
    np.save(tmp_path / "old.npy", rows)
    np.save(tmp_path / "new.npy", rows @ turn)
    store, output = tmp_path / "s", tmp_path / "s.adapter"
    call("create", store, "--dim", 8, "--codec", "f32")
    call("put", store, tmp_path / "old.npy")
    pairs = tmp_path / "old.npy", tmp_path / "new.npy"
    report = json.loads(call("adapter", store, *pairs, output, "--model", "n", "--json"))
    assert report["recall_at_10"] == 1 and report["model"] == "n" and report["pairs"] == 300
    assert "recall_at_10" in call("adapter", store, *pairs, output, "--force")
    asked = [
        "search",
        store,
        tmp_path / "new.npy",
        "-k",
        1,
        "--metric",
        "cosine",
        "--adapter",
        output,
        "--json",
    ]
    assert json.loads(call(*asked))["ids"] == [[i] for i in range(300)]
    assert "Error" in call("adapter", store, *pairs, output, code=5)


def test_what_is_kept_is_changed_by_compaction(filled, call):
    store, _ = filled
    call("compact", store, "--keep", "none")
    assert json.loads(call("info", store, "--json"))["keep"] is None
    assert "cannot be kept" in call("compact", store, "--keep", "f16", code=2)


def test_a_search_is_tuned(call, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FIT_ROWS", 100)
    rows = np.random.default_rng(0).standard_normal((600, 8)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "queries.npy", rows[:20] + 0.1)
    call("create", tmp_path / "s", "--dim", 8, "--codec", "pq:m=2")
    call("put", tmp_path / "s", tmp_path / "rows.npy")
    found = json.loads(call("tune", tmp_path / "s", tmp_path / "queries.npy", "--recall", 0.9, "--json"))
    assert found["recall"] >= 0.9 and found["queries"] == 20
    assert "rerank 11" in call("tune", tmp_path / "s")
    call("search", tmp_path / "s", tmp_path / "queries.npy", "--rerank", found["rerank"], "--mix", 0.1)
