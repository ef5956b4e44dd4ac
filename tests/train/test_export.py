"""Rows of tables as archives, stores and files of rows."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vecstore as vs
from vecstore import registry
from vecstore.archive import Archive, ArchiveWriter, layout
from vecstore.archive.contents import CodeBatch
from vecstore.codecs.tables.presets import PRESETS
from vecstore.codecs.tables.served import TableRows
from vecstore.train.export import dump, export

IDS = np.arange(600)


# Options that decide what rows are, beside those by default.
OPTIONS = [("optembed", {"widths": "searched"}), ("dhe", {"norm": True, "hashes": 8, "layers": 1})]


def trained(method, optimizer="adagrad", **how):
    fields = {"user": 300, "item": 600}
    try:
        table = vs.table(method, fields, dim=8, budget="40%", optimizer=optimizer, **how)
    except vs.BudgetError:
        table = vs.table(method, fields, dim=8, optimizer=optimizer, **how)
    for _ in range(3):
        rows = table.lookup({"user": IDS[:300], "item": IDS})
        table.update({field: np.cos(9 * each) for field, each in rows.items()}, lr=0.05)
    return table


def served(table):
    """Rows of all items, as they are once training is over."""
    state = table.state()
    from vecstore.codecs.tables.making import table_of

    other = table_of(state)
    other.finish()
    return other.lookup({"item": IDS})["item"]


@pytest.mark.parametrize(("method", "how"), [*((name, {}) for name in PRESETS), *OPTIONS])
def test_an_archive_of_parameters_serves_the_rows_of_the_table_bit_for_bit(method, how, tmp_path):
    table = trained(method, **how)
    before = {name: array.copy() for name, array in table.arrays().items()}
    export(table, tmp_path / "items.arrow", "item")
    assert all(np.array_equal(array, before[name]) for name, array in table.arrays().items())
    rows = served(table)
    with vs.open(tmp_path / "items.arrow") as items:
        assert len(items) == 600 and items.dim == 8
        assert np.array_equal(items.get(IDS[::-1]), rows[::-1])
        assert np.array_equal(np.concatenate([part for _, part in items.scan(100)]), rows)
        found, scores = items.search(rows[7:8], k=1, metric="l2")
        assert np.array_equal(items.get(found[0]), rows[7:8]) and scores[0, 0] < 1e-6
        assert items.check() == []
        with pytest.raises(vs.NotFoundError, match="600"):
            items.get([600])
    assert vs.check(tmp_path / "items.arrow") == []


def test_a_large_state_stands_in_pieces_and_every_byte_of_them_is_verified(tmp_path, monkeypatch):
    table, path = trained("unified"), tmp_path / "items.arrow"
    export(table, path, "item")
    with Archive(path) as archive:
        assert archive.format_version == 1
        whole = bytes(archive._contents.state())
    monkeypatch.setattr(layout, "PIECE_BYTES", 1000)
    export(table, path, "item", force=True)
    with Archive(path) as archive:
        assert archive.format_version == 3 and archive.check() == []
        assert bytes(archive._contents.state()) == whole and archive.ledger().shared == len(whole)
        assert np.array_equal(archive.get(IDS), served(table))
        end = archive._contents.seal.head_end
    good = path.read_bytes()
    for place in range(8, end, 97):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(vs.CorruptError, match=r"schema and codec.*checksum"):
            Archive(path)


def test_a_state_with_a_piece_too_few_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "PIECE_BYTES", 1000)
    export(trained("unified"), tmp_path / "items.arrow", "item")
    with Archive(tmp_path / "items.arrow") as archive:
        archive._contents.state_bytes += 1
        with pytest.raises(vs.CorruptError, match=r"the codec of .* expected"):
            archive.get([1])


def test_a_state_in_pieces_goes_through_a_pipe(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "PIECE_BYTES", 1000)
    table = trained("unified")
    codec = TableRows.of(table, "item")
    with open(tmp_path / "stream", "wb") as file, ArchiveWriter(file, codec, card={}) as writer:
        writer.copy(CodeBatch(0, pa.array(IDS), codec.codes_of(IDS), None))
    with Archive(tmp_path / "stream") as archive:
        assert archive.format_version == 3 and np.array_equal(archive.get(IDS), served(table))


MEMORY = """
import sys
import vecstore as vs
from vecstore.train.export import export

