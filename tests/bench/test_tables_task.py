"""`bench tables`: one protocol for all methods, exact scores and bytes, and what fails is said."""

import gzip
import json

import numpy as np
import pytest
from click.testing import CliRunner
from numba.core import config

from vecstore.bench.plots import Line
from vecstore.bench.tables import clicks, methods, networks, page, pictures, scores, task, walks, worker
from vecstore.bench.tables.cells import Cell, gather, within
from vecstore.bench.tables.clicks import Part
from vecstore.cli.main import main
from vecstore.errors import FormatError, NotFoundError, SpecError


def record(method="unified", auc=0.9, budget=0.1, seed=0, dataset="frappe", **more):
    """A record as the task makes it."""
    found = {
        "task": "tables", "dataset": dataset, "method": method, "budget": budget, "seed": seed, "threads": 1,
        "quick": False, "auc": auc, "logloss": 0.3, "tail_auc": 0.7, "tail_rows": 10, "valid_auc": auc,
        "lr": 1e-3, "epoch": 2.0, "steps": 9, "full_bytes": 1000, "share": budget or 1.0, "train_s": 1.0,
        "lookup_ns": 20.0, "updates_s": 100.0, "peak_bytes": 1e8,
        "machine": {"cpu": "a processor", "isa": "avx2"},
        "bytes": {"parameters": 90, "index": 8, "optimizer": 180, "serve": 98, "train": 278},
    }  # fmt: skip
    return found | more


def timed(dim=16, threads=1, ours=10.0, **more):
    times = {
        name: {f"{what}_ns{least}": ns for what in ("lookup", "step") for least in ("", "_min")}
        for name, ns in (("plain", ours), ("int8", 12.0), ("unified", 14.0), ("torch SparseAdam", 200.0))
    }
    found = {"task": "tables-speed", "method": f"dim {dim}", "dim": dim, "threads": threads, "quick": False}
    return found | {"rows": 10, "bags": 5, "ids": 26, "plain_step_bytes": 2e6, "times": times} | more


def case(method, budget, **more):
    found = {
        "task": "tables", "dataset": "gmf", "method": method, "budget": budget, "seed": 0, "data": None,
        "rates": [1.0], "quick": True, "threads": 1,
    }  # fmt: skip
    return found | more


def test_auc_counts_pairs_and_half_of_ties():
    rng = np.random.default_rng(0)
    for levels in (2, 5, 1000):
        given = rng.integers(0, levels, 60).astype(np.float32)
        labels = (rng.random(60) < 0.4).astype(np.float32)
        ones, zeros = given[labels == 1], given[labels == 0]
        pairs = [(a > b) + (a == b) / 2 for a in ones for b in zeros]
        assert scores.auc(labels, given) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert np.isnan(scores.auc(np.ones(3, np.float32), np.zeros(3, np.float32)))


def test_logloss_is_that_of_probabilities():
    logits, labels = np.array([-2.0, 0.5, 90.0], np.float32), np.array([0, 1, 1], np.float32)
    chances = 1 / (1 + np.exp(-logits.astype(np.float64)))
    wanted = -np.mean(np.log(np.where(labels == 1, chances, 1 - chances)))
    assert scores.logloss(labels, logits) == pytest.approx(wanted)


def test_the_tail_is_the_tenth_whose_rarest_id_was_seen_least():
    counts = [np.arange(20), np.full(2, 100)]
    ids = np.stack([np.arange(20), np.arange(20) % 2], axis=1)
    assert np.flatnonzero(scores.tail(counts, ids)).tolist() == [0, 1]


@pytest.mark.parametrize("name", clicks.GENERATED)
def test_generated_sets_are_the_same_each_time_and_inside_their_fields(name):
    one, two = clicks.load(name, None, quick=True), clicks.load(name, None, quick=True)
    for part in clicks.PARTS:
        assert np.array_equal(one.parts[part].ids, two.parts[part].ids)
        ids, labels = one.parts[part].ids, one.parts[part].labels
        assert (ids >= 0).all() and (ids < list(one.fields.values())).all()
        assert 0.2 < labels.mean() < 0.9 and len(ids) == len(labels)