def megabytes(line):
    found = next(each for each in open("/proc/self/status") if each.startswith(line))
    return int(found.split()[1]) / 1024

for name, count in (("small", 100), ("large", 1_000_000)):
    table = vs.table("plain", {"item": count}, dim=16, optimizer="sgd")
    open("/proc/self/clear_refs", "w").write("5")
    before = megabytes("VmRSS")
    export(table, f"{sys.argv[1]}/{name}.arrow")
print(megabytes("VmHWM") - before)
del table
before = megabytes("VmRSS")
with vs.open(f"{sys.argv[1]}/large.arrow") as items:
    items.get([5])
    print(megabytes("VmRSS") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_an_export_takes_no_second_copy_of_the_table_and_serving_one_of_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], check=True, capture_output=True, text=True
    )
    exporting, serving = map(float, done.stdout.split())
    assert exporting < 24  # of 64 MB
    assert serving < 110


def test_what_only_training_needs_stays_behind(tmp_path):
    table = trained("unified", "adam")
    export(table, tmp_path / "items.arrow", "item")
    codec = TableRows.of(table, "item")
    assert codec.code_bytes == 2 and sum(a.nbytes for a in codec.arrays().values()) == table.ledger().serve
    again = registry.loads(vs.dumps(codec))
    assert again.identity == codec.identity
    assert np.array_equal(again.decode(codec.codes_of(IDS)), table.lookup({"item": IDS})["item"])
    assert np.isfinite(again.decode(np.full((3, 2), 255, np.uint8))).all()
    with pytest.raises(vs.SpecError, match="trained"):
        again.encode(np.zeros((1, 8), np.float32))
    with pytest.raises(vs.SpecError, match="exported"):
        vs.fit("table_rows", np.zeros((9, 8), np.float32))


def test_codes_of_rows_go_to_archives_and_stores(tmp_path):
    table = trained("unified")
    rows = table.lookup({"item": IDS})["item"]
    export(table, tmp_path / "items.arrow", "item", codec="sq:bits=8")
    export(table, tmp_path / "items.store", "item")
    with vs.open(tmp_path / "items.arrow") as items:
        assert np.abs(items.get(IDS) - rows).max() < 0.01
    with vs.Store.open(tmp_path / "items.store") as items:
        assert np.array_equal(items.get(IDS), rows)
        items.put([700], rows[:1])
        assert items.check() == []


@pytest.mark.parametrize("ending", ["parquet", "arrow", "npy"])
def test_rows_are_dumped_in_batches(ending, tmp_path):
    table = trained("lowrank")
    path = tmp_path / f"items.{ending}"
    assert dump(table, path, "item") == 600
    rows = table.lookup({"item": IDS})["item"]
    if ending == "parquet":
        found = pq.read_table(path)
        assert found["id"].to_pylist() == IDS.tolist()
        assert np.array_equal(np.array(found["vector"].to_pylist(), np.float32), rows)
    if ending == "npy":
        assert np.array_equal(np.load(path), rows)


def test_what_is_in_the_way_or_unknown_is_said(tmp_path):
    table = trained("hash")
    export(table, tmp_path / "it.arrow", "user")
    export(table, tmp_path / "it.arrow", "user", force=True)
    for run in (export, dump):
        with pytest.raises(vs.ConflictError):
            run(table, tmp_path / "it.arrow", "user")
        with pytest.raises(vs.SpecError, match="user, item"):
            run(table, tmp_path / "other.arrow")
        with pytest.raises(vs.SpecError, match="'usr'"):
            run(table, tmp_path / "other.arrow", "usr")
    assert not (tmp_path / "other.arrow").exists()


def test_modules_export_what_they_have_learned(tmp_path):
    torch = pytest.importorskip("torch", reason="the modules are torch's")
    from vecstore.train.torch import EmbeddingBag

    for at, optimizer in enumerate((None, "adagrad")):
        bag = EmbeddingBag(50, 8, method="unified", budget="50%", optimizer=optimizer)
        bag(torch.arange(50)[:, None]).sum().backward()
        bag.export(tmp_path / f"{at}.arrow")
        rows = bag(torch.arange(50)[:, None]).detach().numpy()
        with vs.open(tmp_path / f"{at}.arrow") as items:
            assert np.array_equal(items.get(np.arange(50)), rows)
        assert bag.dump(tmp_path / f"{at}.parquet") == 50


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("policy", ["lru", "lfu", "norm"])
def test_tables_without_a_vocabulary_give_the_ids_that_have_rows(policy, finished, tmp_path):
    ids = np.r_[np.arange(-5, 25), [1 << 62, -(1 << 62), 1 << 41]]
    table = vs.table("dynamic", {"item": 1 << 40}, dim=8, budget="8kB", policy=policy)
    for step in range(3):
        rows = table.lookup({"item": ids[step:]})["item"]
        table.update({"item": np.cos(9 * rows)}, lr=0.05)
    if finished:
        table.finish()
    rows, order = table.lookup({"item": ids})["item"], np.argsort(ids)
    assert np.array_equal(table.listed("item"), ids[order])
    scored = not (finished and policy == "lfu")
    assert dump(table, tmp_path / "items.parquet") == len(ids)
    found = pq.read_table(tmp_path / "items.parquet")
    assert found["id"].to_pylist() == ids[order].tolist()
    assert np.array_equal(np.array(found["vector"].to_pylist(), np.float32), rows[order])
    assert ("score" in found.column_names) == scored
    export(table, tmp_path / "items.arrow")
    export(table, tmp_path / "coded.arrow", codec="sq:bits=8")
    export(table, tmp_path / "items.store")
    for name, near in (("items.arrow", 0), ("items.store", 0), ("coded.arrow", 0.02)):
        with vs.open(tmp_path / name) as items:
            assert len(items) == len(ids) and np.abs(items.get(ids) - rows).max() <= near
            with pytest.raises(vs.NotFoundError):
                items.get([99])
    if scored:
        scores = np.array(found["score"])
        least = float(np.sort(scores)[7])
        count = dump(table, tmp_path / "some.parquet", least=least)
        some = pq.read_table(tmp_path / "some.parquet")
        assert count == len(some) == (scores >= least).sum() and (np.array(some["score"]) >= least).all()
    if policy == "lfu" and not finished:
        assert scores[order.tolist().index(0)] == 1 and scores.max() == 3


@pytest.mark.parametrize("method", ["cafe", "adaembed"])
def test_scores_that_methods_go_by_are_dumped_with_their_ids(method, tmp_path):
    table = vs.table(method, {"user": 300, "item": 600}, dim=8, budget="40%")
    for _ in range(3):
        table.lookup({"item": IDS[:40], "user": IDS[:300]})
        table.update({"item": np.ones((40, 8)) * (IDS[:40, None] + 1), "user": np.zeros((300, 8))}, lr=0.01)
    assert dump(table, tmp_path / "items.arrow", "item") == 600
    found = pa.ipc.open_file(tmp_path / "items.arrow").read_all()
    scores = np.array(found["score"])
    assert (np.diff(scores[:40]) > 0).mean() > 0.5 and not scores[40:].any() and scores[39] == scores.max()
    assert (
        dump(table, tmp_path / "some.arrow", "item", least=float(scores[30])) == (scores >= scores[30]).sum()
    )
    with pytest.raises(vs.SpecError, match="no scores"):
        dump(trained("hash"), tmp_path / "none.arrow", "item", least=1.0)
    endless = vs.table("hash", {"item": 1 << 40}, budget="8kB")
    for run in (dump, export):
        with pytest.raises(vs.SpecError, match="which no file holds"):
            run(endless, tmp_path / "none.arrow")
    assert not (tmp_path / "none.arrow").exists()