def test_the_parts_of_a_random_split_share_no_row_and_are_all_of_them():
    rows = clicks.at_random(1000, (0.8, 0.1))
    assert [len(part) for part in rows] == [800, 100, 100]
    assert np.array_equal(np.sort(np.concatenate(rows)), np.arange(1000))


def test_tokens_that_were_not_seen_share_one(tmp_path, monkeypatch):
    folder = tmp_path / "ctr" / "criteo"
    folder.mkdir(parents=True)
    monkeypatch.setattr(clicks, "_CRITEO_ENDS", (9, 10))
    row = ["1", *["3"] * 12, "", *["0a"] * 25, ""]
    other = ["0", *["-1"] * 13, *["0b"] * 26]
    lines = ["\t".join(row)] * 10 + ["\t".join(other)]
    (folder / "criteo_80k.tsv.gz").write_bytes(gzip.compress("\n".join(lines).encode(), 1))
    data = clicks.load("criteo-80k", tmp_path)
    assert set(data.fields.values()) == {2} and len(data.parts["train"]) == 9
    assert data.parts["test"].ids.tolist() == [[1] * 26]
    with pytest.raises(NotFoundError, match="frappe"):
        clicks.load("frappe", tmp_path)


def test_every_label_is_a_method_and_every_preset_is_there():
    for dim in (16, 30, 32):
        labels = methods.labels(dim)
        assert all(methods.Method.of(label) for label in labels) and set(methods.PRESETS) <= set(labels)
    with pytest.raises(SpecError, match="table method 'unfied'"):
        methods.Method.of("unfied:chunks=2")


@pytest.mark.parametrize("label", ["unified:rows=int8", "lowrank", "narrow", "prune"])
def test_tables_keep_their_budgets(label):
    data = clicks.load("zipf", None, quick=True)
    table = methods.Method.of(label).table(data, 0.2, 0)
    assert worker.bytes_of(table)["serve"] <= 0.2 * 4 * data.rows * data.recipe.dim


def test_a_budget_of_training_counts_what_the_optimizer_keeps():
    data = clicks.load("zipf", None, quick=True)
    table = methods.Method.of("unified:optimizer=adagrad,league=train").table(data, 0.2, 0)
    found = worker.bytes_of(table)
    assert 0.9 < found["train"] / (0.2 * 3 * 4 * data.rows * data.recipe.dim) <= 1
    assert found["optimizer"] >= found["parameters"]


def test_a_run_says_its_scores_and_bytes():
    pytest.importorskip("torch")
    found = worker.run(case("unified:rows=int8", 0.2))
    data = clicks.load("gmf", None, quick=True)
    assert "error" not in found, found
    assert found["bytes"]["serve"] == found["bytes"]["parameters"] + found["bytes"]["index"]
    assert found["bytes"]["train"] == found["bytes"]["serve"] + found["bytes"]["optimizer"]
    assert found["full_bytes"] == 4 * data.rows * data.recipe.dim and found["share"] <= 0.2
    assert found["valid_auc"] == pytest.approx(max(found["valid"]), abs=1e-5)
    assert found["auc"] == worker.run(case("unified:rows=int8", 0.2))["auc"]


def test_of_several_rates_the_best_by_validation_counts():
    pytest.importorskip("torch")
    each = [worker.run(case("hash", 0.5, rates=[rate])) for rate in (0.1, 10.0)]
    both = worker.run(case("hash", 0.5, rates=[0.1, 10.0]))
    best = max(each, key=lambda one: one["valid_auc"])
    assert (both["auc"], both["lr"]) == (best["auc"], best["lr"])


def test_stopping_and_choosing_look_at_the_validation_part_alone():
    pytest.importorskip("torch")
    from dataclasses import replace

    from vecstore.bench.tables.training import train

    data = clicks.load("gmf", None, quick=True)
    data = replace(data, recipe=replace(data.recipe, epochs=6, patience=2, lr=0.05))
    test = data.parts["test"]
    parts = data.parts | {"test": Part(test.ids, test.numbers, 1 - test.labels)}
    table = methods.Method.of("hash").table
    one, other = (
        train(each, table(each, 0.5, 0), 0, 0.05) for each in (data, replace(data, parts=parts))
    )  # the test part's labels change nothing
    assert (one.epoch, one.valid) == (other.epoch, other.valid)
    assert one.epoch == 1 + int(np.argmax(one.valid)) and len(one.valid) <= one.epoch + 2


def test_what_cannot_be_is_a_record():
    pytest.importorskip("torch")
    assert "least budget" in worker.run(case("lowrank", 0.0001))["infeasible"]
    assert "not 7 equal chunks" in worker.run(case("unified:chunks=7", 0.1))["error"]
    assert "least budget" in worker.run(case("hash", 0.0))["infeasible"]


def test_methods_that_cannot_be_on_a_set_are_records_and_the_rest_goes_on():
    pytest.importorskip("torch")
    labels = ("unified:chunks=3,rows=int8", "hash", "nonsense", "hash:lr=abc", "hash+plain", "x*")
    said = []
    plan = task.Plan(datasets=("gmf",), methods=labels, budgets=(0.5,), seeds=(0,), quick=True)
    found = {each["method"]: each for each in task.run(plan, say=said.append)}
    assert found["hash"]["auc"] > 0 and set(found) == set(labels[:-1])
    for label, why in zip(
        labels, ("not 3 equal chunks", None, "unknown table method", "lr=abc", "is a chain"), strict=False
    ):
        assert why is None or why in found[label]["error"]
    assert "left out: no method is named like x*" in said
    shown = dict((title, lines) for title, _, lines in page.tables(list(found.values())))
    told = [line[1] for line in shown["Failed or infeasible"]]
    assert told == ["unified:chunks=3,rows=int8", *labels[2:-1]]


def test_without_torch_it_is_said(monkeypatch):
    monkeypatch.setattr(networks.util, "find_spec", lambda name: None)
    with pytest.raises(FormatError, match=r"pip install 'vecstore\[torch\]'"):
        list(task.run(task.Plan(datasets=("gmf",), quick=True)))


def test_sets_without_files_are_left_out_and_said():
    said = []
    found = list(task.cases(task.Plan(methods=("hash",), quick=True), said.append))
    assert {each["dataset"] for each in found} == {"gmf", "zipf"}
    assert any("ml-1m" in line for line in said)
    with pytest.raises(NotFoundError):
        list(task.cases(task.Plan(datasets=("ml-1m",))))
    with pytest.raises(SpecError, match="no method"):
        list(task.cases(task.Plan(datasets=("gmf",), methods=("nothing*",), quick=True)))


def test_methods_that_no_budget_changes_run_once():
    plan = task.Plan(datasets=("gmf",), methods=("int8", "hash"), budgets=(0.1, 0.01), seeds=(0,), quick=True)
    assert [(each["method"], each["budget"]) for each in task.cases(plan)] == [
        ("hash", 0.1), ("hash", 0.01), ("int8", None),
    ]  # fmt: skip


def test_the_command_writes_records_and_the_page_and_goes_on(tmp_path):
    pytest.importorskip("torch")
    out, where = tmp_path / "tables.jsonl", tmp_path / "tables.md"
    arguments = ["bench", "tables", "--datasets", "gmf", "--methods", "lowrank", "--budgets", "0.1%,50%"]
    arguments += ["--quick", "--out", str(out), "--resume", "--page", str(where)]
    for _ in range(2):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        found = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(found) == 2  # the second time nothing is left to do
    assert all("machine" in each for each in found)
    assert "infeasible" in found[0] and found[1]["peak_bytes"] > 0
    assert "infeasible" in where.read_text() and "are from `--quick`" in where.read_text()


@pytest.mark.parametrize(
    ("option", "message"),
    [(("--budgets", "5kB"), "--budgets"), (("--seeds", "x"), "--seeds"), (("--rates", "-1"), "--rates")],
)
def test_options_that_cannot_be_are_refused(option, message):
    result = CliRunner().invoke(main, ["bench", "tables", *option])
    assert result.exit_code == 2 and message in result.output


def test_a_published_method_stays_one_with_another_optimizer():
    published = ("tt", "robe:block=16", "dpq:optimizer=rowwise_adagrad,lr=0.05", "prune:damping=0.5")
    assert all(Cell("frappe", label, 0.1).published for label in published)
    ours = ("tt:rows=f16", "unified:chunks=2", "cafe:rows=int8", "lowrank:optimizer=rowwise_adagrad,lr=0.05")
    assert not any(Cell("frappe", label, 0.1).published for label in ours)


def test_a_cell_is_over_seeds_and_within_a_share():
    records = [record(auc=0.9), record(auc=0.92, seed=1), record("hash", 0.95, 0.5), record("hash", 0.8)]
    cells = gather([*records, {"error": "none", "dataset": "frappe"}])
    best = within(cells.values(), "frappe", 0.1)
    assert [cell.method for cell in best] == ["unified", "hash"]
    assert best[0].mean("auc") == pytest.approx(0.91) and best[0].spread == pytest.approx(0.02)
    assert best[0].mean("serve") == 98


def test_the_page_says_which_targets_are_kept(tmp_path):
    failed = {key: record("tt")[key] for key in ("task", "dataset", "method", "budget", "seed")}
    failed["error"] = "no memory"
    runs = [("unified:rows=int8", 0.95), ("hash", 0.90), ("unified:optimizer=sgd,league=train", 0.949)]
    records = [record(method, auc, seed=seed) for method, auc in runs for seed in range(3)]
    records += [
        record("plain", 0.96, None),
        failed,
        timed(walk_ns={"line": 2.0, "halves": 4.5}),
        timed(threads=2, ours=5.0),
    ]
    text = page.page(records, tmp_path / "tables.md")
    what = "frappe, the best at 10% of the bytes: AUC >= 0.941"
    assert f"{what} | 0.9500 (unified:rows=int8, 3 seeds) | yes" in text
    few = page.page(records[:1], tmp_path / "tables.md")
    assert f"{what} | 0.9500 (unified:rows=int8, 1 seed) | too few runs" in few
    assert "| 1 of 1 | too few runs | `all` |" in text and "no memory" in text
    assert "frappe, league train: the best at 10% within 0.003 of the best of league serve | 0.0010" in text
    assert "ratio to torch SparseAdam: >= 10 | 20.00 (dim 16) | yes" in text
    assert "two threads, speed of a step to one, best runs: >= 1.6 | 2.00 (dim 16) | yes" in text
    assert "lookup of int8, ratio to plain rows: > 1 | 0.83 (dim 16) | no" in text
    assert "4.5 ns, 2.2 times that, where it is two halves of lines" in text


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="intrinsics need the compiler")
def test_walks_read_the_same_values_as_lines_and_as_halves():
    found = walks.walks([np.arange(60).reshape(6, 10)], 100)
    assert set(found) == {"line", "halves"} and min(found.values()) > 0
    data = np.arange(320, dtype=np.float32)
    for width in (16, 8):
        out = np.zeros(16, np.float32)
        walks._walk(data, np.array([3, 0, 3]), (width, 2), out)
        rows = data.reshape(-1, width)
        assert np.array_equal(out[:width], 2 * rows[3] + rows[0]) and not out[width:].any()


def test_the_line_of_the_best_has_no_point_that_another_is_above():
    points = {"a": ((1.0, 0.9), (4.0, 0.93)), "b": ((1.02, 0.91),)}
    lines = [Line(name, "Few bits", False, found) for name, found in points.items()]
    assert pictures.best_of(lines) == ((1.02, 0.91), (4.0, 0.93))


def test_a_picture_names_few_methods_of_a_family_as_they_were_trained_best():
    def cell(label, auc, share=0.1):
        return Cell("x", label, share, [{"auc": auc, "bytes": {}, "share": share}])

    ways = ("adapt", "adapt:init=0.01", "adapt:optimizer=adagrad,lr=0.1")
    cells = [cell(label, auc) for label, auc in zip(ways, (0.7, 0.8, 0.6), strict=True)]
    cells += [cell(f"unified:chunks={count}", 0.5 + count / 100) for count in range(1, 12)]
    lines = pictures.lines_of([*cells, cell("adapt", 0.5, 0.01)])
    (own,) = [line for line in lines if line.family == "Own rows for some"]
    assert own.name == "adapt" and own.points == ((0.01, 0.5), (0.1, 0.8))
    shared = {line.name for line in lines if line.family == "Shared rows"}
    assert shared == {f"unified {count}" for count in range(4, 12)}
    assert {line.name for line in lines if not line.family} == {f"unified {count}" for count in (1, 2, 3)}
